"""Stand-ins for the slow rooms: a finished `Segmentation`, and a pipeline that takes no time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from atlassegfm.volume import Grid, Volume


def fake_segmentation(final: Volume, names: dict[int, str], *, with_model: bool = True) -> SimpleNamespace:
    """A result with slightly different atlas and model maps, and a report as the pipeline writes it."""
    labels = [
        {
            "value": value,
            "name": name,
            "volume_ml": float((final.data == value).sum() * final.grid.voxel_volume_ml),
            "atlas_volume_ml": 1.0,
            "quality": {"word": "good", "score": 0.9, "reasons": []},
        }
        for value, name in names.items()
    ]
    return SimpleNamespace(
        labels=final,
        atlas_labels=final.with_data(np.roll(final.data, 1, axis=0)),
        model_labels=final.with_data(np.roll(final.data, -1, axis=1)) if with_model else None,
        names=names,
        colours={value: (200, 40 * n % 255, 60) for n, value in enumerate(names)},
        report={"seed": 0, "labels": labels, "warnings": [], "timings": {"registration": 0.1}},
        warnings=[],
        probabilities={},
        masks={},
    )


def fake_segment(atlas, query: Volume, *, progress=None, **options) -> SimpleNamespace:
    """The pipeline without its work: thirds of the intensity range become the labels of the (first) atlas."""
    atlas = atlas[0] if isinstance(atlas, list) else atlas
    if progress is not None:
        progress("registration", 0.0)
        progress("registration", 1.0)
    cuts = np.quantile(query.data, np.linspace(0.5, 0.9, len(atlas.values)))
    final = np.zeros(query.grid.shape, np.uint8)
    for cut, value in zip(cuts, atlas.values, strict=True):
        final[query.data > cut] = value
    result = fake_segmentation(query.with_data(final), atlas.names, with_model=options.get("model") != "none")
    if options.get("keep_probabilities"):
        everything = tuple(slice(0, n) for n in query.grid.shape)
        result.probabilities = {value: (everything, (final == value) * np.float32(0.75)) for value in atlas.values}
    if options.get("overlapping"):
        everything = tuple(slice(0, n) for n in query.grid.shape)
        result.masks = {v: (everything, query.data > cut) for cut, v in zip(cuts, atlas.values, strict=True)}
    result.report["parameters"] = {key: value for key, value in options.items() if key != "progress"}
    return result


def ball_map(grid: Grid, centres: dict[int, tuple[float, float, float]], radius_mm: float = 9.0) -> Volume:
    """Label map of balls around world positions (RAS+ mm)."""
    world = grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    data = np.zeros(grid.shape, np.uint16)
    for value, centre in centres.items():
        data[np.linalg.norm(world - np.array(centre), axis=-1) < radius_mm] = value
    return Volume(data, grid)
