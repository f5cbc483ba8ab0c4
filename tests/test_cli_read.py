"""What was given on the command line becomes the keywords of the work, or one line that says what is wrong."""

import pytest
import typer

from atlassegfm.cli import app
from atlassegfm.cli_read import read_command, was_given
from atlassegfm.errors import InputError

GIVEN = ["query.nii.gz", "--atlas", "a.nii.gz", "--labels", "l.nii.gz", "-o", "out"]


def context(*more):
    command = typer.main.get_command(app).commands["segment"]
    return command.make_context("segment", [*GIVEN, *more])


def read(*more):
    ctx = context(*more)
    return read_command(ctx, ctx.params)


def test_defaults_and_what_was_given_are_told_apart():
    ctx = context("--model", "builtin")
    assert was_given(ctx, "model")
    assert not was_given(ctx, "registration")


def test_options_of_the_registration_and_its_quality_come_together():
    settings, _ = read("--quality", "fast", "--registration-option", "seats=no")
    assert settings["options"]["registration_options"] == {"quality": "fast", "seats": False}
    with pytest.raises(InputError, match="quality"):
        read("--quality", "fastest")


def test_what_is_given_comes_before_the_preset():
    preset, _ = read("--preset", "registration")
    both, _ = read("--preset", "registration", "--registration", "affine")
    assert preset["options"]["model"] == both["options"]["model"] == "none"
    assert (preset["options"]["registration"], both["options"]["registration"]) == ("default", "affine")


def test_files_labels_and_formats():
    settings, work = read("--only", "1,3", "--format", "nifti,rtstruct", "--jobs", "2")
    assert (settings["atlas"].name, settings["labels"].name, settings["more_atlases"]) == ("a.nii.gz", "l.nii.gz", ())
    assert list(settings["choices"]["only"]) == [1, 3]
    assert settings["formats"] == ("nifti", "rtstruct")
    assert work["jobs"] == "2"


@pytest.mark.parametrize(("option", "value"), [("--label-fusion", "staple"), ("--most-atlases", "3")])
def test_what_is_about_several_atlases_is_refused_of_one(option, value):
    with pytest.raises(InputError, match=f"{option}: is about several atlases, got one"):
        read(option, value)
