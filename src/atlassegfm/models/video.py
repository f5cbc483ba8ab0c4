"""A stack of slices as a video: prompt on the middle slice of M_atlas, followed forward and backward.

What MedSAM2's authors do with volumes (Ma et al., 2025), for any package that follows objects through videos.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlassegfm.models.foundation import FoundationModel
from atlassegfm.models.slices import SliceOptions, Stack, box_of, middle_slice, slices_of
from atlassegfm.options import check_bounds
from atlassegfm.prompts import THRESHOLD, Prompt, largest_component
from atlassegfm.volume import Volume

#: Mean and standard deviation of ImageNet's channels, with which all Segment Anything models were trained.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class VideoOptions(SliceOptions):
    """Options of models that follow an object through slices.

    Parameters
    ----------
    reach_mm : float
        How far beyond the first and last slice of M_atlas it is followed, in mm.
    """

    reach_mm: float = 15.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, {"reach_mm": (self.reach_mm >= 0, "0 mm or more")})


@dataclass(frozen=True, eq=False)
class FramePrompt:
    """What is shown on one frame; coordinates are (x, y) = (column, row) in voxels of the slice.

    Parameters
    ----------
    frame : int
        Number of the frame.
    point, box, mask
        One of them: (x, y); (x0, y0, x1, y1), both corners within; bool array (rows, columns).
    """

    frame: int
    point: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    mask: np.ndarray | None = None


class VideoModel(FoundationModel):
    """A model that follows an object through frames."""

    def _look(self, image: Volume) -> None:
        self._stack: Stack | None = None

    def _passes(self, image: Volume, labels: int) -> float:
        # A guess: a label and its surroundings cover half of the slices, each of which is passed once and encoded once.
        return labels * slices_of(image.grid, self.options) / 2.0

    @abstractmethod
    def _follow(self, frames: np.ndarray, prompt: FramePrompt) -> Iterator[tuple[int, np.ndarray]]:
        """Logits (rows, columns) of the frames (n, rows, columns) of uint8, forward and backward from the prompt."""

    def _answer(self, prompt: Prompt, scale: float) -> np.ndarray:
        if self._stack is None:
            self._stack = Stack(self.image, self.options)
        stack, mask = self._stack, self._stack.mask(prompt.mask)
        first, last = self._range(mask)
        shown = self._shown(prompt, mask)
        probability = np.zeros(mask.shape, dtype=np.float32)
        count = np.zeros(len(mask), dtype=np.float32)
        for frame, logits in self._follow(stack.pictures[first:last], _moved(shown, -first)):
            probability[first + frame] += 1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0)))
            count[first + frame] += 1.0
        # The frame of the prompt is passed both ways.
        probability /= np.maximum(count, 1.0)[:, None, None]
        return stack.axes.back(_largest(probability))

    def _range(self, mask: np.ndarray) -> tuple[int, int]:
        """First slice and the one after the last that are followed."""
        found = np.flatnonzero(mask.any(axis=(1, 2)))
        margin = int(np.ceil(self.options.reach_mm / self._stack.spacing[0]))
        return max(0, int(found[0]) - margin), min(len(mask), int(found[-1]) + 1 + margin)

    def _shown(self, prompt: Prompt, mask: np.ndarray) -> FramePrompt:
        """The prompt on its slice."""
        if prompt.kind == "click":
            frame, row, column = self._stack.axes.point(prompt.point)
            return FramePrompt(frame, point=(column, row))
        frame = middle_slice(mask)
        if prompt.kind == "mask":
            return FramePrompt(frame, mask=mask[frame])
        return FramePrompt(frame, box=box_of(mask[frame]))


def normalised(frames: np.ndarray, size: int) -> Any:  # noqa: ANN401
    """Frames (n, rows, columns) of uint8 as a float32 tensor (n, 3, size, size), as the networks were trained."""
    import torch
    from torch.nn.functional import interpolate

    grey = torch.from_numpy(np.ascontiguousarray(frames)).float()[:, None] / 255.0
    square = interpolate(grey, (size, size), mode="bilinear", align_corners=False, antialias=True).expand(-1, 3, -1, -1)
    return (square - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def _moved(prompt: FramePrompt, by: int) -> FramePrompt:
    return FramePrompt(prompt.frame + by, prompt.point, prompt.box, prompt.mask)


def _largest(probability: np.ndarray) -> np.ndarray:
    """The map with what is claimed beyond its largest component taken out, as the authors do."""
    claimed = probability >= THRESHOLD
    if not claimed.any():
        return probability
    component, corner = largest_component(claimed)
    kept = np.zeros_like(claimed)
    kept[tuple(slice(c, c + n) for c, n in zip(corner, component.shape, strict=True))] = component
    return np.where(claimed & ~kept, np.float32(0), probability)
