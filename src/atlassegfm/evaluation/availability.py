"""Which parts of a method this installation has."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from atlassegfm.errors import InputError
from atlassegfm.evaluation.methods import Method

#: Extra of a registration method to the module that it brings.
_EXTRA_MODULES = {"greedy": "picsl_greedy", "ants": "ants", "elastix": "itk"}


def missing_parts(method: Method) -> list[str]:
    """What a method needs and this version or installation lacks, in words; empty when it can run."""
    from atlassegfm.evaluation.baselines.in_context import SLICE_MODELS
    from atlassegfm.models.registry import MODELS
    from atlassegfm.registration.registry import METHODS

    missing = []
    if method.procedure == "in-context":
        return [] if method.model in SLICE_MODELS else [f"the in-context model {method.model}"]
    if method.registration not in METHODS:
        missing.append(f"the registration {method.registration}")
    else:
        extra = METHODS[method.registration].extra
        if extra in _EXTRA_MODULES and find_spec(_EXTRA_MODULES[extra]) is None:
            missing.append(f"the package of the registration {method.registration} (atlassegfm[{extra}])")
    if method.model not in MODELS:
        missing.append(f"the model {method.model}")
    elif method.model != "none":
        missing += _unsupported(method)
    if method.model != "none" and method.procedure == "pipeline" and method.fusion not in _fusions():
        missing.append(f"the fusion {method.fusion}")
    return missing


def check_available(methods: Sequence[Method]) -> None:
    """Raise `InputError` for the first method that cannot run here."""
    for method in methods:
        missing = missing_parts(method)
        if missing:
            raise InputError(f"--methods: {method.name} needs {' and '.join(missing)}, which is not available here")


def _unsupported(method: Method) -> list[str]:
    """What the method asks of its model or of the pipeline that they do not do."""
    from inspect import signature

    from atlassegfm.models.registry import model_info
    from atlassegfm.pipeline import segment

    missing, kinds = [], model_info(method.model).prompts
    if method.procedure != "clicks" and method.prompt not in ("auto", *kinds):
        missing.append(f"the prompt {method.prompt} in the model {method.model}")
    if not method.customise and method.procedure == "pipeline" and "customise" not in signature(segment).parameters:
        missing.append("a pipeline that can leave out the customisation")
    return missing


def _fusions() -> Sequence[str]:
    from atlassegfm.fusion import FUSIONS

    return tuple(FUSIONS)
