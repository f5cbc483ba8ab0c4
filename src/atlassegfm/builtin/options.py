"""What a user may change about the built-in network. Light: never imports torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BuiltinOptions:
    """Options of `builtin` and `builtin-network`.

    Parameters
    ----------
    customise : bool
        Whether the network learns the atlas; without, it answers as it was shipped.
    network : str, optional
        Weights made by `atlassegfm train-builtin`, in place of those of the package.
    """

    customise: bool = True
    network: str | None = None
