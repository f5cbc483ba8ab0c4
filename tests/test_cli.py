from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from typer.testing import CliRunner

from atlassegfm import cli_segment
from atlassegfm.cli import app
from atlassegfm.cli_register import SUFFIXES
from atlassegfm.errors import RegistrationError
from atlassegfm.io import read_labels, write_image, write_labels
from atlassegfm.registration.transform import Transform
from atlassegfm.volume import Volume
from fakes import fake_segment


@pytest.fixture
def files(tmp_path, image, labels):
    """An atlas and two queries in tmp_path/in."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_image(folder / "atlas.nii.gz", image)
    write_labels(folder / "atlas_labels.nii.gz", labels, image, {1: "liver", 3: "spleen"})
    for name in ("one", "two"):
        write_image(folder / f"{name}.nii.gz", image.with_data(image.data + len(name)))
    return folder


@pytest.fixture
def fake_pipeline(monkeypatch):
    """The pipeline without its work; `calls` holds the options of each call."""
    module = ModuleType("atlassegfm.pipeline")
    module.calls = []
    module.fail_for = set()

    def segment(atlas, query: Volume, **options):
        module.calls.append((atlas, options))
        if float(query.data.mean()) in module.fail_for:
            raise RegistrationError("no alignment found; check that both scans show the same region")
        return fake_segment(atlas, query, **options)

    module.segment = segment
    monkeypatch.setitem(sys.modules, "atlassegfm.pipeline", module)
    yield module
    logging.getLogger("atlassegfm").handlers.clear()


def run(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def segment(files, *more: object, queries: tuple[str, ...] = ("one.nii.gz",), out: object = None):
    atlas = ("--atlas", files / "atlas.nii.gz", "--labels", files / "atlas_labels.nii.gz")
    return run("segment", *(files / q for q in queries), *atlas, "-o", out or files.parent / "out", *more)


def assert_one_line_error(result, *words: str, code: int = 2):
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.exit_code == code
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
    assert result.stdout == ""


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    ).stdout.strip()


def test_import_and_help_do_not_import_torch():
    heavy = "('torch', 'scipy', 'matplotlib', 'nibabel', 'SimpleITK', 'sklearn')"
    assert run_python(f"import sys, atlassegfm; print([m for m in {heavy} if m in sys.modules])") == "[]"
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from atlassegfm.cli import app\n"
        "for line in ([], ['segment'], ['register'], ['evaluate'], ['models'], ['demo'], ['data']):\n"
        "    assert CliRunner().invoke(app, [*line, '--help']).exit_code == 0\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    assert run_python(code) == "[]"


def test_public_names_resolve_late():
    import atlassegfm

    assert atlassegfm.Volume is Volume
    assert atlassegfm.RegistrationError is RegistrationError
    assert "segment" in dir(atlassegfm)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = atlassegfm.nonsense


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("atlassegfm ")


def test_segment_writes_three_files_per_query(files, fake_pipeline):
    result = segment(files, queries=("one.nii.gz", "two.nii.gz"))
    assert result.exit_code == 0, result.stderr
    assert sorted(p.name for p in (files.parent / "out").iterdir()) == sorted(
        f"{stem}_{kind}" for stem in ("one", "two") for kind in ("seg.nii.gz", "qc.png", "report.json")
    )
    for word in ("liver", "spleen", "good", "one_seg.nii.gz"):
        assert word in result.stdout
    assert len({id(atlas) for atlas, _ in fake_pipeline.calls}) == 1  # read once


def test_options_reach_the_pipeline(files, fake_pipeline):
    result = segment(
        files, "--model", "none", "--prompt", "mask", "--registration", "affine", "--fusion", "gate", "--device", "cpu",
        "--seed", 7, "--only", "3", "--label-names", "3=milz,1=leber",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    (atlas,), options = fake_pipeline.calls[0]
    assert atlas.names == {3: "milz"}
    del options["progress"]
    assert options == {
        "model": "none", "prompt": "mask", "registration": "affine", "registration_options": {}, "fusion": "gate",
        "device": "cpu", "seed": 7,
    }  # fmt: skip


def test_options_of_the_registration_reach_the_pipeline(files, fake_pipeline):
    more = ("--registration-option", "iterations=50", "--registration-option", "bfloat16=yes")
    assert segment(files, "--registration", "voxelmorph", *more).exit_code == 0
    assert segment(files, "--preset", "vm-base", *more).exit_code == 0
    first, second = (options["registration_options"] for _, options in fake_pipeline.calls)
    assert first == {"iterations": 50, "bfloat16": True}
    assert second == {"iterations": 50, "learning_rate": 1e-4, "similarity": "mse", "bfloat16": True}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("speed=9", ("registration voxelmorph", "no option 'speed'", "iterations")),
        ("iterations", ("--registration-option", "KEY=VALUE")),
        ("iterations=many", ("iterations", "whole number", "'many'")),
    ],
)
def test_bad_options_of_the_registration_are_one_line(files, fake_pipeline, text, words):
    result = segment(files, "--registration", "voxelmorph", "--registration-option", text)
    assert_one_line_error(result, *words)
    assert not fake_pipeline.calls


def test_a_prompt_that_the_model_does_not_take_is_one_line(files, fake_pipeline):
    assert_one_line_error(segment(files, "--model", "none", "--prompt", "click"), "--prompt of model none", "mask")


def test_preset_gives_the_options_and_those_given_come_first(files, fake_pipeline):
    assert segment(files, "--preset", "gate").exit_code == 0
    assert segment(files, "--preset", "rigid", "--fusion", "kalman-paper").exit_code == 0
    # An option that is given counts even where it equals its own default.
    assert segment(files, "--preset", "affine", "--registration", "default").exit_code == 0
    keys = ("registration", "model", "prompt", "fusion")
    assert [tuple(options[key] for key in keys) for _, options in fake_pipeline.calls] == [
        ("default", "builtin", "auto", "gate"),
        ("rigid", "none", "auto", "kalman-paper"),
        ("default", "none", "auto", "kalman"),
    ]


def test_unknown_and_unavailable_presets_are_one_line(files, fake_pipeline, monkeypatch):
    monkeypatch.delitem(cli_segment.MODELS, "nninteractive", raising=False)
    assert_one_line_error(segment(files, "--preset", "magic"), "--preset", "'magic'", "paper")
    assert_one_line_error(segment(files, "--preset", "paper"), "--preset paper needs the model nninteractive")
    assert_one_line_error(segment(files, "--preset", "paper", "--fusion", "magic"), "--fusion", "'magic'")
    assert not fake_pipeline.calls


def test_json_is_alone_on_stdout(files, fake_pipeline):
    result = segment(files, "--json", queries=("one.nii.gz", "two.nii.gz"))
    listed = json.loads(result.stdout)
    assert [entry["status"] for entry in listed] == ["done", "done"]
    assert listed[0]["query"] == str(files / "one.nii.gz")
    assert listed[0]["outputs"]["qc"].endswith("one_qc.png")
    assert listed[0]["labels"][0]["name"] == "liver"
    assert result.stderr == ""


def test_one_failure_of_two_goes_on_and_exits_3(files, fake_pipeline, image):
    fake_pipeline.fail_for = {float((image.data + 3).mean())}
    write_image(files / "other.nii.gz", image.with_data(image.data + 40))
    result = segment(files, "--json", queries=("one.nii.gz", "other.nii.gz"))
    assert result.exit_code == 3
    assert [entry["status"] for entry in json.loads(result.stdout)] == ["failed", "done"]
    assert "one.nii.gz: no alignment found" in result.stderr
    assert "1 of 2 queries failed" in result.stderr
    assert sorted(p.name for p in (files.parent / "out").iterdir())[0] == "other_qc.png"


def test_a_single_failure_exits_2_and_leaves_no_folder(files, fake_pipeline, image):
    fake_pipeline.fail_for = {float((image.data + 3).mean())}
    result = segment(files, out=files.parent / "new" / "deep")
    assert_one_line_error(result, "one.nii.gz", "no alignment")
    assert not (files.parent / "new").exists()


def test_disk_full_is_one_line(files, fake_pipeline, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "/data/x.nii.gz")

    monkeypatch.setattr("atlassegfm.report.outputs.write_outputs", full)
    assert_one_line_error(segment(files), "No space left on device", "one.nii.gz")


def test_out_of_memory_is_one_line(files, fake_pipeline, monkeypatch):
    def hungry(*_, **__):
        raise MemoryError

    fake_pipeline.segment = hungry
    assert_one_line_error(segment(files), "not enough memory")


def test_interrupt_exits_130(files, fake_pipeline):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    fake_pipeline.segment = interrupted
    assert_one_line_error(segment(files), "interrupted", code=130)
    assert not (files.parent / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--model", "segmentall", "builtin, none"),
        ("--prompt", "scribble", "auto, mask, click, box, box2d"),
        ("--registration", "magic", "default"),
        ("--fusion", "mean", "kalman, gate, kalman-paper, none"),
        ("--only", "liver", "1,2,6"),
        ("--only", "7", "7"),
        ("--label-names", "no_such_file.ctbl", "no_such_file.ctbl"),
    ],
)
def test_wrong_values_name_the_right_ones(files, fake_pipeline, option, value, word):
    assert_one_line_error(segment(files, option, value), word)
    assert not (files.parent / "out").exists()


def test_missing_query_before_anything_is_computed(files, fake_pipeline):
    result = segment(files, queries=("one.nii.gz", "three.nii.gz"))
    assert_one_line_error(result, "three.nii.gz", "no such file")
    assert fake_pipeline.calls == []


def test_query_that_is_not_an_image_by_name(files, fake_pipeline):
    (files / "scan.pdf").write_bytes(b"%PDF")
    assert_one_line_error(segment(files, queries=("scan.pdf",)), "scan.pdf", ".nii.gz")


def test_two_queries_of_the_same_name(files, fake_pipeline, image):
    (files / "b").mkdir()
    write_image(files / "b" / "one.nii.gz", image)
    result = segment(files, queries=("one.nii.gz", "b/one.nii.gz"))
    assert_one_line_error(result, "one.nii.gz", "another folder")


def test_no_input_is_overwritten(files, fake_pipeline, image):
    write_image(files / "one_seg.nii.gz", image)
    before = (files / "one_seg.nii.gz").read_bytes()
    result = segment(files, queries=("one.nii.gz", "one_seg.nii.gz"), out=files)
    assert_one_line_error(result, "one_seg.nii.gz", "overwritten")
    assert (files / "one_seg.nii.gz").read_bytes() == before


def test_no_input_is_overwritten_through_a_link(files, fake_pipeline):
    os.link(files / "atlas_labels.nii.gz", files / "one_seg.nii.gz")
    assert_one_line_error(segment(files, out=files), "atlas_labels.nii.gz", "overwritten")


def test_output_folder_that_is_a_file(files, fake_pipeline):
    (files / "taken").write_text("x")
    assert_one_line_error(segment(files, out=files / "taken"), "taken", "it is a file")
    assert_one_line_error(segment(files, out=files / "taken" / "deeper"), "deeper")


def test_unknown_option_exits_2(files):
    assert segment(files, "--nonsense").exit_code == 2


def test_atlas_notices_are_warnings(files, fake_pipeline, labels):
    (files / "dataset.json").write_text("not json")
    result = segment(files)
    assert result.exit_code == 0
    assert "warning: atlas:" in result.stderr


def test_error_text_is_one_line_whatever_it_holds():
    assert cli_segment.one_line(ValueError("a\nb")) == "a b"
    assert cli_segment.one_line(ValueError()) == "ValueError"


def test_prompts_are_those_of_the_pipeline():
    from atlassegfm.asked import PROMPTS

    assert cli_segment.PROMPTS == PROMPTS


def test_models_list_and_info():
    listed = run("models", "list")
    assert {"builtin", "none"} <= {line.split()[0] for line in listed.stdout.splitlines()}
    assert run("models").stdout == listed.stdout
    info = run("models", "info", "builtin")
    assert "licence" in info.stdout
    assert_one_line_error(run("models", "info", "nothing"), "builtin")


def register(files, *more: object, out: object = None):
    scans = ("--fixed", files / "one.nii.gz", "--moving", files / "two.nii.gz")
    return run("register", *scans, "-o", out or files.parent / "reg", *more)


def test_register_writes_what_it_says(files, fake_pipeline, labels):
    out = files.parent / "reg"
    result = register(
        files, "--moving-labels", files / "atlas_labels.nii.gz", "--method", "identity", "--jacobian", "--device",
        "cpu", "--inverse-consistency", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    names = {p.name for p in out.iterdir()}
    assert {f"two_{end}" for end in SUFFIXES} < names
    assert {"two.h5", "two_inverse.h5"} < names
    assert set(report["outputs"]) | {"two_register.json"} == names
    assert report == json.loads((out / "two_register.json").read_text())
    np.testing.assert_array_equal(read_labels(out / "two_warped_labels.nii.gz").data, labels.data)
    assert report["measures"]["similarity_after"] == pytest.approx(1.0)
    assert report["measures"]["inverse_from"] == "reverse registration"
    assert report["parameters"] == {"method": "identity", "options": {}, "seed": 0, "device": "cpu"}
    assert {"read", "measure", "write"} <= set(report["timings"])
    assert all(set(stage) == {"seconds", "peak_mb"} for stage in report["timings"].values())


def test_register_tells_what_came_of_it(files, fake_pipeline):
    result = register(files, "--method", "identity")
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.splitlines()
    for word in ("similarity 1.000 before", "1.000 after", "folding 0.000 %", "SD log J", "numerical inverse"):
        assert word in first
    assert second.startswith("written: ")
    assert "two_jacobian.nii.gz" not in second


def test_register_options_reach_the_method(files, fake_pipeline, monkeypatch):
    from atlassegfm.registration.registry import METHODS
    from atlassegfm.registration.result import RegistrationResult

    seen = []
    module = ModuleType("spy")
    module.look = lambda fixed, moving, settings: seen.append(settings) or RegistrationResult(Transform())
    monkeypatch.setitem(sys.modules, "spy", module)
    monkeypatch.setitem(METHODS, "voxelmorph", replace(METHODS["voxelmorph"], target="spy:look"))
    more = ("--option", "iterations=30", "--option", "similarity=ncc", "--option", "iterations=20", "--seed", 3)
    result = register(files, "--method", "voxelmorph", *more, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert seen[0].options == {"iterations": 20, "similarity": "ncc"}
    assert (seen[0].seed, seen[0].device) == (3, "cpu")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "magic"), ["--method", "voxelmorph"]),
        (("--method", "voxelmorph", "--option", "iterations"), ["--option", "KEY=VALUE", "'iterations'"]),
        (("--method", "voxelmorph", "--option", "steps=3"), ["no option 'steps'", "iterations"]),
        (("--method", "voxelmorph", "--option", "iterations=few"), ["whole number", "'few'"]),
        (("--method", "rigid", "--option", "iterations=3"), ["rigid", "takes none"]),
        (("--device", "tpu"), ["--device", "auto, cpu, cuda", "'tpu'"]),
    ],
)
def test_register_wrong_values_name_the_right_ones(files, fake_pipeline, arguments, words):
    assert_one_line_error(register(files, *arguments), *words)
    assert not (files.parent / "reg").exists()


def test_register_refuses_to_overwrite(files):
    os.link(files / "one.nii.gz", files / "two_warped.nii.gz")
    assert_one_line_error(register(files, out=files), "one.nii.gz", "overwritten")


def test_overlapping_masks_and_uncertainty(files, fake_pipeline):
    result = segment(files, "--overlapping", "--uncertainty")
    assert result.exit_code == 0, result.stderr
    out = files.parent / "out"
    assert {p.name for p in out.glob("*.nii.gz")} == {
        "one_seg_liver.nii.gz",
        "one_seg_spleen.nii.gz",
        "one_uncertainty.nii.gz",
    }
    liver, spleen = (read_labels(out / f"one_seg_{name}.nii.gz").data for name in ("liver", "spleen"))
    assert (liver[spleen > 0] > 0).all(), "the fake's larger label holds the smaller one"
    assert fake_pipeline.calls[0][1]["overlapping"] is True
    assert fake_pipeline.calls[0][1]["keep_probabilities"] is True
    told = json.loads((out / "one_report.json").read_text())["outputs"]
    assert {"mask_1", "mask_3", "uncertainty", "qc"} <= set(told)


def test_overlapping_masks_do_not_overwrite_an_input(files, fake_pipeline):
    image = files / "one_seg_liver.nii.gz"
    image.write_bytes((files / "atlas_labels.nii.gz").read_bytes())
    atlas = ("--atlas", files / "atlas.nii.gz", "--labels", image)
    result = run("segment", files / "one.nii.gz", *atlas, "-o", files, "--overlapping")
    assert_one_line_error(result, "one_seg_liver.nii.gz")


def test_overlapping_in_a_flat_format_is_one_line(files, fake_pipeline):
    assert_one_line_error(segment(files, "--overlapping", "--format", "nifti,nrrd"), "--overlapping", "nrrd")
