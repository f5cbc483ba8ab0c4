"""Pre-training of the refinement network on synthetic scenes: a budget of steps or minutes, resumable, one seed."""

from __future__ import annotations

import copy
import math
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as nnf
from torch.utils.data import DataLoader, Dataset

from atlassegfm import __version__
from atlassegfm.builtin.network import RefinerNet, Shape
from atlassegfm.builtin.synthesis import PATCH, Sample, batch, validation_samples
from atlassegfm.builtin.weights import save_weights
from atlassegfm.errors import InputError, ModelError
from atlassegfm.io import atomic_path
from atlassegfm.overlap import dice

WARMUP_STEPS = 100
#: Part of the budget after which the learning rate falls, along a cosine.
COOLDOWN_FROM = 0.4
#: Average of the weights: this much of the old at each step, less at the start.
EMA = 0.998
GRADIENT_NORM = 1.0
#: Weight of the cross-entropy against the Dice loss, and voxels that both masks of the latter get for free.
ENTROPY_WEIGHT, DICE_SMOOTHING = 3.0, 20.0
#: More batches than any budget reaches.
ENDLESS = 2**40
#: Samples per kind in the validation set.
VALIDATION_SAMPLES = 8


@dataclass(frozen=True)
class Plan:
    """How to train.

    Parameters
    ----------
    steps : int, optional
        Budget in steps.
    minutes : float, optional
        Budget in minutes of training, earlier runs of a resumed training included. One of both has to be given.
    seed : int
        Seed of weights and scenes.
    learning_rate, weight_decay : float
        Of AdamW (Loshchilov and Hutter, arXiv 1711.05101).
    scenes, per_scene : int
        Scenes in a batch and labels taken from each.
    patch : int
        Edge of the patches in voxels.
    workers : int
        Processes that make scenes; 0 makes them in the training process.
    report_every, save_every : float
        Seconds between validations, and between checkpoints.
    """

    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    scenes: int = 2
    per_scene: int = 2
    patch: int = PATCH
    workers: int = 1
    report_every: float = 300.0
    save_every: float = 300.0

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise InputError("expected a budget: --steps or --minutes")

    def progress(self, step: int, seconds: float) -> float:
        """Part of the budget that is spent, in [0, 1]; the budget that ends first counts."""
        by_steps = 0.0 if self.steps is None else step / max(self.steps, 1)
        by_time = 0.0 if self.minutes is None else seconds / max(60.0 * self.minutes, 1e-6)
        return min(1.0, max(by_steps, by_time))

    def rate(self, step: int, seconds: float) -> float:
        """Learning rate: warm-up, plateau, cosine to nothing at the end of the budget."""
        late = max(0.0, (self.progress(step, seconds) - COOLDOWN_FROM) / (1.0 - COOLDOWN_FROM))
        return self.learning_rate * min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1.0 + math.cos(math.pi * late))


class _Scenes(Dataset):
    """Batch `n` of a seed; the data loader's workers make them ahead of time, in order."""

    def __init__(self, plan: Plan, first: int) -> None:
        self.plan, self.first = plan, first

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        plan = self.plan
        inputs, truth = batch(plan.seed, self.first + number, plan.scenes, plan.per_scene, plan.patch)
        return torch.from_numpy(inputs), torch.from_numpy(truth)


