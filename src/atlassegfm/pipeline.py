"""From an atlas and a query to a segmentation: the one place that strings the steps together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from atlassegfm.atlas import Atlas
from atlassegfm.competition import LabelCompetition, favouring_dice, smallest_label_type
from atlassegfm.errors import InputError
from atlassegfm.fusing import FUSION_MARGIN_MM, LESSONS, fit_fusions, union_box
from atlassegfm.fusion import FUSIONS
from atlassegfm.fusion.base import Fusion
from atlassegfm.judging import LabelJudge
from atlassegfm.models.base import SegmentationModel, Support, prompt_from_labels
from atlassegfm.models.info import KINDS
from atlassegfm.models.lessons import usable_priors
from atlassegfm.models.registry import create_model, model_info, model_options
from atlassegfm.options import told
from atlassegfm.quality import DO_NOT_USE, Quality
from atlassegfm.registration.cache import RegistrationCache
from atlassegfm.registration.focus import Focus
from atlassegfm.registration.options import read_options
from atlassegfm.registration.registry import METHODS
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.resampling import resample_image, warp_labels
from atlassegfm.runtime import prepare_compute, resolve_device
from atlassegfm.suspecting import suspicions_of_label, suspicions_of_pair
from atlassegfm.volume import Volume, bounding_box

logger = logging.getLogger(__name__)
#: Told (name of the step, finished fraction in [0, 1]).
Progress = Callable[[str, float], None]
PROMPTS = ("auto", *KINDS)
#: A model that will take longer than this is announced, in seconds.
LONG_SECONDS = 60.0


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What comes out of `segment`; all label maps lie on the query's grid.

    Parameters
    ----------
    labels : Volume
        The result.
    atlas_labels : Volume
        M_atlas, registration alone.
    model_labels : Volume or None
        M_fm, the model alone; None when there was no model.
    names, colours : dict
        Per label value, from the atlas.
    report : dict
        JSON-ready: parameters, timings, registration, one entry per label, warnings.
    warnings : list of str
        What the user should know.
    probabilities : dict of int to (box, float32 array)
        Per label value the fused probability within a box of the grid, outside of which it is 0; empty unless asked
        for.
    masks : dict of int to (box, bool array)
        Per label value its voxels within a box of the grid, decided by itself whatever the others claim; empty unless
        asked for.
    """

    labels: Volume
    atlas_labels: Volume
    model_labels: Volume | None
    names: dict[int, str]
    colours: dict[int, tuple[int, int, int]]
    report: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    probabilities: dict[int, tuple[tuple[slice, ...], np.ndarray]] = field(default_factory=dict)
    masks: dict[int, tuple[tuple[slice, ...], np.ndarray]] = field(default_factory=dict)


class _Run:
    """One query against one atlas: the steps in order, each timed."""

    def __init__(
        self, atlas: Atlas, query: Volume, options: dict[str, Any], progress: Progress, cache: RegistrationCache
    ) -> None:
        self.atlas, self.query, self.options, self.progress, self.cache = atlas, query, options, progress, cache
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.facts: dict[str, Any] = {}
        self.probabilities: dict[int, tuple[tuple[slice, ...], np.ndarray]] | None = None
        self.masks: dict[int, tuple[tuple[slice, ...], np.ndarray]] | None = None
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step] = round(now - self._last, 3)
        self._last = now

    def registered(self, fixed: Volume, moving: Volume, step: str) -> RegistrationResult:
        settings = Settings(
            seed=self.options["seed"],
            device=self.options["device"],
            progress=lambda name, fraction: self.progress(f"{step}: {name}", fraction),
            options=self.options["registration_options"],
            focus=Focus.of(self.atlas.labels, on_fixed=fixed is self.atlas.image),
        )
        result, saved = self.cache.register(fixed, moving, self.options["registration"], settings)
        if saved is not None:
            self.facts.setdefault("seconds_saved", {})[step] = saved
        self.facts[step] = result.metrics
        self.warnings += result.warnings
        self.lap(step)
        return result


