"""Which parts of a method this installation has."""

from __future__ import annotations

from collections.abc import Sequence

from atlassegfm import presets
from atlassegfm.errors import InputError
from atlassegfm.evaluation.baselines.slice_models import SLICE_MODELS
from atlassegfm.evaluation.methods import Method


def missing_parts(method: Method) -> list[str]:
    """What a method needs and this version or installation lacks, in words; empty when it can run."""
    if method.procedure == "in-context":
        if method.model not in SLICE_MODELS:
            return [f"the in-context model {method.model}"]
        return SLICE_MODELS[method.model].missing()
    missing = presets.missing_parts(method.registration, method.model, method.prompt, method.fusion)
    if method.procedure != "pipeline":
        missing.pop("fusion", None)
    if method.procedure in ("clicks", "unprompted"):
        missing.pop("prompt", None)
    if not method.customise and method.procedure == "pipeline" and not _customise_can_be_left_out():
        missing["customise"] = "a pipeline that can leave out the customisation"
    return list(missing.values())


def check_available(methods: Sequence[Method]) -> None:
    """Raise `InputError` for the first method that cannot run here."""
    for method in methods:
        missing = missing_parts(method)
        if missing:
            raise InputError(
                f"the method {method.name} needs {' and '.join(missing)}, which is not available here; "
                "'--methods list' shows which are"
            )


def _customise_can_be_left_out() -> bool:
    from inspect import signature

    from atlassegfm.pipeline import segment

    return "customise" in signature(segment).parameters
