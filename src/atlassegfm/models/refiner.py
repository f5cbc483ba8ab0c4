"""The built-in network as a model: customised by the atlas, asked around the prior at the working resolution.

On the atlas it answers as on any image (`SegmentationModel.segment_support`): it has never seen the atlas as it is,
only deformed and with other intensities, and remembers little: on hippocampi its Dice there exceeded that of its mean
with the shipped network by 0.005 to 0.015.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlassegfm.builtin.augment import Augmenter
from atlassegfm.builtin.customise import Course, customised
from atlassegfm.builtin.encoding import encode
from atlassegfm.builtin.network import RefinerNet
from atlassegfm.builtin.options import BuiltinOptions
from atlassegfm.builtin.patches import Asking
from atlassegfm.builtin.refine import MARGIN, tiled_logits
from atlassegfm.builtin.weights import Learnt, load_weights, read_learnt, shipped_weights, write_learnt
from atlassegfm.builtin.working import WorkingCopy, working_spacing
from atlassegfm.errors import ModelError
from atlassegfm.io import file_sha256
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.models.hints import mask_of_prompt
from atlassegfm.models.lessons import usual_error
from atlassegfm.models.recall import Recall
from atlassegfm.models.store import Kind, Store, cache_folder, content_key
from atlassegfm.prompts import THRESHOLD, Box, Point, Prompt, slice_axis
from atlassegfm.volume import Volume, bounding_box

#: Customised networks: a few MB each.
NETWORKS: Kind[Learnt] = Kind(".safetensors", read_learnt, write_learnt, Recall(4))


class RefinerModel(SegmentationModel):
    """The network of `atlassegfm.builtin` as a session.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Where to compute.
    seed : int
        Seed of the customisation.
    options : BuiltinOptions, optional
        Whether the atlas changes the weights, and which weights.
    course : Course, optional
        How the atlas is learnt.
    cache : path, optional
        Folder for customised weights; `store.cache_folder` if None.
    """

    lasting = True

    def __init__(
        self,
        *,
        device: str = "cpu",
        seed: int = 0,
        options: BuiltinOptions | None = None,
        course: Course | None = None,
        cache: str | Path | None = None,
    ) -> None:
        self.device, self.seed = device, seed
        options = options or BuiltinOptions()
        self.customising, self.course = options.customise, course or Course()
        self._weights = shipped_weights() if options.network is None else Path(options.network).expanduser()
        self._shipped: RefinerNet | None = None
        #: Whether `customise` found what had been learnt before; no fact of the result, and so in no report.
        self.found_again = False
        self._store = Store(NETWORKS, cache_folder() if cache is None else Path(cache))
        self._network: RefinerNet | None = None
        self._rows: dict[int, int] = {}
        self._sizes_ml: dict[int, float] = {}
        self._spacing = 0.0
        self._learnt: str | None = None
        self._image: Volume | None = None
        self._copy: WorkingCopy | None = None

    def load(self) -> None:
        """Load the pre-trained weights."""
        if self._shipped is None:
            network, self._training = load_weights(self._weights)
            self._shipped = network.to(self.device, memory_format=torch.channels_last_3d)

    def describe(self) -> dict[str, Any]:
        """Name, hash and training of the pre-trained weights."""
        self.load()
        facts = {"file": self._weights.name, "sha256": file_sha256(self._weights)}
        return {"weights": {**facts, "training_steps": self._training.get("steps")}}

    def customise(self, support: Support) -> dict[str, Any]:
        """Learn the atlas (see `builtin.customise`), or find again what was learnt from it.

        What is learnt depends on the atlas, the weights, the seed, the settings, and on the size of the errors on the
        round trip, rounded coarsely (`lessons.usual_error`): nearly all queries of a cohort share it and find the same
        weights again, and none depends on which query came first.
        """
        self.load()
        self._network = network = self._shipped
        self._spacing = working_spacing(support.image.grid)
        self._rows = {value: row for row, value in enumerate(support.values)}
        voxel = support.image.grid.voxel_volume_ml
        self._sizes_ml = {v: float(np.count_nonzero(support.truth.data == v)) * voxel for v in support.values}
        self._copy = None
        facts = {"learnable_parameters": 0, "customised": False, "working_spacing_mm": self._spacing}
        if not self.customising:
            self._learnt = content_key(support.digests, [self.device, self._spacing], self._weights)
            return facts
        size = usual_error(support)
        told = [self.seed, self.device, support.kind, self._spacing, size, asdict(self.course)]
        self._learnt = key = content_key(support.digests, told, self._weights)
        found = self._store.find(key)
        self.found_again = found is not None
        if found is None:
            self._network, learnt = self._learn(network, support, size)
            # Copies: what is kept must not change with the network.
            state = {n: t.detach().cpu().contiguous().clone() for n, t in self._network.state_dict().items()}
            self._store.keep(key, (state, learnt))
            return {**facts, **learnt}
        state, learnt = found
        self._network = copy.deepcopy(network)
        self._network.add_labels(len(self._rows))
        self._network.load_state_dict(state)
        return {**facts, **learnt}

    def identity(self, value: int) -> Hashable | None:
        """The name of what was learnt; None before `customise`."""
        return self._learnt

    def _learn(self, shipped: RefinerNet, support: Support, size_mm: float) -> tuple[RefinerNet, dict[str, Any]]:
        """Customise on priors whose borders err by about `size_mm`, none by more than its label's limit."""
        truth = _numbered(support.truth.data, support.values)
        working = WorkingCopy.around(support.image, truth > 0, self._spacing)
        limits = [limit / self._spacing for limit in support.limits.values()]
        voxels = tuple(1000.0 * s / self._spacing**3 for s in self._sizes_ml.values())
        network, facts = customised(
            shipped,
            Augmenter(
                working.image.data,
                working.labels(truth),
                [min(size_mm / self._spacing, limit) for limit in limits],
                limits,
            ),
            Asking(voxels, support.kind, slice_axis(support.image.grid)),
            self.seed,
            self.course,
            self.device,
        )
        return network, {**facts, "prior_border_error_mm": round(size_mm, 3)}

    def set_image(self, image: Volume) -> None:
        """Keep the image; its working copy is made once for all prompts that show the same labels."""
        if image is not self._image:
            self._image, self._copy = image, None

    def segment(self, prompt: Prompt) -> np.ndarray:
        """Foreground probability of the prompt's label, float32, on the image's grid; zeros for an empty mask."""
        if self._image is None:
            raise ModelError("set_image has to come before segment")
        if prompt.value not in self._rows:
            raise ModelError(f"the built-in network does not know label {prompt.value}: call customise first")
        grid = self._image.grid
        own = mask_of_prompt(prompt, grid, self._sizes_ml[prompt.value])
        rivals = (prompt.rivals >= THRESHOLD) & ~own if prompt.kind == "mask" else np.zeros_like(own)
        if not own.any():
            return np.zeros(grid.shape, dtype=np.float32)
        # Not any copy that happens to show the label: an answer must not depend on what was asked before.
        if self._copy is None or not self._copy.is_around(own | rivals):
            self._copy = WorkingCopy.around(self._image, own | rivals, self._spacing)
        labels = self._copy.labels(own + 2 * rivals.astype(np.uint8))
        box = bounding_box(labels == 1, margin=MARGIN)
        if box is None:
            # Too small for the working resolution: nothing can be said about it.
            return own.astype(np.float32)
        point, hull = _carried(prompt, self._copy, box)
        inputs = encode(self._copy.image.data[box], labels[box] == 1, labels[box] == 2, point, hull)
        row = self._rows[prompt.value]
        return self._copy.probability(tiled_logits(self._network, inputs, row=row, device=self.device), box)


def _numbered(labels: np.ndarray, values: list[int]) -> np.ndarray:
    """Label map with the ascending `values` replaced by 1 to L."""
    return np.where(labels > 0, np.searchsorted(values, labels) + 1, 0).astype(np.uint16)


def _carried(prompt: Prompt, working: WorkingCopy, box: tuple[slice, ...]) -> tuple[Point | None, Box | None]:
    """Click and box of the prompt in voxels of the part `box` of the working copy."""
    corner = np.array([s.start for s in box])
    point = hull = None
    if prompt.point is not None:
        point = tuple(int(v) for v in np.round(working.voxel(np.array(prompt.point)) - corner))
    if prompt.box is not None:
        # Outer faces of the box's voxels; at least one voxel of the copy.
        low, high = (working.voxel(np.array(edge) - 0.5) + 0.5 - corner for edge in np.array(prompt.box).T)
        low = np.round(low).astype(int)
        hull = tuple(
            (int(a), int(b)) for a, b in zip(low, np.maximum(np.round(high).astype(int), low + 1), strict=True)
        )
    return point, hull