def segment(
    atlas: Atlas,
    query: Volume,
    *,
    model: str = "builtin",
    prompt: str = "auto",
    registration: str = "default",
    registration_options: Mapping[str, Any] | None = None,
    fusion: str = "kalman",
    device: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
    cache: RegistrationCache | None = None,
    keep_probabilities: bool = False,
    overlapping: bool = False,
    model_options: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    weights_sha256: str | None = None,
) -> Segmentation:
    """Carry the atlas's labels to a query and let image and model correct them.

    The steps of arXiv 2512.18176: registration (Eq. 2), prompts, frozen model (Eq. 3), fusion (Eq. 4-5). The fusion
    learns from the atlas alone: the atlas's labels travel to the query and back through the independently estimated
    reverse registration, and the model is run on the atlas image from that imperfect copy. No query label is an
    argument of this function or of anything it calls.

    Parameters
    ----------
    atlas : Atlas
        The labelled scan.
    query : Volume
        The scan to segment, any grid.
    model : str
        A name out of `atlassegfm.models.registry.MODELS`; "none" is registration alone.
    prompt : {"auto", "mask", "click", "box", "box2d", "scribble", "lasso"}
        What the model is given; "auto" is the model's preferred kind.
    registration : str
        A name out of `atlassegfm.registration.registry.METHODS`.
    registration_options : mapping, optional
        What that method takes beyond seed and device, such as ``{"iterations": 200}`` for "voxelmorph".
    fusion : str
        How prior and model are combined, a name out of `atlassegfm.fusion.FUSIONS`; "none" is the model alone.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    seed : int
        Seed of everything random.
    progress : callable, optional
        Told (step, finished fraction).
    cache : RegistrationCache, optional
        Registrations that were done before, for several runs on one pair; the report's "seconds_saved" tells what each
        found again had taken.
    keep_probabilities : bool
        Whether the result has the probabilities behind its labels; "none" as model has none.
    overlapping : bool
        Whether the result also has a mask per label that is decided by itself; the report's volumes are those of the
        masks then. Registration alone carries one label map, whose labels do not overlap.
    model_options : mapping, optional
        What that model takes beyond seed and device, such as ``{"axis": "axial"}`` for "medsam".
    weights : str or Path, optional
        File or folder of the model's weights, in place of those that were downloaded.
    weights_sha256 : str, optional
        What their SHA-256 has to be.

    Returns
    -------
    Segmentation
        Label maps on the query's grid and the report.

    Raises
    ------
    InputError
        If an option is unknown or does not fit the model.
    RegistrationError
        If atlas and query cannot be aligned.
    ModelError
        If the model or its weights cannot be used.
    """
    prepare_compute()
    options = _checked_options(
        model=model,
        prompt=prompt,
        registration=registration,
        registration_options=registration_options or {},
        fusion=fusion,
        device=device,
        seed=seed,
        model_options=model_options or {},
    )
    # Before the registration: what is missing or damaged has to be told at once.
    session = _session(options, weights, weights_sha256)
    run = _Run(atlas, query, options, progress or (lambda step, fraction: None), cache or RegistrationCache())
    forward = run.registered(query, atlas.image, "registration")
    prior = warp_labels(atlas.labels, query.grid, forward.transform)
    moved = resample_image(atlas.image, query.grid, forward.transform)
    run.lap("warp")
    suspicions = _suspicions(run, forward)
    if session is None:
        judged = _judge_registration(run, forward, prior, moved, suspicions)
        return _finish(run, prior, prior, None, judged)
    backward = run.registered(atlas.image, query, "reverse registration")
    returned = warp_labels(prior, atlas.image.grid, backward.transform)
    run.lap("round trip")
    support = Support(atlas.image, atlas.labels, usable_priors(atlas.labels, returned, seed), options["prompt"])
    _announce(model, session, atlas, query)
    run.progress("model learns from the atlas", 0.0)
    learnt = session.customise(support)
    run.lap("customise")
    fusions = _fit_fusions(run, session, support)
    reached = {v: f.facts["support_dice"]["fused"] for v, f in fusions.items() if "support_dice" in f.facts}
    judge_label = LabelJudge(atlas, query, moved, forward, returned, backward, reached, suspicions)
    run.probabilities, run.masks = {} if keep_probabilities else None, {} if overlapping else None
    labels, alone = _segment_labels(run, session, prior, fusions, judge_label)
    info = model_info(model)
    run.facts["model"] = {"name": model, "licence": info.licence, **session.describe(), **learnt}
    run.warnings += [*([info.notice] if info.notice else []), *session.notices]
    return _finish(run, labels, prior, alone, judge_label.verdicts)


