"""Registrations are found again by what went in, and nothing of a label goes in."""

import inspect

import numpy as np
import pytest

from atlassegfm.errors import InputError, RegistrationError
from atlassegfm.registration import registry
from atlassegfm.registration.cache import RegistrationCache
from atlassegfm.registration.focus import Focus
from atlassegfm.registration.registry import MethodInfo
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.registration.transform import Transform
from atlassegfm.volume import Grid, Volume

CALLS = []


def counted(fixed, moving, settings):
    """Stands in for a registration; found by the registry through this module's name."""
    CALLS.append((fixed, moving))
    if fixed.data.max() == 0:
        raise RegistrationError("nothing there")
    return RegistrationResult(Transform(()), {"call": len(CALLS)})


@pytest.fixture
def cache(monkeypatch):
    CALLS.clear()
    for name in ("counted", "other"):
        monkeypatch.setitem(registry.METHODS, name, MethodInfo(name, "", f"{__name__}:counted"))
    return RegistrationCache()


def scan(seed=0, spacing=1.0, dtype=np.float32):
    data = np.random.default_rng(seed).random((5, 4, 3)).astype(dtype)
    return Volume(data, Grid(data.shape, np.diag([spacing, 1, 1, 1])))


def test_equal_content_is_found_again_whatever_object_holds_it(cache):
    first, saved = cache.register(scan(0), scan(1), "counted", Settings())
    again, seconds = cache.register(scan(0), scan(1), "counted", Settings(progress=print))
    assert again is first
    assert saved is None
    assert seconds >= 0
    assert len(CALLS) == 1


@pytest.mark.parametrize(
    ("fixed", "moving", "method", "settings"),
    [
        (scan(2), scan(1), "counted", Settings()),
        (scan(1), scan(0), "counted", Settings()),
        (scan(0, spacing=1.1), scan(1), "counted", Settings()),
        (scan(0), scan(1, dtype=np.float64), "counted", Settings()),
        (scan(0), scan(1), "other", Settings()),
        (scan(0), scan(1), "counted", Settings(seed=1)),
        (scan(0), scan(1), "counted", Settings(device="cuda")),
        (scan(0), scan(1), "counted", Settings(focus=Focus(((0.0, 0.0, 0.0),) * 8))),
        (scan(0), scan(1), "counted", Settings(focus=Focus(((1.0, 1.0, 1.0),) * 8, labels=scan(4)))),
    ],
    ids=["other image", "way round", "grid", "type", "method", "seed", "device", "focus", "labels"],
)
def test_anything_that_can_change_the_result_is_another_registration(cache, fixed, moving, method, settings):
    cache.register(scan(0), scan(1), "counted", Settings())
    cache.register(scan(0), scan(1), "counted", Settings(focus=Focus(((1.0, 1.0, 1.0),) * 8, labels=scan(3))))
    _, saved = cache.register(fixed, moving, method, settings)
    assert saved is None
    assert len(CALLS) == 3


def test_options_count(cache):
    with pytest.raises(InputError, match="no option 'speed'"):
        cache.register(scan(0), scan(1), "counted", Settings(options={"speed": 3}))


def test_a_failure_is_not_kept(cache):
    for _ in range(2):
        with pytest.raises(RegistrationError):
            cache.register(scan(0).with_data(np.zeros((5, 4, 3), np.float32)), scan(1), "counted", Settings())
    assert len(CALLS) == 2


def test_it_takes_and_keeps_no_label(cache):
    assert list(inspect.signature(cache.register).parameters) == ["fixed", "moving", "method", "settings"]
    cache.register(scan(0), scan(1), "counted", Settings())
    assert list(vars(cache)) == ["_found"]
    ((key, (result, seconds)),) = cache._found.items()
    assert (type(key), type(result), type(seconds)) == (str, RegistrationResult, float)
