"""What a model declares about itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a model that need neither its package nor its weights.

    Parameters
    ----------
    name, summary : str
        What the user types, and one line for help pages.
    dimension : {"2D", "3D"}
        Whether it sees slices or volumes.
    prompts : tuple of str
        Kinds of prompt it takes, out of mask, click, box, box2d; the first is the one it prefers for an atlas prior.
    licence : str
        Licence of code and weights.
    target : str or None
        "module:class" of the session; None when there is nothing to run.
    weights : str or None
        Where the weights come from; None when it needs none.
    extra : str or None
        Optional dependency group to install.
    """

    name: str
    summary: str
    dimension: str
    prompts: tuple[str, ...]
    licence: str
    target: str | None = None
    weights: str | None = None
    extra: str | None = None
