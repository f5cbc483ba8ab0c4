"""Weights on this machine: where they are, what they are known by, and whether they are what they should be.

A file is trusted in this order: a SHA-256 that the user gives; the one pinned in the model's facts; the one recorded
when the file was downloaded, which was compared with what the hub declares. Where this project knows no hash, it says
so and asks before it downloads; it never makes one up.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from atlassegfm.errors import InputError, MissingExtraError, ModelError
from atlassegfm.models.info import ModelInfo

#: Record of a finished download, in its folder.
MANIFEST = "atlassegfm.json"
_ON = ("1", "true", "yes", "on")


@dataclass(frozen=True)
class FoundWeights:
    """Weights that can be used.

    Parameters
    ----------
    path : Path
        File or folder.
    sha256 : str
        Of the file; of a folder the digest of its files' names and contents.
    origin : {"given", "downloaded"}
        Whether the user named the path, or it was downloaded by `atlassegfm models download`.
    pinned : bool
        Whether a hash was known beforehand and holds.
    revision : str or None
        Commit of the hub, if downloaded from there.
    """

    path: Path
    sha256: str
    origin: str
    pinned: bool = False
    revision: str | None = None

    def facts(self) -> dict[str, Any]:
        """For the report; no folders, which differ between machines and may name users."""
        facts = {"file": self.path.name, "sha256": self.sha256, "origin": self.origin, "pinned": self.pinned}
        return facts | ({"revision": self.revision} if self.revision else {})


def home() -> Path:
    """Folder of everything downloaded: ``ATLASSEGFM_HOME``, else ``atlassegfm`` in the user's cache folder."""
    given = os.environ.get("ATLASSEGFM_HOME")
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    return (Path(base) if base else Path.home() / ".cache") / "atlassegfm"


def offline() -> bool:
    """Whether nothing may be downloaded: ``ATLASSEGFM_OFFLINE`` or the hub's own ``HF_HUB_OFFLINE`` is set."""
    return any(os.environ.get(name, "").lower() in _ON for name in ("ATLASSEGFM_OFFLINE", "HF_HUB_OFFLINE"))


def folder_of(info: ModelInfo) -> Path:
    """Where a model's downloaded weights lie."""
    return home() / "models" / info.name


def read_manifest(info: ModelInfo) -> dict[str, Any] | None:
    """The record of a finished download; None where there is none."""
    path = folder_of(info) / MANIFEST
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); run 'atlassegfm models download {info.name}'") from error


def is_downloaded(info: ModelInfo) -> bool:
    """Whether the weights were downloaded and all files are there with their sizes; contents are not read."""
    manifest = read_manifest(info)
    if manifest is None:
        return False
    files = {name: folder_of(info) / name for name in manifest["files"]}
    return all(p.is_file() and p.stat().st_size == manifest["files"][n]["bytes"] for n, p in files.items())


def given_weights(info: ModelInfo, given: str | Path | None = None) -> Path | None:
    """Path that the user names, as an argument or in the environment (`ModelInfo.weights_variable`); or None."""
    named = given or os.environ.get(info.weights_variable)
    return Path(named).expanduser() if named else None


def missing_weights(info: ModelInfo) -> str | None:
    """What is not there, in words; None when the model has its weights or needs none."""
    if info.weights is None or is_downloaded(info):
        return None
    given = given_weights(info)
    if given is None:
        return f"the weights of {info.name} (atlassegfm models download {info.name}, or {info.weights_variable}=PATH)"
    return None if given.exists() else f"the path {given} that {info.weights_variable} names"


def check_weights(info: ModelInfo, given: str | Path | None, sha256: str | None, *, served: bool = False) -> None:
    """Find out cheaply whether a model can be loaded: package and path are there, the hash is one.

    Parameters
    ----------
    info : ModelInfo
        Any model.
    given : str or Path, optional
        Path that the user gave.
    sha256 : str, optional
        Hash that the user gave.
    served : bool
        Whether the model runs elsewhere, with weights that are there.

    Raises
    ------
    InputError, MissingExtraError, ModelError
        As `find_weights` and `check_installed` would.
    """
    checked_sha256(sha256)
    if info.weights is None:
        if given is not None:
            raise InputError(f"--weights: the model {info.name} has no weights; leave the option out")
        return
    check_installed(info)
    path = given_weights(info, given)
    if path is not None and not path.exists():
        raise InputError(f"{path}: no such file or folder with weights of {info.name}; check the path")
    if path is None and not served and not is_downloaded(info):
        raise ModelError(_not_here(info))


