"""The atlas: one labelled scan. Image and label map on one grid, with names and colours of the labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from atlassegfm.errors import GeometryError, InputError
from atlassegfm.io import is_dicom, read_image, read_labels
from atlassegfm.label_names import Colour, LabelTable, find_dataset_json, palette, pick, read_label_names
from atlassegfm.volume import Grid, Volume

#: Grids of one shape that lie closer than this part of a voxel differ by how programs round, not in what they show.
SAME_GRID_FRACTION = 0.05
#: When more than this part of the labelled voxels lies outside the image, a notice says so.
OUTSIDE_FRACTION = 0.01


@dataclass(frozen=True, eq=False)
class Atlas:
    """One labelled scan.

    Parameters
    ----------
    image : Volume
        The scan, float32.
    labels : Volume
        Integer label map on the grid of `image`; 0 is background.
    names : dict of int to str
        Name of every label value that occurs; missing ones are called "label N", names of absent values are dropped.
    colours : dict of int to (r, g, b)
        Display colours from 0 to 255; missing ones come from a fixed colour-blind-safe palette.
    notices : list of str
        What was assumed or changed while loading, one line each.

    Raises
    ------
    InputError, GeometryError
        If the label map is not of integers, is empty, or lies on another grid.
    """

    image: Volume
    labels: Volume
    names: dict[int, str] = field(default_factory=dict)
    colours: dict[int, Colour] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.labels.data.dtype.kind not in "iu":
            raise InputError(f"atlas: expected an integer label map, got {self.labels.data.dtype}")
        if not self.labels.grid.matches(self.image.grid):
            raise GeometryError("atlas: expected image and label map on one grid; use Atlas.load, which resamples")
        values = present_values(self.labels.data)
        if not values:
            raise InputError("atlas: the label map is empty (every voxel is 0); give one with labels")
        fallback = palette(values)
        names = {value: self.names.get(value, f"label {value}") for value in values}
        colours = {value: self.colours.get(value, fallback[value]) for value in values}
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "colours", colours)

    @property
    def values(self) -> list[int]:
        """Label values that occur, ascending, background left out."""
        return sorted(self.names)

    @classmethod
    def load(
        cls,
        image_path: str | Path,
        labels_path: str | Path,
        *,
        names: str | Path | Mapping[Any, Any] | None = None,
        only: Iterable[int] | None = None,
        rois: Sequence[str] | None = None,
        series: str | None = None,
    ) -> Atlas:
        """Read an atlas from files.

        Parameters
        ----------
        image_path, labels_path : str or Path
            Scan and label map (formats: see `atlassegfm.io.read_image` and `read_labels`). A label map on another grid
            is resampled onto the image's, label by label, with a notice.
        names : str, Path or mapping, optional
            Label names (see `atlassegfm.label_names.read_label_names`). None looks for a ``dataset.json`` in the
            label map's folder and the one above, then for names kept in the label map itself; those of an RTSTRUCT
            or DICOM segmentation come first.
        only : iterable of int, optional
            Keep these label values and turn the others into background.
        rois : sequence of str, optional
            The same by name.
        series : str, optional
            Which series of the scan, if it is DICOM and there are several: number or UID. None takes the one that the
            labels were drawn on.

        Returns
        -------
        Atlas

        Raises
        ------
        InputError, GeometryError
            If a file cannot be used, the label map is empty or does not overlap the image, or `only` has a value
            that does not occur. Every message names the file and the cure.
        """
        if only is not None and rois is not None:
            raise InputError("atlas: labels are chosen by value or by name, not by both; leave one of them out")
        image, labels = _read(image_path, labels_path, series, rois)
        notices = [*image.meta["notices"], *labels.meta["notices"]]
        present = present_values(labels.data)
        if not present:
            raise InputError(f"{labels_path}: the label map is empty (every voxel is 0); give one with labels")
        table = _label_table(labels, labels_path, names, notices)
        if rois is not None and not is_dicom(labels_path):
            only = pick({value: table.names.get(value, f"label {value}") for value in present}, rois, labels_path)
        wanted = _wanted(present, only, labels_path)
        notices += _name_notices(table, wanted, _shown(labels, labels_path), given=names is not None)
        labels = _on_image_grid(labels, image, labels_path, image_path, notices)
        if wanted != present:
            labels = labels.keeping(wanted)
        lost = sorted(set(wanted) - set(present_values(labels.data)))
        if lost == wanted:
            raise GeometryError(
                f"{labels_path}: no voxel of the labels {_listed(wanted)} lies inside {image_path}; give the pair that "
                "belongs together"
            )
        if lost:
            notices.append(f"{_shown(labels, labels_path)}: labels {_listed(lost)} vanished on the image's grid")
        # A label keeps its colour whichever other labels are chosen.
        return cls(image, labels, table.names, {**palette(present), **table.colours}, notices)


def present_values(data: np.ndarray) -> list[int]:
    """Label values that occur, ascending, 0 left out."""
    return [int(value) for value in np.unique(data) if value != 0]


def _listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))


def _wanted(present: list[int], only: Iterable[int] | None, path: str | Path) -> list[int]:
    if only is None:
        return present
    wanted = sorted({int(value) for value in only})
    unknown = [value for value in wanted if value not in present]
    if unknown or not wanted:
        got = f"label values {_listed(unknown)}, which do not occur" if unknown else "no label value"
        raise InputError(f"{path}: asked for {got}; it has {_listed(present)}")
    return wanted


def _read(
    image_path: str | Path, labels_path: str | Path, series: str | None, rois: Sequence[str] | None
) -> tuple[Volume, Volume]:
    """Scan and label map; of several DICOM series the one that the labels were drawn on."""
    found = None
    if is_dicom(labels_path) and is_dicom(image_path) and series is None:
        from atlassegfm.io.dicom import find_labels

        found = find_labels(labels_path)
    drawn_on = "" if found is None else found.drawn_on
    image = read_image(image_path, series=series, option="--atlas-series", prefer=drawn_on)
    return image, read_labels(labels_path, image=image, rois=rois, found=found)


def _shown(volume: Volume, path: str | Path) -> str:
    """What a file is called in notices, which go into reports: DICOM files may be named after patients."""
    return volume.meta.get("source", {}).get("file", Path(path).name)


def _label_table(
    labels: Volume, path: str | Path, names: str | Path | Mapping[Any, Any] | None, notices: list[str]
) -> LabelTable:
    """Names and colours as given, else from dataset.json beside, else as kept in the file."""
    kept = LabelTable(dict(labels.meta.get("label_names", {})), dict(labels.meta.get("label_colours", {})))
    if names is not None:
        given = read_label_names(names)
        return LabelTable(given.names, {**kept.colours, **given.colours})
    # Whoever named the structures in an RTSTRUCT meant these names; a dataset.json beside it is about other files.
    beside = None if is_dicom(path) else find_dataset_json(path)
    if beside is not None:
        try:
            return read_label_names(beside)
        except InputError as error:
            # Nobody asked for this file, so it must not stop the run.
            notices.append(f"{error} (not used)")
    return kept


def _name_notices(table: LabelTable, wanted: list[int], file: str, *, given: bool) -> list[str]:
    """What there is to say about names that are missing or too many."""
    notices = []
    absent = [f"{value} ({name})" for value, name in sorted(table.names.items()) if value not in wanted]
    # Colour tables list hundreds of labels that a map need not have; a short list was meant.
    if given and absent and len(absent) <= len(wanted):
        notices.append(f"{file}: named labels that are not used or do not occur: {', '.join(absent)}")
    nameless = [value for value in wanted if value not in table.names]
    if nameless:
        notices.append(f'{file}: no name for label values {_listed(nameless)}; they are called "label N"')
    return notices


def _on_image_grid(
    labels: Volume, image: Volume, labels_path: str | Path, image_path: str | Path, notices: list[str]
) -> Volume:
    """The label map on the image's grid: as it is, or resampled with a notice."""
    if labels.grid.matches(image.grid, SAME_GRID_FRACTION * float(image.spacing.min())):
        return replace(labels, grid=image.grid)
    inside = _fraction_inside(labels, image.grid)
    if inside == 0:
        same = labels.grid.shape == image.grid.shape
        cure = "copy the image's header if the voxels correspond" if same else "give the pair that belongs together"
        raise GeometryError(
            f"{labels_path}: expected labels that overlap {image_path} (shape {image.grid.shape}), got shape "
            f"{labels.grid.shape} elsewhere in the world; {cure}"
        )
    from atlassegfm.resampling import resample_labels

    notices.append(
        f"{_shown(labels, labels_path)}: on another grid than the image ({_size(labels.grid)} instead of "
        f"{_size(image.grid)}); resampled"
    )
    if 1 - inside > OUTSIDE_FRACTION:
        notices.append(f"{_shown(labels, labels_path)}: {1 - inside:.0%} of the labelled voxels lie outside the image")
    return replace(resample_labels(labels, image.grid), meta=labels.meta)


def _size(grid: Grid) -> str:
    return f"{' x '.join(map(str, grid.shape))} voxels of {' x '.join(f'{s:.4g}' for s in grid.spacing)} mm"


def _fraction_inside(labels: Volume, grid: Grid) -> float:
    """Part of the labelled voxels whose centres lie inside `grid`."""
    voxels = np.argwhere(labels.data)
    ijk = grid.to_voxel(labels.grid.to_world(voxels))
    return float(((ijk >= -0.5) & (ijk <= np.array(grid.shape) - 0.5)).all(axis=1).mean())
