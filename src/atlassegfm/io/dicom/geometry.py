"""Slices in order and on one grid, or the reason why not. LPS becomes RAS here.

Voxel (i, j, k) is column i, row j of slice k. Its position is, by DICOM PS3.3 C.7.6.2.1.1, the slice's
ImagePositionPatient + i * column spacing * row direction + j * row spacing * column direction. Slices are ordered by
their positions along the normal (row direction x column direction), never by number, name or time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlassegfm.errors import GeometryError
from atlassegfm.io.dicom.headers import Frame
from atlassegfm.io.dicom.stacks import SAME_POSITION_MM

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Slices may lie off even steps by this part of a step (scanners round positions to a tenth of a millimetre).
UNEVEN = 0.1
#: Unevenness beyond this, mm, is told.
UNEVEN_TOLD_MM = 0.01
#: Directions may be off unit length and right angles by this much (rounded cosines).
ORTHONORMAL = 1e-2
#: Positions and spacings beyond this are no patient's, mm.
FAR_MM = 1e6
#: A stack that leans by more than this, degrees, is told.
TILT_TOLD = 0.1


def arrange(frames: Sequence[Frame], where: object) -> tuple[list[Frame], np.ndarray, list[str]]:
    """Order slices and find their voxel-to-world affine.

    Parameters
    ----------
    frames : sequence of Frame
        Two or more with positions, of one orientation and spacing.
    where : object
        Names the series in errors.

    Returns
    -------
    list of Frame
        By position along the normal.
    numpy.ndarray, shape (4, 4)
        RAS+ mm; its third column leans when the gantry was tilted.
    list of str
        What the user should know.

    Raises
    ------
    GeometryError
        If directions are not at right angles, or slices are missing, doubled, unevenly spaced or not in line.
    """
    axes = _axes(frames[0], where)
    normal = np.cross(*axes)
    positions = np.array([frame.position for frame in frames])
    if max(np.abs(positions).max(), *frames[0].spacing) > FAR_MM:
        raise GeometryError(f"{where}: its positions or spacings are beyond {FAR_MM:g} mm; export it again")
    order = np.argsort(positions @ normal, kind="stable")
    ordered, positions = [frames[n] for n in order], positions[order]
    _refuse_doubles(ordered, positions @ normal, where)
    step = (positions[-1] - positions[0]) / (len(frames) - 1)
    off = np.linalg.norm(positions - positions[0] - np.arange(len(frames))[:, None] * step, axis=1).max()
    if off > UNEVEN * np.linalg.norm(step):
        raise GeometryError(f"{where}: {_why_uneven(positions, normal)}")
    notices = []
    if off > UNEVEN_TOLD_MM:
        notices.append(f"slices lie up to {off:.3f} mm off even steps of {np.linalg.norm(step):.4g} mm")
    tilt = np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1)))
    if tilt > TILT_TOLD:
        notices.append(f"the stack leans by {tilt:.1f} degrees (gantry tilt); kept in the grid, nothing is resampled")
    rows, columns = frames[0].spacing
    affine = np.eye(4)
    affine[:3, :3] = np.stack([axes[0] * columns, axes[1] * rows, step], axis=1)
    affine[:3, 3] = positions[0]
    return ordered, LPS_TO_RAS @ affine, notices


def _axes(frame: Frame, where: object) -> np.ndarray:
    """The frame's directions, of unit length.

    A rounding error in them is left as it is: other readers leave it too, and positions must agree.
    """
    axes = np.clip(frame.axes, -FAR_MM, FAR_MM)
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > ORTHONORMAL or abs(axes[0] @ axes[1]) > ORTHONORMAL:
        raise GeometryError(f"{where}: its directions are not two unit vectors at right angles; export it again")
    if min(frame.spacing) <= 0:
        raise GeometryError(f"{where}: its pixel spacing is not above 0 mm; export it again")
    return axes


def _refuse_doubles(ordered: list[Frame], along: np.ndarray, where: object) -> None:
    double = np.flatnonzero(np.diff(along) <= SAME_POSITION_MM)
    if double.size:
        first, second = ordered[double[0]], ordered[double[0] + 1]
        raise GeometryError(
            f"{where}: {double.size} positions have two slices (such as {_named(first)} and {_named(second)}); "
            "several volumes or an export made twice: keep one of each"
        )


def _named(frame: Frame) -> str:
    return frame.instance.file + (f" frame {frame.number}" if frame.instance.multiframe else "")


def _why_uneven(positions: np.ndarray, normal: np.ndarray) -> str:
    """Missing slices, other steps, or slices beside the line, in words."""
    along = positions @ normal
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    aside = positions - np.outer(along, normal)
    line = np.linalg.norm(aside - np.linspace(aside[0], aside[-1], len(aside)), axis=1).max()
    counts = np.rint(gaps / usual)
    if counts.max() > 1 and np.abs(gaps - counts * usual).max() <= UNEVEN * usual:
        at = int(np.argmax(counts > 1))
        return (
            f"{int(counts.sum() - len(counts))} slices are missing: {len(along)} are there, {usual:.4g} mm apart, but "
            f"{gaps[at]:.4g} mm lie between numbers {at + 1} and {at + 2} from the low end; export the series again"
        )
    if gaps.max() - gaps.min() > 2 * UNEVEN * usual:
        return (
            f"the distance between slices varies from {gaps.min():.4g} to {gaps.max():.4g} mm; expected even steps: "
            "choose a part with --series, or resample the series to even steps first"
        )
    return f"slices lie up to {line:.4g} mm beside the line through the first and the last; export the series again"
