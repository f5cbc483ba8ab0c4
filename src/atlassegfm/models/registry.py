"""The models by name: those of the folder `catalogue`, and those that other packages bring.

A model joins with one file in `catalogue/` that holds an ``INFO``; the file's name, with dashes for underscores, is the
model's. Other packages name their ``INFO`` as an entry point of the group `GROUP`. Light: names come from file names
and package metadata; a model's file is imported when its facts are asked for, and torch not before the model runs.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, MutableMapping
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from atlassegfm.errors import InputError, ModelError
from atlassegfm.models import catalogue
from atlassegfm.models.info import ModelInfo
from atlassegfm.options import read_options

if TYPE_CHECKING:
    from pathlib import Path

    from atlassegfm.models.base import SegmentationModel

#: Entry points of this group are models of other packages.
GROUP = "atlassegfm.models"
#: Named first in lists.
FIRST = ("builtin", "none")


@cache
def _own() -> dict[str, str]:
    """Name of each model of ours to its module; ours first."""
    modules = {
        m.name.replace("_", "-"): f"{catalogue.__name__}.{m.name}" for m in pkgutil.iter_modules(catalogue.__path__)
    }
    return {name: modules[name] for name in sorted(modules, key=lambda n: (n not in FIRST, n))}


@cache
def _foreign() -> dict[str, metadata.EntryPoint]:
    """Name of each model of other packages to its entry point; ours cannot be replaced."""
    points = metadata.entry_points(group=GROUP)
    return {point.name: point for point in sorted(points, key=lambda p: p.name) if point.name not in _own()}


class _Models(MutableMapping[str, ModelInfo]):
    """Name to facts, found when asked for. What is put in or taken out by hand comes first: tests do so."""

    def __init__(self) -> None:
        self._put: dict[str, ModelInfo] = {}
        self._gone: set[str] = set()

    def __getitem__(self, name: str) -> ModelInfo:
        if name in self._put:
            return self._put[name]
        if name in self._gone:
            raise KeyError(name)
        if name in _own():
            return importlib.import_module(_own()[name]).INFO
        return _loaded(_foreign()[name])

    def __setitem__(self, name: str, info: ModelInfo) -> None:
        self._put[name] = info
        self._gone.discard(name)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._put.pop(name, None)
        self._gone.add(name)

    def __contains__(self, name: object) -> bool:
        return name in self._put or (name not in self._gone and (name in _own() or name in _foreign()))

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys((*_own(), *_foreign(), *self._put))
        return (name for name in names if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


MODELS: MutableMapping[str, ModelInfo] = _Models()


def _loaded(point: metadata.EntryPoint) -> ModelInfo:
    """The facts behind an entry point."""
    try:
        info = point.load()
    except (ImportError, AttributeError) as error:
        raise ModelError(f"model {point.name}: its package cannot be imported ({error}); install it again") from error
    if not isinstance(info, ModelInfo) or info.name != point.name:
        raise ModelError(
            f"model {point.name}: expected its entry point {point.value} to be a ModelInfo of that name; "
            "tell the package's author"
        )
    return info


def model_info(name: str) -> ModelInfo:
    """What a model declares about itself.

    Raises
    ------
    InputError
        If there is no model of that name.
    ModelError
        If another package brings it, and it cannot be imported.
    """
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}: choose one of {', '.join(MODELS)}")
    return MODELS[name]


def model_options(name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options as the model takes them; `InputError` for an unknown one or a value that does not fit."""
    return read_options(f"model {name}", model_info(name).options, given or {})


def create_model(
    name: str,
    *,
    device: str,
    seed: int,
    weights: str | Path | None = None,
    sha256: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> SegmentationModel | None:
    """A fresh session; None for the model "none".

    Parameters
    ----------
    name : str
        A name out of `MODELS`.
    device : {"cpu", "cuda"}
        Where to compute.
    seed : int
        Seed of everything random in the model.
    weights : str or Path, optional
        File or folder of weights to use in place of the downloaded ones.
    sha256 : str, optional
        What their hash has to be.
    options : mapping, optional
        What the model takes beyond that.

    Raises
    ------
    InputError
        If the model or an option is unknown, or weights are given to a model without any.
    MissingExtraError
        If its package is not installed.
    ModelError
        If its weights are not there or are not what they have to be.
    """
    info = model_info(name)
    made = made_options(info, model_options(name, options))
    from atlassegfm.models.weights import check_weights, find_weights

    check_weights(info, weights, sha256, served=served(info, made))
    if info.target is None:
        return None
    extras: dict[str, Any] = {} if made is None else {"options": made}
    if info.weights is not None:
        extras["weights"] = None if served(info, made) else find_weights(info, weights, sha256)
    module, cls = info.target.split(":")
    return getattr(importlib.import_module(module), cls)(device=device, seed=seed, **extras)


def made_options(info: ModelInfo, given: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the model's own dataclass
    """The model's options; None where it takes none."""
    return None if info.options is None else info.options(**given)


def served(info: ModelInfo, made: Any) -> bool:  # noqa: ANN401
    """Whether the model runs elsewhere (`ModelInfo.weightless`), so that no weights are needed here."""
    return info.weightless is not None and bool(getattr(made, info.weightless, None))
