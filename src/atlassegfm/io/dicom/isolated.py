"""Decoders in a process of their own: GDCM and others crash on damaged or hostile data, and must not take us along."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

#: A frame that takes longer than this is given up, seconds. Large ones take below one.
PATIENCE = 60.0


class Decoder:
    """A process that decodes frames, started with the first one. Use as a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def frames(self, block: bytes, indices: Sequence[int] | None, count: int, plugin: str) -> Iterator[np.ndarray]:
        """Stored values of the frames of a DICOM file.

        Parameters
        ----------
        block : bytes
            The file.
        indices : sequence of int or None
            Frames from 0; None for a file that has but one.
        count : int
            How many there are to come.
        plugin : str
            The decoder by pydicom's name.

        Raises
        ------
        RuntimeError
            If the data cannot be decoded, or the decoder crashes or takes longer than `PATIENCE`.
        """
        process = self._started()
        request = {"size": len(block), "frames": indices, "count": count, "plugin": plugin}
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n" + block)
            process.stdin.flush()
        except OSError as error:
            self.close()
            raise RuntimeError("the decoder has crashed") from error
        for _ in range(count):
            yield self._answer(process)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            # -P: the folder of the script, whose modules are called "series" or "source", stays off the import path.
            command = [sys.executable, "-P", str(Path(__file__).with_name("decoder.py"))]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        return self._process

    def _answer(self, process: subprocess.Popen[bytes]) -> np.ndarray:
        clock = threading.Timer(PATIENCE, process.kill)
        clock.start()
        try:
            head = json.loads(process.stdout.readline() or b"{}")
            if "dtype" in head:
                size = math.prod(head["shape"]) * np.dtype(head["dtype"]).itemsize
                block = process.stdout.read(size)
                if len(block) == size:
                    return np.frombuffer(block, head["dtype"]).reshape(head["shape"])
        finally:
            clock.cancel()
        self.close()
        raise RuntimeError(head.get("error", "the decoder has crashed or found no end"))
