"""The registration methods by name. Light: a method's module is imported when it is first used."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlassegfm.errors import InputError

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
    """

    name: str
    summary: str
    target: str
    extra: str | None = None
    licence: str | None = None


_OWN = "atlassegfm.registration.builtin"
METHODS: dict[str, MethodInfo] = {
    info.name: info
    for info in (
        MethodInfo("default", "own: any start, affine, greedy diffeomorphic LNCC", f"{_OWN}:deformable"),
        MethodInfo("affine", "own: any start, rigid, affine", f"{_OWN}:affine"),
        MethodInfo("rigid", "own: any start, rigid", f"{_OWN}:rigid"),
        MethodInfo("identity", "none: trust the positions in the headers", f"{_OWN}:identity"),
        MethodInfo(
            "greedy",
            "picsl-greedy: affine NCC, diffeomorphic NCC",
            "atlassegfm.registration.greedy:register",
            extra="greedy",
            licence="GPL-3.0 (greedy core)",
        ),
        MethodInfo(
            "ants-syn", "ANTs: affine and SyN", "atlassegfm.registration.ants:syn", extra="ants", licence="Apache-2.0"
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
        Seed, device, progress.

    Raises
    ------
    InputError
        If the method is unknown.
    MissingExtraError
        If its package is not installed.
    RegistrationError
        If no alignment was found.
    """
    if method not in METHODS:
        raise InputError(f"unknown registration method {method!r}: choose one of {', '.join(METHODS)}")
    module, function = METHODS[method].target.split(":")
    return getattr(importlib.import_module(module), function)(fixed, moving, settings)
