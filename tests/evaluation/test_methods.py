"""Methods as data, and the fewest runs that serve them."""

import json
from dataclasses import replace

import pytest

from atlassegfm.content import settings_key
from atlassegfm.errors import InputError
from atlassegfm.evaluation.methods import DEFAULT_METHODS, PRESETS, Method, parse_method, parse_methods
from atlassegfm.evaluation.runs import plan_runs


def runs_of(*names):
    return {run.method.name: dict(run.serves) for run in plan_runs([PRESETS[n] for n in names])}


def test_the_default_methods_cost_one_run():
    assert runs_of(*DEFAULT_METHODS) == {"default": {"default": "final", "model": "model", "registration": "atlas"}}


def test_order_of_the_methods_does_not_matter():
    assert runs_of("registration", "model", "default") == runs_of("default", "model", "registration")


def test_registration_alone_is_its_own_run_when_nothing_else_registers_that_way():
    assert runs_of("registration") == {"registration": {"registration": "atlas"}}
    assert runs_of("default", "greedy") == {"default": {"default": "final"}, "greedy": {"greedy": "atlas"}}


def test_other_prompts_and_fusions_are_other_runs():
    assert runs_of("default", "prompt-click", "gate") == {
        "default": {"default": "final"},
        "prompt-click": {"prompt-click": "final"},
        "gate": {"gate": "final"},
    }
    click_alone = replace(PRESETS["prompt-click"], name="click alone", output="model")
    runs = plan_runs([click_alone, PRESETS["prompt-click"], PRESETS["default"]])
    assert [dict(r.serves) for r in runs] == [{"click alone": "model", "prompt-click": "final"}, {"default": "final"}]


def test_model_alone_joins_a_run_with_any_fusion():
    assert runs_of("gate", "model") == {"gate": {"gate": "final", "model": "model"}}


def test_a_run_without_a_model_serves_no_model_row():
    runs = plan_runs([PRESETS["registration"], PRESETS["model"]])
    assert [dict(r.serves) for r in runs] == [{"registration": "atlas", "model": "model"}]
    assert runs[0].method.model == "builtin"


def test_procedures_never_share_with_the_pipeline():
    assert runs_of("default", "builtin-1", "upper-bound", "label-fusion", "registration") == {
        "default": {"default": "final", "registration": "atlas"},
        "builtin-1": {"builtin-1": "final"},
        "upper-bound": {"upper-bound": "final"},
        "label-fusion": {"label-fusion": "atlas"},
    }


def test_several_atlases_share_with_none_that_has_one():
    assert runs_of("several-atlases", "label-fusion", "majority-vote", "registration") == {
        "several-atlases": {"several-atlases": "final", "label-fusion": "atlas"},
        "majority-vote": {"majority-vote": "atlas"},
        "registration": {"registration": "atlas"},
    }
    assert Method("a", label_fusion="staple").run_settings() == Method("b").run_settings()  # of one atlas
    told = parse_method("default+atlases=3+label_fusion=weighted").segment_options()
    assert (told["most_atlases"], told["label_fusion"]) == (3, "weighted")
    assert "most_atlases" not in PRESETS["default"].segment_options()
    for text, part in (("atlases=few", "whole number"), ("atlases=0", "at least one"), ("label_fusion=x", "none of")):
        with pytest.raises(InputError, match=part):
            parse_method(f"default+{text}")


def test_settings_ignore_names_and_what_cannot_matter():
    one = Method("a", model="none", prompt="mask", fusion="gate")
    two = Method("b", model="none", prompt="click", customise=False, summary="other words")
    assert one.run_settings() == two.run_settings()
    assert Method("a").run_settings() != Method("a", prompt="click").run_settings()
    assert json.loads(json.dumps(PRESETS["builtin-5"].run_settings())) == PRESETS["builtin-5"].run_settings()
    assert settings_key(Method("a").run_settings()) == settings_key(Method("b").run_settings())


def test_the_paper_preset_has_the_papers_settings():
    paper = PRESETS["paper"].segment_options()
    assert paper == {
        "registration": "voxelmorph",
        "model": "nninteractive",
        "prompt": "mask",
        "fusion": "kalman-paper",
        "registration_options": {"iterations": 1000, "learning_rate": 1e-4, "similarity": "mse"},
    }
    assert PRESETS["no-customise"].segment_options()["customise"] is False
    assert PRESETS["paper-vessels"].model == "vesselfm"
    assert [PRESETS[n].sees_truth for n in ("paper", "nninteractive-5", "upper-bound", "label-fusion")] == [
        False,
        True,
        True,
        False,
    ]


def test_parse_names_and_settings():
    found = parse_methods("default, registration=greedy+model=none,customise=no")
    assert [m.name for m in found] == ["default", "registration=greedy+model=none", "customise=no"]
    assert (found[1].registration, found[1].model, found[1].fusion) == ("greedy", "none", "kalman")
    assert found[2].customise is False


def test_options_of_the_registration_behind_settings_or_a_name():
    found = parse_method("registration=voxelmorph+model=none+registration.iterations=50+registration.bfloat16=yes")
    assert dict(found.registration_options) == {"iterations": 50, "bfloat16": True}  # of their types, not text
    assert found.segment_options()["registration_options"] == {"iterations": 50, "bfloat16": True}
    papers = parse_method("paper+registration.iterations=50")
    assert (papers.name, papers.model) == ("paper+registration.iterations=50", "nninteractive")
    assert dict(papers.registration_options) == {"iterations": 50, "learning_rate": 1e-4, "similarity": "mse"}
    # Another registration has nothing to do with the options of the first.
    assert parse_method("paper+registration=affine").registration_options == ()


def test_options_of_the_registration_decide_what_is_computed():
    quick, slow = (parse_method(f"vm-base+registration.iterations={n}") for n in (5, 6))
    assert settings_key(quick.run_settings()) != settings_key(slow.run_settings())
    assert len(plan_runs([quick, slow, PRESETS["vm-base"]])) == 3
    one = Method("a", registration_options=(("voxels", 9), ("iterations", 5)))
    other = Method("b", registration_options=(("iterations", 5), ("voxels", 9)))
    assert one.run_settings() == other.run_settings()
    assert len(plan_runs([one, other])) == 1
    json.dumps(one.run_settings())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vm-base+registration.speed=9", "--methods: registration voxelmorph: no option 'speed'; expected one of iter"),
        ("vm-base+registration.iterations=many", "--methods: option iterations: expected a whole number, got 'many'"),
        ("vm-base+registration.iterations=0", "expected 1 or more, got 0"),
        ("identity+registration.iterations=5", "registration identity: no option 'iterations'; it takes none"),
        ("vm-base+registration.=5", "is no setting"),
        ("vm-base+gate", "'gate' is no setting"),
        ("defualt+fusion=gate", "no method 'defualt'"),
        ("defualt", "no method 'defualt'; expected one of default"),
        ("", "at least one"),
        ("default,default", "listed twice"),
        ("speed=high", "'speed=high' is no setting"),
        ("model=", "is no setting"),
        ("customise=perhaps", "expected yes or no"),
        ("output=best", "output 'best'"),
    ],
)
def test_parse_errors(text, message):
    with pytest.raises(InputError, match=message):
        parse_methods(text)
