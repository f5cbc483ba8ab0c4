"""How far to trust the result for one label, without ground truth.

`measure` turns arrays into `Signals`; `judge` turns signals into a predicted Dice, a word and reasons.

**The rule is a heuristic.** Predicted Dice is `BEST` times one factor per signal, each factor read off a monotone table
(`RULES`): better signals never lower the prediction. The tables were set by eye on a few development scans, not
calibrated; take the number as a rank ("which results to look at first"), not as a measurement. A result can be wrong in
ways no signal sees: registration and model can agree on the same wrong organ. And nothing here applies to focal lesions,
whose place in the atlas says nothing about their place in the query.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import edt
import numpy as np
from scipy import ndimage

from atlassegfm.errors import InputError
from atlassegfm.volume import Grid, Volume, bounding_box

GOOD, CHECK, DO_NOT_USE = "good", "check", "do not use"
#: Predicted Dice from which a result is called good, and from which it is worth checking.
GOOD_FROM, CHECK_FROM = 0.75, 0.5
#: Predicted Dice when every signal is at its best.
BEST = 0.95
#: A result of which more than this share lies outside the query's field of view is never called good.
CUT_NOTICED = 0.1
#: Half width in mm of the band around the border in which entropy is averaged.
BAND_MM = 4.0
#: Half width in mm of the windows of the local correlation, and reach of the surroundings it is averaged over.
WINDOW_MM, SURROUNDINGS_MM = 6.0, 8.0
#: Voxels of the atlas label that are followed into the query, at most.
MAX_POINTS = 20_000

#: World points (..., 3) to world points, RAS+ mm.
PointMap = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Signals:
    """What can be known about one label's result; None where it was not measured.

    Parameters
    ----------
    empty : bool
        The result has no voxel.
    roundtrip_dice : float
        Atlas label carried to the query and back by the independently estimated reverse registration, against itself.
    agreement_dice : float
        M_atlas against M_fm on the query.
    border_entropy : float
        Mean binary entropy of the fused probability in a band around its border, in bits (0 sure, 1 no idea).
    volume_ratio : float
        Volume of the result over the volume expected from the atlas (see `measure`).
    cut_fraction : float
        Share of the label that lies outside the query's field of view.
    similarity : float
        Mean squared local correlation of query and warped atlas image in and around the label, 0 to 1.
    """

    empty: bool = False
    roundtrip_dice: float | None = None
    agreement_dice: float | None = None
    border_entropy: float | None = None
    volume_ratio: float | None = None
    cut_fraction: float | None = None
    similarity: float | None = None


@dataclass(frozen=True)
class Quality:
    """The verdict on one label.

    Parameters
    ----------
    word : {"good", "check", "do not use"}
        What to do with the result.
    score : float
        Predicted Dice in [0, 1]; a rough one, see the module's docstring.
    reasons : tuple of str
        What speaks against the result, the weightiest first; empty when nothing does.
    signals : Signals
        What the verdict rests on.
    """

    word: str
    score: float
    reasons: tuple[str, ...]
    signals: Signals

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: word, score, reasons (list), signals (dict); numbers rounded to three decimals."""
        signals = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self.signals).items()}
        return {"word": self.word, "score": round(self.score, 3), "reasons": list(self.reasons), "signals": signals}


@dataclass(frozen=True)
class _Rule:
    """How one signal lowers the prediction.

    Parameters
    ----------
    table : tuple of (signal, factor)
        Ascending in the signal, straight lines in between, constant beyond.
    reason : str
        Told when the factor is below `NOTICED`; {percent} and {times} stand for the signal.
    """

    table: tuple[tuple[float, float], ...]
    reason: str

    def factor(self, value: float) -> float:
        x, y = zip(*self.table, strict=True)
        return float(np.interp(value, x, y))


#: Factors below this are given as a reason.
NOTICED = 0.9
RULES = {
    "agreement_dice": _Rule(
        ((0.0, 0.25), (0.5, 0.55), (0.7, 0.78), (0.85, 0.95), (0.95, 1.0)),
        "registration and model disagree (Dice {percent} %)",
    ),
    "roundtrip_dice": _Rule(
        ((0.0, 0.2), (0.4, 0.55), (0.7, 0.85), (0.85, 0.96), (0.95, 1.0)),
        "registration there and back does not return to the start (Dice {percent} %)",
    ),
    "similarity": _Rule(((0.0, 0.6), (0.1, 0.8), (0.3, 1.0)), "warped atlas and query look unlike here"),
    "border_entropy": _Rule(((0.5, 1.0), (0.8, 0.9), (1.0, 0.75)), "the border is uncertain"),
    "cut_fraction": _Rule(((0.1, 1.0), (0.5, 0.85), (0.95, 0.4)), "the query shows {seen}"),
}
#: The volume has a best value in the middle: its rule reads max(ratio, 1 / ratio).
VOLUME_RULE = _Rule(((1.25, 1.0), (1.6, 0.9), (2.5, 0.65), (5.0, 0.3)), "volume is {times} the expected one")


