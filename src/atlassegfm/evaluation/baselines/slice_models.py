"""UniverSeg and Tyche: models that learn a task from example slices, from their own packages and published weights.

Neither is on the package index, and nothing is downloaded here. The user installs the package and names the file of its
weights in an environment variable; `SliceModelInfo.missing` says what is not there yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from atlassegfm.errors import ModelError

if TYPE_CHECKING:
    import torch

#: Side of the slices both models were trained on, and example slices given to them. Their cost grows with the number;
#: UniverSeg was trained with 64, which is more slices than most labels of one atlas have.
SIZE, SUPPORT = 128, 16
#: Segmentations that Tyche proposes for a slice.
CANDIDATES = 5


class SliceModel(Protocol):
    """A model that segments slices after examples."""

    size: int  #: Side of the square slices it takes.
    support: int  #: Number of example slices it wants.

    def predict(self, targets: np.ndarray, images: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Foreground probability (b, size, size) of targets (b, size, size).

        Support images and masks are (b, n, size, size), everything in [0, 1].
        """


@dataclass(frozen=True)
class SliceModelInfo:
    """Where a slice model comes from and how it is made.

    Parameters
    ----------
    package, install : str
        Module to import, and how one gets it.
    variable, url : str
        Environment variable that names the file of weights, and the file's home.
    licence : str
        Of code and weights.
    build : callable
        (module, state, device, seed) to the model; `state` is what the file of weights holds.
    """

    package: str
    install: str
    variable: str
    url: str
    licence: str
    build: Callable[[Any, Any, str, int], SliceModel]

    def missing(self) -> list[str]:
        """What is not there, in words; empty when the model can be loaded."""
        found = []
        if find_spec(self.package) is None:
            found.append(f"the package {self.package} ({self.install})")
        path = os.environ.get(self.variable, "")
        if not path:
            found.append(f"its weights ({self.variable}=FILE, from {self.url})")
        elif not Path(path).is_file():
            found.append(f"the file {path} that {self.variable} names")
        return found

    def weights(self) -> Path:
        """File of the weights."""
        return Path(os.environ[self.variable])

    def load(self, device: str, seed: int) -> SliceModel:
        """The model with its weights.

        Raises
        ------
        ModelError
            If something is missing, or package and weights do not fit.
        """
        if self.missing():
            raise ModelError(f"{self.package} needs {' and '.join(self.missing())}")
        import torch

        path = self.weights()
        try:
            module = import_module(self.package)
            state = torch.load(path, map_location="cpu", weights_only=True)
            return self.build(module, state, device, seed)
        except ImportError as error:
            raise ModelError(f"the package {self.package} cannot be imported ({error}); {self.install}") from error
        except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, AttributeError) as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise ModelError(
                f"{path}: expected the published weights of {self.package}, got something else ({reason}); "
                f"download {self.url}"
            ) from error


class _OneByOne:
    """A network that is shown one target slice at a time: with its examples a slice takes hundreds of MB."""

    size, support = SIZE, SUPPORT

    def __init__(self, network: torch.nn.Module, device: str) -> None:
        self.network, self.device = network.eval().to(device), device

    def predict(self, targets: np.ndarray, images: np.ndarray, masks: np.ndarray) -> np.ndarray:
        import torch

        slices = zip(targets, images, masks, strict=True)
        with torch.inference_mode():
            return np.stack([self.one(*map(self._tensor, three)).cpu().numpy() for three in slices])

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(self.device)


class UniverSegSlices(_OneByOne):
    """UniverSeg (Butoi, Gonzalez Ortiz et al., ICCV 2023)."""

    def one(self, target: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Probability (size, size) of one target."""
        return self.network(target[None, None], images[None, :, None], masks[None, :, None])[0, 0].sigmoid()


class TycheSlices(_OneByOne):
    """Tyche with stochasticity from training (Rakic et al., CVPR 2024).

    The probability is the mean over its candidates: which of them is the best only the truth could tell.
    """

    def __init__(self, network: torch.nn.Module, device: str, seed: int) -> None:
        import torch

        super().__init__(network, device)
        self.noise = torch.Generator().manual_seed(seed)

    def one(self, target: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Probability (size, size) of one target."""
        import torch

        # Made on the CPU, whose numbers are the same on every machine.
        noise = torch.randn(1, CANDIDATES, 1, *target.shape, generator=self.noise).to(target.device)
        found = self.network(
            support_images=images[None, :, None],
            support_labels=masks[None, :, None],
            target_image=target.expand(1, CANDIDATES, 1, *target.shape),
            noise_image=noise,
        )
        return found[0, :, 0].sigmoid().mean(dim=0)


def _universeg(module: Any, state: Any, device: str, seed: int) -> SliceModel:  # noqa: ANN401
    network = module.universeg(version="v1", pretrained=False)
    network.load_state_dict(state)
    return UniverSegSlices(network, device)


def _tyche(module: Any, state: Any, device: str, seed: int) -> SliceModel:  # noqa: ANN401
    network = module.tychets(version="v1", pretrained=False)
    network.load_state_dict(state["model"])
    return TycheSlices(network, device, seed)


#: Name of a slice model to what is known about it. A model joins with one entry here.
SLICE_MODELS: dict[str, SliceModelInfo] = {
    "universeg": SliceModelInfo(
        package="universeg",
        install="pip install git+https://github.com/JJGO/UniverSeg.git",
        variable="ATLASSEGFM_UNIVERSEG_WEIGHTS",
        url="https://github.com/JJGO/UniverSeg/releases/download/weights/universeg_v1_nf64_ss64_STA.pt",
        licence="code Apache-2.0, weights OpenRAIL++-M (research only)",
        build=_universeg,
    ),
    "tyche": SliceModelInfo(
        package="tyche",
        install="a copy of https://github.com/mariannerakic/Tyche on PYTHONPATH, with einops and pydantic",
        variable="ATLASSEGFM_TYCHE_WEIGHTS",
        url="https://github.com/mariannerakic/Tyche/releases/download/weights/tyche_v1_model_weights_CVPR.pt",
        licence="Apache-2.0",
        build=_tyche,
    ),
}
