"""Hostile and damaged input: bounded time and memory, an error on one line, nothing written."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import sys
import time
import zipfile
import zlib

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEG2000Lossless
from typer.testing import CliRunner

from atlassegfm.cli import app
from atlassegfm.errors import InputError
from atlassegfm.io import read_image
from atlassegfm.io.dicom import headers
from dicom_files import noise, slanted, write_series
from hostile import attempt, seeds, spoiled


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    return seeds(tmp_path_factory.mktemp("valid"))


def test_the_seeds_can_be_read(tmp_path, valid):
    for name, block in valid.items():
        (tmp_path / name).mkdir()
        assert attempt(tmp_path / name, name, block, valid) == ""


@settings(max_examples=250)
@given(seed=st.integers(0, 2**63 - 1))
def test_spoiled_files(tmp_path_factory, valid, seed):
    """The same as benchmarks/fuzz.py, which does it ten thousand times."""
    folder = tmp_path_factory.mktemp("case")
    name, block = spoiled(valid, seed)
    attempt(folder, name, block, valid)


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


def nifti_header(shape: tuple[int, ...], bits: int = 8) -> bytes:
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<hh", header, 70, 2, bits)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    return bytes(header) + bytes(4)


NRRD = """NRRD0004
type: {kind}
dimension: 3
space: left-posterior-superior
sizes: {sizes}
encoding: {encoding}
{more}
"""
MHA = """ObjectType = Image
NDims = 3
BinaryData = True
DimSize = {sizes}
ElementType = MET_UCHAR
ElementDataFile = {file}
"""


def nrrd(sizes="4 4 4", kind="uint8", encoding="raw", more="", data=b"") -> bytes:
    return NRRD.format(sizes=sizes, kind=kind, encoding=encoding, more=more).encode() + b"\n" + data


def zipped(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, block in entries.items():
            archive.writestr(name, block)
    return buffer.getvalue()


MADE_BY_HAND = {
    "absurd.nii": nifti_header((32767, 32767, 32767)),
    "negative.nii": nifti_header((-5, 4, 4)),
    "zero.nii": nifti_header((0, 4, 4)),
    "bomb.nii.gz": gzip.compress(nifti_header((30000, 30000, 2)) + bytes(30 << 20)),
    "seven.nii": nifti_header((2, 2, 2, 2, 2, 2, 2)) + bytes(128),
    "pickle.nii": pickle.dumps(Evil()),
    "pickle.nrrd": pickle.dumps(Evil()),
    "absurd.nrrd": nrrd("99999 99999 99999"),
    "overflow.nrrd": nrrd("99999999999999999999 4 4"),
    "negative.nrrd": nrrd("-4 4 4"),
    "text.nrrd": nrrd(encoding="text", sizes="2000 2000 2000", data=b"1 2 3"),
    "bomb.nrrd": nrrd(encoding="gzip", sizes="4000 4000 100", data=gzip.compress(bytes(20 << 20))),
    "bz2.nrrd": nrrd(encoding="bzip2", sizes="4000 4000 60", data=b"BZh9"),
    "skip.nrrd": nrrd(more="byte skip: 10", sizes="4000 4000 60", data=bytes(90)),
    "outside.nhdr": nrrd(more="data file: ../../../../../../etc/passwd", encoding="raw", sizes="2000 2000 9"),
    "absurd.mha": MHA.format(sizes="99999 99999 99999", file="LOCAL").encode(),
    "axes.mha": MHA.format(sizes="4 4 4", file="LOCAL").replace("= 3", "= 1e308").encode(),
    "negative.mha": MHA.format(sizes="4 -4 4", file="LOCAL").encode(),
    "outside.mhd": MHA.format(sizes="2000 2000 9", file="../../../../../../etc/passwd").encode(),
    "device.mhd": MHA.format(sizes="2000 2000 9", file="/dev/zero").encode(),
    "bomb.zip": zipped({"a": bytes(128) + b"DICM" + bytes(150 << 20)}),
    "nested.zip": zipped({"inner.zip": zipped({"a": bytes(1 << 20)})}),
    "outside.zip": zipped({"../../../../tmp/evil": b"\0" * 128 + b"DICM" + b"x" * 40, "/etc/evil": b"x"}),
    "pickle.zip": zipped({"data.pkl": pickle.dumps(Evil())}),
    "zeros": bytes(128) + b"DICM" + bytes(64 << 20),
    "endless": bytes(128) + b"DICM" + b"\x02\0\1\0OB\0\0\0\0\0\0" * 4_000_000,
    "list.mhd": MHA.format(sizes="2000 2000 1000", file="LIST").encode() + b"a.raw\n",
    "ones": bytes(128) + b"DICM" + b"\xff" * (1 << 20),
    "pickle": bytes(128) + b"DICM" + pickle.dumps(Evil()),
    "nest": bytes(128) + b"DICM" + b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 60_000,
}


@pytest.mark.parametrize("name", MADE_BY_HAND)
def test_made_by_hand(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(MADE_BY_HAND[name])
    before = sorted(tmp_path.rglob("*"))
    start, peak = time.perf_counter(), memory()
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - start < 20
    assert memory() - peak < 700
    assert sorted(tmp_path.rglob("*")) == before


def memory() -> float:
    """Peak memory of this process, MB."""
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)


def test_a_deflated_dicom_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(headers, "MAX_INFLATED", 1 << 26)
    (path,) = write_series(tmp_path, noise(), slanted(), slices=[0])
    block = path.read_bytes()
    at = 144 + int.from_bytes(block[140:144], "little")
    old, new = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"
    meta = bytearray(block[132:at].replace(struct.pack("<H", len(old)) + old, struct.pack("<H", len(new)) + new))
    meta[8:12] = struct.pack("<I", len(meta) - 12)
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    body = b"".join(packer.compress(bytes(1 << 24)) for _ in range(5)) + packer.flush()
    path.write_bytes(block[:132] + bytes(meta) + body)
    assert pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID.endswith(".99")
    with pytest.raises(InputError, match="inflates to more than"):
        read_image(path)


def test_a_compressed_slice_that_claims_too_much(tmp_path):
    for path in write_series(tmp_path, noise((64, 64, 2), "u2"), slanted(), syntax=JPEG2000Lossless):
        dataset = pydicom.dcmread(path)
        dataset.Rows = dataset.Columns = 20_000
        dataset.save_as(path)
    with pytest.raises(InputError, match="more than its data can hold"):
        read_image(tmp_path)


def test_pipes_and_links_in_a_folder_are_passed_over(tmp_path):
    stored = noise()
    write_series(tmp_path / "in", stored, slanted())
    os.mkfifo(tmp_path / "in" / "pipe")
    (tmp_path / "in" / "round").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "nowhere").symlink_to(tmp_path / "gone")
    assert read_image(tmp_path / "in").grid.shape == stored.shape


@pytest.mark.parametrize("name", ["absurd.nii", "bomb.zip", "zeros", "outside.mhd"])
@pytest.mark.parametrize("role", ["query", "atlas", "labels"])
def test_the_command_says_one_line_and_writes_nothing(tmp_path, role, name):
    write_series(tmp_path / "good", np.ascontiguousarray(noise()), slanted())
    (tmp_path / name).write_bytes(MADE_BY_HAND[name])
    files = {"query": tmp_path / "good", "atlas": tmp_path / "good", "labels": tmp_path / "good"}
    files[role] = tmp_path / name
    line = ["segment", files["query"], "--atlas", files["atlas"], "--labels", files["labels"], "-o", tmp_path / "out"]
    result = CliRunner().invoke(app, [str(word) for word in line])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert not (tmp_path / "out").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["good", name])
