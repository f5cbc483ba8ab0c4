"""Decodes compressed pixels in a process of its own; see `isolated`. Run as a script; imports nothing of the program.

A request is a JSON line (size, frames, count, plugin) and a DICOM file of that size, on standard input. The answer, on
standard output, is for each frame a JSON line (dtype, shape) and its bytes, or a JSON line with an error.
"""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from contextlib import suppress
from typing import IO

import pydicom
from pydicom.pixels import iter_pixels

#: Address space: a codec that believes a damaged size gets no more.
MAX_BYTES = 4 << 30


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until there are no more."""
    while line := requests.readline():
        request = json.loads(line)
        block = requests.read(request["size"])
        try:
            dataset = pydicom.dcmread(io.BytesIO(block), force=True)
            pixels = iter_pixels(dataset, raw=True, indices=request["frames"], decoding_plugin=request["plugin"])
            for _ in range(request["count"]):
                data = next(pixels)
                answers.write(json.dumps({"dtype": data.dtype.str, "shape": data.shape}).encode() + b"\n")
                answers.write(data.tobytes())
                answers.flush()
        except Exception as error:  # noqa: BLE001 - this process has nothing else to do than to tell
            answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode() + b"\n")
            answers.flush()


def main() -> None:
    """Keep standard output for the answers; what decoders print goes nowhere."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    warnings.simplefilter("ignore")
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
