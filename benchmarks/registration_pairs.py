"""The pairs of scans that registration methods are compared on, by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

SUBCORTICAL = (23, 30, 31, 32, 36, 37, 47, 48, *range(55, 61), 51, 52)


@dataclass(frozen=True)
class Pair:
    """An atlas and a query of one data set.

    Parameters
    ----------
    set_name : str
        Row of the tables.
    dataset : str
        Folder with ``images/ID.nii.gz`` and ``labels/ID.nii.gz``.
    atlas, query : str
        IDs.
    labels : tuple of int
        Labels whose Dice is averaged.
    peer_spacing_mm : float
        Working copy on which the issue measured the peers (``METHOD@issue``).
    """

    set_name: str
    dataset: str
    atlas: str
    query: str
    labels: tuple[int, ...]
    peer_spacing_mm: float

    @property
    def name(self):
        """Short name for lists."""
        return f"{self.set_name} {self.atlas} -> {self.query}"


@dataclass(frozen=True)
class PairSet:
    """Pairs that share a data set and labels; ids as in the file names, or positions in the sorted list of ids."""

    dataset: str
    pairs: tuple[tuple[str | int, str | int], ...]
    labels: tuple[int, ...] | None
    peer_spacing_mm: float

    def resolve(self, name, data):
        """The pairs with their ids filled in from the folder `data`; labels None means all of the data set."""
        folder = Path(data) / self.dataset
        ids = sorted(path.name.removesuffix(".nii.gz") for path in (folder / "images").glob("*.nii.gz"))
        if not ids:
            raise SystemExit(f"no scans in {folder / 'images'}: give the folder of the development scans by --data")
        labels = self.labels or tuple(int(v) for v in json.loads((folder / "dataset.json").read_text())["labels"])
        chosen = tuple(value for value in labels if value != 0)

        def find(one):
            return ids[one] if isinstance(one, int) else one

        return [Pair(name, self.dataset, find(a), find(q), chosen, self.peer_spacing_mm) for a, q in self.pairs]


def _cases(atlas, *queries, prefix="case_"):
    return tuple((f"{prefix}{atlas}", f"{prefix}{query}") for query in queries)


#: The sets of the bar (issue 4).
SETS = {
    "abdomen-mr": PairSet("abdomen-mr", _cases("01", "02", "05", "10", "13"), (1, 2, 3, 4), 2.5),
    "abdomen-ct": PairSet("abdomen-ct", _cases("00", "01", "02", "03", "04"), (1, 2, 3, 6), 2.5),
    "hippocampus": PairSet("hippocampus", tuple((0, n) for n in range(1, 11)), None, 1.0),
    "heart-mr": PairSet("heart-mr", _cases("01", "02", "03", "04", "05"), None, 2.0),
    "brain-mr": PairSet("brain-mr", _cases("1000", "1001", prefix="sub_"), SUBCORTICAL, 1.0),
}
#: Other pairs of the same data, to look at while tuning: none of them is in the bar.
DEV = {
    "dev-abdomen-mr": PairSet("abdomen-mr", _cases("08", "03", "15", "19", "20"), (1, 2, 3, 4), 2.5),
    "dev-abdomen-ct": PairSet("abdomen-ct", _cases("05", "06", "07") + _cases("07", "02"), (1, 2, 3, 6), 2.5),
    "dev-hippocampus": PairSet("hippocampus", tuple((20, n) for n in range(21, 29)), None, 1.0),
    "dev-heart-mr": PairSet("heart-mr", _cases("06", "07", "08") + _cases("08", "03"), None, 2.0),
    "dev-brain-mr": PairSet("brain-mr", _cases("1002", "1006", "1007", prefix="sub_"), SUBCORTICAL, 1.0),
}
GROUPS = {"all": tuple(SETS), "dev": tuple(DEV), **{name: (name,) for name in (*SETS, *DEV)}}


def select(names, data, limit=None):
    """Pairs of the sets or groups in `names`, at most `limit` of each set."""
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        raise SystemExit(f"unknown pairs {', '.join(unknown)}: choose out of {', '.join(GROUPS)}")
    chosen = dict.fromkeys(one for name in names for one in GROUPS[name])
    return [pair for name in chosen for pair in ({**SETS, **DEV})[name].resolve(name, data)[:limit]]
