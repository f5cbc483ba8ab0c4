"""DICOM segmentation objects in, through highdicom: binary, fractional and label-map ones."""

from __future__ import annotations

import math
from typing import IO

import highdicom as hd
import numpy as np

from atlassegfm.errors import InputError
from atlassegfm.io.dicom.geometry import LPS_TO_RAS
from atlassegfm.io.dicom.guard import dicom_errors
from atlassegfm.io.dicom.regions import Region, crop
from atlassegfm.io.files import MAX_VOXELS
from atlassegfm.label_names import Colour
from atlassegfm.volume import Grid, Volume

#: A fractional segment holds the voxels at and above this.
HALF = 0.5
#: Planes may lie off even steps by this part of a step, as slices of an image may.
UNEVEN = 0.1
#: Voxel centres of two grids that lie closer than this part of a voxel are the same.
SAME_LATTICE = 0.05
DAMAGED, AGAIN = "damaged or unusable DICOM segmentation", "export it again"


class Segments:
    """An opened segmentation object.

    Parameters
    ----------
    stream : binary file
        Seekable, at its beginning.
    where : object
        Names the file in errors.
    """

    def __init__(self, stream: IO[bytes], where: object) -> None:
        self.where = where
        with dicom_errors(where, DAMAGED, AGAIN, tell=True):
            self.seg = hd.seg.segread(stream)
            self.names = {
                int(item.SegmentNumber): " ".join(str(item.get("SegmentLabel") or "").split()) or f"segment {n}"
                for n, item in enumerate(self.seg.SegmentSequence, start=1)
                if int(item.SegmentNumber) > 0
            }
            self.fractional = str(self.seg.SegmentationType) == "FRACTIONAL"
            self.frame_of_reference = str(self.seg.get("FrameOfReferenceUID") or "")
            geometry = self.seg.get_volume_geometry(allow_missing_positions=True, rtol=UNEVEN)
            if geometry is None:
                raise ValueError("its planes do not form a volume with even steps")
            shape, affine = geometry.spatial_shape, geometry.affine
        if math.prod(shape) > MAX_VOXELS:
            raise InputError(f"{where}: {' x '.join(map(str, shape))} voxels are more than any scan has; {AGAIN}")
        # highdicom counts (slice, row, column).
        self.grid = Grid((shape[2], shape[1], shape[0]), LPS_TO_RAS @ affine[:, [2, 1, 0, 3]])

    @property
    def colours(self) -> dict[int, Colour]:
        """Recommended display colours, where there are some."""
        found = {}
        for item in self.seg.SegmentSequence:
            lab = item.get("RecommendedDisplayCIELabValue")
            if lab is not None:
                with dicom_errors(self.where, DAMAGED, AGAIN):
                    rgb = hd.color.CIELabColor.from_dicom_value(list(lab)).to_rgb()
                found[int(item.SegmentNumber)] = tuple(int(x) for x in rgb)
        return found

    def mask(self, value: int) -> np.ndarray:
        """Voxels of one segment, on `grid`."""
        with dicom_errors(self.where, DAMAGED, AGAIN, tell=True):
            volume = self.seg.get_volume(
                segment_numbers=[value], combine_segments=False, rescale_fractional=self.fractional, rtol=UNEVEN
            )
            frames = np.asarray(volume.array)[..., 0]
            return (frames >= HALF if self.fractional else frames > 0).transpose(2, 1, 0)

    def regions(self, values: list[int], image: Volume | None) -> tuple[list[Region], Grid]:
        """The segments, on the image's grid if theirs is a part of it, else on their own."""
        offset = None if image is None else lattice_offset(self.grid, image.grid)
        grid = self.grid if offset is None else image.grid
        regions = []
        for value in values:
            mask = self.mask(value)
            regions.append(crop(value, mask if offset is None else moved(mask, offset, grid.shape)))
        return [region for region in regions if region is not None], grid


def lattice_offset(part: Grid, whole: Grid) -> np.ndarray | None:
    """Affine from voxels of `part` to voxels of `whole`, if every voxel centre of one is one of the other's.

    Axes may be swapped and turned round. None when the lattices differ.
    """
    between = np.linalg.inv(whole.affine) @ part.affine
    rounded = np.rint(between)
    turns = np.abs(rounded[:3, :3])
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(part.shape) - 1)
    difference = between - rounded
    off = np.abs(corners @ difference[:3, :3].T + difference[:3, 3]).max()
    permutes = (turns.sum(axis=0) == 1).all() and (turns.sum(axis=1) == 1).all()
    return rounded.astype(int) if permutes and off <= SAME_LATTICE else None


def moved(mask: np.ndarray, offset: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A mask on the lattice of another grid; what lies outside is cut off."""
    out = np.zeros(shape, dtype=bool)
    voxels = np.argwhere(mask) @ offset[:3, :3].T + offset[:3, 3]
    inside = ((voxels >= 0) & (voxels < shape)).all(axis=1)
    out[tuple(voxels[inside].T)] = True
    return out
