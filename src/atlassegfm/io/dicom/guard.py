"""What pydicom and its decoders throw at damaged files becomes one line; what they would print stays unprinted."""

from __future__ import annotations

import logging
import sqlite3
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.errors import BytesLengthException, InvalidDicomError

from atlassegfm.errors import InputError

#: What the parsers and decoders are known to raise on damaged or hostile files (highdicom keeps the frames of a
#: segmentation in SQLite, whose errors come through); MemoryError has its own line.
BROKEN = (
    ArithmeticError, AssertionError, AttributeError, BytesLengthException, EOFError, InvalidDicomError, LookupError,
    OSError, RuntimeError, TypeError, ValueError, sqlite3.Error, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
#: Reasons are cut off here, so that a line stays a line.
MAX_REASON = 120
_SILENT = logging.NullHandler()


@contextmanager
def dicom_errors(where: object, what: str, cure: str, *, tell: bool = False) -> Iterator[None]:
    """Turn the exceptions of the DICOM libraries into `InputError`, and keep them from printing.

    Parameters
    ----------
    where : object
        Names the file in the error.
    what : str
        What went wrong, such as "damaged DICOM header".
    cure : str
        What to do about it.
    tell : bool
        Whether to quote the library. Left out for headers, because the text may quote the patient's name.
    """
    for name in ("pydicom", "highdicom", "pylibjpeg", "openjpeg"):
        # With a handler of its own, a library's warning does not reach Python's last resort, the terminal.
        logging.getLogger(name).addHandler(_SILENT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BROKEN as error:
        text = " ".join(str(error).split())[:MAX_REASON] if tell else ""
        reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise InputError(f"{where}: {what} ({reason}); {cure}") from error