def judge(signals: Signals, name: str = "") -> Quality:
    """Predict the Dice of a result and say in words what to do with it.

    Heuristic: see the module's docstring. Signals that are None have no say; with none at all the prediction is capped
    below good, because nothing speaks for the result.

    Parameters
    ----------
    signals : Signals
        From `measure`.
    name : str
        Name of the label; put before each reason when given.
    """
    prefix = f"{name}: " if name else ""
    if signals.empty:
        gone = signals.cut_fraction is not None and signals.cut_fraction > 0.9
        reason = "the query does not show it" if gone else "nothing was found"
        return Quality(DO_NOT_USE, 0.0, (prefix + reason,), signals)
    factors = _factors(signals)
    score = BEST * float(np.prod([factor for factor, _ in factors]))
    reasons = [text for factor, text in sorted(factors, key=lambda pair: pair[0]) if factor < NOTICED]
    cut = signals.cut_fraction or 0.0
    word = GOOD if score >= GOOD_FROM else CHECK if score >= CHECK_FROM else DO_NOT_USE
    if signals.agreement_dice is None and signals.roundtrip_dice is None:
        score = min(score, GOOD_FROM - 0.01)
        reasons.append("neither a model nor a round trip was there to check the registration")
    if cut > CUT_NOTICED:
        reasons = [f"the query shows {_share(1.0 - cut)}", *(r for r in reasons if "the query shows" not in r)]
    if word == GOOD and (cut > CUT_NOTICED or score < GOOD_FROM):
        word = CHECK
    if word != GOOD and not reasons:
        reasons = ["several signals are a little low"]
    return Quality(word, float(np.clip(score, 0.0, 1.0)), tuple(prefix + r for r in reasons), signals)


def _factors(signals: Signals) -> list[tuple[float, str]]:
    """(factor, reason) of every signal that was measured."""
    out = []
    for field in fields(signals):
        value = getattr(signals, field.name)
        if value is None or field.name == "empty":
            continue
        if field.name == "volume_ratio":
            off = max(value, 1.0 / max(value, 1e-9))
            out.append((VOLUME_RULE.factor(off), VOLUME_RULE.reason.format(times=_times(value))))
        else:
            rule = RULES[field.name]
            text = rule.reason.format(percent=round(100 * value), seen=_share(1.0 - value))
            out.append((rule.factor(value), text))
    return out


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio >= 0.1 else "less than a tenth of"


def _share(seen: float) -> str:
    """How much of the label is seen, in words."""
    words = ((0.05, "almost none of it"), (0.2, "a small part of it"), (0.4, "about a third of it"))
    words += ((0.6, "about half of it"), (0.8, "about two thirds of it"), (1.1, "most of it"))
    return next(text for limit, text in words if seen < limit)