def used_digest(info: ModelInfo, given: str | Path | None = None) -> str:
    """Hash of the weights that a model would use, for keys of results; empty where there are none."""
    if info.weights is None:
        return ""
    path = given_weights(info, given) or folder_of(info) / info.weights.main
    return digest(path) if path.exists() else ""


def check_installed(info: ModelInfo) -> None:
    """Raise `MissingExtraError` when the model's package is not there."""
    if not info.installed:
        raise MissingExtraError(f"the model {info.name}", str(info.package), str(info.extra))


def find_weights(info: ModelInfo, given: str | Path | None = None, sha256: str | None = None) -> FoundWeights:
    """The weights of a model, checked.

    Parameters
    ----------
    info : ModelInfo
        A model that has weights.
    given : str or Path, optional
        File or folder to use; else `ModelInfo.weights_variable` in the environment, else what was downloaded.
    sha256 : str, optional
        What the hash has to be.

    Raises
    ------
    InputError
        If `sha256` is no hash, or the path is missing.
    ModelError
        If nothing was downloaded, or a file is not what it has to be.
    """
    wanted = checked_sha256(sha256)
    path = given_weights(info, given)
    if path is not None:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder with weights of {info.name}; check the path")
        found = FoundWeights(path, digest(path), "given", pinned=wanted is not None)
    else:
        found = _downloaded(info)
    if wanted is not None and found.sha256 != wanted:
        raise ModelError(
            f"{found.path}: expected weights with SHA-256 {wanted}, got {found.sha256}; download or copy them again"
        )
    return found


def checked_sha256(text: str | None) -> str | None:
    """A hash in lower case; `InputError` for what is none."""
    if text is None:
        return None
    if len(text) != 64 or set(text.lower()) - set("0123456789abcdef"):
        raise InputError(f"expected a SHA-256 of 64 hexadecimal digits, got {text!r}")
    return text.lower()


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files; read once while they stay unchanged.

    The record of the download and hidden files, which the hub's client leaves, do not count.
    """
    return _digest(path, tuple((n, p.stat().st_size, p.stat().st_mtime_ns) for n, p in sorted(files_of(path).items())))


def files_of(path: Path) -> dict[str, Path]:
    """Relative name to path of what makes up the weights at `path`."""
    if path.is_file():
        return {path.name: path}
    found = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    return {n: p for n, p in found.items() if n != MANIFEST and not any(part.startswith(".") for part in n.split("/"))}


@lru_cache(maxsize=64)
def _digest(path: Path, state: tuple[tuple[str, int, int], ...]) -> str:
    del state  # part of the key: changed files are read again
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    lines = (f"{name}\0{digest(file)}\n" for name, file in sorted(files_of(path).items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _downloaded(info: ModelInfo) -> FoundWeights:
    """What was downloaded, every file compared with its record."""
    assert info.weights is not None
    manifest, folder = read_manifest(info), folder_of(info)
    if manifest is None:
        raise ModelError(_not_here(info))
    for name, facts in manifest["files"].items():
        verify(folder / name, facts, info.name)
    path = folder / info.weights.main
    pinned = bool(info.weights.sha256) or bool(manifest.get("given"))
    return FoundWeights(path, digest(path), "downloaded", pinned=pinned, revision=manifest.get("revision"))


def _not_here(info: ModelInfo) -> str:
    weights = info.weights
    assert weights is not None
    return (
        f"the weights of {info.name} are not on this machine: run 'atlassegfm models download {info.name}' "
        f"({weights.about_mb} MB, licence: {weights.licence}), or give a file or folder with --weights"
    )


def verify(path: Path, facts: dict[str, Any], model: str) -> None:
    """Raise `ModelError` for a file that is missing or not what its record (bytes, sha256) says."""
    cure = f"run 'atlassegfm models download {model}' again"
    if not path.is_file():
        raise ModelError(f"{path}: this file of the weights of {model} is missing; {cure}")
    size, wanted = path.stat().st_size, facts["sha256"]
    found = digest(path)
    if found != wanted:
        kind = f"{size} of {facts['bytes']} bytes: truncated" if size < facts["bytes"] else "damaged, or another file"
        raise ModelError(f"{path}: expected SHA-256 {wanted}, got {found} ({kind}); {cure}")
