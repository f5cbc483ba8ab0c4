"""The atlas seen anew: other shapes, other intensities, and priors that err as its registration errs.

Everything is in voxels of the atlas's isotropic working copy. Labels are numbered 1 to L in ascending order of value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from atlassegfm.builtin.fields import along_axes, blur_matrix, smooth_field
from atlassegfm.registration.grids import identity, sample

#: Rotation about each axis, degrees, and logarithm of the stretch along each: standard deviations.
TURN, STRETCH = 6.0, 0.07
#: Bending: root mean square length of the displacement, voxels, and over how many voxels it varies.
BEND, BEND_LENGTH = (0.5, 3.5), (18.0, 45.0)
#: Displacement of the prior relative to the label's border error in the round trip, which is optimistic: the way to a
#: query errs one to three times as much, of which labelling is a part. Over how many voxels it varies.
SEVERITY, ERROR_LENGTH = (0.6, 2.4), (10.0, 40.0)
#: Border errors that no map from image to image explains, voxels.
ROUGHNESS, ROUGHNESS_LENGTH = 0.7, 5.0
#: Part of the lessons whose prior is perfect.
PERFECT = 0.06
#: How fast the expected error changes from one label to the next, voxels.
ERROR_BLUR = 4.0


@dataclass(frozen=True, eq=False)
class Lesson:
    """Image (float32, scale about [0, 1]), truth and prior (label numbers), all of shape (I, J, K)."""

    image: np.ndarray
    truth: np.ndarray
    prior: np.ndarray


class Augmenter:
    """Makes lessons out of one labelled scan.

    Parameters
    ----------
    image : numpy.ndarray, float32, shape (I, J, K)
        Working copy of the atlas around its labels.
    truth : numpy.ndarray of integers, same shape
        Label numbers.
    errors, limits : sequence of float
        Border error of labels 1 to L in the round trip, and the most that a lesson's prior should err, voxels.
    """

    def __init__(
        self,
        image: np.ndarray,
        truth: np.ndarray,
        errors: Sequence[float],
        limits: Sequence[float],
    ) -> None:
        low, high = np.percentile(image, (0.5, 99.5))
        self.shape = image.shape
        self._image = torch.from_numpy(np.clip((image - low) / max(high - low, 1e-6), 0.0, 1.0).astype(np.float32))
        self._labels = torch.from_numpy(truth.astype(np.int16))[None]
        nearest = ndimage.distance_transform_edt(truth == 0, return_distances=False, return_indices=True)
        owner = truth[tuple(nearest)]
        spread = (np.concatenate([[0.0], sizes]).astype(np.float32)[owner] for sizes in (errors, limits))
        smooth = [ndimage.gaussian_filter(s, ERROR_BLUR, mode="nearest", truncate=3.0) for s in spread]
        self._errors = torch.from_numpy(np.stack(smooth))

    def lesson(self, seed: tuple[int, ...]) -> Lesson:
        """A lesson; the same words of the seed give the same one."""
        rng = np.random.default_rng(seed)
        where = self._deformation(rng)
        image, error, limit = sample(torch.cat([self._image[None], self._errors]), where)
        truth = _nearest(self._labels, where)[0]
        perfect = rng.random() < PERFECT
        prior = truth if perfect else _nearest(truth[None], self._misplaced(rng, error, limit))[0]
        return Lesson(random_intensities(rng, image.numpy()), truth.numpy(), prior.numpy())

    def _deformation(self, rng: np.random.Generator) -> torch.Tensor:
        """Where each voxel of a lesson comes from: rotation, stretch and smooth bending; coordinates (3, I, J, K)."""
        turn = Rotation.from_euler("xyz", rng.normal(0.0, TURN, 3), degrees=True).as_matrix()
        matrix = torch.from_numpy((turn * np.exp(rng.normal(0.0, STRETCH, 3))).astype(np.float32))
        middle = torch.tensor([(n - 1) / 2.0 for n in self.shape])[:, None]
        points = identity(self.shape).reshape(3, -1)
        points = torch.addmm(middle - matrix @ middle, matrix, points).reshape(3, *self.shape)
        return points + torch.from_numpy(_field(rng, self.shape, BEND_LENGTH) * np.float32(rng.uniform(*BEND)))

    def _misplaced(self, rng: np.random.Generator, error: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
        """Where the prior of each voxel comes from: off by a multiple of the error within the limit, and rough."""
        coarse = torch.from_numpy(_field(rng, self.shape, ERROR_LENGTH) + 0.4 * _field(rng, self.shape, ERROR_LENGTH))
        rough = torch.from_numpy(_field(rng, self.shape, (ROUGHNESS_LENGTH, 2.0 * ROUGHNESS_LENGTH)))
        size = torch.minimum(float(np.exp(rng.uniform(*np.log(SEVERITY)))) * error, limit)
        return identity(self.shape) + size * coarse + float(rng.uniform(0.0, ROUGHNESS)) * rough


def random_intensities(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Another scanner's view of an image in [0, 1]: monotone change of contrast, bias field, blur, noise."""
    knots = np.concatenate([[0.0], np.cumsum(np.exp(rng.normal(0.0, 0.3, 6)))])
    image = np.interp(image, np.linspace(0.0, 1.0, len(knots)), knots / knots[-1]).astype(np.float32)
    image *= np.exp(np.float32(rng.uniform(0.0, 0.15)) * smooth_field(rng, image.shape, int(rng.integers(1, 3))))
    if rng.random() < 0.4:
        sigmas = rng.uniform(0.0, 0.8, 3)
        image = along_axes(image, tuple(blur_matrix(n, s) for n, s in zip(image.shape, sigmas, strict=True)))
    noise = np.float32(np.exp(rng.uniform(np.log(0.003), np.log(0.05))))
    return image + noise * rng.standard_normal(image.shape, dtype=np.float32)


def _field(rng: np.random.Generator, shape: tuple[int, ...], lengths: tuple[float, float]) -> np.ndarray:
    """Smooth vectors (3, I, J, K) of root mean square length one, varying over a random length in voxels."""
    length = np.exp(rng.uniform(*np.log(lengths)))
    cells = max(1, round(max(shape) / length))
    return np.stack([smooth_field(rng, shape, cells) for _ in range(3)]) / np.float32(np.sqrt(3.0))


def _nearest(maps: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Label numbers (C, I, J, K) at the voxels nearest to coordinates (3, I, J, K); the border is repeated."""
    index = [w.round().long().clamp_(0, n - 1) for w, n in zip(where, maps.shape[1:], strict=True)]
    return maps[:, index[0], index[1], index[2]]
