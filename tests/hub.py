"""A server on the loopback address that speaks as much of the hub's protocol as a download needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34


class Hub:
    """Files of one repository, and what was asked for.

    Attributes
    ----------
    files : dict of str to bytes
        What is there.
    declared : dict of str to str
        SHA-256 by name as the hub declares it; of files that are not here nothing is declared.
    cut : int or None
        The connection ends after so many bytes of a file.
    requests : list of (path, Range header)
        In order.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.cut, self.requests = files, None, []
        self.declared = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        self.url = ""

    def listing(self) -> bytes:
        siblings = []
        for name, content in self.files.items():
            entry = {"rfilename": name, "size": len(content), "blobId": "0" * 40}
            if name in self.declared:
                entry["lfs"] = {"sha256": self.declared[name], "size": len(content), "pointerSize": 130}
            siblings.append(entry)
        return json.dumps({"id": "some/model", "sha": COMMIT, "siblings": siblings}).encode()


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve until the block ends; `hub.url` is the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append((path, self.headers.get("Range")))
            if path.startswith("/api/models/"):
                self._send(200, hub.listing(), {"Content-Type": "application/json"})
                return
            name = path.partition(f"/resolve/{COMMIT}/")[2] or path.lstrip("/")
            if name not in hub.files:
                self._send(404, b"", {})
                return
            content, asked = hub.files[name], self.headers.get("Range")
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if start >= len(content) > 0:
                self._send(416, b"", {})
                return
            self._send(206 if asked else 200, content[start:], {}, hub.cut)

        def _send(self, code: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
            self.send_response(code)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body[:cut])
            if cut is not None:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
