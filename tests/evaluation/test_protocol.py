"""Pairs of the protocols: who meets whom, and that the seed alone decides."""

import pytest

from atlassegfm.errors import InputError
from atlassegfm.evaluation.protocol import plan

IDS = [f"case_{n:02d}" for n in range(12)]


def test_five_folds_use_every_case_once():
    found = plan(IDS, folds=5, seed=3)
    by_fold = {}
    for pair in found.pairs:
        by_fold.setdefault(pair.fold, []).append(pair)
    assert sorted(by_fold) == [0, 1, 2, 3, 4]
    assert {len({p.atlas for p in pairs}) for pairs in by_fold.values()} == {1}
    used = [p.query for p in found.pairs] + [pairs[0].atlas for pairs in by_fold.values()]
    assert sorted(used) == IDS  # no case in two folds, none left out
    assert found.notices == ()


def test_the_seed_alone_decides():
    assert plan(IDS, seed=1) == plan(list(IDS), seed=1)
    assert plan(IDS, seed=1) != plan(IDS, seed=2)


def test_too_many_folds_are_reduced_with_a_notice():
    found = plan(IDS[:8], folds=5)
    assert {p.fold for p in found.pairs} == {0, 1, 2, 3}
    assert len(found.pairs) == 4
    assert "5 folds asked, 4 made" in found.notices[0]


def test_the_pool_never_holds_the_query_and_starts_with_the_atlas():
    for options in ({"protocol": "folds"}, {"protocol": "leave-one-atlas"}, {"protocol": "all-pairs"}):
        for pair in plan(IDS, **options).pairs:
            assert pair.atlas != pair.query
            assert pair.pool[0] == pair.atlas
            assert pair.query not in pair.pool
            assert len(set(pair.pool)) == len(pair.pool)
    supports = {p.atlas for p in plan(IDS).pairs}
    assert set(plan(IDS).pairs[0].pool) == supports


def test_leave_one_atlas_makes_each_case_the_atlas():
    pairs = plan(IDS[:4], protocol="leave-one-atlas").pairs
    assert {(p.atlas, p.query) for p in pairs} == {(a, b) for a in IDS[:4] for b in IDS[:4] if a != b}
    assert {p.fold for p in pairs if p.atlas == IDS[2]} == {2}


def test_all_pairs_meet_once():
    pairs = plan(IDS, protocol="all-pairs", seed=5).pairs
    assert len(pairs) == 66
    assert len({frozenset((p.atlas, p.query)) for p in pairs}) == 66
    assert len({p.atlas for p in pairs}) > 6  # the drawn direction spreads the atlases


def test_explicit_ids_and_limit():
    pairs = plan(IDS, atlas_ids=["case_01"], limit=3).pairs
    assert [(p.atlas, p.query) for p in pairs] == [("case_01", q) for q in ("case_00", "case_02", "case_03")]
    pairs = plan(IDS, atlas_ids=["case_01", "case_05"], query_ids=["case_01", "case_07"]).pairs
    assert [(p.fold, p.atlas, p.query) for p in pairs] == [
        (0, "case_01", "case_07"),
        (1, "case_05", "case_01"),
        (1, "case_05", "case_07"),
    ]
    assert all(
        sum(q.atlas == p.atlas for q in plan(IDS, folds=3, limit=2).pairs) == 2 for p in plan(IDS, folds=3).pairs
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"atlas_ids": ["nobody"]}, "--atlas-ids: no case 'nobody'"),
        ({"query_ids": ["nobody"]}, "--query-ids"),
        ({"protocol": "bingo"}, "no protocol 'bingo'"),
        ({"folds": 0}, "--folds"),
        ({"limit": 0}, "--limit"),
        ({"atlas_ids": ["case_01"], "query_ids": ["case_01"]}, "no pair"),
    ],
)
def test_bad_choices(options, message):
    with pytest.raises(InputError, match=message):
        plan(IDS, **options)
