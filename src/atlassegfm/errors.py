"""The errors a user can meet: one line each, what was expected, what came, how to cure it."""

from __future__ import annotations


class AtlasSegError(Exception):
    """Base of every error that AtlasSegFM raises on purpose; reaches the user as one line, exit code 2."""


class InputError(AtlasSegError):
    """A file, an option or an array is not what it has to be."""


class GeometryError(InputError):
    """A grid or an affine cannot be used (not invertible, wrong number of axes, no overlap)."""


class RegistrationError(AtlasSegError):
    """No usable alignment of atlas and query was found."""


class ModelError(AtlasSegError):
    """A segmentation model or its weights cannot be used."""


class MissingExtraError(AtlasSegError):
    """An optional package that the chosen method needs is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package}, which is not installed: pip install 'atlassegfm[{extra}]'"
        )
