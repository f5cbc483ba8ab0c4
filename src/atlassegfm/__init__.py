"""AtlasSegFM: segment a whole cohort of medical scans from one labelled scan.

The public API, nothing else. Names are looked up when they are first used, so that ``import atlassegfm`` stays fast
and never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atlassegfm.atlas import Atlas
    from atlassegfm.errors import (
        AtlasSegError,
        GeometryError,
        InputError,
        MissingExtraError,
        ModelError,
        RegistrationError,
    )
    from atlassegfm.io import read_image, read_labels, write_labels
    from atlassegfm.pipeline import segment
    from atlassegfm.segmentation import Segmentation
    from atlassegfm.volume import Grid, Volume

    __version__: str

_HOMES = {
    "Atlas": "atlas",
    "AtlasSegError": "errors",
    "GeometryError": "errors",
    "Grid": "volume",
    "InputError": "errors",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "RegistrationError": "errors",
    "Segmentation": "segmentation",
    "Volume": "volume",
    "read_image": "io",
    "read_labels": "io",
    "segment": "pipeline",
    "write_labels": "io",
}

__all__ = [
    "Atlas",
    "AtlasSegError",
    "GeometryError",
    "Grid",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "RegistrationError",
    "Segmentation",
    "Volume",
    "__version__",
    "read_image",
    "read_labels",
    "segment",
    "write_labels",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("atlassegfm")
    elif name in _HOMES:
        value = getattr(import_module(f"atlassegfm.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'atlassegfm' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