def measure(
    fused: np.ndarray,
    m_atlas: np.ndarray,
    m_fm: np.ndarray | None,
    spacing: Sequence[float],
    *,
    expected_ml: float | None = None,
    cut: float | None = None,
    roundtrip: float | None = None,
    fixed: np.ndarray | None = None,
    moved: np.ndarray | None = None,
) -> Signals:
    """Signals of one label; all arrays on (the same crop of) the query's grid.

    Parameters
    ----------
    fused : numpy.ndarray, 3D
        Probability of the result, foreground from one half.
    m_atlas : numpy.ndarray, same shape
        Warped atlas label, probability.
    m_fm : numpy.ndarray or None
        The model's probability; None when there was no model.
    spacing : three floats
        Voxel spacing in mm.
    expected_ml : float, optional
        From `expected_volume`; the part that `cut` says is out of sight is taken off here.
    cut : float, optional
        From `cut_fraction`.
    roundtrip : float, optional
        From `dice` of the atlas label carried there and back with the atlas label itself.
    fixed, moved : numpy.ndarray, optional
        Query image and warped atlas image; both or neither.

    Raises
    ------
    InputError
        If shapes differ.
    """
    for name, array in (("M_atlas", m_atlas), ("M_fm", m_fm), ("query image", fixed), ("warped image", moved)):
        if array is not None and array.shape != fused.shape:
            raise InputError(f"quality: expected {name} of shape {fused.shape}, got {array.shape}")
    result, prior = fused >= 0.5, m_atlas >= 0.5
    ratio = None
    if expected_ml is not None and expected_ml * (1.0 - (cut or 0.0)) > 0:
        volume = np.count_nonzero(result) * float(np.prod(spacing)) / 1000.0
        ratio = volume / (expected_ml * (1.0 - (cut or 0.0)))
    similar = None
    if fixed is not None and moved is not None:
        similar = local_similarity(fixed, moved, result | prior, spacing)
    return Signals(
        empty=not result.any(),
        roundtrip_dice=roundtrip,
        agreement_dice=None if m_fm is None else dice(prior, m_fm >= 0.5),
        border_entropy=None if m_fm is None else border_entropy(fused, spacing),
        volume_ratio=ratio,
        cut_fraction=cut,
        similarity=similar,
    )


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two boolean arrays; two empty ones give 0, because agreeing on nothing is no ground for trust."""
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2.0 * int(np.count_nonzero(first & second)) / total if total else 0.0


def border_entropy(prob: np.ndarray, spacing: Sequence[float], band_mm: float = BAND_MM) -> float | None:
    """Mean binary entropy in bits within `band_mm` (mm) of the border of ``prob >= 0.5``; None without a border."""
    size = tuple(float(s) for s in spacing)
    # Thick slices: the band has to reach the first voxel on either side.
    reach = max(band_mm, 1.01 * max(size))
    box = bounding_box(prob >= 0.5, [int(np.ceil(reach / s)) + 1 for s in size])
    if box is None:
        return None
    crop = prob[box].astype(np.float64)
    inside = np.ascontiguousarray(crop >= 0.5)
    if inside.all():
        return None
    distance = np.maximum(edt.edt(inside, anisotropy=size), edt.edt(~inside, anisotropy=size))
    p = np.clip(crop[distance <= reach], 1e-6, 1.0 - 1e-6)
    return float(-(p * np.log2(p) + (1.0 - p) * np.log2(1.0 - p)).mean())


def expected_volume(atlas_ml: float, matrix: np.ndarray) -> float:
    """Volume in ml that a label of `atlas_ml` is expected to have in the query.

    Parameters
    ----------
    atlas_ml : float
        Volume in the atlas.
    matrix : numpy.ndarray, shape (4, 4) or (3, 3)
        Affine part of the registration, query points to atlas points: bodies differ in size.
    """
    return atlas_ml / max(abs(float(np.linalg.det(np.asarray(matrix)[:3, :3]))), 1e-9)


def cut_fraction(labels: Volume, value: int, grid: Grid, to_query: PointMap) -> float:
    """Share of an atlas label that maps outside the query's field of view, 0 to 1.

    Parameters
    ----------
    labels : Volume
        Atlas label map.
    value : int
        The label.
    grid : Grid
        Grid of the query.
    to_query : callable
        World points of the atlas to world points of the query, RAS+ mm: the reverse registration, or the inverse of the
        forward one's affine part.

    Returns
    -------
    float
        0 for a label with no voxel.
    """
    voxels = np.argwhere(labels.data == value)
    if len(voxels) == 0:
        return 0.0
    voxels = voxels[:: -(-len(voxels) // MAX_POINTS)]
    at = grid.to_voxel(to_query(labels.grid.to_world(voxels)))
    seen = ((at >= -0.5) & (at <= np.array(grid.shape) - 0.5)).all(axis=1)
    return float(1.0 - seen.mean())


def local_similarity(fixed: np.ndarray, moved: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> float | None:
    """Mean squared local correlation of two images in and around a mask, 0 to 1.

    Windows reach `WINDOW_MM` to each side; the mean runs over the mask and `SURROUNDINGS_MM` around it. Squared, it does
    not mind inverted contrast. Windows in which either image is constant count as 0.

    Returns
    -------
    float or None
        None for an empty mask.
    """
    size = np.asarray(spacing, dtype=float)
    window = (2 * np.maximum(1, np.round(WINDOW_MM / size)) + 1).astype(int)
    around = np.ceil(SURROUNDINGS_MM / size).astype(int)
    box = bounding_box(mask, around + window)
    if box is None:
        return None
    f, m = (np.asarray(x[box], dtype=np.float64) for x in (fixed, moved))
    f, m = f - f.mean(), m - m.mean()
    mean = {
        k: ndimage.uniform_filter(v, window) for k, v in {"f": f, "m": m, "ff": f * f, "mm": m * m, "fm": f * m}.items()
    }
    var_f, var_m = mean["ff"] - mean["f"] ** 2, mean["mm"] - mean["m"] ** 2
    cov = mean["fm"] - mean["f"] * mean["m"]
    flat = (var_f <= 1e-6 * f.var()) | (var_m <= 1e-6 * m.var())
    cc = np.where(flat, 0.0, cov**2 / np.where(flat, 1.0, var_f * var_m))
    near = edt.edt(np.ascontiguousarray(~mask[box]), anisotropy=tuple(size.tolist())) <= SURROUNDINGS_MM
    return float(np.clip(cc, 0.0, 1.0)[near].mean())
