"""nnInteractive: prompts reach the session, here and through a real server; neighbours; other kinds of weights."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import echoes
import fabricated
from atlassegfm.errors import InputError, ModelError
from atlassegfm.models.base import prompt_from_labels
from atlassegfm.models.catalogue.nninteractive import Options
from atlassegfm.models.registry import create_model
from atlassegfm.volume import Grid, Volume

KEY = "for-tests-only"


@pytest.fixture(scope="module")
def scene() -> tuple[Volume, Volume]:
    affine = np.array([[-1.0, 0, 0, 30], [0, 0, -1.2, 20], [0, 1.1, 0, -10], [0, 0, 0, 1]])
    grid = Grid((30, 26, 28), affine)
    labels = np.zeros(grid.shape, np.uint8)
    labels[8:19, 7:16, 9:20] = 1
    labels[19:26, 7:16, 9:20] = 2
    noise = np.random.default_rng(1).normal(50, 10, grid.shape)
    return Volume((noise + 80.0 * (labels == 1)).astype(np.float32), grid), Volume(labels, grid)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return fabricated.nninteractive(tmp_path_factory.mktemp("nninteractive"), box3d=True)


@pytest.fixture(scope="module")
def server(weights, tmp_path_factory):
    """The package's own server, a process on the loopback address."""
    program = Path(sys.executable).with_name("nninteractive-server")
    if not program.exists():
        pytest.skip("nninteractive-server is not installed: pip install 'atlassegfm[nninteractive]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [program, "--model-dir", weights, "--fold", "0", "--device", "cpu", "--no-torch-compile", "--no-autozoom",
             "--host", "127.0.0.1", "--port", str(port), "--api-key", KEY],
            stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until and process.poll() is None:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.3)
        else:
            pytest.fail(f"nninteractive-server did not start: {log.read_text()[-2000:]}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def session(weights=None, **options):
    return create_model(
        "nninteractive", device="cpu", seed=0, weights=weights, options={"samples": 1, "autozoom": False} | options
    )


def test_a_server_gives_the_answers_of_a_session_here(weights, server, scene):
    image, labels = scene
    here, there = session(weights), session(server=server, api_key=KEY)
    for model in (here, there):
        model.load()
        model.set_image(image)
    for kind in ("mask", "click", "box2d", "scribble", "lasso", "box"):
        prompt = prompt_from_labels(labels, 1, kind)
        ours, theirs = here.segment(prompt), there.segment(prompt)
        assert set(np.unique(theirs)) <= {0.0, 1.0}
        # Both ran the same network; the wire and the server's threads may move single voxels.
        assert np.mean(ours != theirs) < 1e-3, kind
    assert there.describe()["weights"] == {"origin": "server", "licence": "Fabricated for tests"}


def test_a_wrong_key_and_a_missing_server_are_one_line(server, scene):
    with pytest.raises(ModelError, match=r"does not answer .*api_key") as caught:
        session(server=server, api_key="wrong").load()
    assert "\n" not in str(caught.value)
    assert "wrong" not in str(caught.value)
    with pytest.raises(ModelError, match="check that nninteractive-server runs there"):
        session(server="http://127.0.0.1:9", api_key=KEY).load()


def test_a_place_that_has_run_out_is_taken_again(scene, monkeypatch):
    """Servers give away places that are idle; a registration between two calls can take that long."""
    remote = pytest.importorskip("nnInteractive.inference.remote.remote_session", reason="the client is not installed")
    stand_in = echoes.installed(monkeypatch, "nninteractive", "prompt")
    image, labels = scene
    model = stand_in.session(device="cpu", seed=0, options=Options(samples=1, server="http://127.0.0.1:9"))
    model.set_image(image)
    prompt = prompt_from_labels(labels, 1, "mask")
    model.segment(prompt)
    reset, failures = stand_in.made.reset_interactions, [remote.SessionExpiredError("lease expired")]

    def expiring():
        if failures:
            raise failures.pop()
        reset()

    monkeypatch.setattr(stand_in.made, "reset_interactions", expiring)
    np.testing.assert_array_equal(model.segment(prompt) > 0.5, labels.data == 1)
    assert stand_in.made.images == 2
    failures += [remote.ServerAtCapacityError("server is at capacity (3 sessions)")]
    with pytest.raises(ModelError, match=r"at capacity .* try again later"):
        model.segment(prompt)


def test_address_and_key_can_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("ATLASSEGFM_NNINTERACTIVE_SERVER", "http://127.0.0.1:9")
    monkeypatch.setenv("ATLASSEGFM_NNINTERACTIVE_API_KEY", KEY)
    assert (Options().server, Options().api_key) == ("http://127.0.0.1:9", KEY)
    assert KEY not in repr(Options())
    with pytest.raises(InputError, match="option server"):
        Options(server="somewhere")


def test_weights_without_refinement_get_a_click_with_the_mask(tmp_path, scene, monkeypatch):
    stand_in = echoes.installed(monkeypatch, "nninteractive", "prompt")
    stand_in.made.supports_zero_shot_label_refinement = False
    model = stand_in.session(device="cpu", seed=0, options=Options(samples=1))
    image, labels = scene
    model.set_image(image)
    model.segment(prompt_from_labels(labels, 1, "mask"))
    ((point, positive),) = stand_in.made.clicks
    assert positive
    assert stand_in.made.image[point] > 100


def test_neighbours_are_clicked_as_background(scene, monkeypatch):
    stand_in = echoes.installed(monkeypatch, "nninteractive", "prompt")
    image, labels = scene
    shown = image.with_data((labels.data == 2).astype(np.float32) + 1.0)
    for kind in ("mask", "click"):
        model = stand_in.session(device="cpu", seed=0, options=Options(samples=1, negatives=2))
        model.set_image(shown)
        stand_in.made.clicks.clear()
        model.segment(prompt_from_labels(labels, 1, kind))
        negative = [point for point, positive in stand_in.made.clicks if not positive]
        assert 1 <= len(negative) <= 2
        assert all(stand_in.made.image[point] == 2.0 for point in negative)


def test_the_probability_is_the_agreement_of_answers_to_moved_prompts(scene, monkeypatch):
    stand_in = echoes.installed(monkeypatch, "nninteractive", "prompt")
    image, labels = scene
    model = stand_in.session(device="cpu", seed=0, options=Options(samples=5, wobble_mm=2.0))
    model.set_image(image)
    found = model.segment(prompt_from_labels(labels, 1, "mask"))
    assert set(np.round(np.unique(found) * 5)) == {0, 1, 2, 3, 4, 5}
    inside = labels.data == 1
    assert found[13, 11, 14] == 1.0
    assert found[inside].mean() > 0.7 > 0.3 > found[~inside].mean()
    again = stand_in.session(device="cpu", seed=0, options=Options(samples=5, wobble_mm=2.0))
    again.set_image(image)
    np.testing.assert_array_equal(again.segment(prompt_from_labels(labels, 1, "mask")), found)


def test_one_session_serves_several_scans_in_turn(scene, monkeypatch):
    """The package's session is shared; each adapter sees to it that its own scan is shown."""
    stand_in = echoes.installed(monkeypatch, "nninteractive", "image")
    image, labels = scene
    other = image.with_data(image.data[::-1].copy())
    models = [stand_in.session(device="cpu", seed=0, options=Options(samples=1)) for _ in range(2)]
    for model, shown in zip(models, (image, other), strict=True):
        model.set_image(shown)
    prompt = prompt_from_labels(labels, 1, "click")
    first, second = models[0].segment(prompt), models[1].segment(prompt)
    np.testing.assert_array_equal(models[0].segment(prompt), first)
    np.testing.assert_array_equal(first[::-1], second)


def test_an_image_of_zeros_is_refused(scene, monkeypatch):
    stand_in = echoes.installed(monkeypatch, "nninteractive", "image")
    model = stand_in.session(device="cpu", seed=0)
    model.set_image(scene[0].with_data(np.zeros(scene[0].grid.shape, np.float32)))
    with pytest.raises(InputError, match="voxels that are not zero"):
        model.segment(prompt_from_labels(scene[1], 1, "mask"))


def test_the_public_format_of_the_weights_is_read(tmp_path, scene):
    """nnInteractive 1.0 was published with another description, and with numbers of training beside the tensors."""
    folder = fabricated.nninteractive(tmp_path)
    import torch

    (folder / "inference_info.json").unlink()
    (folder / "inference_session_class.json").write_text('"nnInteractiveInferenceSession"', encoding="utf-8")
    path = folder / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=True)
    torch.save(content | {"logging": {"mean_fg_dice": [np.float64(0.5)]}, "_best_ema": np.float32(0.7)}, path)
    model = session(folder)
    model.set_image(scene[0])
    assert model.segment(prompt_from_labels(scene[1], 1, "click")).shape == scene[0].grid.shape