def _checked_options(**options: Any) -> dict[str, Any]:  # noqa: ANN401
    """The options with "auto" resolved; errors for what does not exist."""
    info = model_info(options["model"])
    if options["registration"] not in METHODS:
        raise InputError(f"unknown registration method {options['registration']!r}: choose one of {', '.join(METHODS)}")
    method = METHODS[options["registration"]]
    options["registration_options"] = read_options(method.name, method.options, options["registration_options"])
    if options["fusion"] not in FUSIONS:
        raise InputError(f"unknown fusion {options['fusion']!r}: choose one of {', '.join(FUSIONS)}")
    if options["prompt"] not in PROMPTS:
        raise InputError(f"unknown prompt {options['prompt']!r}: choose one of {', '.join(PROMPTS)}")
    if options["prompt"] == "auto":
        options["prompt"] = info.prompts[0]
    elif options["prompt"] not in info.prompts:
        raise InputError(f"model {info.name} takes {', '.join(info.prompts)} as prompt, not {options['prompt']}")
    options["model_options"] = model_options(info.name, options["model_options"])
    options["device"] = resolve_device(options["device"])
    return options


def _session(options: dict[str, Any], weights: str | Path | None, sha256: str | None) -> SegmentationModel | None:
    """The model, loaded; what the report says of its options is left without secrets."""
    name, given = options["model"], options["model_options"]
    made = create_model(
        name, device=options["device"], seed=options["seed"], weights=weights, sha256=sha256, options=given
    )
    options["model_options"] = told(model_info(name).options, given)
    if made is not None:
        made.load()
    return made


def _announce(model: str, session: SegmentationModel, atlas: Atlas, query: Volume) -> None:
    """Say beforehand that a model will take long."""
    labels = len(atlas.values)
    seconds = LESSONS * session.expected_seconds(atlas.image, labels) + session.expected_seconds(query, labels)
    if seconds > LONG_SECONDS:
        logger.warning(
            "%s on the CPU will take about %d minutes for %d labels on atlas and query; a GPU (--device cuda) or fewer "
            "labels (--only) are quicker",
            model,
            max(1, round(seconds / 60.0)),
            labels,
        )


def _fit_fusions(run: _Run, session: SegmentationModel, support: Support) -> dict[int, Fusion]:
    """One fusion per label, learnt on the atlas."""
    kind, seed = run.options["fusion"], run.options["seed"]
    fusions = fit_fusions(session, support, kind, seed, lambda done: run.progress("fusion learns from the atlas", done))
    run.facts["fusion"] = {str(v): f.facts for v, f in fusions.items()}
    run.lap("fit fusion")
    return fusions


def _suspicions(run: _Run, forward: RegistrationResult) -> list[str]:
    """What speaks against this atlas for this query, or against an atlas for some labels; told as warnings too."""
    found = suspicions_of_pair(run.atlas.image, run.query, forward, run.options["device"])
    named = {name: suspicions_of_label(name) for name in run.atlas.names.values()}
    run.warnings += [*found, *(f"{name}: {why}" for name, reasons in named.items() for why in reasons)]
    run.facts["suspicions"] = found
    run.lap("suspicions")
    return found


