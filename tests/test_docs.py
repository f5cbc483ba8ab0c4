"""The documentation says what the program does: commands run, options and defaults are the code's, links lead on."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from glob import glob
from pathlib import Path

import pytest
import typer.main

from atlassegfm.atlas import Atlas
from atlassegfm.atlases import LABEL_FUSIONS
from atlassegfm.cli import app
from atlassegfm.demo import write_pair
from atlassegfm.fusion import FUSIONS
from atlassegfm.io import read_image
from atlassegfm.io.dicom import META_SERIES, write_rtstruct
from atlassegfm.models.registry import MODELS
from atlassegfm.phantom import make_pair
from atlassegfm.presets import PRESETS
from atlassegfm.registration.registry import METHODS
from atlassegfm.report.formats import FORMATS
from dicom_files import write_series

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
RUNNABLE = re.compile(r"<!-- run -->\n```console\n(.*?)```", re.DOTALL)
COMMANDS = [
    pytest.param(line[2:], id=f"{page.name}: {line[2:60]}")
    for page in PAGES
    for block in RUNNABLE.findall(page.read_text(encoding="utf-8"))
    for line in block.splitlines()
    if line.startswith("$ ")
]


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory) -> Path:
    """The demo's scans, on a coarse grid so that commands are quick, and the same under the names that pages use."""
    folder = tmp_path_factory.mktemp("docs")
    demo = folder / "demo"
    write_pair(make_pair(0, shape=(40, 34, 27), spacing=(6.0, 6.0, 7.0)), demo)
    copies = {
        "atlas": ("atlas", "patient1", "mydata/images/patient1"),
        "atlas_labels": ("atlas_labels", "patient1_labels", "mydata/labels/patient1"),
        "query": (
            "scan",
            "scans/one",
            "mybids/sub-01/anat/sub-01_T1w",
            "patient2",
            "patient3",
            "mydata/images/patient2",
        ),
        "query_truth": ("mydata/labels/patient2",),
    }
    for source, targets in copies.items():
        for target in targets:
            (folder / f"{target}.nii.gz").parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(demo / f"{source}.nii.gz", folder / f"{target}.nii.gz")
    shutil.copyfile(demo / "dataset.json", folder / "mydata" / "dataset.json")
    (folder / "mybids" / "dataset_description.json").write_text('{"Name": "mybids", "BIDSVersion": "1.10.0"}')
    write_dicom(folder / "dicom", demo)
    return folder


def write_dicom(folder: Path, demo: Path) -> None:
    """The same scans as DICOM series, with an RTSTRUCT and a ZIP archive."""
    for source, target in (("atlas", "patient1"), ("query", "patient2")):
        scan = read_image(demo / f"{source}.nii.gz")
        write_series(folder / target, scan.data.astype("i2"), scan.affine, series=target)
    atlas = Atlas.load(folder / "patient1", demo / "atlas_labels.nii.gz", names="1=Liver,3=Kidney_L")
    write_rtstruct(folder / "patient1_rs.dcm", atlas.labels, atlas.image.meta[META_SERIES], atlas.names, atlas.colours)
    shutil.make_archive(str(folder / "patient2"), "zip", folder / "patient2")


def test_there_are_runnable_commands():
    assert COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs(command, demo_folder):
    program, *words = shlex.split(command)
    assert Path(program).name == "atlassegfm"
    arguments = [a for word in words for a in (sorted(glob(word, root_dir=demo_folder)) if "*" in word else [word])]
    done = subprocess.run(
        [sys.executable, "-m", "atlassegfm.cli", *arguments],
        cwd=demo_folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr


def options_of_the_code() -> dict[str, dict[str, str]]:
    """Per command: option name to its default as the documentation writes it."""
    out = {}
    for name, command in typer.main.get_command(app).commands.items():
        out[name] = {}
        # The subcommands of a group are documented in the group's section.
        subcommands = getattr(command, "commands", {"": command}).values()
        for parameter in (p for subcommand in subcommands for p in subcommand.params):
            if parameter.param_type_name != "option" or "--help" in parameter.opts:
                continue
            default = "required" if parameter.required else parameter.default
            text = str(default).lower() if isinstance(default, bool) else str(default)
            for option in (*parameter.opts, *parameter.secondary_opts):
                out[name][option] = "none" if default is None else text
    return out


def options_of_the_page() -> dict[str, dict[str, str]]:
    sections = re.split(r"^## ", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    out = {}
    for section in sections:
        rows = re.findall(r"^\| (`-.*?) \| (.*?) \|", section, flags=re.MULTILINE)
        found = {option: default.strip("`") for cell, default in rows for option in re.findall(r"`(-.*?)`", cell)}
        out[section.splitlines()[0].strip()] = found
    return out


def test_every_option_and_default_is_documented():
    page = options_of_the_page()
    for command, options in options_of_the_code().items():
        assert page[command] == options, command


def test_methods_fusions_presets_and_formats_are_documented():
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for name in (*METHODS, *FUSIONS, *PRESETS, *FORMATS, *LABEL_FUSIONS):
        assert f"`{name}`" in page


def test_the_table_of_models_is_true():
    """A model that joins need not be in it, because `atlassegfm models` lists all; what is in it has to be right."""
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    table = page.split("| model | prompts, preferred one first |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\S+)` \| ?(.*?) ?\| ?(.*?) ?\|$", table, flags=re.MULTILINE)
    assert len(rows) >= 10
    for name, prompts, options in rows:
        info = MODELS[name]
        if info.target is not None:
            assert tuple(re.findall(r"`(\w+)`", prompts)) == info.prompts, name
        known = [] if info.options is None else [f.name for f in fields(info.options)]
        assert [word for word in re.findall(r"`(\w+)`", options) if word in known] == known, name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_index_names_every_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "index.md":
            assert str(page.relative_to(ROOT / "docs")) in index
