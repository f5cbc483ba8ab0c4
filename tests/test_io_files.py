from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from pathlib import Path

import pytest

from atlassegfm.errors import InputError
from atlassegfm.io import atomic_path, file_sha256, image_suffix, stem, write_text_atomic
from atlassegfm.io.files import MAX_VOXELS, check_file, check_shape, check_size, inflate_exactly, open_stream


@pytest.mark.parametrize(
    ("name", "expected", "suffix"),
    [
        ("case.nii.gz", "case", ".nii.gz"),
        ("a.b.nii.gz", "a.b", ".nii.gz"),
        ("folder.nii/a.b.NII", "a.b", ".nii"),
        ("CASE.NRRD", "CASE", ".nrrd"),
        ("x.seg.nrrd", "x.seg", ".nrrd"),
        ("1.2.840.mha", "1.2.840", ".mha"),
        ("x.nhdr", "x", ".nhdr"),
        ("x.mhd", "x", ".mhd"),
        ("patient.01", "patient.01", None),
        ("x.gz", "x.gz", None),
        (".nii.gz", ".nii.gz", None),
    ],
)
def test_stem_and_suffix(name, expected, suffix):
    assert stem(name) == expected
    assert stem(Path(name)) == expected
    assert image_suffix(name) == suffix


def test_atomic_path_renames_when_the_block_ends(tmp_path):
    target = tmp_path / "a.b.nii.gz"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".nii.gz")
        assert not temporary.exists()
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.b.nii.gz"]


def _fail_while_writing(target, error):
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_path_leaves_the_old_file_when_the_block_fails(tmp_path, error):
    target = tmp_path / "report.json"
    target.write_text("old")
    with pytest.raises(error):
        _fail_while_writing(target, error())
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_atomic_path_says_what_is_wrong_with_the_target(tmp_path):
    (tmp_path / "file").write_text("x")
    for target, word in (
        (tmp_path / "no" / "x.json", "create it"),
        (tmp_path, "folder"),
        (tmp_path / "file" / "x", "create it"),
    ):
        with pytest.raises(InputError, match=word), atomic_path(target):
            pytest.fail("the block must not run")


def test_atomic_path_turns_a_full_disk_into_one_line(tmp_path):
    with pytest.raises(InputError, match="No space left") as caught:
        _fail_while_writing(tmp_path / "x.json", OSError(28, "No space left on device"))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_atomic_files_have_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_text("x")
    write_text_atomic(tmp_path / "atomic", "x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_write_text_atomic_is_utf8_with_unix_line_ends(tmp_path):
    write_text_atomic(tmp_path / "x.txt", "Ösophagus\nb")
    assert (tmp_path / "x.txt").read_bytes() == "Ösophagus\nb".encode()


def test_file_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(InputError, match="no such file"):
        file_sha256(tmp_path / "y")


def test_check_file(tmp_path):
    (tmp_path / "empty.nii").touch()
    with pytest.raises(InputError, match="folder"):
        check_file(tmp_path)
    with pytest.raises(InputError, match="empty"):
        check_file(tmp_path / "empty.nii")
    with pytest.raises(InputError, match="cannot be read"):
        check_file(tmp_path / ("x" * 300))


def test_streams_are_told_apart_by_content(tmp_path):
    (tmp_path / "a.nii").write_bytes(gzip.compress(b"abc"))
    (tmp_path / "b.nii.gz").write_bytes(b"abc")
    for name in ("a.nii", "b.nii.gz"):
        with open_stream(tmp_path / name) as stream:
            assert stream.read() == b"abc"


@pytest.mark.parametrize(
    "pack", [zlib.compress, gzip.compress, lambda b: gzip.compress(b[:70]) + gzip.compress(b[70:])]
)
def test_inflate_exactly(pack):
    data, path = bytes(range(256)) * 40, Path("x.mha")
    for packed in (pack(data), pack(data) + b"trailing"):
        assert inflate_exactly(io.BytesIO(packed), len(data), path, "data") == data
        assert inflate_exactly(io.BytesIO(packed), 100, path, "data") == data[:100]
    with pytest.raises(InputError, match="expected 10249 bytes of data, got 10240"):
        inflate_exactly(io.BytesIO(pack(data)), len(data) + 9, path, "data")
    for cut in (1, 20):
        with pytest.raises((EOFError, zlib.error)):
            inflate_exactly(io.BytesIO(pack(data)[:-cut]), len(data), path, "data")
    damaged = bytearray(pack(data))
    damaged[-1] ^= 0xFF
    with pytest.raises(zlib.error):
        inflate_exactly(io.BytesIO(damaged), len(data), path, "data")


def test_check_size_guards_memory():
    path = Path("x.nii")
    check_size(path, (2, 2, 2), 8, 8)
    with pytest.raises(InputError, match="truncated"):
        check_size(path, (2, 2, 2), 7, 8)
    with pytest.raises(InputError, match="crop"):
        check_size(path, (MAX_VOXELS, 2, 2), 2**60, 2**50)


def test_check_shape():
    path = Path("x.nii")
    assert check_shape(path, (4, 5, 6)) == (4, 5, 6)
    assert check_shape(path, (4, 5, 6, 1, 1)) == (4, 5, 6)
    for shape, word in (
        ((4, 5), "2D"),
        ((4, 5, 1), "2D"),
        ((4, 5, 1, 1), "2D"),
        ((4, 5, 6, 7), "7 volumes"),
        ((4, 5, 6, 1, 3), "3 volumes"),
        ((4, 0, 6), "at least one"),
        ((4, -5, 6), "at least one"),
    ):
        with pytest.raises(InputError, match=word):
            check_shape(path, shape)
