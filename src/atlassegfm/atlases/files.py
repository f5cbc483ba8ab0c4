"""Where atlases lie: pairs of files, or a folder of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atlassegfm.errors import InputError
from atlassegfm.io import IMAGE_SUFFIXES, image_suffix
from atlassegfm.io.files import stem

#: Image and label map of one atlas.
Files = tuple[Path, Path]


def atlas_files(atlases: Sequence[Path], labels: Sequence[Path]) -> tuple[Files, ...]:
    """Image and label map of every atlas.

    Parameters
    ----------
    atlases : sequence of Path
        Scans; or one folder with ``images/ID.nii.gz`` and ``labels/ID.nii.gz``, as `evaluate` reads it.
    labels : sequence of Path
        One label map for each scan, in the same order; for a folder nothing, or its ``labels``.

    Raises
    ------
    InputError
        If the counts differ, a pair is given twice, or a scan of the folder has no label map of its name.
    """
    if len(atlases) == 1 and _is_folder_of_atlases(atlases[0]):
        return _in_folder(atlases[0], labels)
    for path in atlases:
        if len(atlases) > 1 and _is_folder_of_atlases(path):
            raise InputError(f"{path}: a folder of atlases, given beside {len(atlases) - 1} other; give it alone")
    if not atlases:
        raise InputError("--atlas: expected a scan, or a folder of them, got none")
    if len(atlases) != len(labels):
        raise InputError(
            f"--labels: expected one for each --atlas, in the same order, got {len(labels)} for {len(atlases)}"
        )
    pairs = tuple(zip(atlases, labels, strict=True))
    for pair in pairs:
        if pairs.count(pair) > 1:
            raise InputError(f"{pair[0]}: given twice as --atlas; its vote would count double")
    return pairs


def _is_folder_of_atlases(path: Path) -> bool:
    return (path / "images").is_dir()


def _in_folder(folder: Path, labels: Sequence[Path]) -> tuple[Files, ...]:
    beside = folder / "labels"
    if labels and [path.resolve() for path in labels] != [beside.resolve()]:
        raise InputError(f"--labels: expected none, or {beside}, for a folder of atlases, got {labels[0]}")
    if not beside.is_dir():
        raise InputError(f"{folder}: expected labels/ beside images/, with a label map for each scan")
    images, maps = _scans(folder / "images"), _scans(beside)
    if not images:
        raise InputError(f"{folder / 'images'}: no image file in it ({', '.join(IMAGE_SUFFIXES)}); check the path")
    lacking = [path for name, path in images.items() if name not in maps]
    if lacking:
        raise InputError(f"{lacking[0]}: no label map of this name in {beside}; add it, or take the scan away")
    return tuple((path, maps[name]) for name, path in images.items())


def _scans(folder: Path) -> dict[str, Path]:
    """Image files by their name without ending, in its order."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not image_suffix(path) or path.name.startswith("."):
            continue
        other = found.setdefault(stem(path), path)
        if other is not path:
            raise InputError(f"{path}: has the same name as {other}; rename one")
    return found
