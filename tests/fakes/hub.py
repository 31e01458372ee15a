"""A small imitation of the hub on loopback: what huggingface_hub asks of it, and the faults that a network has.

Large files are kept, as on the hub, on a storage server of another origin that the hub redirects to.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "1234567890abcdef1234567890abcdef12345678"

#: Files of these kinds are large files: published with their SHA-256, and served by the storage server.
LARGE = (".safetensors", ".pt", ".onnx")


@dataclass(frozen=True)
class Asked:
    """A request that was made. ``large`` if it was made of the storage server."""

    method: str
    path: str
    range: str | None
    token: str | None
    large: bool


@dataclass
class Fault:
    """What goes wrong with requests whose path ends in ``path``, the next ``times`` times."""

    path: str
    times: int = 1_000_000
    status: int = 0  # answer this, with ``headers``: the hub does, or with ``at_storage`` the storage server
    at_storage: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # break the connection after so many bytes
    content: bytes | None = None  # serve this in place of the file
    no_ranges: bool = False  # serve the whole file whatever is asked for
    pause: float = 0.0  # seconds between pieces of 1 KiB
    html: bool = False  # answer with a web page


@dataclass
class FakeHub:
    """Repositories (name -> path -> content), what is said wrongly of their files, faults, and what was asked."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    listed_sizes: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    storage: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault_of(self, path: str, large: bool) -> Fault | None:
        """What is to go wrong with a request, of the storage server if ``large``."""
        with self.lock:
            for fault in self.faults:
                at_storage = fault.at_storage if fault.status else is_large(path)
                if path.endswith(fault.path) and at_storage == large and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def downloads(self) -> list[tuple[str, str | None]]:
        """(file name, range) of all requests for the content of a file."""
        return [
            (one.path.rpartition("/")[2], one.range)
            for one in self.asked
            if one.method == "GET" and "/resolve/" in one.path and one.large == is_large(one.path)
        ]


@contextmanager
def serve_hub() -> Iterator[FakeHub]:
    """A hub that answers while the context lasts."""
    hub = FakeHub()
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, hub, large)) for large in (False, True)]
    hub.url, hub.storage = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


def is_large(path: str) -> bool:
    return path.endswith(LARGE)


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: FakeHub, large: bool, *args: Any) -> None:
        self.hub, self.large = hub, large
        super().__init__(*args)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = self.headers
        self.hub.asked.append(Asked(self.command, path, headers["Range"], headers["Authorization"], self.large))
        fault = self.hub.fault_of(path, self.large)
        if fault is not None and fault.status:
            return self._answer(fault.status, b'{"error": "as the test wants"}', **fault.headers)
        if fault is not None and fault.html:
            return self._answer(200, b"<html>Please log in to the hotel's network</html>")
        if path.startswith("/api/models/"):
            repository, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            return self._describe(repository, revision)
        repository, _, rest = path[1:].partition("/resolve/")
        files = self.hub.repositories.get(repository, {})
        name = rest.partition("/")[2]
        if name not in files:
            return self._answer(404, b"", **{"X-Error-Code": "EntryNotFound"})
        if is_large(path) and not self.large:
            return self._redirect(path, files[name])
        return self._serve(files[name], fault or Fault(path))

    def _describe(self, repository: str, revision: str) -> None:
        if repository not in self.hub.repositories:
            return self._answer(404, b"", **{"X-Error-Code": "RepoNotFound"})
        siblings = []
        for name, content in self.hub.repositories[repository].items():
            size = self.hub.listed_sizes.get(name, len(content))
            entry: dict[str, object] = {"rfilename": name, "size": size, "blobId": git_sha1(content)}
            if name.endswith(LARGE):
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 134}
            siblings.append(entry)
        sha = COMMIT if revision == "main" else revision
        self._answer(200, json.dumps({"id": repository, "sha": sha, "siblings": siblings}).encode())

    def _redirect(self, path: str, content: bytes) -> None:
        self._answer(
            302,
            b"",
            **{
                "Location": self.hub.storage + path,
                "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(len(content)),
                "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            },
        )

    def _serve(self, content: bytes, fault: Fault) -> None:
        if fault.content is not None:
            content = fault.content
        asked = None if fault.no_ranges else self.headers["Range"]
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        if start and start >= len(content):
            return self._answer(416, b"", **{"Content-Range": f"bytes */{len(content)}"})
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{git_sha1(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "HEAD":
            return None
        end = len(content) if fault.cut is None else min(start + fault.cut, len(content))
        step = 1024 if fault.pause else len(content) + 1
        for position in range(start, end, step):
            self.wfile.write(content[position : min(position + step, end)])
            if fault.pause:
                time.sleep(fault.pause)
        if fault.cut is not None:
            self.close_connection = True
        return None

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