def _judge_registration(
    run: _Run, forward: RegistrationResult, prior: Volume, moved: Volume, suspicions: list[str]
) -> dict[int, Quality]:
    """Verdicts when registration is all there is."""
    judge_label = LabelJudge(run.atlas, run.query, moved, forward, suspicions=suspicions)
    for value in run.atlas.values:
        mask = (prior.data == value).astype(np.float32)
        box = bounding_box(mask, margin=np.ceil(FUSION_MARGIN_MM / prior.spacing).astype(int))
        if box is None:
            run.warnings.append(judge_label.missing(value))
        else:
            judge_label(value, box, mask[box], mask[box])
    run.lap("quality")
    return judge_label.verdicts


def _segment_labels(
    run: _Run, session: SegmentationModel, prior: Volume, fusions: dict[int, Fusion], judge_label: LabelJudge
) -> tuple[Volume, Volume]:
    """Model and fusion for each label; the labels then compete for voxels. Returns the fused and the model's labels."""
    grid, spacing = run.query.grid, run.query.spacing
    final = LabelCompetition(grid.shape, prior.data.dtype)
    alone = LabelCompetition(grid.shape, prior.data.dtype)
    session.set_image(run.query)
    for number, (value, fusion) in enumerate(fusions.items()):
        run.progress(f"model and fusion: {run.atlas.names[value]}", number / len(fusions))
        prompt = prompt_from_labels(prior, value, run.options["prompt"])
        if prompt is None:
            run.warnings.append(judge_label.missing(value))
            continue
        answer = favouring_dice(session.segment(prompt))
        box = union_box(prompt.mask, answer, spacing)
        fused = fusion.apply(prompt.mask[box], answer[box], run.query.data[box], spacing)
        alone.add(value, answer[box], box)
        final.add(value, fused, box)
        if run.probabilities is not None:
            run.probabilities[value] = box, fused
        if run.masks is not None:
            run.masks[value] = box, fused > 0.5
        judge_label(value, box, fused, prompt.mask[box], answer[box])
    run.lap("model and fusion")
    return Volume(final.result(), grid), Volume(alone.result(), grid)


def _finish(
    run: _Run, labels: Volume, prior: Volume, alone: Volume | None, verdicts: dict[int, Quality]
) -> Segmentation:
    """Cast to the smallest type and write the report."""
    atlas = run.atlas
    dtype = smallest_label_type(max(atlas.values))
    counts = np.bincount(labels.data.ravel(), minlength=max(atlas.values) + 1)
    for value, (_, mask) in (run.masks or {}).items():
        counts[value] = np.count_nonzero(mask)
    atlas_counts = np.bincount(atlas.labels.data.ravel(), minlength=max(atlas.values) + 1)
    entries = [
        {
            "value": value,
            "name": atlas.names[value],
            "volume_ml": round(float(counts[value]) * labels.grid.voxel_volume_ml, 4),
            "atlas_volume_ml": round(float(atlas_counts[value]) * atlas.labels.grid.voxel_volume_ml, 4),
            "quality": verdicts[value].to_dict(),
        }
        for value in atlas.values
    ]
    warnings = [*atlas.notices, *run.query.meta.get("notices", ()), *run.warnings]
    warnings += [f"{e['name']}: {e['quality']['word']}" for e in entries if e["quality"]["word"] == DO_NOT_USE]
    report = {
        "parameters": run.options,
        "labels": entries,
        "warnings": warnings,
        **run.facts,
        "timings": {**run.seconds, "total": round(sum(run.seconds.values()), 3)},
    }
    return Segmentation(
        labels=Volume(labels.data.astype(dtype), labels.grid),
        atlas_labels=Volume(prior.data.astype(dtype), labels.grid),
        model_labels=None if alone is None else Volume(alone.data.astype(dtype), labels.grid),
        names=dict(atlas.names),
        colours=dict(atlas.colours),
        report=report,
        warnings=warnings,
        probabilities=run.probabilities or {},
        masks=run.masks or {},
    )
