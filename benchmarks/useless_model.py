"""What the fusion makes of models that are of no use: the bar is within one Dice point of registration alone.

    python benchmarks/useless_model.py              # first pair of each development set
    python benchmarks/useless_model.py --fusion gate

The models answer noise, nothing, the prior 30 mm beside its place, the other labels, what is bright, or something huge,
on atlas and query alike; the fusion learns from the atlas with them as it does with any model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

from registration_pairs import GROUPS, select

ROOT = Path(__file__).resolve().parents[1]
#: Name and answer, from mask, rivals and image of the prompt, spacing in mm.
ANSWERS = {
    "noise": lambda mask, rivals, image, spacing: np.random.default_rng(0).random(mask.shape, dtype=np.float32),
    "nothing": lambda mask, rivals, image, spacing: np.zeros_like(mask),
    "30 mm beside": lambda mask, rivals, image, spacing: np.roll(mask, int(30.0 / spacing[0]), axis=0),
    "other labels": lambda mask, rivals, image, spacing: rivals.astype(np.float32),
    "what is bright": lambda mask, rivals, image, spacing: (image > np.percentile(image, 90)).astype(np.float32),
    "huge": lambda mask, rivals, image, spacing: (ndimage.gaussian_filter(mask, 15.0 / spacing) > 0.05).astype(
        np.float32
    ),
}


def useless(answer):
    """A model that gives this answer to every prompt."""
    from atlassegfm.models.base import SegmentationModel

    class Useless(SegmentationModel):
        def customise(self, support):
            return {}

        def set_image(self, image):
            self.image = image

        def segment(self, prompt):
            return answer(prompt.mask, prompt.rivals, self.image.data, self.image.spacing)

    return Useless()


def carried(atlas, query):
    """The prior on the query, and the support with what comes back from it."""
    from atlassegfm.customising import there_and_back
    from atlassegfm.models.base import Support
    from atlassegfm.models.lessons import usable_priors
    from atlassegfm.registration.result import Settings

    prior, returned = there_and_back(atlas, query, Settings())
    return prior, Support(atlas.image, atlas.labels, usable_priors(atlas.labels, returned, 0), "mask")


def fused(model, kind, prior, support, query):
    """The label map that fusion makes of prior and model, look-alike places of the atlas left out."""
    from atlassegfm.competition import LabelCompetition, favouring_dice
    from atlassegfm.fusing import fit_fusions, union_box
    from atlassegfm.models.base import prompt_from_labels

    model.set_image(support.image)
    fusions = fit_fusions(model, support, kind, 0)
    model.set_image(query)
    final = LabelCompetition(query.grid.shape, prior.data.dtype)
    for value in support.values:
        prompt = prompt_from_labels(prior, value, "mask")
        if prompt is None:
            continue
        answer = favouring_dice(model.segment(prompt))
        box = union_box(prompt.mask, answer, query.spacing)
        final.add(value, fusions[value].apply(prompt.mask[box], answer[box], query.data[box], query.spacing), box)
    return final.result()


def main():
    """One line per pair: Dice of registration, and of the fusion with each useless model."""
    from atlassegfm.atlas import Atlas
    from atlassegfm.io import read_image, read_labels
    from atlassegfm.overlap import dice
    from atlassegfm.runtime import prepare_compute

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the sets")
    parser.add_argument("--pairs", default="dev", help=f"out of {', '.join(GROUPS)}")
    parser.add_argument("--limit", type=int, default=1, help="pairs of each set, at most")
    parser.add_argument("--fusion", default="kalman", help="kind of fusion")
    arguments = parser.parse_args()
    prepare_compute()
    print("| pair | registration | " + " | ".join(ANSWERS) + " |\n| --- |" + " ---: |" * (len(ANSWERS) + 1))
    for pair in select(arguments.pairs.split(","), arguments.data, arguments.limit):
        folder = arguments.data / pair.dataset
        places = [folder / kind / f"{pair.atlas}.nii.gz" for kind in ("images", "labels")]
        atlas = Atlas.load(*places, only=list(pair.labels))
        query = read_image(folder / "images" / f"{pair.query}.nii.gz")
        truth = read_labels(folder / "labels" / f"{pair.query}.nii.gz").data
        prior, support = carried(atlas, query)
        results = [prior.data]
        results += [fused(useless(a), arguments.fusion, prior, support, query) for a in ANSWERS.values()]
        means = [np.mean([dice(r == v, truth == v) for v in pair.labels if (truth == v).any()]) for r in results]
        print(f"| {pair.name} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |", flush=True)


if __name__ == "__main__":
    main()
