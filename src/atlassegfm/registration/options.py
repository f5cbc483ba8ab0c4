"""What a user may change about a registration method: names, types, defaults and bounds. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atlassegfm import options
from atlassegfm.errors import InputError
from atlassegfm.options import check_bounds

#: Similarity of the test-time network to its default weight of the gradient penalty (displacements in voxels).
#: 0.01 beside MSE is in the paper's published code, 1 beside NCC in VoxelMorph's; MI has the range of NCC.
NETWORK_SIMILARITIES = {"mse": 0.01, "ncc": 1.0, "mi": 1.0}
#: Fewest voxels along the edge of the working copy, as if it were a cube.
MIN_NETWORK_VOXELS = 8


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
        check_bounds(
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
        check_bounds(
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
        check_bounds(
            self,
            {
                "iterations": (self.iterations >= 1, "1 or more"),
                "smoothness": (self.smoothness > 0, "more than 0"),
            },
        )


#: How much work the built-in registration puts in.
QUALITIES = ("fast", "default", "best")


@dataclass(frozen=True)
class OwnOptions:
    """Options of the built-in deformable registration.

    Parameters
    ----------
    quality : {"fast", "default", "best"}
        See `plans.PLANS`.
    seats : bool
        Whether labels are looked for one by one (see `seat`): by "best" to steer the registration towards them, by
        `segment` before it prompts a model.

    Raises
    ------
    InputError
        If it is none of them.
    """

    quality: str = "default"
    seats: bool = True

    def __post_init__(self) -> None:
        if self.quality not in QUALITIES:
            raise InputError(f"option quality: expected one of {', '.join(QUALITIES)}, got {self.quality!r}")


def read_options(method: str, kind: type | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the registration `method` takes them; see `atlassegfm.options.read_options`."""
    return options.read_options(f"registration {method}", kind, given)
