"""A package index on loopback (PEP 503) that does what networks do, and wheels made for it."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlsplit


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests for a file."""

    times: int = 1_000_000
    status: int = 0  # answer this
    cut: int | None = None  # break the connection after so many bytes
    content: bytes | None = None  # serve this in place of the file
    pause: float = 0.0  # seconds between pieces of 4 KiB


@dataclass
class FakeIndex:
    """Files by name, faults of their downloads, and the ranges that were asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # (file, range) of each download
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self) -> Fault:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0:
                    fault.times -= 1
                    return fault
        return Fault()


@contextmanager
def serve_index() -> Iterator[FakeIndex]:
    """An index that answers while the context lasts."""
    index = FakeIndex()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, index))
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_wheel(name: str, version: str, files: Mapping[str, bytes]) -> tuple[str, bytes]:
    """A wheel of pure Python: its file name and content."""
    info = f"{name}-{version}.dist-info"
    members = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*members, f"{info}/RECORD"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, data in (members | {f"{info}/RECORD": record.encode()}).items():
            archive.writestr(zipfile.ZipInfo(path), data)
    return f"{name}-{version}-py3-none-any.whl", content.getvalue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, index: FakeIndex, *args: Any) -> None:
        self.index = index
        super().__init__(*args)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        _, kind, name = unquote(urlsplit(self.path).path).split("/")[:3]
        if kind == "simple":
            self._list(name)
        elif name in self.index.files:
            self._serve(name)
        else:
            self._answer(404, b"")

    def _list(self, package: str) -> None:
        names = [
            name
            for name in self.index.files
            if name.partition("-")[0].lower().replace("_", "-") == package.replace("_", "-")
        ]
        links = [
            f'<a href="/files/{quote(name)}#sha256={hashlib.sha256(self.index.files[name]).hexdigest()}">{name}</a>'
            for name in names
        ]
        self._answer(200 if links else 404, f"<!DOCTYPE html><html><body>{'<br>'.join(links)}</body></html>".encode())

    def _serve(self, name: str) -> None:
        fault = self.index.next_fault()
        asked = self.headers["Range"]
        self.index.asked.append((name, asked))
        if fault.status:
            return self._answer(fault.status, b"")
        content = self.index.files[name] if fault.content is None else fault.content
        first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, len(content) - int(last))  # without a first byte: the last ones
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content) if fault.cut is None else min(start + fault.cut, len(content))
        step = 4096 if fault.pause else len(content) + 1
        try:
            for position in range(start, end, step):
                self.wfile.write(content[position : min(position + step, end)])
                time.sleep(fault.pause)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client was killed
        if fault.cut is not None:
            self.close_connection = True
        return None

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
