"""A downloader for pooch that goes on where the last attempt ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pooch
import requests

CHUNK_BYTES = 1 << 20


class ResumingDownloader:
    """Fetch by HTTP, keeping what came so far under ``NAME.incomplete`` beside the target.

    pooch's own downloader begins anew each time. What is resumed is checked by pooch's hash as everything else.

    Parameters
    ----------
    progressbar : bool
        Show a bar on stderr.
    """

    def __init__(self, progressbar: bool = True) -> None:
        self.progressbar = progressbar

    def __call__(self, url: str, output_file: str, downloader: pooch.Pooch) -> None:
        """Fetch `url` into `output_file`, as pooch asks for it."""
        # pooch gives a temporary name that is new each time; the name of the file itself stays.
        kept = Path(downloader.path) / f"{next(iter(downloader.registry))}.incomplete"
        have = kept.stat().st_size if kept.is_file() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=60) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                kept.unlink()
                self(url, output_file, downloader)
                return
            answer.raise_for_status()
            resumed = answer.status_code == requests.codes.partial_content
            self._write(answer, kept, have if resumed else 0)
        kept.replace(output_file)

    def _write(self, answer: requests.Response, kept: Path, have: int) -> None:
        from tqdm import tqdm

        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        bar: Any = tqdm(total=total, initial=have, unit="B", unit_scale=True, disable=not self.progressbar)
        with bar, kept.open("ab" if have else "wb") as stream:
            for chunk in answer.iter_content(CHUNK_BYTES):
                stream.write(chunk)
                bar.update(len(chunk))
        if total is not None and kept.stat().st_size < total:
            raise OSError(f"the connection ended after {kept.stat().st_size} of {total} bytes")
