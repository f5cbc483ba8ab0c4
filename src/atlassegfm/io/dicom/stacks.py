"""Which slices form one volume: series, orientations, echoes and phases apart, localisers set aside, one chosen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from atlassegfm.errors import InputError
from atlassegfm.io.dicom.headers import KEYS, Frame

#: Unit vectors and spacings (mm) that differ less than this belong to one stack.
SAME_AXES, SAME_SPACING = 1e-3, 1e-3
#: Slices closer than this, mm, lie at one position.
SAME_POSITION_MM = 1e-3
#: More volumes than this are not listed one by one.
MAX_LISTED = 20


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices that share series, size, orientation and spacing.

    Parameters
    ----------
    frames : tuple of Frame
        In no order.
    part : str
        What tells it from other volumes of its series, such as "EchoTime 4.6"; empty when nothing has to.
    """

    frames: tuple[Frame, ...]
    part: str = ""

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return self.frames[0].instance.series_uid

    @property
    def flaw(self) -> str:
        """Why it is no volume, in a few words; empty when it may be one."""
        first = self.frames[0]
        if first.localiser:
            return "localiser"
        if first.instance.samples != 1:
            return "colour"
        if first.position is None or first.axes is None or first.spacing is None:
            return "without positions in the header"
        return "single image" if len(self.frames) < 2 else ""

    @property
    def summary(self) -> str:
        """Modality, size and spacing, for a list to choose from."""
        first = self.frames[0]
        instance, spacing = first.instance, first.spacing or (0.0, 0.0)
        number = "" if instance.series_number is None else f" series {instance.series_number}"
        named = f' "{instance.description}"' if instance.description else ""
        part = f", {self.part}" if self.part else ""
        size = f"{instance.columns} x {instance.rows} x {len(self.frames)}"
        return f"{instance.modality}{number}{named} {size} of {spacing[1]:.3g} x {spacing[0]:.3g} mm{part}"


def stacks_of(frames: Iterable[Frame]) -> list[Stack]:
    """Group slices into volumes, in an order that depends on the content alone."""
    stacks = []
    for group in _grouped(frames, _kind).values():
        for alike in _alike(group):
            stacks += _separated(alike)
    # Number and UID first; then the part, which is text, and the file.
    return sorted(stacks, key=_order)


def _order(stack: Stack) -> tuple[Hashable, ...]:
    instance = stack.frames[0].instance
    number = float("inf") if instance.series_number is None else instance.series_number
    return number, instance.series_uid, stack.part, -len(stack.frames), min(f.instance.file for f in stack.frames)


def _kind(frame: Frame) -> Hashable:
    instance = frame.instance
    size = instance.series_uid, instance.rows, instance.columns, instance.samples
    return *size, frame.localiser, frame.position is None, frame.axes is None, frame.spacing is None


def _grouped(frames: Iterable[Frame], key: Callable[[Frame], Hashable]) -> dict[Hashable, list[Frame]]:
    groups: dict[Hashable, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[key(frame)].append(frame)
    return groups


def _alike(frames: list[Frame]) -> list[list[Frame]]:
    """Slices of one orientation and spacing, within tolerances."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            first = group[0]
            if _close(frame.axes, first.axes, SAME_AXES) and _close(frame.spacing, first.spacing, SAME_SPACING):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _close(a: object, b: object, tolerance: float) -> bool:
    return (a is None) == (b is None) and (a is None or bool(np.allclose(a, b, rtol=0, atol=tolerance)))


def _separated(frames: list[Frame]) -> list[Stack]:
    """Slices that share positions taken apart by what their headers say (echo, phase, b value), if that does it."""
    if not _crowded(frames):
        return [Stack(tuple(frames))]
    present = [key for key in KEYS if len({frame.keys.get(key) for frame in frames}) > 1]
    for keys in [*((key,) for key in present), *combinations(present, 2)]:
        parts = _grouped(frames, lambda frame, keys=keys: tuple(frame.keys.get(key, "") for key in keys))
        sizes = {len(part) for part in parts.values()}
        if min(sizes) > 1 and not any(_crowded(part) for part in parts.values()):
            named = {
                " ".join(f"{key} {value}" for key, value in zip(keys, values, strict=True)): part
                for values, part in parts.items()
            }
            return [Stack(tuple(part), name) for name, part in named.items()]
    return [Stack(tuple(frames))]


def _crowded(frames: Sequence[Frame]) -> bool:
    """Whether two slices lie at the same position."""
    if len(frames) < 2 or frames[0].position is None or frames[0].axes is None:
        return False
    along = np.sort(np.array([frame.position for frame in frames]) @ np.cross(*frames[0].axes))
    return bool(np.diff(along).min() <= SAME_POSITION_MM)


def choose(stacks: Sequence[Stack], series: str | None, where: object, option: str, prefer: str = "") -> Stack:
    """The volume that is meant.

    Parameters
    ----------
    stacks : sequence of Stack
        All that were found.
    series : str or None
        Number in the list (from 1) or SeriesInstanceUID, as the user gave it.
    where, option : object, str
        Name the path and the command-line option in errors.
    prefer : str
        SeriesInstanceUID that is taken when there is a choice and the user gave none.

    Raises
    ------
    InputError
        If there is no volume, or more than one and no choice; the error lists them.
    """
    volumes = [stack for stack in stacks if not stack.flaw]
    if not volumes:
        raise InputError(f"{where}: {_why_none(stacks)}")
    if series is not None:
        return _chosen(volumes, series, where, option)
    preferred = [stack for stack in volumes if prefer and stack.uid == prefer]
    if len(preferred) == 1 or len(volumes) == 1:
        return (preferred or volumes)[0]
    raise InputError(f"{where}: expected one volume, got {len(volumes)}; choose with {option}: {_listed(volumes)}")


def _chosen(volumes: list[Stack], series: str, where: object, option: str) -> Stack:
    series = series.strip()
    if series.isascii() and series.isdecimal():
        if 1 <= int(series) <= len(volumes):
            return volumes[int(series) - 1]
        found: list[Stack] = []
    else:
        found = [stack for stack in volumes if stack.uid == series]
    if len(found) == 1:
        return found[0]
    got = f"{option} {series} means {len(found)} of them" if found else f"no {option} {series}"
    raise InputError(f"{where}: {got}; choose by number: {_listed(volumes)}")


def _listed(volumes: list[Stack]) -> str:
    """The volumes by number on one line; UIDs are left out, as they make the line unreadable."""
    rows = [f"{n} = {stack.summary}" for n, stack in enumerate(volumes[:MAX_LISTED], start=1)]
    more = len(volumes) - MAX_LISTED
    return "; ".join(rows) + (f"; and {more} more" if more > 0 else "")


def _why_none(stacks: Sequence[Stack]) -> str:
    if not stacks:
        return "no DICOM image in it; give an image file, or the folder or ZIP that holds a DICOM series"
    flaws = sorted({stack.flaw for stack in stacks})
    count = sum(len(stack.frames) for stack in stacks)
    cure = "give the folder with all slices of the series" if flaws == ["single image"] else "export the series again"
    return f"expected the slices of a volume, got {count} image{'s'[: count > 1]} ({', '.join(flaws)}); {cure}"
