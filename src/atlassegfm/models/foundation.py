"""What the adapters of pretrained models share: weights, one network for all sessions, memory, what they tell."""

from __future__ import annotations

import io
import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from typing import Any, ClassVar, TypeVar

import numpy as np

from atlassegfm.errors import InputError, ModelError
from atlassegfm.models.base import SegmentationModel
from atlassegfm.models.info import ModelInfo
from atlassegfm.models.loaded import loaded
from atlassegfm.models.weights import FoundWeights
from atlassegfm.prompts import Prompt
from atlassegfm.volume import Volume

logger = logging.getLogger(__name__)
T = TypeVar("T")


class FoundationModel(SegmentationModel):
    """A pretrained model behind the protocol. A subclass says how its network is built and how it answers.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Where to compute; falls back to the CPU when the GPU's memory is too small.
    seed : int
        Seed of everything random.
    weights : FoundWeights or None
        None for a model that runs elsewhere.
    options : dataclass, optional
        Of the type `ModelInfo.options`.
    """

    info: ClassVar[ModelInfo]
    #: Sizes of the crop, relative to the model's own, that are tried one after the other before the CPU when the GPU's
    #: memory is too small. A model whose input has one size only has nothing to try.
    scales: ClassVar[tuple[float, ...]] = (1.0,)

    def __init__(
        self,
        *,
        device: str = "cpu",
        seed: int = 0,
        weights: FoundWeights | None = None,
        options: Any = None,  # noqa: ANN401
    ) -> None:
        self.device, self.seed, self.weights = device, seed, weights
        self.options = options if options is not None or self.info.options is None else self.info.options()
        self._image: Volume | None = None
        self._network: Any = None
        self._scale = 0

    # What a subclass fills in.

    @abstractmethod
    def _build(self) -> Any:  # noqa: ANN401 - the package's own type
        """The network with its weights, on the CPU, ready for inference."""

    @abstractmethod
    def _answer(self, prompt: Prompt, scale: float) -> np.ndarray:
        """Foreground probability on the image's grid; `scale` shrinks the crop where that is possible."""

    def _look(self, image: Volume) -> None:
        """Forget what was kept of the last image, `image` being the next."""

    def _passes(self, image: Volume, labels: int) -> float:
        """Passes of the network through `image` for so many labels, of `ModelInfo.cpu_seconds` each."""
        return float(labels)

    # The protocol.

    def load(self) -> None:
        """Load the network; onto the CPU where the GPU's memory is too small for it."""
        self._within_memory(lambda scale: self.network())

    def set_image(self, image: Volume) -> None:
        """Look at an image; the same one again costs nothing."""
        if image is not self._image:
            self._image = image
            self._look(image)

    def segment(self, prompt: Prompt) -> np.ndarray:
        """Foreground probability, float32 in [0, 1], on the image's grid."""
        if prompt.kind not in self.info.prompts:
            raise InputError(
                f"model {self.info.name} takes {', '.join(self.info.prompts)} as prompt, not {prompt.kind}"
            )
        image = self.image
        answer = self._within_memory(lambda scale: self._answer(prompt, scale))
        if answer.shape != image.grid.shape or not np.isfinite(answer).all():
            raise ModelError(
                f"model {self.info.name}: expected finite probabilities of shape {image.grid.shape}, got "
                f"{'NaN or infinity' if answer.shape == image.grid.shape else answer.shape}; the weights may be damaged"
            )
        return np.clip(answer, 0.0, 1.0).astype(np.float32, copy=False)

    def describe(self) -> dict[str, Any]:
        """Weights, preparation and device, for the report."""
        info = self.info
        facts: dict[str, Any] = {"device": self.device, "intensity": info.intensity, "spacing": info.spacing}
        if self.weights is not None and info.weights is not None:
            facts["weights"] = {**self.weights.facts(), "licence": info.weights.licence}
        return facts

    def expected_seconds(self, image: Volume, labels: int) -> float:
        """Passes times what one took on two CPU cores, by the size of this network; 0 on a GPU."""
        if self.device != "cpu" or not self.info.cpu_seconds:
            return 0.0
        return self._passes(image, labels) * self.info.cpu_seconds * self._relative_size()

    def identity(self, value: int) -> Hashable | None:
        """Which network, on which device and with which options; None for a model that runs elsewhere.

        A subclass that learns from the atlas has to add what it learnt.
        """
        if self.weights is None:
            return None
        return (self.info.name, self.weights.sha256, self.device, self._scale, self.seed, repr(self.options))

    # For subclasses.

    @property
    def image(self) -> Volume:
        """The image looked at."""
        if self._image is None:
            raise ModelError("set_image has to come before segment")
        return self._image

    def network(self) -> Any:  # noqa: ANN401
        """The network on the session's device; loaded once by the process."""
        if self._network is None:
            with spoken():
                self._network = loaded(self._key(), self._build)
        return self._network.to(self.device) if hasattr(self._network, "to") else self._network

    def _key(self) -> Hashable:
        """What decides which network is built."""
        return (self.info.name, None if self.weights is None else (str(self.weights.path), self.weights.sha256))

    def _relative_size(self) -> float:
        """Size of these weights relative to the published ones: a small network is quicker."""
        if self.weights is None or self.info.weights is None:
            return 1.0
        path = self.weights.path
        size = sum(p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file())
        return min(1.0, size / (self.info.weights.about_mb * 1e6))

    def _autocast(self) -> AbstractContextManager[Any]:
        """Half precision on a GPU, nothing on a CPU."""
        import torch

        return torch.autocast("cuda", dtype=torch.float16) if self.device == "cuda" else nullcontext()

    def _within_memory(self, attempt: Callable[[float], T]) -> T:
        """Run `attempt` with smaller crops, and on the CPU in the end, when the GPU's memory is too small."""
        import torch

        while self.device != "cpu":
            try:
                return attempt(self.scales[self._scale])
            except torch.OutOfMemoryError:
                if self._image is not None:
                    self._look(self._image)
                torch.cuda.empty_cache()
                self._scale += 1
                if self._scale == len(self.scales):
                    self._scale, self.device, self._network = 0, "cpu", None
                self._say_retreat()
        return attempt(1.0)

    def _say_retreat(self) -> None:
        way = "on the CPU" if self.device == "cpu" else "with a smaller crop"
        notice = f"{self.info.name}: the GPU's memory is too small; it goes on {way}"
        self.notices.append(notice)
        logger.warning("%s", notice)


@contextmanager
def spoken() -> Iterator[None]:
    """Send what a package prints to the debug log: stdout belongs to results."""
    heard = io.StringIO()
    try:
        with redirect_stdout(heard):
            yield
    finally:
        for line in filter(None, map(str.strip, heard.getvalue().splitlines())):
            logger.debug("%s", line)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Global random numbers from `seed` within the block, for packages that draw from them; as before after it."""
    import torch

    before = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield
        finally:
            np.random.set_state(before)


def shrunk(edge: int, scale: float, multiple: int, least: int) -> int:
    """An edge times `scale`, rounded down to a multiple that the network can take, and never below `least`."""
    return max(least, math.floor(edge * scale / multiple) * multiple)
