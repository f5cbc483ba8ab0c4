"""Stand-ins for the networks of the adapters that answer with what they are shown: an image, or their prompt.

What the real networks do to geometry inside (SAM's 256 x 256 masks) is theirs; everything before and after is ours.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

#: Models that have a stand-in here.
KNOWN = ("medsam", "medsam2", "nninteractive", "sam", "sam-med3d", "sam2", "vesselfm", "vista3d")
#: Keeps logits of certain answers finite, and small enough for float32 to give the probability back.
EDGE = 1e-6


def logit(probability: Any) -> Any:
    """Inverse of the sigmoid, of a tensor."""
    clipped = probability.clamp(EDGE, 1.0 - EDGE)
    return (clipped / (1.0 - clipped)).log()


def vesselfm(image: Any) -> Any:
    """DynUNet: intensities in [0, 1] come back as logits."""
    return logit(image)


def vista3d(image: Any, **told: Any) -> Any:
    """VISTA3D's point branch on one window."""
    assert told["transpose"]
    return logit(image)


class SamMed3D:
    """Encoder, prompt encoder and decoder; the decoder gives logits at full size, which real ones do not."""

    def __init__(self) -> None:
        self.clicks: list[tuple[int, ...]] = []
        self.prompt_encoder = self._prompts
        self._prompts.__func__.get_dense_pe = lambda: None

    def image_encoder(self, pixels: Any) -> Any:
        self.pixels = pixels
        return pixels

    def _prompts(self, points: Any, boxes: Any, masks: Any) -> tuple[Any, Any]:
        self.clicks.append(tuple(int(v) for v in points[0][0, 0]))
        return points, masks

    def mask_decoder(self, image_embeddings: Any, **_: Any) -> tuple[Any, None]:
        low, high = image_embeddings.min(), image_embeddings.max()
        return logit((image_embeddings - low) / (high - low)), None


class Sam:
    """The picture's grey levels for "image", else the box, click or mask as told."""

    def __init__(self, of: str) -> None:
        self.of, self.clicks = of, []

    def embedding(self, picture: np.ndarray, device: str) -> Any:
        import torch

        return torch.from_numpy(picture)

    def answer(self, embedding: Any, shape: tuple[int, int], device: str, **told: Any) -> np.ndarray:
        if self.of == "image":
            return (embedding.float() / 255.0).numpy()
        if told.get("mask") is not None:
            return told["mask"].astype(np.float32)
        out = np.zeros(shape, np.float32)
        x0, y0, x1, y1 = told["box"] if told.get("box") is not None else (*told["point"], *told["point"])
        out[y0 : y1 + 1, x0 : x1 + 1] = 1.0
        return out


def follow(of: str) -> Any:
    """`VideoModel._follow` of a model that repeats the frames, or the prompt on the frames of the object."""

    def frames_of(self: Any, frames: np.ndarray, prompt: Any) -> Any:
        for number, frame in enumerate(frames):
            if of == "image":
                yield number, (frame / 255.0 - 0.5) * 40.0
                continue
            shown = np.zeros(frame.shape, bool)
            if number == prompt.frame:
                if prompt.mask is not None:
                    shown = prompt.mask
                else:
                    x0, y0, x1, y1 = prompt.box or (*prompt.point, *prompt.point)
                    shown[y0 : y1 + 1, x0 : x1 + 1] = True
            yield number, np.where(shown, 20.0, -20.0)

    return frames_of


class NnInteractive:
    """nnInteractive's session: the target buffer becomes the prompt, or the image above its mean."""

    license = "none"
    supports_zero_shot_label_refinement = True
    supported_interactions = dict.fromkeys(("points", "bbox2d", "bbox3d", "scribble", "lasso"), True)

    def __init__(self, of: str) -> None:
        self.of, self.clicks, self.images = of, [], 0

    def set_image(self, image: np.ndarray) -> None:
        self.image, self.images = image[0], self.images + 1

    def set_target_buffer(self, buffer: np.ndarray) -> None:
        self.buffer = buffer

    def set_do_autozoom(self, wanted: bool) -> None:
        self.autozoom = wanted

    def reset_interactions(self) -> None:
        self.buffer[:] = 0

    def _say(self, region: Any, values: Any = 1) -> None:
        if self.of == "image":
            self.buffer[:] = self.image > self.image.mean()
        else:
            self.buffer[region] = values

    def add_initial_seg_interaction(self, mask: np.ndarray, run_prediction: bool = False) -> None:
        self._say(..., mask)

    def add_point_interaction(
        self, point: tuple[int, ...], include_interaction: bool, run_prediction: bool = True
    ) -> None:
        self.clicks.append((tuple(point), include_interaction))
        if include_interaction:
            self._say(tuple(point))

    def add_bbox_interaction(self, box: Any, include_interaction: bool) -> None:
        self._say(tuple(slice(*pair) for pair in box))

    def _drawn(self, drawn: np.ndarray, include_interaction: bool, interaction_bbox: Any) -> None:
        self._say(tuple(slice(*pair) for pair in interaction_bbox), drawn)

    add_scribble_interaction = add_lasso_interaction = _drawn


def installed(monkeypatch: Any, name: str, of: str) -> SimpleNamespace:
    """Put the stand-in of a model in place of its network; `made` is it, where it has something to tell."""
    from importlib import import_module

    module = import_module(f"atlassegfm.models.catalogue.{name.replace('-', '_')}")
    session = getattr(module, module.INFO.target.split(":")[1])
    if name in ("sam2", "medsam2"):
        monkeypatch.setattr(session, "_follow", follow(of))
        monkeypatch.setattr(session, "load", lambda self: None)
        return SimpleNamespace(session=session, made=None)
    made = {
        "vesselfm": lambda: vesselfm,
        "vista3d": lambda: vista3d,
        "sam-med3d": SamMed3D,
        "sam": lambda: Sam(of),
        "medsam": lambda: Sam(of),
        "nninteractive": lambda: NnInteractive(of),
    }[name]()
    monkeypatch.setattr(session, "network", lambda self: made)
    return SimpleNamespace(session=session, made=made)
