"""From an atlas and a query to a segmentation: the one place that strings the steps together."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atlassegfm.answers import FUSION_MARGIN_MM
from atlassegfm.asked import checked_options, several_options
from atlassegfm.atlas import Atlas
from atlassegfm.atlases import MOST_ATLASES
from atlassegfm.atlases.carry import VoteSettings
from atlassegfm.atlases.judges import Judges
from atlassegfm.closer import look_closer
from atlassegfm.competition import smallest_label_type
from atlassegfm.fusing import LESSONS, fit_fusions
from atlassegfm.fusion.base import Fusion
from atlassegfm.labelling import label_by_label
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.models.lessons import usable_priors
from atlassegfm.models.registry import create_model, model_info
from atlassegfm.options import told
from atlassegfm.prior import Prior, prior_of_one, prior_of_several
from atlassegfm.quality import DO_NOT_USE, Quality
from atlassegfm.registration.cache import RegistrationCache
from atlassegfm.registration.result import Progress, Settings, silent
from atlassegfm.resampling import warp_labels
from atlassegfm.run import Run
from atlassegfm.runtime import prepare_compute
from atlassegfm.segmentation import Segmentation
from atlassegfm.suspecting import suspicions_of_label, suspicions_of_pair
from atlassegfm.volume import Volume, bounding_box

logger = logging.getLogger(__name__)
#: A model that will take longer than this is announced, in seconds.
LONG_SECONDS = 60.0


def segment(
    atlas: Atlas | Sequence[Atlas],
    query: Volume,
    *,
    model: str = "builtin",
    prompt: str = "auto",
    registration: str = "default",
    registration_options: Mapping[str, Any] | None = None,
    fusion: str = "kalman",
    label_fusion: str = "joint",
    most_atlases: int = MOST_ATLASES,
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
    atlas : Atlas or sequence of Atlas
        The labelled scan, or several: their labels are registered one by one and voted into one prior; the one that
        agrees best with the others teaches the model.
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
    label_fusion : str
        How several atlases vote, a name out of `atlassegfm.atlases.LABEL_FUSIONS`.
    most_atlases : int
        So many atlases are registered at the most; of more, those that look most like the query.
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
        If an option is unknown or does not fit the model, or atlases contradict each other on the name of a label.
    RegistrationError
        If atlas and query cannot be aligned; of several atlases, if none can.
    ModelError
        If the model or its weights cannot be used.
    """
    prepare_compute()
    atlases = [atlas] if isinstance(atlas, Atlas) else list(atlas)
    options = checked_options(
        model=model,
        prompt=prompt,
        registration=registration,
        registration_options=registration_options or {},
        fusion=fusion,
        device=device,
        seed=seed,
        model_options=model_options or {},
        **several_options(len(atlases), label_fusion, most_atlases),
    )
    # Before the registration: what is missing or damaged has to be told at once.
    session = _session(options, weights, weights_sha256)
    run = Run(query, options, progress or silent, cache or RegistrationCache())
    run.prior = _prior(run, atlases)
    teacher = run.prior.teacher
    suspicions = _suspicions(run)
    if session is None:
        return _finish(run, run.prior.labels, None, _judge_registration(run, suspicions))
    if len(atlases) == 1:
        look_closer(run)
    backward = run.registered(teacher.atlas.image, query, "reverse registration", teacher.atlas)
    returned = warp_labels(run.prior.lesson, teacher.atlas.image.grid, backward.transform)
    run.lap("round trip")
    truth = teacher.atlas.labels
    support = Support(teacher.atlas.image, truth, usable_priors(truth, returned, seed), options["prompt"])
    _announce(model, session, teacher.atlas, query)
    run.progress("model learns from the atlas", 0.0)
    learnt = session.customise(support)
    run.lap("customise")
    fusions = _fit_fusions(run, session, support)
    reached = {v: f.facts["support_dice"]["fused"] for v, f in fusions.items() if "support_dice" in f.facts}
    judge_label = Judges.of(run.prior, query, returned, backward, reached, suspicions)
    run.probabilities, run.masks = {} if keep_probabilities else None, {} if overlapping else None
    labels, alone = label_by_label(run, session, fusions, judge_label)
    run.lap("model and fusion")
    info = model_info(model)
    run.facts["model"] = {"name": model, "licence": info.licence, **session.describe(), **learnt}
    run.warnings += [*([info.notice] if info.notice else []), *session.notices]
    return _finish(run, labels, alone, judge_label.verdicts)


