"""The training loop: it learns, it repeats itself, and a resumed run is the run that was never interrupted."""

from pathlib import Path

import pytest
import torch

from atlassegfm.builtin import training
from atlassegfm.builtin.network import Shape
from atlassegfm.builtin.training import Plan, checkpoint_path, refinement_loss, train
from atlassegfm.builtin.weights import load_weights
from atlassegfm.errors import InputError, ModelError

SMALL = Shape(widths=(8, 16, 16, 16), depths=(1, 1, 1))


def plan(steps: int, **changes: object) -> Plan:
    return Plan(**{"steps": steps, "scenes": 1, "per_scene": 1, "patch": 32, "workers": 0} | changes)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(training, "VALIDATION_SAMPLES", 0)


def run(tmp_path: Path, name: str, steps: int, **options: object) -> dict[str, torch.Tensor]:
    options = {"plan": plan(steps)} | options
    trainer = train(options.pop("plan"), tmp_path / name, shape=SMALL, **options)
    return {**trainer.network.state_dict(), **{f"average.{k}": v for k, v in trainer.average.state_dict().items()}}


def test_budget_by_steps_and_minutes():
    both = Plan(steps=100, minutes=1.0)
    assert both.progress(50, 6.0) == pytest.approx(0.5)
    assert both.progress(10, 30.0) == pytest.approx(0.5)
    assert both.rate(1000, 60.0) == 0.0
    # More budget brings the rate back up.
    assert Plan(minutes=2.0).rate(1000, 60.0) > 0.5 * both.learning_rate
    with pytest.raises(InputError, match="--minutes"):
        Plan()


def test_loss_prefers_the_truth_and_bears_empty_labels():
    truth = torch.zeros(2, 1, 8, 8, 8)
    truth[0, :, 2:6, 2:6, 2:6] = 1
    right, wrong = (refinement_loss(sign * 8 * (2 * truth - 1), truth) for sign in (1, -1))
    assert right < 0.05
    assert wrong > 5


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path):
    whole = run(tmp_path, "whole.safetensors", 4)

    # The first half has the same budget; it stops because it is interrupted.
    def stop_after_two(self: training.Trainer, inputs: torch.Tensor, truth: torch.Tensor) -> float:
        if self.step == 2:
            raise KeyboardInterrupt
        return original(self, inputs, truth)

    original = training.Trainer.train_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Trainer, "train_step", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, "half.safetensors", 4, plan=plan(4, save_every=0.0))
    half = tmp_path / "half.safetensors"
    resumed = run(tmp_path, "half.safetensors", 4, resume=checkpoint_path(half))
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    _, facts = load_weights(half)
    assert facts["steps"] == 4
    assert facts["plan"]["seed"] == 0


def test_another_stream_or_another_file_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    run(tmp_path, path.name, 1)
    with pytest.raises(ModelError, match="seed"):
        train(plan(2, seed=1), path, resume=checkpoint_path(path), shape=SMALL)
    with pytest.raises(ModelError, match="checkpoint"):
        train(plan(2), path, resume=path, shape=SMALL)


def test_workers_make_the_same_batches(tmp_path):
    here, there = (next(iter(training._batches(plan(1, workers=w), 3))) for w in (0, 1))
    for one, two in zip(here, there, strict=True):
        assert torch.equal(one, two)


def test_it_learns(tmp_path):
    losses = []
    trainer = training.Trainer(plan(30), shape=SMALL)
    batch = next(iter(training._batches(plan(30), 0)))
    losses = [trainer.train_step(*batch) for _ in range(25)]
    assert losses[-1] < losses[0]
