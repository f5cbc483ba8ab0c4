"""The key of a query's settings: what decides its result changes it."""

from __future__ import annotations

from atlassegfm.cohort.queries import Query
from atlassegfm.cohort.settings import CohortSettings, Keys


def test_other_weights_of_the_model_are_other_settings(tmp_path):
    """Under the same path, too: a cohort must not be resumed with results of other weights."""
    for name in ("atlas.nii.gz", "labels.nii.gz"):
        (tmp_path / name).write_bytes(b"content")
    weights = tmp_path / "weights.pt"

    def key(model: str = "vesselfm") -> str:
        options = {"model": model, "weights": weights}
        settings = CohortSettings(tmp_path / "atlas.nii.gz", tmp_path / "labels.nii.gz", options=options)
        return Keys(settings).of(Query(tmp_path / "scan.nii.gz", "scan"))

    weights.write_bytes(b"one")
    first = key()
    assert key() == first
    weights.write_bytes(b"another")
    assert key() != first
    assert key("none") != key()
