"""Models by name."""

import pytest

from atlassegfm.errors import InputError
from atlassegfm.models.base import SegmentationModel
from atlassegfm.models.registry import MODELS, create_model, model_info


@pytest.mark.parametrize("name", list(MODELS))
def test_every_model_can_be_made_and_takes_the_prompts_it_declares(name):
    info = model_info(name)
    assert info.name == name
    assert info.prompts
    model = create_model(name, device="cpu", seed=0)
    assert model is None if info.target is None else isinstance(model, SegmentationModel)


def test_unknown_model_lists_the_known_ones():
    with pytest.raises(InputError, match=r"unknown model 'segmentall'.*builtin"):
        model_info("segmentall")
