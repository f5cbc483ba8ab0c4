"""The network's weights in a file: safetensors with the facts of their training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from atlassegfm.builtin.encoding import CHANNELS
from atlassegfm.builtin.network import RefinerNet, Shape
from atlassegfm.errors import ModelError
from atlassegfm.io import atomic_path

#: Says what kind of file it is, and that networks before or after it may not fit.
FORMAT = "atlassegfm-refiner-1"

#: Tensors by name, and facts.
Learnt = tuple[dict[str, torch.Tensor], dict[str, Any]]


def save_weights(path: str | Path, network: RefinerNet, facts: Mapping[str, Any]) -> None:
    """Write weights in half precision, and what is known about their training.

    Parameters
    ----------
    path : path
        The file; replaced as a whole or not at all.
    network : RefinerNet
        Its per-label modulation is not written.
    facts : mapping
        JSON-ready facts, such as seed and steps.
    """
    tensors = {k: v.detach().cpu().half().contiguous() for k, v in network.state_dict().items() if k != "modulation"}
    metadata = {
        "format": FORMAT,
        "channels": json.dumps(CHANNELS),
        "shape": json.dumps(asdict(network.shape)),
        "training": json.dumps(dict(facts), sort_keys=True),
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_weights(path: str | Path) -> tuple[RefinerNet, dict[str, Any]]:
    """The network of a weights file, in single precision on the CPU, ready for use, and the facts of its training.

    Raises
    ------
    ModelError
        If the file is no weights file of this network.
    """
    try:
        with safe_open(str(path), framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: expected a weights file in safetensors format ({error})") from error
    if metadata.get("format") != FORMAT or tuple(json.loads(metadata["channels"])) != CHANNELS:
        raise ModelError(f"{path}: expected weights of the format {FORMAT}, got {metadata.get('format')!r}")
    network = RefinerNet(Shape(**{k: tuple(v) for k, v in json.loads(metadata["shape"]).items()}))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{path}: the weights do not fit the network they name") from error
    return network.eval(), json.loads(metadata["training"])


def write_learnt(learnt: Learnt, path: Path) -> None:
    """Write the weights of a network that was customised, in full precision, and JSON-ready facts."""
    state, facts = learnt
    save_file(state, path, metadata={"facts": json.dumps(facts)})


def read_learnt(path: Path) -> Learnt | None:
    """What `write_learnt` wrote; None for a file that is missing or damaged, or holds something else."""
    try:
        with safe_open(str(path), framework="pt") as stored:
            facts = json.loads((stored.metadata() or {})["facts"])
            return {name: stored.get_tensor(name) for name in stored.keys()}, facts  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, KeyError, ValueError):
        # Learning again costs a minute; a damaged file must not cost the run.
        return None


def shipped_weights() -> Path:
    """Where the weights that come with the package lie."""
    return Path(__file__).with_name("refiner.safetensors")
