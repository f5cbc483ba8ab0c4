"""What was asked of the pipeline: names looked up, "auto" resolved, errors for what does not exist."""

from __future__ import annotations

from typing import Any

from atlassegfm.atlases import LABEL_FUSIONS
from atlassegfm.errors import InputError
from atlassegfm.fusion import FUSIONS
from atlassegfm.models.info import KINDS
from atlassegfm.models.registry import model_info, model_options
from atlassegfm.registration.options import read_options
from atlassegfm.registration.registry import METHODS
from atlassegfm.runtime import resolve_device

PROMPTS = ("auto", *KINDS)


def checked_options(**options: Any) -> dict[str, Any]:  # noqa: ANN401
    """The options with "auto" resolved; errors for what does not exist."""
    info = model_info(options["model"])
    if options["registration"] not in METHODS:
        raise InputError(f"unknown registration method {options['registration']!r}: choose one of {', '.join(METHODS)}")
    method = METHODS[options["registration"]]
    options["registration_options"] = read_options(method.name, method.options, options["registration_options"])
    if options["fusion"] not in FUSIONS:
        raise InputError(f"unknown fusion {options['fusion']!r}: choose one of {', '.join(FUSIONS)}")
    if options["prompt"] not in PROMPTS:
        raise InputError(f"unknown prompt {options['prompt']!r}: choose one of {', '.join(PROMPTS)}")
    if options["prompt"] == "auto":
        options["prompt"] = info.prompts[0]
    elif options["prompt"] not in info.prompts:
        raise InputError(f"model {info.name} takes {', '.join(info.prompts)} as prompt, not {options['prompt']}")
    options["model_options"] = model_options(info.name, options["model_options"])
    options["device"] = resolve_device(options["device"])
    return options


def several_options(count: int, label_fusion: str, most_atlases: int) -> dict[str, Any]:
    """What is said of several atlases; nothing where there is one, whose results do not depend on it."""
    if label_fusion not in LABEL_FUSIONS:
        raise InputError(f"unknown label fusion {label_fusion!r}: choose one of {', '.join(LABEL_FUSIONS)}")
    if count < 1 or most_atlases < 1:
        raise InputError(f"expected at least one atlas, got {min(count, most_atlases)}")
    return {"label_fusion": label_fusion, "most_atlases": most_atlases} if count > 1 else {}
