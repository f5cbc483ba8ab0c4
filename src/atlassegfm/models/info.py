"""What a model declares about itself. Light: never imports torch or NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

#: Kinds of prompt there are; `atlassegfm.prompts` says what each is.
KINDS = ("mask", "click", "box", "box2d", "scribble", "lasso")


@dataclass(frozen=True)
class Weights:
    """Where a model's weights come from, and under which licence.

    Exactly one of `repo`, `url` and `bundle` is given.

    Parameters
    ----------
    licence : str
        Licence of the weights.
    main : str
        The file or folder that the model is loaded from, relative to the downloaded folder; "." is the folder.
    about_mb : int
        Size of the download, rounded; the number of parameters times four where the publisher names no size.
    repo, revision : str
        Hub id, and the branch, tag or commit of it.
    files : tuple of str
        Patterns of the files of `repo` that are needed.
    url : str or None
        Address of a single file.
    bundle : str or None
        Name of a MONAI bundle.
    sha256 : mapping of str to str
        Known SHA-256 by file name. A file that is missing here has no hash that this project could check it against:
        see `atlassegfm.models.weights`.
    commercial : bool or None
        Whether the licence allows commercial use; None where this project does not know.
    """

    licence: str
    main: str
    about_mb: int
    repo: str | None = None
    revision: str = "main"
    files: tuple[str, ...] = ()
    url: str | None = None
    bundle: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    commercial: bool | None = True

    @property
    def source(self) -> str:
        """Where they come from, in words."""
        if self.repo is not None:
            return f"https://huggingface.co/{self.repo} (revision {self.revision})"
        return self.url if self.url is not None else f"MONAI bundle {self.bundle}"


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
        Kinds of prompt it takes, out of `KINDS`; the first is the one it prefers for an atlas prior.
    licence : str
        Licence of the code.
    target : str or None
        "module:class" of the session; None when there is nothing to run.
    modalities : tuple of str
        Kinds of scan it was made for.
    intensity, spacing : str
        How intensities and voxel sizes are prepared, in words.
    weights : Weights or None
        None when it needs none.
    extra, package : str or None
        Optional dependency group to install, and the module that it brings.
    options : dataclass or None
        What it takes beyond device and seed; see `atlassegfm.options`.
    weightless : str or None
        Name of the option that makes weights unnecessary, such as a server's address.
    cpu_seconds : float
        What one pass of the network took on two CPU cores; what a pass is, the session knows.
    """

    name: str
    summary: str
    dimension: str
    prompts: tuple[str, ...]
    licence: str
    target: str | None = None
    modalities: tuple[str, ...] = ("any",)
    intensity: str = "as it is"
    spacing: str = "as it is"
    weights: Weights | None = None
    extra: str | None = None
    package: str | None = None
    options: type | None = None
    weightless: str | None = None
    cpu_seconds: float = 0.0

    @property
    def installed(self) -> bool:
        """Whether the package it needs is there."""
        return self.package is None or find_spec(self.package) is not None

    @property
    def weights_variable(self) -> str:
        """Environment variable that names a file or folder of weights."""
        return f"ATLASSEGFM_{self.name.upper().replace('-', '_')}_WEIGHTS"

    @property
    def notice(self) -> str | None:
        """What has to be said about the licence whenever the model runs; None where nothing has to be."""
        if self.weights is None or self.weights.commercial:
            return None
        if self.weights.commercial is None:
            return f"{self.name}: this project does not know the licence of its weights; see {self.weights.source}"
        return f"{self.name}: its published weights are under {self.weights.licence}: no commercial use of the result"
