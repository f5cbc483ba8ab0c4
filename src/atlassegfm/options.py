"""Options that come as KEY=VALUE, read into the dataclass that declares them. Light: never imports torch or NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from atlassegfm.errors import InputError

_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def check_bounds(options: Any, bounds: Mapping[str, tuple[bool, str]]) -> None:  # noqa: ANN401 - any dataclass
    """Raise `InputError` for the first option that is not what was expected."""
    for name, (holds, expected) in bounds.items():
        if not holds:
            raise InputError(f"option {name}: expected {expected}, got {getattr(options, name)}")


def read_options(owner: str, kind: type | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as their owner takes them.

    Parameters
    ----------
    owner : str
        Whose they are, such as "registration voxelmorph", for messages.
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
            raise InputError(f"{owner}: no option {name!r}; {wanted}")
        out[name] = _converted(name, value, hints[name])
    kind(**out)  # checks the bounds
    return out


def told(kind: type | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a report may tell them: fields marked ``metadata={"secret": True}`` are left out."""
    secret = {f.name for f in fields(kind) if f.metadata.get("secret")} if kind is not None else set()
    return {name: value for name, value in given.items() if name not in secret}


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
