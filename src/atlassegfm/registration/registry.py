"""The registration methods by name. Light: a method's module is imported when it is first used."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from atlassegfm.errors import InputError
from atlassegfm.registration.options import ConvexAdamOptions, ElastixOptions, NetworkOptions, OwnOptions, read_options

if TYPE_CHECKING:
    from atlassegfm.registration.result import RegistrationResult, Settings
    from atlassegfm.volume import Volume


@dataclass(frozen=True)
class MethodInfo:
    """One registration method.

    Parameters
    ----------
    name : str
        What the user types.
    summary : str
        One line for help pages.
    target : str
        "module:function"; the function takes (fixed, moving, settings) and returns a RegistrationResult.
    extra : str or None
        Optional dependency group that brings the package it needs.
    licence : str or None
        Licence of that package, where it is not ours.
    options : dataclass or None
        What it takes beyond the seed and the device; see `options.read_options`.
    """

    name: str
    summary: str
    target: str
    extra: str | None = None
    licence: str | None = None
    options: type | None = None


_OWN = "atlassegfm.registration.builtin"
_NETWORK = "atlassegfm.registration.voxelmorph"
_ANTS = "atlassegfm.registration.ants"
METHODS: dict[str, MethodInfo] = {
    info.name: info
    for info in (
        MethodInfo(
            "default", "own: any start, affine, greedy diffeomorphic LNCC", f"{_OWN}:deformable", options=OwnOptions
        ),
        MethodInfo("affine", "own: any start, rigid, affine", f"{_OWN}:affine"),
        MethodInfo("rigid", "own: any start, rigid", f"{_OWN}:rigid"),
        MethodInfo("identity", "none: trust the positions in the headers", f"{_OWN}:identity"),
        MethodInfo(
            "rigid-deformable",
            "own: any start, rigid, deformable (Table 4)",
            f"{_OWN}:rigid_deformable",
            options=OwnOptions,
        ),
        MethodInfo(
            "deformable-only",
            "own: deformable from the headers (Table 4)",
            f"{_OWN}:deformable_only",
            options=OwnOptions,
        ),
        MethodInfo(
            "voxelmorph",
            "the paper's: any start, affine, a U-Net optimised for the pair",
            f"{_NETWORK}:voxelmorph",
            options=NetworkOptions,
        ),
        MethodInfo(
            "voxelmorph-rigid",
            "the paper's U-Net after a rigid alignment (Table 4)",
            f"{_NETWORK}:from_rigid",
            options=NetworkOptions,
        ),
        MethodInfo(
            "voxelmorph-only",
            "the paper's U-Net from the headers (Table 4)",
            f"{_NETWORK}:from_headers",
            options=NetworkOptions,
        ),
        MethodInfo(
            "greedy",
            "picsl-greedy: affine NCC, diffeomorphic NCC",
            "atlassegfm.registration.greedy:register",
            extra="greedy",
            licence="GPL-3.0 (greedy core)",
        ),
        MethodInfo(
            "elastix",
            "elastix: rigid, affine, B-spline on mutual information",
            "atlassegfm.registration.elastix:register",
            extra="elastix",
            licence="Apache-2.0",
            options=ElastixOptions,
        ),
        MethodInfo(
            "convexadam",
            "own affine, then ConvexAdam on MIND features",
            "atlassegfm.registration.convexadam:register",
            extra="convexadam",
            licence="Apache-2.0",
            options=ConvexAdamOptions,
        ),
        MethodInfo("ants-syn", "ANTs: affine and SyN", f"{_ANTS}:syn", extra="ants", licence="Apache-2.0"),
        MethodInfo(
            "ants-syn-rigid-affine",
            "ANTs: rigid, affine and SyN (Table 7)",
            f"{_ANTS}:syn_rigid_affine",
            extra="ants",
            licence="Apache-2.0",
        ),
        MethodInfo(
            "ants-syn-only",
            "ANTs: SyN from the headers (Table 7)",
            f"{_ANTS}:syn_only",
            extra="ants",
            licence="Apache-2.0",
        ),
    )
}


def register(fixed: Volume, moving: Volume, method: str, settings: Settings) -> RegistrationResult:
    """Align `moving` (atlas) with `fixed` (query).

    Parameters
    ----------
    fixed, moving : Volume
        Images; the result maps fixed world points to moving world points, RAS+ mm.
    method : str
        A name out of `METHODS`.
    settings : Settings
        Seed, device, progress, options.

    Raises
    ------
    InputError
        If the method is unknown or does not take an option.
    MissingExtraError
        If its package is not installed.
    RegistrationError
        If no alignment was found.
    """
    if method not in METHODS:
        raise InputError(f"unknown registration method {method!r}: choose one of {', '.join(METHODS)}")
    info = METHODS[method]
    settings = replace(settings, options=read_options(method, info.options, settings.options))
    module, function = info.target.split(":")
    return getattr(importlib.import_module(module), function)(fixed, moving, settings)