def _prior(run: Run, atlases: Sequence[Atlas]) -> Prior:
    """Step 1: the labels of one atlas, or of several, on the query."""
    if len(atlases) == 1:
        forward = run.registered(run.query, atlases[0].image, "registration", atlases[0])
        found = prior_of_one(atlases[0], forward, run.query)
        run.lap("warp")
        return found
    # Imported late: torch.
    from atlassegfm.registration.builtin import likeness

    found = prior_of_several(
        atlases,
        run.query,
        lambda atlas, shown: run.aligned(run.query, atlas.image, "registration", atlas, shown),
        lambda fixed, moving: likeness(fixed, moving, Settings(device=run.options["device"])),
        VoteSettings(run.options["most_atlases"], run.options["label_fusion"], run.options["model"] != "none"),
        run.progress,
    )
    run.facts |= {"registration": found.teacher.forward.metrics, "atlases": found.facts}
    run.warnings += found.warnings
    run.lap("warp")
    return found


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


def _fit_fusions(run: Run, session: SegmentationModel, support: Support) -> dict[int, Fusion]:
    """One fusion per label, learnt on the atlas."""
    kind, seed = run.options["fusion"], run.options["seed"]
    fusions = fit_fusions(session, support, kind, seed, lambda done: run.progress("fusion learns from the atlas", done))
    run.facts["fusion"] = {str(v): f.facts for v, f in fusions.items()}
    run.lap("fit fusion")
    return fusions


def _suspicions(run: Run) -> list[str]:
    """What speaks against this atlas for this query, or against an atlas for some labels; told as warnings too."""
    teacher = run.prior.teacher
    found = suspicions_of_pair(teacher.atlas.image, run.query, teacher.forward, run.options["device"])
    named = {name: suspicions_of_label(name) for name in run.prior.names.values()}
    run.warnings += [*found, *(f"{name}: {why}" for name, reasons in named.items() for why in reasons)]
    run.facts["suspicions"] = found
    run.lap("suspicions")
    return found


def _judge_registration(run: Run, suspicions: list[str]) -> dict[int, Quality]:
    """Verdicts when registration is all there is."""
    judge_label = Judges.of(run.prior, run.query, suspicions=suspicions)
    prior = run.prior.labels
    for value in run.prior.names:
        mask = (prior.data == value).astype(np.float32)
        box = bounding_box(mask, margin=np.ceil(FUSION_MARGIN_MM / prior.spacing).astype(int))
        if box is None:
            run.warnings.append(judge_label.missing(value))
        else:
            judge_label(value, box, mask[box], mask[box])
    run.lap("quality")
    return judge_label.verdicts


def _finish(run: Run, labels: Volume, alone: Volume | None, verdicts: dict[int, Quality]) -> Segmentation:
    """Cast to the smallest type and write the report."""
    prior = run.prior
    dtype = smallest_label_type(max(prior.names))
    counts = np.bincount(labels.data.ravel(), minlength=max(prior.names) + 1)
    for value, (_, mask) in (run.masks or {}).items():
        counts[value] = np.count_nonzero(mask)
    entries = [
        {
            "value": value,
            "name": name,
            "volume_ml": round(float(counts[value]) * labels.grid.voxel_volume_ml, 4),
            "atlas_volume_ml": round(prior.volumes_ml[value], 4),
            "quality": verdicts[value].to_dict(),
        }
        for value, name in prior.names.items()
    ]
    warnings = [*prior.notices, *run.query.meta.get("notices", ()), *run.warnings]
    warnings += [f"{e['name']}: {e['quality']['word']}" for e in entries if e["quality"]["word"] == DO_NOT_USE]
    registered = prior.labels if prior.registered is None else prior.registered
    report = {
        "parameters": run.options,
        "labels": entries,
        "warnings": warnings,
        **run.facts,
        "timings": {**run.seconds, "total": round(sum(run.seconds.values()), 3)},
    }
    return Segmentation(
        labels=Volume(labels.data.astype(dtype), labels.grid),
        atlas_labels=Volume(registered.data.astype(dtype), labels.grid),
        model_labels=None if alone is None else Volume(alone.data.astype(dtype), labels.grid),
        names=dict(prior.names),
        colours=dict(prior.colours),
        report=report,
        warnings=warnings,
        probabilities=run.probabilities or {},
        masks=run.masks or {},
    )
