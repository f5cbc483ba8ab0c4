"""The pipeline as a procedure: three maps, honest times, one registration for several methods."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from atlassegfm.atlas import Atlas
from atlassegfm.evaluation.baselines import PROCEDURES, Job, pipeline_run
from atlassegfm.evaluation.baselines.pipeline_run import learnt, needed_steps, output_seconds
from atlassegfm.evaluation.methods import PRESETS, Method
from atlassegfm.registration import registry
from atlassegfm.registration.registry import MethodInfo
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.registration.transform import Transform
from atlassegfm.volume import Grid, Volume

CALLS = []


def slow_registration(fixed, moving, settings):
    """Stands in for a registration; found by the registry through this module's name."""
    CALLS.append((fixed, moving))
    time.sleep(0.05)
    return RegistrationResult(Transform(()), {"call": len(CALLS)})


@pytest.fixture
def scene(monkeypatch):
    CALLS.clear()
    monkeypatch.setitem(registry.METHODS, "slow", MethodInfo("slow", "", f"{__name__}:slow_registration"))
    grid = Grid((6, 6, 6), np.eye(4))
    image = Volume(np.random.default_rng(0).random(grid.shape).astype(np.float32), grid)
    labels = Volume(np.ones(grid.shape, np.uint8), grid)
    query = Volume(image.data + 1, grid)

    def segment(atlas, query, *, model="builtin", registration, device, seed, cache, **options):
        report = {"timings": {}, "seconds_saved": {}}
        for step, pair in (("registration", (query, atlas.image)), ("reverse registration", (atlas.image, query))):
            start = time.perf_counter()
            result, saved = cache.register(*pair, registration, Settings(seed=seed))
            report["timings"][step] = time.perf_counter() - start
            report[step] = result.metrics
            if saved is not None:
                report["seconds_saved"][step] = saved
        timings = report["timings"] | {"warp": 1.0, "fit fusion": 10.0, "model and fusion": 100.0}
        final = atlas.labels
        return SimpleNamespace(
            labels=final,
            atlas_labels=final,
            model_labels=None if model == "none" else final,
            report=report | {"timings": timings | {"total": sum(timings.values())}},
            warnings=["w"],
        )

    monkeypatch.setattr(pipeline_run, "segment", segment)
    return Atlas(image, labels, {1: "all"}), query


def run(scene, method, shared, seed=0):
    return PROCEDURES["pipeline"](Job(method, *scene, truth=None, pool=list, seed=seed, shared=shared))


def test_methods_of_one_pair_share_their_registration_but_not_its_time(scene):
    shared = {}
    first = run(scene, Method("one", registration="slow"), shared)
    second = run(scene, Method("two", registration="slow", prompt="click"), shared)
    assert len(CALLS) == 2  # there and back, once
    for outcome in (first, second):
        assert outcome.facts["steps"]["registration"] >= 0.05
        assert outcome.facts["steps"]["reverse registration"] >= 0.05
        assert outcome.seconds["atlas"] == pytest.approx(1.05, abs=0.04)
        assert outcome.seconds["model"] == pytest.approx(101.1, abs=0.08)
        assert outcome.seconds["final"] == pytest.approx(111.1, abs=0.08)
    assert (first.facts["registrations_reused"], second.facts["registrations_reused"]) == (0, 2)


def test_another_seed_or_pair_registers_anew(scene):
    shared = {}
    run(scene, Method("one", registration="slow"), shared)
    run(scene, Method("one", registration="slow"), shared, seed=1)
    run(scene, Method("one", registration="slow"), {})
    assert len(CALLS) == 6


def test_methods_of_several_atlases_get_the_pool(monkeypatch, scene):
    atlas, query = scene
    given = []

    def segment(atlases, query, **options):
        given.append((atlases, options.get("most_atlases")))
        return SimpleNamespace(
            labels=atlas.labels, atlas_labels=atlas.labels, model_labels=None, report={}, warnings=[]
        )

    monkeypatch.setattr(pipeline_run, "segment", segment)
    pool = [atlas, atlas, atlas]
    for method in (PRESETS["several-atlases"], PRESETS["registration"]):
        PROCEDURES["pipeline"](Job(method, atlas, query, truth=None, pool=lambda: pool))
    assert given == [(pool, 5), (atlas, None)]


def test_no_model_no_model_map(scene):
    outcome = run(scene, Method("x", registration="slow", model="none"), {})
    assert set(outcome.maps) == {"final", "atlas"}


def test_seconds_without_steps():
    assert output_seconds({}) == {}


def test_each_map_needs_its_own_steps_and_they_come_in_their_order():
    steps = {"fit fusion": 1.0, "model and fusion": 2.0, "new": 3.0, "registration": 4.0, "warp": 5.0}
    assert list(needed_steps(steps, "atlas").items()) == [("registration", 4.0), ("warp", 5.0)]
    assert list(needed_steps(steps, "model")) == ["registration", "warp", "model and fusion", "new"]
    assert list(needed_steps(steps, "final")) == ["registration", "warp", "fit fusion", "model and fusion", "new"]
    assert output_seconds(steps) == {"atlas": 9.0, "model": 14.0, "final": 15.0}


def test_learnt_parameters_are_those_that_each_map_needs():
    found = learnt(
        {
            "registration": {"learnable_parameters": 1000},
            "reverse registration": {"learnable_parameters": 1000},
            "model": {"learnable_parameters": None, "trees": 80},
            "fusion": {"1": {"learnable_parameters": 7}, "2": {"learnable_parameters": 7}},
        }
    )
    assert found == {
        "learnable_parameters": {"atlas": 1000, "model": 2000, "final": 2014},
        "trees": {"atlas": 0, "model": 80, "final": 80},
    }
    # Registration alone, by a method that learns nothing.
    assert learnt({"registration": {"ncc": 0.9}}) == {
        "learnable_parameters": {"atlas": 0, "model": 0, "final": 0},
        "trees": {"atlas": 0, "model": 0, "final": 0},
    }


def test_the_true_pipeline_takes_every_option_of_the_presets():
    from inspect import signature

    from atlassegfm.pipeline import segment

    known = set(signature(segment).parameters)
    for method in PRESETS.values():
        if method.procedure == "pipeline" and method.customise:
            assert set(method.segment_options()) <= known, method.name
