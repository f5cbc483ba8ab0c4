"""Reading files of weights without running code that may be in them."""

from __future__ import annotations

import argparse
import collections
import logging
import re
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from atlassegfm.errors import ModelError
from atlassegfm.models.weights import FoundWeights, digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

logger = logging.getLogger(__name__)


def load_checkpoint(path: Path, weights: FoundWeights) -> Any:  # noqa: ANN401 - whatever the file holds
    """Content of a ``.pt``, ``.pth`` or ``.safetensors`` file, tensors on the CPU.

    torch's restricted reader (``weights_only=True``) is used, which makes nothing but tensors, numbers and containers.
    A file that holds more is read in full only if its hash was known beforehand (`FoundWeights.pinned`): unpickling it
    can run any code.

    Raises
    ------
    ModelError
        If the file is damaged, or holds more than tensors and its hash was not known.
    """
    import torch

    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        with _named(path, (SafetensorError, OSError)):
            return load_file(path)
    try:
        with _named(path, (RuntimeError, EOFError, OSError)), torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if not weights.pinned:
            raise ModelError(
                f"{path}: holds more than tensors, and reading that can run any code ({_culprit(error)}); if you "
                f"trust this file, say so by its hash: --weights-sha256 {digest(weights.path)}"
            ) from error
    logger.warning(
        "%s holds more than tensors; it is read in full because its hash is the one that was given", path.name
    )
    with _named(path, (RuntimeError, EOFError, OSError, UnpicklingError, ImportError, AttributeError)):
        return torch.load(path, map_location="cpu", weights_only=False)


def load_into(network: torch.nn.Module, state: dict[str, Any], weights: FoundWeights, architecture: str) -> None:
    """Give a network its weights; every tensor has to find its place.

    Raises
    ------
    ModelError
        If names or shapes differ.
    """
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{weights.path} (SHA-256 {weights.sha256}): expected weights of {architecture}, got others "
            f"({_first_line(error)}); download the published ones"
        ) from error


def state_of(content: Any, key: str, weights: FoundWeights) -> dict[str, Any]:  # noqa: ANN401
    """The dictionary of tensors under `key`; `ModelError` where there is none."""
    state = content.get(key) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state:
        raise ModelError(
            f"{weights.path} (SHA-256 {weights.sha256}): expected a checkpoint with an entry {key!r}, got "
            f"{sorted(map(str, content))[:5] if isinstance(content, dict) else type(content).__name__}"
        )
    return state


def _harmless() -> list[Any]:
    """Types beyond tensors that training scripts leave in checkpoints and that run nothing when made."""
    import numpy as np
    from numpy._core import multiarray

    kinds = [type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")]
    # numpy 1 wrote the same functions under another name.
    makers = [
        entry
        for name in ("scalar", "_reconstruct")
        for entry in (getattr(multiarray, name), (getattr(multiarray, name), f"numpy.core.multiarray.{name}"))
    ]
    return [np.ndarray, np.dtype, *kinds, *makers, argparse.Namespace, collections.OrderedDict]


@contextmanager
def _named(path: Path, kinds: tuple[type[BaseException], ...]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        raise ModelError(
            f"{path} (SHA-256 {digest(path)}): cannot be read as weights ({_first_line(error)}); the file is damaged "
            "or of another kind, download it again"
        ) from error


def _culprit(error: BaseException) -> str:
    """What torch's restricted reader stumbled over."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return found.group(1) if found else _first_line(error)


def _first_line(error: BaseException) -> str:
    text = re.sub(r"\x1b\[\d*m", "", str(error)).strip()
    return " ".join((text.splitlines() or [type(error).__name__])[0].split())[:200]
