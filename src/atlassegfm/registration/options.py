"""What a user may change about a registration method: names, types, defaults and bounds. Never imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints

from atlassegfm.errors import InputError

#: Similarity of the test-time network to its default weight of the gradient penalty (displacements in voxels).
#: 0.01 beside MSE is in the paper's published code, 1 beside NCC in VoxelMorph's; MI has the range of NCC.
NETWORK_SIMILARITIES = {"mse": 0.01, "ncc": 1.0, "mi": 1.0}
#: Fewest voxels along the edge of the working copy, as if it were a cube.
MIN_NETWORK_VOXELS = 8
_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True)
class NetworkOptions:
    """Options of the test-time network (`voxelmorph`); the defaults are the paper's.

    Parameters
    ----------
    iterations : int
        Steps of Adam.
    learning_rate : float
        Of Adam.
    similarity : {"mse", "ncc", "mi"}
        What is optimised; see `similarity`.
    smoothness : float, optional
        Weight of the penalty on the squared gradient of the displacement; default by `NETWORK_SIMILARITIES`.
    voxels : int, optional
        Cube root of the number of voxels of the working copy; default 64 on a CPU, 160 on a GPU.
    spacing_mm : float, optional
        Edge of the working copy's voxels in mm, in place of `voxels`.
    bfloat16 : bool
        Run the network in bfloat16: half the time on processors that have it, and other bytes.
    channels_last : bool
        Lay out the network's memory with the channels last.

    Raises
    ------
    InputError
        If a value is out of bounds.
    """

    iterations: int = 1000
    learning_rate: float = 1e-4
    similarity: str = "mse"
    smoothness: float | None = None
    voxels: int | None = None
    spacing_mm: float | None = None
    bfloat16: bool = False
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.similarity not in NETWORK_SIMILARITIES:
            raise InputError(
                f"option similarity: expected one of {', '.join(NETWORK_SIMILARITIES)}, got {self.similarity!r}"
            )
        _check_bounds(
            self,
            {
                "iterations": (self.iterations >= 1, "1 or more"),
                "learning_rate": (self.learning_rate > 0, "more than 0"),
                "smoothness": (self.smoothness is None or self.smoothness >= 0, "0 or more"),
                "voxels": (self.voxels is None or self.voxels >= MIN_NETWORK_VOXELS, f"{MIN_NETWORK_VOXELS} or more"),
                "spacing_mm": (self.spacing_mm is None or self.spacing_mm > 0, "more than 0 mm"),
            },
        )


@dataclass(frozen=True)
class ElastixOptions:
    """Options of `elastix`.

    Parameters
    ----------
    iterations : int
        Steps of the stochastic gradient descent on each of the four resolution levels of each stage.
    grid_spacing_mm : float, optional
        Distance between the nodes of the B-spline on the finest level; default by the working copy, see `elastix`.
    smoothness : float
        Weight of the B-spline's bending energy, lengths being counted in node distances.

    Raises
    ------
    InputError
        If a value is out of bounds.
    """

    iterations: int = 256
    grid_spacing_mm: float | None = None
    smoothness: float = 1.0

    def __post_init__(self) -> None:
        _check_bounds(
            self,
            {
                "iterations": (self.iterations >= 1, "1 or more"),
                "grid_spacing_mm": (self.grid_spacing_mm is None or self.grid_spacing_mm > 0, "more than 0 mm"),
                "smoothness": (self.smoothness >= 0, "0 or more"),
            },
        )


@dataclass(frozen=True)
class ConvexAdamOptions:
    """Options of `convexadam`; the defaults are the package's.

    Parameters
    ----------
    iterations : int
        Steps of Adam after the convex part.
    smoothness : float
        Weight of the penalty on the field's gradient in those steps.

    Raises
    ------
    InputError
        If a value is out of bounds.
    """

    iterations: int = 80
    smoothness: float = 1.25

    def __post_init__(self) -> None:
        _check_bounds(
            self,
            {
                "iterations": (self.iterations >= 1, "1 or more"),
                "smoothness": (self.smoothness > 0, "more than 0"),
            },
        )


def _check_bounds(options: Any, bounds: Mapping[str, tuple[bool, str]]) -> None:  # noqa: ANN401
    """Raise `InputError` for the first option that is not what was expected."""
    for name, (holds, expected) in bounds.items():
        if not holds:
            raise InputError(f"option {name}: expected {expected}, got {getattr(options, name)}")


#: How much work the built-in registration puts in.
QUALITIES = ("fast", "default")


@dataclass(frozen=True)
class OwnOptions:
    """Options of the built-in deformable registration.

    Parameters
    ----------
    quality : {"fast", "default"}
        See `builtin.PLANS`.

    Raises
    ------
    InputError
        If it is none of them.
    """

    quality: str = "default"

    def __post_init__(self) -> None:
        if self.quality not in QUALITIES:
            raise InputError(f"option quality: expected one of {', '.join(QUALITIES)}, got {self.quality!r}")


def read_options(method: str, kind: type | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the method takes them.

    Parameters
    ----------
    method : str
        Its name, for messages.
    kind : dataclass or None
        What it takes; None when it takes nothing.
    given : mapping
        Name to value; a text is turned into the type of the field.

    Returns
    -------
    dict
        Those given, with values of the right types.

    Raises
    ------
    InputError
        For an unknown name or a value that does not fit.
    """
    if not given:
        return {}
    known = [f.name for f in fields(kind)] if kind is not None else []
    hints = get_type_hints(kind) if kind is not None else {}
    out = {}
    for name, value in given.items():
        if name not in known:
            wanted = f"expected one of {', '.join(known)}" if known else "it takes none"
            raise InputError(f"registration {method}: no option {name!r}; {wanted}")
        out[name] = _converted(name, value, hints[name])
    kind(**out)  # checks the bounds
    return out


def _converted(name: str, value: Any, hint: Any) -> Any:  # noqa: ANN401
    """A text as a value of the field's type; other values as they are."""
    if not isinstance(value, str):
        return value
    target = next(t for t in (*get_args(hint), hint) if t is not type(None))
    try:
        converted = _WORDS[value.lower()] if target is bool else target(value)
    except (KeyError, ValueError) as error:
        words = {bool: "yes or no", int: "a whole number", float: "a number"}[target]
        raise InputError(f"option {name}: expected {words}, got {value!r}") from error
    if isinstance(converted, float) and not math.isfinite(converted):
        raise InputError(f"option {name}: expected a finite number, got {value!r}")
    return converted
