"""The paper's tables: rows, printed numbers, and what happens to rows that cannot run."""

import pytest

from atlassegfm.errors import InputError
from atlassegfm.evaluation import ladders
from atlassegfm.evaluation.availability import check_available, missing_parts
from atlassegfm.evaluation.ladders import (
    LADDERS,
    family,
    ladder_markdown,
    ladder_methods,
    ladder_rungs,
    learnt_text,
)
from atlassegfm.evaluation.methods import PRESETS, Method
from atlassegfm.evaluation.runs import plan_runs

DEFAULT, PAPER = PRESETS["default"], PRESETS["paper"]


def printed(name, preset):
    return [value for rung in ladder_rungs(name, preset) for value in rung.printed.values()]


def test_printed_numbers_are_the_papers():
    assert printed("table4", DEFAULT) == [43.77, 60.29, 70.21, 69.13, 81.22]
    assert printed("table6", PAPER) == [65.68, 72.73, 72.91]
    assert printed("table6", PRESETS["paper-medsam2"]) == [71.64, 66.65, 69.49]
    assert printed("table6", DEFAULT) == []  # the paper has no numbers for our own model
    assert set(printed("main", DEFAULT)) == {41.65, 58.58, 70.21, 72.91, 81.22, 85.08, 77.07, 71.56, 84.42}
    assert "1.4 M learnable parameters" in LADDERS["table5"].printed_cost


@pytest.mark.parametrize("name", LADDERS)
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_names_are_unique_and_the_truth_is_seen_by_marked_rows_only(name, preset):
    methods = [rung.method for rung in ladder_rungs(name, PRESETS[preset])]
    names = [m.name for m in methods]
    assert len(set(names)) == len(names)
    for method in methods:
        assert method.sees_truth == (method.procedure in ("clicks", "true-prompt"))


def test_a_preset_with_its_parts_is_one_run():
    for preset in (DEFAULT, PAPER):
        runs = plan_runs(family(preset))
        assert len(runs) == 1
        assert [output for _, output in runs[0].serves] == ["final", "model", "atlas"]


def test_the_ablation_climbs_from_its_own_preset():
    ours, papers = ladder_rungs("table4", DEFAULT), ladder_rungs("table4", PAPER)
    assert [r.method.registration for r in ours] == ["deformable-only", "rigid-deformable", *["default"] * 4]
    assert [r.method.registration for r in papers] == ["voxelmorph-only", "voxelmorph-rigid", *["voxelmorph"] * 4]
    click = ours[3].method
    assert (click.procedure, dict(click.options), click.model) == ("clicks", {"clicks": 1}, "builtin")


def test_methods_that_cannot_run_are_named_with_what_they_need():
    assert missing_parts(Method("x", registration="warp-drive", model="none")) == ["the registration warp-drive"]
    assert missing_parts(Method("x", model="oracle")) == ["the model oracle"]
    assert missing_parts(Method("x", fusion="cold")) == ["the fusion cold"]
    assert missing_parts(Method("x", prompt="telepathy")) == ["the prompt telepathy in the model builtin"]
    assert missing_parts(PRESETS["universeg"]) == ["the in-context model universeg"]
    for name in ("default", "registration", "model", "rigid", "affine", "builtin-1", "upper-bound", "label-fusion"):
        assert missing_parts(PRESETS[name]) == [], name
    with pytest.raises(InputError, match="x needs the model oracle"):
        check_available([DEFAULT, Method("x", model="oracle")])


def test_ladder_methods_leave_out_what_cannot_run(monkeypatch):
    names = [m.name for m in ladder_methods("table7", DEFAULT)]
    assert "default alone" in names
    assert "affine alone" in names
    monkeypatch.setattr(ladders, "missing_parts", lambda method: ["luck"])
    with pytest.raises(InputError, match="none of its methods can run here"):
        ladder_methods("table7", DEFAULT)
    with pytest.raises(InputError, match="no ladder 'table9'"):
        ladder_methods("table9", DEFAULT)


def test_the_page_sets_measured_and_printed_apart(evaluated, monkeypatch):
    _, summary = evaluated
    monkeypatch.setattr(ladders, "missing_parts", lambda method: ["the registration warp-drive"])
    text = ladder_markdown("table4", DEFAULT, summary)
    assert "printed: Abd-MR" in text
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert rows["+ fusion"].rstrip(" |").endswith("81.22")
    mean = 100 * summary["overall"]["default"]["dice"]["mean"]
    assert f"| {mean:.2f} |" in rows["+ fusion"]
    assert "not run" in rows["deformable registration only"]
    assert rows["deformable registration only"].rstrip(" |").endswith("43.77")
    assert "- deformable registration only: needs the registration warp-drive" in text
    assert "first box" in text
    assert "Seconds per step" in text


def test_table_5_lists_learnable_parameters_and_the_others_do_not(evaluated):
    _, summary = evaluated
    text = ladder_markdown("table5", DEFAULT, summary)
    header, _, *rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"][:5]
    column = header.index("Learnable parameters")
    assert {row[0]: row[column] for row in rows} == {
        "registration": "1,000",
        "+ model": "1,007",
        "+ fusion": "1,021 and 160 trees",
    }
    assert "1.4 M learnable parameters" in text
    assert "Learnable" not in ladder_markdown("table4", DEFAULT, summary)


def test_what_is_not_known_is_a_dash():
    assert learnt_text({"learnable_parameters": None, "trees": None}) == "–"
    assert learnt_text({"pairs": 0}) == "–"
