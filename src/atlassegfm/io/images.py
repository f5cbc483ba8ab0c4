"""Reading and writing images and label maps: picks the format, checks the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atlassegfm.errors import GeometryError, InputError
from atlassegfm.io.files import IMAGE_SUFFIXES, check_file, image_suffix, is_dicom, stem
from atlassegfm.io.stored import StoredImage
from atlassegfm.volume import Volume

if TYPE_CHECKING:
    from atlassegfm.io.dicom import DicomSeries, FoundLabels
    from atlassegfm.io.dicom.stacks import Stack

#: A stored label may differ from an integer by this much (scaled files round).
LABEL_TOLERANCE = 1e-3
#: Largest label value that can be written.
MAX_LABEL = 2**32 - 1


def _read_stored(path: str | Path) -> StoredImage:
    """A file in one of the formats that have a suffix."""
    path = check_file(path)
    suffix = image_suffix(path)
    if suffix is None:
        raise InputError(
            f"{path}: expected DICOM or an image file ({', '.join(IMAGE_SUFFIXES)}), got "
            f"{path.suffix or 'a name without suffix'}; convert it"
        )
    # The file libraries take a while to import; `atlassegfm --help` does without them.
    if suffix in (".nii", ".nii.gz"):
        from atlassegfm.io.nifti import read_nifti

        return read_nifti(path)
    from atlassegfm.io.itk import read_itk

    return read_itk(path)


def read_image(
    path: str | Path,
    *,
    dtype: type | np.dtype = np.float32,
    series: str | None = None,
    option: str = "--series",
    prefer: str = "",
    found: tuple[DicomSeries, list[Stack]] | None = None,
) -> Volume:
    """Read a 3D image: DICOM, NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr) or MetaImage (.mha, .mhd).

    Parameters
    ----------
    path : str or Path
        The file; for DICOM a folder, a ZIP archive or a multi-frame file. Trailing axes of length one are dropped;
        slope and intercept are applied.
    dtype : floating type
        Type of the voxel values.
    series, option, prefer : str
        Which DICOM series (see `atlassegfm.io.dicom.series.find_series`).
    found : tuple, optional
        What that has given already.

    Returns
    -------
    Volume
        Data in the file's axis order (C-contiguous), RAS+ mm grid. ``meta["notices"]`` holds what was assumed, one
        line each.

    Raises
    ------
    InputError
        If the file is missing, of another kind, truncated or damaged, not one 3D scalar image, or its voxels are not
        all finite or all the same.
    GeometryError
        If its voxel-to-world affine is not invertible.
    """
    if is_dicom(path):
        from atlassegfm.io.dicom import read_series

        stored = read_series(path, series, option=option, prefer=prefer, found=found)
    else:
        if series is not None:
            raise InputError(f"{option} {series}: {path} is not DICOM, so there is no series to choose; leave it out")
        stored = _read_stored(path)
    data = stored.values(dtype)
    # min and max are NaN or infinite when any voxel is; that spares a boolean copy of a good image.
    low, high = float(data.min()), float(data.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        nan = int(np.count_nonzero(np.isnan(data)))
        infinite = int(np.count_nonzero(np.isinf(data)))
        raise InputError(
            f"{path}: expected finite voxel values, got {nan} NaN and {infinite} infinite among {data.size} voxels; "
            "replace them by the background's value"
        )
    if low == high:
        raise InputError(f"{path}: every voxel has the value {low:g}, so there is nothing to segment; check the export")
    return Volume(data, stored.grid, stored.meta)


def scan_name(path: str | Path, series: str | None = None, *, option: str = "--series") -> str:
    """What results of a scan are named after: the file's name without suffix, for DICOM a name that tells no patient.

    Parameters
    ----------
    path, series, option
        As for `read_image`.

    Raises
    ------
    InputError
        If it is DICOM and the series that is meant cannot be found.
    """
    if not is_dicom(path):
        return stem(path)
    from atlassegfm.io.dicom import find_series

    return find_series(path, series, option=option)[0].name


def read_labels(
    path: str | Path,
    *,
    image: Volume | None = None,
    rois: Sequence[str] | None = None,
    found: FoundLabels | None = None,
) -> Volume:
    """Read a 3D label map; the formats are those of `read_image`, and RTSTRUCT and DICOM segmentations.

    Parameters
    ----------
    path : str or Path
        The file. Floating and scaled files are accepted when their values are integers.
    image : Volume, optional
        The image that the labels belong to; an RTSTRUCT needs it, as it has no voxels of its own.
    rois : sequence of str, optional
        Structures to take out of an RTSTRUCT or DICOM segmentation, by name; all if None.
    found : FoundLabels, optional
        What `atlassegfm.io.dicom.find_labels` has given for the path already.

    Returns
    -------
    Volume
        Data in the smallest of uint8, uint16 and uint32 that holds the values (an empty map is allowed).
        ``meta["label_names"]`` and ``meta["label_colours"]`` hold what the file has of them.

    Raises
    ------
    InputError, GeometryError
        As for `read_image`, and if a value is not a whole number, negative, or larger than `MAX_LABEL`.
    """
    if is_dicom(path):
        from atlassegfm.io.dicom import read_dicom_labels

        return read_dicom_labels(path, image, rois, found)
    stored = _read_stored(path)
    exact = not stored.scaled and stored.data.dtype.kind in "iu"
    values = stored.data if exact else stored.values(np.float64)
    if not exact:
        whole = np.rint(values)
        with np.errstate(invalid="ignore"):
            good = np.abs(values - whole) <= LABEL_TOLERANCE  # False for NaN and infinity
        if not good.all():
            raise InputError(
                f"{path}: expected whole-number label values, got {values[~good].flat[0]:g} (a voxel value); "
                "give a label map, resampled with nearest neighbour"
            )
        values = whole
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > MAX_LABEL:
        bad = low if low < 0 else high
        raise InputError(f"{path}: expected label values from 0 to {MAX_LABEL}, got {bad}; renumber the labels")
    return Volume(np.ascontiguousarray(values, dtype=np.min_scalar_type(high)), stored.grid, stored.meta)


def write_labels(path: str | Path, labels: Volume, like: Volume, names: Mapping[int, str] | None = None) -> None:
    """Write a label map on the grid of the image it belongs to.

    NIfTI output has the affine, sform and qform codes, quaternion, pixdim and units of `like`'s file, bit for bit, if
    that was NIfTI. The voxel type is the smallest of uint8, uint16 and uint32 that holds the values. Nothing
    half-written is left behind, and the same input gives the same bytes.

    Parameters
    ----------
    path : str or Path
        Target: .nii, .nii.gz, .nrrd or .mha.
    labels : Volume
        Integer or boolean label map, no negative values.
    like : Volume
        The image as `read_image` gave it.
    names : mapping of int to str, optional
        Label names, kept in the file (NIfTI: comment extension; NRRD and MetaImage: key/value pair).

    Raises
    ------
    GeometryError
        If `labels` is not on the grid of `like`.
    InputError
        If a value cannot be stored or the file cannot be written.
    """
    if not labels.grid.matches(like.grid):
        raise GeometryError(
            f"{path}: expected labels on the image's grid of {like.grid.shape} voxels, got another grid of "
            f"{labels.grid.shape}; resample them first"
        )
    if labels.data.dtype.kind not in "iub":
        raise InputError(f"{path}: expected integer labels to write, got {labels.data.dtype}")
    low, high = int(labels.data.min()), int(labels.data.max())
    if low < 0 or high > MAX_LABEL:
        raise InputError(f"{path}: expected label values from 0 to {MAX_LABEL}, got {low if low < 0 else high}")
    data = labels.data.astype(np.min_scalar_type(high), copy=False)
    _write(Path(path), Volume(data, like.grid, like.meta), names, labels=True)


def write_image(path: str | Path, volume: Volume, like: Volume | None = None) -> None:
    """Write an image as float32; formats and guarantees as for `write_labels`.

    Parameters
    ----------
    path : str or Path
        Target: .nii, .nii.gz, .nrrd or .mha.
    volume : Volume
        Image to write.
    like : Volume, optional
        Read image whose header geometry is kept when it is on the same grid; `volume` itself if None.
    """
    source = volume if like is None or not like.grid.matches(volume.grid) else like
    data = volume.data.astype(np.float32, copy=False)
    _write(Path(path), Volume(data, source.grid, source.meta), None, labels=False)


def _write(path: Path, volume: Volume, names: Mapping[int, str] | None, *, labels: bool) -> None:
    suffix = image_suffix(path)
    if suffix in (".nii", ".nii.gz"):
        from atlassegfm.io.nifti import write_nifti

        write_nifti(path, volume.data, volume.grid, meta=volume.meta, names=names, labels=labels)
    elif suffix is not None:
        from atlassegfm.io.itk import write_itk

        write_itk(path, volume.data, volume.grid, names=names)
    else:
        raise InputError(f"{path}: expected a name ending in .nii.gz, .nii, .nrrd or .mha to write to")
