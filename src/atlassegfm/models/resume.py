"""A downloader for pooch that goes on where the last attempt ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import requests
from tqdm import tqdm

#: What is lost at the most when the connection ends.
CHUNK_BYTES = 1 << 16
TIMEOUT_SECONDS = 60


class ResumingDownloader:
    """Fetch by HTTP, keeping what came so far.

    pooch's own downloader begins anew each time. What is resumed is checked by pooch's hash as everything else.

    Parameters
    ----------
    kept : Path
        Where what came so far stays between attempts.
    headers : mapping of str to str
        Sent with the request; not to other hosts that it is sent on to, as far as they hold a password.
    progressbar : bool
        Show a bar on stderr.
    """

    def __init__(self, kept: Path, headers: Mapping[str, str] | None = None, *, progressbar: bool = True) -> None:
        self.kept, self.headers, self.progressbar = kept, dict(headers or {}), progressbar

    def __call__(self, url: str, output_file: str, pooch: object = None, check_only: bool = False) -> None:
        """Fetch `url` into `output_file`, as pooch asks for it.

        Raises
        ------
        OSError
            If the server refuses (`requests.HTTPError`), cannot be reached, or the connection ends early.
        """
        have = self.kept.stat().st_size if self.kept.is_file() else 0
        # Compressed on the way, there would be no saying where a part ends.
        headers = self.headers | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
            if have and answer.status_code == requests.codes.requested_range_not_satisfiable:
                self.kept.unlink()
                self(url, output_file)
                return
            answer.raise_for_status()
            # A server that does not know ranges sends everything.
            self._write(answer, have if answer.status_code == requests.codes.partial_content else 0)
        self.kept.replace(output_file)

    def _write(self, answer: requests.Response, have: int) -> None:
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, disable=not self.progressbar)
        with bar, self.kept.open("ab" if have else "wb") as stream:
            for chunk in answer.iter_content(CHUNK_BYTES):
                stream.write(chunk)
                bar.update(len(chunk))
        if total is not None and self.kept.stat().st_size < total:
            raise OSError(f"the connection ended after {self.kept.stat().st_size} of {total} bytes")
