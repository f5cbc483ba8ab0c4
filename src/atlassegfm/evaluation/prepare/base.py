"""What the preparation of every data set shares: descriptions, checks, writing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from atlassegfm.atlas import present_values
from atlassegfm.errors import InputError
from atlassegfm.evaluation.prepare.archive import opened
from atlassegfm.io import image_suffix, write_labels, write_text_atomic
from atlassegfm.volume import Volume


@dataclass(frozen=True)
class RawCase:
    """One case of a source, not read yet.

    Parameters
    ----------
    id : str
        Name of the case in our layout.
    load : callable
        Gives image and label map on one grid. The image is either a Volume or the path of a NIfTI file to be copied
        as it is, together with the Volume read from it.
    """

    id: str
    load: Callable[[], tuple[Volume, Volume]]
    copy: Path | None = None


@dataclass(frozen=True)
class Found:
    """What a source's folders hold.

    Parameters
    ----------
    cases : list of RawCase
        Labelled cases.
    names : dict of int to str
        Label names.
    title, modality : str
        In place of the source's own, where the files say more.
    """

    cases: list[RawCase]
    names: dict[int, str]
    title: str = ""
    modality: str = ""


@dataclass(frozen=True)
class Source:
    """A public data set: where it comes from, under which terms, and how to find its cases.

    Parameters
    ----------
    name : str
        What the user types.
    title, modality, home, licence, citation : str
        For ``dataset.json`` and the screen.
    find : callable
        Folders to `Found`; no case, or InputError, when the layout is not there.
    expected : int or None
        How many labelled cases the complete data set has.
    hint : str
        The layout that is looked for, for the error message.
    """

    name: str
    title: str
    modality: str
    home: str
    licence: str
    citation: str
    find: Callable[[list[Path]], Found]
    expected: int | None = None
    hint: str = ""


@dataclass(frozen=True)
class Prepared:
    """What came out of a preparation."""

    source: Source
    folder: Path
    cases: int
    labels: dict[int, str]
    notices: list[str] = field(default_factory=list)


def prepare(
    source: Source,
    path: Path,
    folder: Path,
    *,
    limit: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Prepared:
    """Bring a downloaded data set into our layout.

    Parameters
    ----------
    source : Source
        Which data set.
    path : pathlib.Path
        Folder or archive as downloaded.
    folder : pathlib.Path
        Target; must not exist or be empty. It appears when everything is written.
    limit : int, optional
        Take the first so many cases.
    progress : callable, optional
        Told (cases done, cases in all, id).

    Raises
    ------
    InputError
        When the source has another layout, a case is broken, or the target is in use.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is in use; give a new folder")
    partial = folder.parent / f".{folder.name}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        for kind in ("images", "labels"):
            (partial / kind).mkdir(parents=True)
        with opened(path, partial) as roots:
            found = source.find(roots)
            if not found.cases:
                raise InputError(f"{path}: no labelled case of {source.title} found; expected {source.hint}")
            _check_ids(path, found.cases)
            notices, written = _write_all(source, replace(found, cases=found.cases[:limit]), partial, progress)
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if limit is None and source.expected is not None and len(found.cases) != source.expected:
        notices.append(f"{len(found.cases)} cases found, the complete data set has {source.expected}")
    return Prepared(source, folder, written, found.names, notices)


def _check_ids(path: Path, cases: Sequence[RawCase]) -> None:
    ids = [case.id for case in cases]
    for case_id in ids:
        if ids.count(case_id) > 1:
            raise InputError(f"{path}: the case {case_id} is there more than once; give one copy of the data set")


def _write_all(
    source: Source, found: Found, folder: Path, progress: Callable[[int, int, str], None] | None
) -> tuple[list[str], int]:
    """Write cases and facts; notices and the number of cases written."""
    notices, seen, written = [], set(), 0
    for n, case in enumerate(found.cases):
        if progress:
            progress(n, len(found.cases), case.id)
        image, labels = case.load()
        values = _check_case(case, image, labels, found.names)
        if not values:
            notices.append(f"{case.id}: left out, its label map is empty")
            continue
        seen |= set(values)
        written += 1
        _write_case(folder, case, image, labels, found.names)
    if not written:
        raise InputError(f"{source.title}: every label map is empty")
    absent = [name for value, name in found.names.items() if value not in seen]
    if absent:
        notices.append(f"in none of the cases: {', '.join(absent)}")
    facts = {
        "name": found.title or source.title,
        "modality": found.modality or source.modality,
        "labels": {str(v): name for v, name in sorted(found.names.items())},
        "licence": source.licence,
        "citation": source.citation,
        "home": source.home,
    }
    write_text_atomic(folder / "dataset.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    return notices, written


def _check_case(case: RawCase, image: Volume, labels: Volume, names: dict[int, str]) -> list[int]:
    """Label values of a case; errors for wrong geometry, unknown labels and images without contrast."""
    if not labels.grid.matches(image.grid, 0.05 * float(image.spacing.min())):
        raise InputError(
            f"{case.id}: image of {image.grid.shape} and label map of {labels.grid.shape} voxels lie on other grids"
        )
    if not np.isfinite(image.data).all() or image.data.min() == image.data.max():
        raise InputError(f"{case.id}: the image has no contrast or is not finite; the download may be damaged")
    values = present_values(labels.data)
    unknown = [v for v in values if v not in names]
    if unknown:
        raise InputError(f"{case.id}: unknown label value {unknown[0]}; this data set has {min(names)} to {max(names)}")
    return values


def _write_case(folder: Path, case: RawCase, image: Volume, labels: Volume, names: dict[int, str]) -> None:
    if case.copy is not None:
        target = folder / "images" / f"{case.id}{image_suffix(case.copy)}"
        shutil.copyfile(case.copy, target)
    else:
        save_image(folder / "images" / f"{case.id}.nii.gz", image)
    on_image = Volume(labels.data, image.grid, image.meta)
    write_labels(folder / "labels" / f"{case.id}.nii.gz", on_image, image, names)


def save_image(path: Path, image: Volume) -> None:
    """Write an image; whole numbers are stored as int16 where they fit, which halves the size of CT."""
    import nibabel as nib

    data = image.data
    whole = np.rint(data)
    low, high = float(whole.min()), float(whole.max())
    if np.array_equal(whole, data) and low >= -32768 and high <= 32767:
        data = whole.astype(np.int16)
    else:
        data = data.astype(np.float32)
    file = nib.Nifti1Image(data, image.affine)
    file.header.set_xyzt_units("mm")
    file.set_sform(image.affine, code=1)
    file.set_qform(image.affine, code=1)
    nib.save(file, path)
