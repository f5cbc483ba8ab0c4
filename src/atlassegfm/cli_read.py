"""What was given to ``atlassegfm segment`` and ``bids``, checked before anything is loaded."""

from __future__ import annotations

from typing import Any

import typer

from atlassegfm.asked import PROMPTS
from atlassegfm.atlases import LABEL_FUSIONS
from atlassegfm.atlases.files import atlas_files
from atlassegfm.cohort.engine_choice import read_engine
from atlassegfm.errors import InputError
from atlassegfm.fusion import FUSIONS
from atlassegfm.models.registry import MODELS, made_options, model_options, served
from atlassegfm.models.weights import check_weights
from atlassegfm.presets import PRESETS, preset_options
from atlassegfm.registration.registry import METHODS
from atlassegfm.report.formats import asked_formats, needs_probabilities


def read_command(ctx: typer.Context, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was given on the command line, checked: keywords of `CohortSettings`, and of `cohort.runner.Work`.

    Parameters
    ----------
    ctx : Context
        Tells what the user gave and what is a default.
    given : dict
        Values by the names of the parameters of `segment_command`.

    Raises
    ------
    InputError
        Names the option that cannot be used.
    """
    from atlassegfm import cli_checks
    from atlassegfm.cli_display import set_up_logging

    set_up_logging(given["verbose"])
    method = {key: given[key] for key in ("model", "prompt", "registration", "fusion") if was_given(ctx, key)}
    registration_options = cli_checks.key_values(given["registration_option"], "--registration-option")
    registration_options |= {} if given["quality"] is None else {"quality": given["quality"]}
    model_options = cli_checks.key_values(given["model_option"], "--model-option")
    loading = {
        "model_options": model_options | ({"customise": "no"} if given["no_customise"] else {}),
        "weights": given["weights"],
        "weights_sha256": given["weights_sha256"],
    }
    options = _with_preset(given["preset"], method, registration_options, loading)
    choices = {
        "names": cli_checks.label_names_source(given["label_names"]),
        "only": cli_checks.whole_numbers(given["only"], "--only"),
        "rois": cli_checks.names_given(given["rois"], "--rois"),
        "series": given["atlas_series"],
    }
    wanted = asked_formats(given["formats"], overlapping=given["overlapping"], uncertainty=given["uncertainty"])
    if given["overlapping"]:
        options["overlapping"] = True
    if needs_probabilities(wanted, options["model"]):
        options["keep_probabilities"] = True
    options |= {key: given[key] for key in ("device", "seed")}
    (atlas, labels), *more = atlas_files(given["atlas"], given["labels"] or ())
    if more:
        cli_checks.check_choice(given["label_fusion"], LABEL_FUSIONS, "--label-fusion")
        options |= {key: given[key] for key in ("label_fusion", "most_atlases")}
    else:
        _check_alone(ctx)
    settings = {"atlas": atlas, "labels": labels, "more_atlases": tuple(more), "choices": choices, "options": options}
    work = {key: given[key] for key in ("jobs", "timeout", "retry_failed", "threads")}
    cluster = cli_checks.key_values(given["dask_option"], "--dask-option")
    work["dask"] = read_engine(given["engine"], given["dask_address"], given["dask_cluster"], cluster, given["jobs"])
    return {**settings, "formats": tuple(wanted)}, work


def _check_alone(ctx: typer.Context) -> None:
    """Refuse options that say something about several atlases where there is one."""
    for key in ("label_fusion", "most_atlases"):
        if was_given(ctx, key):
            raise InputError(f"--{key.replace('_', '-')}: is about several atlases, got one; give --atlas again")


def was_given(ctx: typer.Context, name: str) -> bool:
    """Whether the user gave the option, rather than leaving it at its default."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _with_preset(
    preset: str, given: dict[str, str], registration_options: dict[str, str], loading: dict[str, Any]
) -> dict[str, Any]:
    """Model, prompt, registration and fusion: those of the preset, replaced by those given, all checked.

    `loading` is what else the model is told: its options and weights.
    """
    from atlassegfm.cli_checks import check_choice
    from atlassegfm.registration.options import read_options

    choices = {"model": MODELS, "prompt": PROMPTS, "registration": METHODS, "fusion": FUSIONS}
    for key, value in given.items():
        check_choice(value, choices[key], f"--{key}")
    name = given.get("model", PRESETS[preset].model if preset in PRESETS else "none")
    if name in MODELS:
        loading["model_options"] = model_options(name, loading["model_options"])
    told = {key: value for key, value in loading.items() if value}
    options = preset_options(preset, given | {"registration_options": registration_options} | told)
    method = METHODS[options["registration"]]
    options["registration_options"] = read_options(method.name, method.options, options["registration_options"])
    model = options["model"]
    check_choice(options["prompt"], ("auto", *MODELS[model].prompts), f"--prompt of model {model}")
    elsewhere = served(MODELS[model], made_options(MODELS[model], loading["model_options"]))
    check_weights(MODELS[model], loading["weights"], loading["weights_sha256"], served=elsewhere)
    return options
