"""Downloads from a hub on the loopback address, through the hub's own client and pooch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from atlassegfm.cli import app
from atlassegfm.errors import InputError, ModelError
from atlassegfm.models.download import download
from atlassegfm.models.info import ModelInfo, Weights
from atlassegfm.models.registry import MODELS
from atlassegfm.models.weights import MANIFEST, find_weights, folder_of, is_downloaded
from hub import COMMIT, Hub, serving

pooch = pytest.importorskip("pooch", reason="pooch is not installed: pip install 'atlassegfm[download]'")
hub_constants = pytest.importorskip("huggingface_hub.constants", reason="huggingface_hub is not installed")

CONTENT = np.random.default_rng(0).bytes(300_000)
FILES = {"weights.pt": CONTENT, "config.json": b"{}", "README.md": b"not wanted"}


def model(**changes) -> ModelInfo:
    facts = {"licence": "CC BY-NC-SA 4.0", "main": "weights.pt", "about_mb": 1, "commercial": False}
    source = {"repo": "some/model", "files": ("weights.pt", "*.json")}
    return ModelInfo("toy", "toy", "3D", ("mask",), "MIT", weights=Weights(**(facts | source | changes)))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("ATLASSEGFM_HOME", str(tmp_path / "home"))
    for name in ("HF_HUB_OFFLINE", "ATLASSEGFM_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    made = Hub(dict(FILES))
    # Of small files the hub keeps no SHA-256.
    for name in ("config.json", "README.md"):
        del made.declared[name]
    with serving(made):
        # What HF_ENDPOINT would do, had it been set before the import.
        template = hub_constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(hub_constants.ENDPOINT, made.url)
        monkeypatch.setattr(hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hub_constants, "ENDPOINT", made.url)
        yield made


def yes(text: str) -> bool:
    return True


def test_what_is_wanted_comes_is_checked_and_recorded(hub):
    info, asked = model(), []
    assert not is_downloaded(info)
    folder = download(info, lambda text: not asked.append(text))
    assert sorted(p.name for p in folder.iterdir()) == [MANIFEST, "config.json", "weights.pt"]
    assert (folder / "weights.pt").read_bytes() == CONTENT
    record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    assert record["revision"] == COMMIT
    assert record["licence"] == "CC BY-NC-SA 4.0"
    assert record["files"]["weights.pt"] == {
        "sha256": hashlib.sha256(CONTENT).hexdigest(), "bytes": len(CONTENT), "checked": "declared",
    }  # fmt: skip
    assert record["files"]["config.json"]["checked"] == "recorded"
    assert len(asked) == 2
    assert "CC BY-NC-SA 4.0" in asked[0]
    assert "does not allow commercial use" in asked[0]
    assert "knows no SHA-256" in asked[1]
    assert is_downloaded(info)
    found = find_weights(info)
    assert (found.origin, found.revision, found.pinned) == ("downloaded", COMMIT, False)
    assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("answers", [[False], [True, False]])
def test_nothing_is_fetched_without_consent(hub, answers):
    with pytest.raises(InputError, match="nothing was downloaded"):
        download(model(), lambda text: answers.pop(0))
    assert not hub.requests
    assert not folder_of(model()).exists()


def test_a_broken_connection_is_resumed_where_it_ended(hub):
    hub.cut = 100_000
    with pytest.raises(ModelError, match=r"could not be fetched .* run the same command again"):
        download(model(), yes)
    assert not is_downloaded(model())
    hub.cut = None
    download(model(), yes)
    ranges = [asked for path, asked in hub.requests if path.endswith("weights.pt")]
    assert ranges[0] is None
    assert ranges[-1].startswith("bytes=")
    assert 0 < int(ranges[-1][6:-1]) <= 100_000
    assert (folder_of(model()) / "weights.pt").read_bytes() == CONTENT


def test_another_file_than_declared_is_refused_by_name_and_hash(hub):
    hub.declared["weights.pt"] = "ab" * 32
    with pytest.raises(ModelError, match=r"weights\.pt .*abab") as caught:
        download(model(), yes)
    assert "\n" not in str(caught.value)
    assert not is_downloaded(model())


def test_another_file_than_pinned_is_refused_whatever_the_hub_says(hub):
    info = model(sha256={"weights.pt": "cd" * 32})
    with pytest.raises(ModelError, match=r"weights\.pt .*cdcd"):
        download(info, yes)
    assert not is_downloaded(info)


def test_a_pinned_file_is_not_asked_about_and_counts_as_pinned(hub):
    info, asked = model(sha256={"weights.pt": hashlib.sha256(CONTENT).hexdigest()}), []
    download(info, lambda text: not asked.append(text))
    assert len(asked) == 1
    assert find_weights(info).pinned


def test_the_hash_that_the_user_gives_decides(hub):
    with pytest.raises(ModelError, match=f"expected SHA-256 {'ef' * 32}"):
        download(model(), yes, sha256="ef" * 32)
    asked = []
    download(model(), lambda text: not asked.append(text), sha256=hashlib.sha256(CONTENT).hexdigest().upper())
    assert len(asked) == 1
    assert find_weights(model()).pinned


def test_a_monai_bundle_is_fetched_by_monai(hub, monkeypatch):
    """Whose server cannot be played here: what it leaves behind is what its documentation says."""
    bundle = pytest.importorskip("monai.bundle", reason="MONAI is not installed")

    def fetched(name, *, bundle_dir, progress):
        target = Path(bundle_dir) / name / "models" / "model.pt"
        target.parent.mkdir(parents=True)
        target.write_bytes(CONTENT)

    monkeypatch.setattr(bundle, "download", fetched)
    info = model(repo=None, files=(), bundle="vista3d", main="vista3d/models/model.pt")
    download(info, yes)
    found = find_weights(info)
    assert found.path.read_bytes() == CONTENT
    assert not found.pinned


def test_a_file_that_is_changed_later_is_refused(hub):
    info = model()
    path = download(info, yes) / "weights.pt"
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(ModelError, match=r"weights\.pt: expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64} \(damaged"):
        find_weights(info)
    path.write_bytes(CONTENT[:1000])
    assert not is_downloaded(info)
    with pytest.raises(ModelError, match=r"\(1000 of 300000 bytes: truncated\); run 'atlassegfm models download toy'"):
        find_weights(info)


@pytest.mark.parametrize("variable", ["ATLASSEGFM_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_fetched_and_what_is_there_works(hub, monkeypatch, variable):
    download(model(), yes)
    monkeypatch.setenv(variable, "1")
    count = len(hub.requests)
    assert find_weights(model()).origin == "downloaded"
    with pytest.raises(InputError, match=variable):
        download(model(), yes)
    assert len(hub.requests) == count


def test_a_plain_address_works_too(hub):
    info = model(repo=None, files=(), url=f"{hub.url}/weights.pt")
    hub.cut = 100_000
    with pytest.raises(ModelError):
        download(info, yes)
    hub.cut = None
    assert (download(info, yes) / "weights.pt").read_bytes() == CONTENT
    assert hub.requests[-1][1] is not None


def test_a_repository_that_is_not_there_is_one_line(hub):
    hub.files.clear()
    with pytest.raises(ModelError, match=r"expected weights\.pt among the files, got none") as caught:
        download(model(), yes)
    assert "\n" not in str(caught.value)


def test_no_network_is_one_line(hub, monkeypatch):
    monkeypatch.setattr(hub_constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match="the hub does not say what is there") as caught:
        download(model(), yes)
    assert "\n" not in str(caught.value)


class TestCommand:
    """``atlassegfm models download``."""

    @pytest.fixture(autouse=True)
    def toy(self, hub, monkeypatch):
        monkeypatch.setitem(MODELS, "toy", model())

    def run(self, *arguments: str):
        return CliRunner().invoke(app, ["models", *arguments])

    def test_scripts_say_yes_by_options(self):
        refused = self.run("download", "toy")
        assert refused.exit_code == 2
        assert "--accept-licence" in refused.stderr
        half = self.run("download", "toy", "--accept-licence")
        assert half.exit_code == 2
        assert "--accept-unpinned" in half.stderr
        done = self.run("download", "toy", "--accept-licence", "--accept-unpinned")
        assert done.exit_code == 0, done.stderr
        assert "CC BY-NC-SA 4.0" in done.stderr
        assert f"{hashlib.sha256(CONTENT).hexdigest()}  weights.pt" in done.stdout
        assert "downloaded already" in self.run("download", "toy").stdout

    def test_lists_and_pages_tell_what_is_here(self):
        rows = {row["name"]: row for row in json.loads(self.run("list", "--json").stdout)}
        assert rows["toy"]["weights"]["downloaded"] is False
        self.run("download", "toy", "--accept-licence", "--accept-unpinned")
        rows = {row["name"]: row for row in json.loads(self.run("list", "--json").stdout)}
        assert rows["toy"]["weights"]["downloaded"] is True
        assert rows["builtin"]["weights"] is None
        table = self.run("list").stdout
        assert "downloaded" in next(line for line in table.splitlines() if line.startswith("toy"))
        page = self.run("info", "toy").stdout
        assert "not known to this project" in page
        assert "no commercial use" in page

    def test_a_model_without_weights_and_an_unknown_one_are_one_line(self):
        for arguments, word in ((("download", "builtin"), "needs no weights"), (("download", "x"), "expected one of")):
            result = self.run(*arguments)
            assert result.exit_code == 2
            assert word in result.stderr
            assert len(result.stderr.splitlines()) == 1
