"""nnInteractive (Isensee et al., 2025): promptable 3D model, in this process or on a server.

Sessions are the package's own. They give hard masks; the probability is the agreement of answers to prompts that are
moved a little (`atlassegfm.models.wobble`), which works for both kinds of session alike.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from atlassegfm.errors import InputError, MissingExtraError, ModelError
from atlassegfm.models.checkpoint import load_checkpoint
from atlassegfm.models.foundation import FoundationModel, seeded, spoken
from atlassegfm.models.info import ModelInfo, Weights
from atlassegfm.models.loaded import forget
from atlassegfm.models.preparation import Oriented
from atlassegfm.models.rivals import negative_clicks
from atlassegfm.models.wobble import agreement, wobbled
from atlassegfm.options import check_bounds
from atlassegfm.prompts import THRESHOLD, Prompt, central_voxel, largest_component
from atlassegfm.volume import Volume

#: Environment variables that stand in for the options server and api_key.
SERVER_VARIABLE, KEY_VARIABLE = "ATLASSEGFM_NNINTERACTIVE_SERVER", "ATLASSEGFM_NNINTERACTIVE_API_KEY"
#: The package's word for each kind of prompt.
WORDS = {"click": "points", "box2d": "bbox2d", "box": "bbox3d", "scribble": "scribble", "lasso": "lasso"}
CHECKPOINT = "checkpoint_final.pth"
#: The package's word for a folder that says nothing of its licence.
NO_LICENCE = "!!MISSING!!"


def _from_environment(variable: str) -> Any:  # noqa: ANN401
    return field(default_factory=lambda: os.environ.get(variable) or None)


@dataclass(frozen=True)
class Options:
    """Options of nnInteractive.

    Parameters
    ----------
    server : str, optional
        Address of a running ``nninteractive-server``; without it the model runs here.
    api_key : str, optional
        The server's key.
    samples : int
        Answers that a probability is made of; 1 gives the bare mask.
    wobble_mm : float
        How far the prompt is moved for all but the first of them, in mm.
    negatives : int
        Clicks on neighbouring labels that say where the label is not.
    autozoom : bool
        Let the package look at large objects from farther away and refine them; without it large objects are cut off.
    """

    server: str | None = _from_environment(SERVER_VARIABLE)
    api_key: str | None = field(
        default_factory=lambda: os.environ.get(KEY_VARIABLE) or None, repr=False, metadata={"secret": True}
    )
    samples: int = 3
    wobble_mm: float = 2.0
    negatives: int = 0
    autozoom: bool = True

    def __post_init__(self) -> None:
        check_bounds(
            self,
            {
                "server": (self.server is None or "://" in self.server, "an address such as http://127.0.0.1:1527"),
                "samples": (1 <= self.samples <= 25, "1 to 25"),
                "wobble_mm": (self.wobble_mm > 0, "more than 0 mm"),
                "negatives": (0 <= self.negatives <= 10, "0 to 10"),
            },
        )


INFO = ModelInfo(
    name="nninteractive",
    summary="nnInteractive: promptable 3D model for any structure; here or on a server",
    dimension="3D",
    prompts=("mask", "click", "box2d", "scribble", "lasso", "box"),
    licence="Apache-2.0",
    target="atlassegfm.models.catalogue.nninteractive:NnInteractive",
    modalities=("CT", "MR", "PET", "US", "microscopy"),
    intensity="z-score over the box of the non-zero voxels, by the package",
    spacing="as it is; slices, rows, columns; the whole scan is given, the package crops around the prompt",
    weights=Weights(
        licence="CC BY-NC-SA 4.0",
        main="nnInteractive_v1.0",
        about_mb=410,
        repo="MIC-DKFZ/nnInteractive",
        files=("nnInteractive_v1.0/*",),
        commercial=False,
    ),
    extra="nninteractive",
    package="nnInteractive",
    options=Options,
    weightless="server",
    cpu_seconds=58.0,
)


class NnInteractive(FoundationModel):
    """One session for all scans and labels; interactions are forgotten between labels."""

    info = INFO
    #: The smaller crop is the network's own patch, without zooming out to more.
    scales = (1.0, 0.5)

    def _look(self, image: Volume) -> None:
        self._axes = Oriented(image.grid, "SPL")
        self._shown = False

    def _passes(self, image: Volume, labels: int) -> float:
        return 0.0 if self.options.server else float(labels * self.options.samples)

    def _key(self) -> Hashable:
        return (super()._key(), self.device, self.options.server, self.options.api_key)

    def describe(self) -> dict[str, Any]:
        """With where it ran, and how the probability came about."""
        facts = super().describe()
        o = self.options
        facts["probability"] = (
            f"share of {o.samples} hard masks, prompt moved by {o.wobble_mm:g} mm" if o.samples > 1 else "hard mask"
        )
        # The folder says its licence itself, which matters for weights of one's own.
        licence = self._guarded(lambda: self.network().license)
        if o.server:
            facts["weights"] = {"origin": "server", "licence": licence}
        elif licence != NO_LICENCE:
            facts["weights"]["licence"] = licence
        return facts

    def _build(self) -> Any:  # noqa: ANN401
        return self._remote() if self.options.server else self._local()

    def _local(self) -> Any:  # noqa: ANN401
        import torch

        try:
            from nnInteractive.inference.inference_session import nnInteractiveInferenceSession
        except ImportError as error:
            # Present without this module when only the client is installed.
            raise MissingExtraError("nnInteractive without a server", "nnInteractive", "nninteractive") from error
        folder = self.weights.path
        for checkpoint in _checkpoints(folder):
            # The package unpickles it in full. A file that the restricted reader accepts holds nothing that could run.
            load_checkpoint(checkpoint, self.weights)
        session = nnInteractiveInferenceSession(
            device=torch.device(self.device), torch_n_threads=torch.get_num_threads(), enable_undo=False
        )
        try:
            session.initialize_from_trained_model_folder(str(folder))
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, AssertionError) as error:
            raise ModelError(
                f"{folder} (SHA-256 {self.weights.sha256}): expected a folder of nnInteractive (plans.json, "
                f"dataset.json, fold_0/{CHECKPOINT}), got something else ({_line(error)}); download it again"
            ) from error
        return session

    def _remote(self) -> Any:  # noqa: ANN401
        try:
            from nnInteractive.inference.remote import nnInteractiveRemoteInferenceSession
        except ImportError as error:
            raise MissingExtraError(
                "nnInteractive on a server", "nninteractive-client", "nninteractive-client"
            ) from error
        session = self._guarded(
            lambda: nnInteractiveRemoteInferenceSession(server_url=self.options.server, api_key=self.options.api_key)
        )
        # Servers have few places; without this one stays taken until it runs out.
        atexit.register(session.close)
        return session

    def _guarded(self, call: Any) -> Any:  # noqa: ANN401
        """What `call` gives; what goes wrong on the way to a server becomes one line."""
        if not self.options.server:
            return call()
        import httpx
        from nnInteractive.inference.remote.remote_session import ServerAtCapacityError, SessionExpiredError

        try:
            try:
                return call()
            except SessionExpiredError:
                # A long registration between two calls: the server has given our place away.
                forget(self._key())
                self._network, self._shown = None, False
                return call()
        except (ServerAtCapacityError, SessionExpiredError) as error:
            raise ModelError(
                f"{self.options.server}: {_line(error)}; try again later, or use another server"
            ) from error
        except (httpx.HTTPError, OSError) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            cure = "check option api_key" if status in (401, 403) else "check that nninteractive-server runs there"
            raise ModelError(
                f"{self.options.server}: nnInteractive's server does not answer ({_line(error)}); {cure}"
            ) from error

    def _answer(self, prompt: Prompt, scale: float) -> np.ndarray:
        reordered = self._reordered(prompt)
        prompts = wobbled(reordered, self._axes.grid.spacing, self.options.samples, self.options.wobble_mm, self.seed)
        with spoken(), seeded(self.seed):
            return self._axes.back(agreement([self._guarded(lambda p=p: self._mask(p, scale)) for p in prompts]))

    def _reordered(self, prompt: Prompt) -> Prompt:
        """The prompt in the session's axis order."""
        axes, box, axis = self._axes, prompt.box, prompt.axis
        if box is not None:
            box = axes.box(box)
        if axis is not None:
            unit = [(0, 2 if a == axis else 1) for a in range(3)]
            axis = next(a for a, (lo, hi) in enumerate(axes.box(tuple(unit))) if hi - lo == 2)
        return replace(
            prompt,
            mask=axes.array(prompt.mask),
            rivals=axes.array(prompt.rivals),
            point=None if prompt.point is None else axes.point(prompt.point),
            box=box,
            axis=axis,
            drawn=None if prompt.drawn is None else axes.array(prompt.drawn),
        )

    def _mask(self, prompt: Prompt, scale: float) -> np.ndarray:
        """The session's answer to one prompt, bool, in its own axis order."""
        session = self.network()
        self._show(session)
        session.set_do_autozoom(self.options.autozoom and scale == 1.0)
        session.reset_interactions()
        negatives = negative_clicks(prompt, self._axes.grid.spacing, self.options.negatives)
        if prompt.kind == "mask":
            self._refine(session, prompt)
            for click in negatives:
                session.add_point_interaction(click, include_interaction=False)
        else:
            # Queued first: the prediction looks at the place of the last interaction.
            for click in negatives:
                session.add_point_interaction(click, include_interaction=False, run_prediction=False)
            self._interact(session, prompt)
        return self._buffer.astype(bool)

    def _show(self, session: Any) -> None:  # noqa: ANN401
        """Give the session the image, unless it has it."""
        if self._shown and getattr(session, "_atlassegfm_image", None) is self.image:
            return
        data = self._axes.array(self.image.data.astype(np.float32))
        if not data.any():
            raise InputError("nnInteractive: expected an image with voxels that are not zero, got none; check the scan")
        session.set_image(data[None])
        self._buffer = np.zeros(data.shape, dtype=np.uint8)
        session.set_target_buffer(self._buffer)
        # The session outlives this adapter, and another scan may have been shown to it meanwhile.
        session._atlassegfm_image = self.image
        self._shown = True

    def _refine(self, session: Any, prompt: Prompt) -> None:  # noqa: ANN401
        """M_atlas as the segmentation so far, to be improved."""
        mask = (prompt.mask >= THRESHOLD).astype(np.uint8)
        at_once = session.supports_zero_shot_label_refinement
        session.add_initial_seg_interaction(mask, run_prediction=at_once)
        if not at_once:
            # Such weights improve a segmentation only where something is clicked.
            component, corner = largest_component(mask > 0)
            voxel = central_voxel(component, self._axes.grid.spacing)
            centre = tuple(v + c for v, c in zip(voxel, corner, strict=True))
            session.add_point_interaction(centre, include_interaction=True)

    def _interact(self, session: Any, prompt: Prompt) -> None:  # noqa: ANN401
        """Any other prompt."""
        if not session.supported_interactions.get(WORDS[prompt.kind], False):
            known = [k for k, word in WORDS.items() if session.supported_interactions.get(word, False)]
            raise InputError(
                f"--prompt {prompt.kind}: these weights take mask, {', '.join(known)}; choose one of those"
            )
        if prompt.kind == "click":
            session.add_point_interaction(prompt.point, include_interaction=True)
        elif prompt.drawn is None:
            session.add_bbox_interaction([list(pair) for pair in prompt.box], include_interaction=True)
        else:
            add = session.add_scribble_interaction if prompt.kind == "scribble" else session.add_lasso_interaction
            box = [list(pair) for pair in prompt.box]
            add(prompt.drawn.astype(np.uint8), include_interaction=True, interaction_bbox=box)


def _checkpoints(folder: Path) -> list[Path]:
    found = sorted(folder.glob(f"fold_*/{CHECKPOINT}"))
    if not found:
        raise ModelError(
            f"{folder}: expected a folder of nnInteractive with fold_0/{CHECKPOINT}, got none; check the path"
        )
    return found


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
