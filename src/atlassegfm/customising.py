"""The built-in model learns an atlas ahead of the first query; `segment` finds what it learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from atlassegfm.atlas import Atlas
from atlassegfm.models.base import Support
from atlassegfm.models.lessons import usable_priors
from atlassegfm.models.refiner import RefinerModel
from atlassegfm.models.voxelwise import VoxelwiseModel
from atlassegfm.registration.focus import Focus
from atlassegfm.registration.registry import register
from atlassegfm.registration.result import Settings
from atlassegfm.resampling import warp_labels
from atlassegfm.runtime import prepare_compute, resolve_device
from atlassegfm.volume import Volume


def customise(
    atlas: Atlas, query: Volume | None = None, *, prompt: str = "mask", device: str = "auto", seed: int = 0
) -> dict[str, Any]:
    """Customise the built-in model, network and trees, and keep what they learnt where `segment` looks for it.

    Parameters
    ----------
    atlas : Atlas
        The labelled scan.
    query : Volume, optional
        A scan of the cohort. The labels travel to it and back by the default registration, which tells how much
        registration errs there; without it the errors are taken to be a fraction of each label's thickness.
    prompt : {"mask", "click", "box", "box2d"}
        What the network will be given.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    seed : int
        The seed that `segment` will be given.

    Returns
    -------
    dict
        JSON-ready: steps, held-out loss before and after, whether the customised weights are used, and whether they
        were there already; and the number of trees.

    Raises
    ------
    RegistrationError
        If atlas and query cannot be aligned.
    """
    prepare_compute()
    device = resolve_device(device)
    returned = atlas.labels.with_data(np.zeros_like(atlas.labels.data))
    if query is not None:
        _, returned = there_and_back(atlas, query, Settings(seed=seed, device=device))
    support = Support(atlas.image, atlas.labels, usable_priors(atlas.labels, returned, seed), prompt)
    model = RefinerModel(device=device, seed=seed)
    learnt = model.customise(support)
    trees = VoxelwiseModel(seed=seed).customise(support)["trees"]
    return {**learnt, "found_again": model.found_again, "trees": trees}


def there_and_back(atlas: Atlas, query: Volume, settings: Settings) -> tuple[Volume, Volume]:
    """The atlas's labels carried to the query, and what comes back by an independent default registration.

    Both label maps lie in world space (RAS+ mm), the first on the query's grid, the second on the atlas's.
    """
    forth, back = (replace(settings, focus=Focus.of(atlas.labels, on_fixed=on_fixed)) for on_fixed in (False, True))
    there = warp_labels(atlas.labels, query.grid, register(query, atlas.image, "default", forth).transform)
    return there, warp_labels(there, atlas.image.grid, register(atlas.image, query, "default", back).transform)
