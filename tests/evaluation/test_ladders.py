"""The paper's tables: rows, printed numbers, and what happens to rows that cannot run."""

import pytest

from atlassegfm.errors import InputError
from atlassegfm.evaluation import ladders
from atlassegfm.evaluation.availability import check_available, missing_parts
from atlassegfm.evaluation.ladders import (
    LADDERS,
    family,
    ladder_left_out,
    ladder_markdown,
    ladder_methods,
    ladder_reference,
    ladder_rungs,
    learnt_text,
)
from atlassegfm.evaluation.methods import PRESETS, Method, parse_method
from atlassegfm.evaluation.runs import plan_runs
from atlassegfm.models.registry import MODELS
from atlassegfm.presets import PAPER_NETWORK
from atlassegfm.registration.registry import METHODS

DEFAULT, PAPER = PRESETS["default"], PRESETS["paper"]


def printed(name, preset):
    return [value for rung in ladder_rungs(name, preset) for value in rung.printed.values()]


def test_printed_numbers_are_the_papers():
    assert printed("table4", DEFAULT) == [43.77, 60.29, 70.21, 69.13, 81.22]
    assert printed("table6", PAPER) == [65.68, 72.73, 72.91]
    assert printed("table6", PRESETS["paper-medsam2"]) == [71.64, 66.65, 69.49]
    # The paper has no numbers for our own model: those of its two models stand there and say whose they are.
    mask = next(r for r in ladder_rungs("table6", DEFAULT) if r.title == "mask: full method")
    assert mask.printed == {"Abd-CT, nnInteractive": 72.91, "Abd-CT, MedSAM2": 69.49}
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


def test_the_registration_of_a_preset_can_be_measured_without_its_model(monkeypatch):
    monkeypatch.delitem(MODELS, "nninteractive", raising=False)
    names = [m.name for m in ladder_methods("table4", PAPER)]
    assert names == ["voxelmorph-only alone", "voxelmorph-rigid alone", "paper-registration"]
    assert ladder_reference(PAPER, ladder_methods("table4", PAPER)) == "paper-registration"


def test_a_ladder_is_compared_with_its_whole_method():
    def reference(name, preset):
        return ladder_reference(preset, [r.method for r in ladder_rungs(name, preset)])

    assert [reference(name, DEFAULT) for name in ("main", "table4", "table5")] == ["default"] * 3
    assert reference("table6", DEFAULT) == "mask prompt"
    clicks = [PRESETS["builtin-1"], PRESETS["upper-bound"]]
    assert ladder_reference(DEFAULT, clicks) == "upper-bound"


def test_the_ablation_climbs_from_its_own_preset():
    ours, papers = ladder_rungs("table4", DEFAULT), ladder_rungs("table4", PAPER)
    assert [r.method.registration for r in ours] == ["deformable-only", "rigid-deformable", *["default"] * 4]
    assert [r.method.registration for r in papers] == ["voxelmorph-only", "voxelmorph-rigid", *["voxelmorph"] * 4]
    click = ours[3].method
    assert (click.procedure, dict(click.options), click.model) == ("clicks", {"clicks": 1}, "builtin")


def test_options_of_the_registration_hold_on_every_step_of_the_ablation():
    base = parse_method("paper+registration.iterations=20")
    assert {dict(r.method.registration_options)["iterations"] for r in ladder_rungs("table4", base)} == {20}


def test_table_7_has_every_backend_of_the_registry_and_the_papers_three_of_ants():
    rungs = {r.method.registration: r for r in ladder_rungs("table7", DEFAULT)}
    ablation = {"deformable-only", "rigid-deformable", "voxelmorph-only", "voxelmorph-rigid"}
    assert set(rungs) == set(METHODS) - ablation
    assert [rungs[n].title for n in ("ants-syn", "ants-syn-rigid-affine", "ants-syn-only")] == [
        "ANTs SyN+A",
        "ANTs SyN+RA",
        "ANTs SyN only",
    ]
    assert rungs["voxelmorph"].printed == {"Abd-CT": 58.58, "Abd-MR": 70.21}
    assert dict(rungs["voxelmorph"].method.registration_options) == PAPER_NETWORK
    quick = {
        r.method.registration: r.method for r in ladder_rungs("table7", parse_method("vm-base+registration.voxels=16"))
    }
    assert dict(quick["voxelmorph"].registration_options) == PAPER_NETWORK | {"voxels": 16}
    assert not quick["default"].registration_options


def test_the_main_table_has_every_baseline():
    methods = {r.title: r.method for r in ladder_rungs("main", DEFAULT)}
    names = [m.name for m in methods.values()]
    for name in (
        *("ants-syn", "ants-syn-rigid-affine", "ants-syn-only", "greedy", "vm-base", "registration", "default"),
        *("nninteractive-1", "nninteractive-5", "medsam2-1", "medsam2-5", "vesselfm", "universeg", "tyche"),
        *("label-fusion", "upper-bound"),
    ):
        assert name in names
    # The paper's registration is VM-Base: one row, served by the run of the whole method.
    papers = [r.method for r in ladder_rungs("main", PAPER)]
    assert "paper-registration" not in [m.name for m in papers]
    shared = [dict(run.serves) for run in plan_runs(papers) if run.label == "vm-base"]
    assert shared == [{"vm-base": "atlas", "paper-model": "model", "paper": "final"}]


def test_methods_that_cannot_run_are_named_with_what_they_need():
    assert missing_parts(Method("x", registration="warp-drive", model="none")) == ["the registration warp-drive"]
    assert missing_parts(Method("x", model="oracle")) == ["the model oracle"]
    assert missing_parts(Method("x", fusion="cold")) == ["the fusion cold"]
    assert missing_parts(Method("x", prompt="telepathy")) == ["the prompt telepathy in the model builtin"]
    assert missing_parts(Method("x", model="oracle", procedure="in-context")) == ["the in-context model oracle"]
    for name in ("default", "registration", "model", "rigid", "affine", "builtin-1", "upper-bound", "label-fusion"):
        assert missing_parts(PRESETS[name]) == [], name
    with pytest.raises(InputError, match="x needs the model oracle"):
        check_available([DEFAULT, Method("x", model="oracle")])


def test_ladder_methods_leave_out_what_cannot_run(monkeypatch):
    names = [m.name for m in ladder_methods("table7", DEFAULT)]
    assert "default alone" in names
    assert "affine alone" in names
    monkeypatch.setattr(ladders, "missing_parts", lambda m: ["luck", "time"] if m.name == "greedy alone" else [])
    assert ladder_left_out("table7", DEFAULT) == {"greedy": "luck and time"}
    assert "greedy alone" not in [m.name for m in ladder_methods("table7", DEFAULT)]
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
