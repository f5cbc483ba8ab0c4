"""The meter of steps: seconds and memory per step, passed on to whoever shows them."""

from __future__ import annotations

import time
from mmap import mmap

import pytest

from atlassegfm.evaluation.memory import _CLEAR
from atlassegfm.report.stages import StageMeter


def test_steps_are_measured_and_passed_on():
    told = []
    meter = StageMeter(lambda step, fraction: told.append((step, fraction)))
    meter("read", 0.0)
    time.sleep(0.02)
    meter("align", 0.0)
    meter("align", 0.5)
    meter("read", 0.0)
    time.sleep(0.02)
    meter.close()
    meter.close()
    assert told == [("read", 0.0), ("align", 0.0), ("align", 0.5), ("read", 0.0)]
    assert list(meter.stages) == ["read", "align"]
    assert meter.stages["read"]["seconds"] >= 0.04 > meter.stages["align"]["seconds"]
    assert all(stage["peak_mb"] > 0 for stage in meter.stages.values())


@pytest.mark.skipif(not _CLEAR.exists(), reason="only Linux forgets the peak of a process")
def test_memory_is_that_of_the_step():
    meter = StageMeter(lambda step, fraction: None)
    meter("small", 0.0)
    meter("large", 0.0)
    with mmap(-1, 240_000_000) as block:  # past the allocator, which hands out again what it kept
        block.write(bytes(240_000_000))
    meter("small again", 0.0)
    meter.close()
    assert meter.stages["large"]["peak_mb"] > meter.stages["small"]["peak_mb"] + 150
