from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless

from atlassegfm.errors import InputError
from atlassegfm.io import read_image
from atlassegfm.io.dicom import isolated
from atlassegfm.io.dicom.isolated import Decoder
from dicom_files import noise, slanted, write_series

SHAPE = (40, 36, 3)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    return write_series(tmp_path_factory.mktemp("j2k"), noise(SHAPE, "u2"), slanted(), syntax=JPEG2000Lossless)


def test_one_process_decodes_all(files):
    with Decoder() as decoder:
        processes = []
        for k, path in enumerate(files):
            (data,) = decoder.frames(path.read_bytes(), None, 1, "pylibjpeg")
            assert np.array_equal(data, noise(SHAPE, "u2")[..., k].T)
            processes.append(decoder._process)
        assert len(set(map(id, processes))) == 1
    assert processes[0].poll() is not None


def test_damaged_data_are_told_and_do_not_end_it_for_others(files):
    with Decoder() as decoder:
        with pytest.raises(RuntimeError, match="no pixel data to decode"):
            list(decoder.frames(files[0].read_bytes()[:-900], None, 1, "pylibjpeg"))
        assert len(list(decoder.frames(files[0].read_bytes(), None, 1, "pylibjpeg"))) == 1


@pytest.mark.parametrize("code", ["import os; os.abort()", "import time; time.sleep(60)", "print('nonsense')"])
def test_crashes_and_hangs_are_one_line(tmp_path, monkeypatch, files, code):
    script = tmp_path / "decoder.py"
    script.write_text(code)
    monkeypatch.setattr(isolated, "__file__", str(tmp_path / "isolated.py"))
    monkeypatch.setattr(isolated, "PATIENCE", 2.0)
    with pytest.raises(InputError, match=r"0000\.dcm: its pixels cannot be decoded") as caught:
        read_image(files[0].parent)
    assert "\n" not in str(caught.value)


def test_the_script_starts_alone():
    """It must not import the program, which takes long, nor find our modules by accident."""
    text = (Path(isolated.__file__).parent / "decoder.py").read_text()
    assert "atlassegfm" not in text
    assert sys.version_info >= (3, 11)  # python -P
