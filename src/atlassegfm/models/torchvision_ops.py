"""Makes a CUDA-built torchvision importable beside a CPU build of torch.

The package index has CUDA-built wheels of torchvision only. Beside a CPU torch their import ends with "operator
torchvision::nms does not exist", and with it the import of sam2, timm and part of transformers, none of which need the
operator. Naming the operators without giving them a kernel is enough; calling one still is an error.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: list[Any] = []


def mend_torchvision() -> bool:
    """Name the missing operators; has to run before torchvision is imported, and may run often.

    Returns
    -------
    bool
        Whether there was something to mend.
    """
    import torch

    try:
        version = metadata.version("torchvision")
    except metadata.PackageNotFoundError:
        return False
    if torch.version.cuda is not None or version.endswith("+cpu"):
        return False
    if not _library:
        library = torch.library.Library("torchvision", "DEF")
        for operator in _OPERATORS:
            library.define(operator)
        _library.append(library)
    return True
