"""Customised weights found again: in this process, and on disk where the user has given a place for them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from atlassegfm.io import atomic_path
from atlassegfm.models.recall import Recall
from atlassegfm.models.weights import home

#: Changes whenever what is learnt from the same atlas changes.
VERSION = 1
#: Customised networks kept in memory and on disk, a few MB each; those not used for longest go first.
KEPT, KEPT_ON_DISK = 4, 50

State = dict[str, torch.Tensor]
_memory: Recall[tuple[State, dict[str, Any]]] = Recall(KEPT)


def cache_folder() -> Path:
    """Folder for customised weights, beside what was downloaded (`models.weights.home`)."""
    return home() / "customised"


def content_key(atlas: tuple[str, str], weights: Path, told: Any) -> str:  # noqa: ANN401
    """Name of what is learnt: hash of the atlas (`Support.digests`), the weights' file and the settings `told`."""
    digest = hashlib.sha256(f"{VERSION} {json.dumps(told, sort_keys=True)}".encode())
    digest.update(weights.read_bytes())
    for part in atlas:
        digest.update(part.encode())
    return digest.hexdigest()


class Store:
    """Customised weights by content key.

    Parameters
    ----------
    folder : Path
        Where they are kept on disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> tuple[State, dict[str, Any]] | None:
        """Weights and facts of a key; None where there are none, or a file that cannot be read."""
        known = _memory.find(key)
        if known is not None:
            return known
        path = self._path(key)
        try:
            with safe_open(str(path), framework="pt") as stored:
                facts = json.loads((stored.metadata() or {})["facts"])
                state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError, KeyError, ValueError):
            # Learning again costs a minute; a damaged file must not cost the run.
            return None
        with contextlib.suppress(OSError):  # a folder that may only be read
            path.touch()
        return _memory.keep(key, (state, facts))

    def keep(self, key: str, state: State, facts: dict[str, Any]) -> None:
        """Keep weights and JSON-ready facts; on disk as a whole or not at all."""
        state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
        _memory.keep(key, (state, facts))
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._path(key)) as temporary:
            save_file(state, temporary, metadata={"facts": json.dumps(facts)})
        for old in sorted(self.folder.glob("*.safetensors"), key=_last_used, reverse=True)[KEPT_ON_DISK:]:
            old.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process has just removed it
        return 0.0
