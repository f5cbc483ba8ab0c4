"""Which scan is the atlas for which query: the paper's five folds, and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from atlassegfm.errors import InputError

#: Protocols to choose from, with what they do.
PROTOCOLS = {
    "folds": "the paper's: cases shuffled by the seed and cut into folds; in each the first is the atlas of the others",
    "leave-one-atlas": "each case in turn is the atlas of all the others; n (n - 1) pairs, the fold is the atlas",
    "all-pairs": "each two cases meet once, the seed draws which of them is the atlas; n (n - 1) / 2 pairs",
}


@dataclass(frozen=True)
class Pair:
    """One atlas and one query.

    Parameters
    ----------
    fold : int
        Counted from 0.
    atlas, query : str
        Case ids.
    pool : tuple of str
        Ids of all atlases of the protocol, this pair's first, never the query: what a multi-atlas method may use.
    """

    fold: int
    atlas: str
    query: str
    pool: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The pairs of one evaluation and what the reader must know about how they came about."""

    pairs: tuple[Pair, ...]
    description: str
    notices: tuple[str, ...] = ()


def plan(
    ids: Sequence[str],
    *,
    protocol: str = "folds",
    folds: int = 5,
    seed: int = 0,
    atlas_ids: Sequence[str] | None = None,
    query_ids: Sequence[str] | None = None,
    limit: int | None = None,
) -> Plan:
    """Choose the pairs.

    Parameters
    ----------
    ids : sequence of str
        All case ids.
    protocol : str
        A key of `PROTOCOLS`; not used when `atlas_ids` are given.
    folds : int
        Number of folds of the protocol "folds"; at most half the number of cases, so that each has a query.
    seed : int
        Shuffles the cases.
    atlas_ids : sequence of str, optional
        Explicit atlases: each is paired with every query that is not itself.
    query_ids : sequence of str, optional
        Only these queries.
    limit : int, optional
        At most so many queries per atlas, the first ones.

    Raises
    ------
    InputError
        For unknown ids, protocols or numbers, and when no pair is left.
    """
    ids = list(ids)
    for option, wanted in (("--atlas-ids", atlas_ids), ("--query-ids", query_ids)):
        for case_id in wanted or ():
            if case_id not in ids:
                raise InputError(f"{option}: no case {case_id!r} in the dataset")
    if limit is not None and limit < 1:
        raise InputError(f"--limit: expected 1 or more, got {limit}")
    if atlas_ids:
        chosen = _explicit(ids, list(dict.fromkeys(atlas_ids)))
    elif protocol == "folds":
        chosen = _folds(ids, folds, seed)
    elif protocol == "leave-one-atlas":
        chosen = _explicit(ids, ids, "leave-one-atlas")
    elif protocol == "all-pairs":
        chosen = _all_pairs(ids, seed)
    else:
        raise InputError(f"--protocol: no protocol {protocol!r}; expected one of {', '.join(PROTOCOLS)}")
    pairs = [p for p in chosen.pairs if query_ids is None or p.query in set(query_ids)]
    pairs = _limited(pairs, limit)
    if not pairs:
        raise InputError("no pair of atlas and query is left: the chosen atlases and queries are the same case")
    return replace(chosen, pairs=tuple(pairs))


def _explicit(ids: list[str], atlases: list[str], name: str = "explicit atlases") -> Plan:
    pairs = [Pair(f, a, q, _pool(atlases, a, q)) for f, a in enumerate(atlases) for q in ids if q != a]
    return Plan(tuple(pairs), f"{name}: {len(atlases)} {'atlas' if len(atlases) == 1 else 'atlases'}")


def _folds(ids: list[str], folds: int, seed: int) -> Plan:
    if folds < 1:
        raise InputError(f"--folds: expected 1 or more, got {folds}")
    usable, notices = min(folds, len(ids) // 2), []
    if usable < folds:
        notices.append(
            f"{folds} folds asked, {usable} made: each needs an atlas and a query, there are {len(ids)} cases"
        )
    order = np.random.default_rng(seed).permutation(len(ids))
    parts = [[ids[i] for i in part] for part in np.array_split(order, usable)]
    supports = [part[0] for part in parts]
    pairs = [Pair(f, part[0], q, _pool(supports, part[0], q)) for f, part in enumerate(parts) for q in part[1:]]
    text = f"{usable} folds, in each one atlas and the others of that fold as queries, shuffled with seed {seed}"
    return Plan(tuple(pairs), text, tuple(notices))


def _all_pairs(ids: list[str], seed: int) -> Plan:
    rng = np.random.default_rng(seed)
    pairs = []
    for n, first in enumerate(ids):
        for second in ids[n + 1 :]:
            atlas, query = (first, second) if rng.integers(2) == 0 else (second, first)
            pairs.append(Pair(ids.index(atlas), atlas, query, _pool(ids, atlas, query)))
    pairs.sort(key=lambda p: (p.fold, p.query))
    return Plan(tuple(pairs), f"all pairs, the atlas of each drawn with seed {seed}")


def _pool(atlases: Sequence[str], own: str, query: str) -> tuple[str, ...]:
    return (own, *(a for a in atlases if a not in (own, query)))


def _limited(pairs: list[Pair], limit: int | None) -> list[Pair]:
    if limit is None:
        return pairs
    seen: dict[str, int] = {}
    kept = []
    for pair in pairs:
        seen[pair.atlas] = seen.get(pair.atlas, 0) + 1
        if seen[pair.atlas] <= limit:
            kept.append(pair)
    return kept