def refinement_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice per sample (Milletari et al., arXiv 1606.04797), which empty labels survive."""
    entropy = nnf.binary_cross_entropy_with_logits(logits, truth)
    probability, axes = torch.sigmoid(logits), (1, 2, 3, 4)
    both = (probability * truth).sum(axes)
    overlap = (2 * both + DICE_SMOOTHING) / (probability.sum(axes) + truth.sum(axes) + DICE_SMOOTHING)
    return ENTROPY_WEIGHT * entropy + (1.0 - overlap).mean()


class Trainer:
    """Network, optimiser and their running average; everything that a checkpoint holds.

    Parameters
    ----------
    plan : Plan
        How to train.
    device : {"cpu", "cuda"}
        Where.
    shape : Shape, optional
        Of a new network.
    """

    def __init__(self, plan: Plan, device: str = "cpu", shape: Shape | None = None) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.device = plan, device
        self.network = RefinerNet(shape).to(device, memory_format=torch.channels_last_3d)
        self.average = copy.deepcopy(self.network).eval()
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
        )
        self.step, self.seconds = 0, 0.0

    def train_step(self, inputs: torch.Tensor, truth: torch.Tensor) -> float:
        """One batch; returns its loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate(self.step, self.seconds)
        inputs = inputs.to(self.device, memory_format=torch.channels_last_3d)
        with torch.autocast(self.device, torch.bfloat16):
            logits = self.network(inputs)
        loss = refinement_loss(logits, truth.to(self.device))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        self.optimiser.step()
        self.step += 1
        keep = min(EMA, (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1.0 - keep)
        return float(loss.detach())

    def facts(self) -> dict[str, Any]:
        """What the weights' metadata say about the training."""
        return {
            "version": __version__,
            "torch": torch.__version__,
            "device": self.device,
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "samples": self.step * self.plan.scenes * self.plan.per_scene,
            "plan": asdict(self.plan),
        }

    def save_checkpoint(self, path: Path) -> None:
        """Everything needed to go on, written as a whole or not at all."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "shape": asdict(self.network.shape),
            "step": self.step,
            "seconds": self.seconds,
            "stream": self._stream(),
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def load_checkpoint(self, path: Path) -> None:
        """Go on where a checkpoint stopped.

        Raises
        ------
        ModelError
            If the file is no checkpoint, or one of another network or another stream of scenes.
        """
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            stream = tuple(state["stream"])
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
        except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, ValueError, EOFError) as error:
            raise ModelError(f"{path}: expected a checkpoint of train-builtin ({type(error).__name__})") from error
        if stream != self._stream():
            raise ModelError(
                f"{path}: was trained with seed, scenes, labels per scene and patch {stream}, not {self._stream()}"
            )

    def _stream(self) -> tuple[int, ...]:
        plan = self.plan
        return plan.seed, plan.scenes, plan.per_scene, plan.patch


def validate(network: RefinerNet, samples: list[Sample], device: str) -> dict[str, tuple[float, float]]:
    """Mean Dice of prior and of refined mask with the truth, for each kind of sample."""
    found: dict[str, list[tuple[float, float]]] = {}
    for sample in samples:
        inputs = torch.from_numpy(sample.inputs)[None].to(device, memory_format=torch.channels_last_3d)
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
            refined = network(inputs)[0, 0].cpu().numpy() > 0
        pair = dice(sample.inputs[2] > 0, sample.truth), dice(refined, sample.truth)
        found.setdefault(sample.kind, []).append(pair)
    return {kind: tuple(float(v) for v in np.mean(pairs, axis=0)) for kind, pairs in found.items()}


def train(
    plan: Plan,
    output: Path,
    *,
    device: str = "cpu",
    resume: Path | None = None,
    shape: Shape | None = None,
    report: Callable[[dict[str, Any]], None] = lambda facts: None,
) -> Trainer:
    """Train, and leave weights at `output` and a checkpoint beside it (``<output>.checkpoint``).

    Parameters
    ----------
    plan : Plan
        Budget, seed, sizes.
    output : Path
        Weights (running average) in safetensors format; also written at each checkpoint.
    device : {"cpu", "cuda"}
        Where.
    resume : Path, optional
        Checkpoint to go on from; the stream of scenes goes on where it stopped.
    shape : Shape, optional
        Of a new network.
    report : callable, optional
        Told step, seconds, loss, rate and validation now and then.

    Returns
    -------
    Trainer
        As it is at the end.
    """
    trainer = Trainer(plan, device, shape)
    if resume is not None:
        trainer.load_checkpoint(resume)
    held_out = validation_samples(VALIDATION_SAMPLES, plan.patch)
    # A validation before the first step also reveals what does not work before hours have gone.
    report(_report(trainer, math.nan, held_out))
    before, saved, reported = time.perf_counter(), trainer.seconds, trainer.seconds
    losses: list[float] = []
    batches = iter(_batches(plan, trainer.step))
    while plan.progress(trainer.step, trainer.seconds) < 1.0:
        losses.append(trainer.train_step(*next(batches)))
        now = time.perf_counter()
        trainer.seconds, before = trainer.seconds + now - before, now
        if trainer.seconds - saved >= plan.save_every:
            _save(trainer, output)
            saved = trainer.seconds
        if trainer.seconds - reported >= plan.report_every:
            report(_report(trainer, float(np.mean(losses)), held_out))
            reported, losses = trainer.seconds, []
            before = time.perf_counter()
    if losses:
        report(_report(trainer, float(np.mean(losses)), held_out))
    _save(trainer, output)
    return trainer


def checkpoint_path(output: Path) -> Path:
    """Where the checkpoint of the weights `output` lies."""
    return output.with_name(output.name + ".checkpoint")


def _save(trainer: Trainer, output: Path) -> None:
    save_weights(output, trainer.average, trainer.facts())
    trainer.save_checkpoint(checkpoint_path(output))


def _report(trainer: Trainer, loss: float, held_out: list[Sample]) -> dict[str, Any]:
    return {
        "step": trainer.step,
        "seconds": trainer.seconds,
        "loss": loss,
        "rate": trainer.plan.rate(trainer.step, trainer.seconds),
        "dice": validate(trainer.average, held_out, trainer.device),
    }


def _batches(plan: Plan, first: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches from number `first` on, made ahead by other processes where the plan has any."""
    loader = DataLoader(
        _Scenes(plan, first),
        batch_size=None,
        sampler=range(ENDLESS),
        num_workers=plan.workers,
        prefetch_factor=4 if plan.workers else None,
        # Not forked: OpenMP's threads do not survive a fork.
        multiprocessing_context="spawn" if plan.workers else None,
    )
    return iter(loader)
