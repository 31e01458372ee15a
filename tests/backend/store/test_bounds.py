"""Servers that answer without end, with bombs, or a byte at a time, are left in bounded memory and time."""

from __future__ import annotations

import gzip
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from backend.errors import StoreError
from backend.store import bounds
from backend.store.catalog import PUBLISHED
from backend.store.hub import Hub
from backend.store.index import list_files

Answer = Callable[[httpx2.Request], httpx2.Response]


class Body(httpx2.SyncByteStream):
    """A body that is made while it is read, and counts what was taken."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.taken = pieces, 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.taken += len(piece)
            yield piece


def client(answer: Answer) -> httpx2.Client:
    transport = httpx2.MockTransport(answer)
    return httpx2.Client(transport=transport, follow_redirects=True, event_hooks={"response": [bounds.limit]})


def endless(piece: bytes, pause: float = 0.0) -> Iterator[bytes]:
    while True:
        time.sleep(pause)
        yield piece


def listing(body: Body, **headers: str) -> Answer:
    return lambda request: httpx2.Response(200, stream=body, headers={"Content-Type": "text/html", **headers})


def ask(answer: Answer) -> None:
    with client(answer) as server:
        list_files(server, "https://index.example/simple", "torch")


def test_an_endless_listing() -> None:
    body = Body(endless(b"<a href='x'>y</a>" * 4000))
    with pytest.raises(StoreError, match=r"index\.example is longer than it may be"):
        ask(listing(body))
    assert body.taken < bounds.PAGE_BYTES + 100_000


def test_a_listing_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "PAGE_SECONDS", 0.2)
    with pytest.raises(StoreError, match="did not end within"):
        ask(listing(Body(endless(b" ", 0.01))))


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15)])
def test_a_bomb(encoding: str, wbits: int) -> None:
    packer = zlib.compressobj(9, wbits=wbits)
    bomb = packer.compress(bytes(64 << 20)) + packer.flush()
    assert len(bomb) < 100_000
    with pytest.raises(StoreError, match="longer than it may be"):
        ask(listing(Body(iter([bomb])), **{"Content-Encoding": encoding}))


def test_a_bomb_in_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(gzip.compress(bytes(1 << 20)))
    with pytest.raises(StoreError, match="encoding 'gzip, gzip', which was not asked for"):
        ask(listing(Body(iter([bomb])), **{"Content-Encoding": "gzip, gzip"}))


def test_a_redirect_that_does_not_end() -> None:
    body = Body(endless(bytes(1 << 16)))
    answer = httpx2.Response(302, stream=body, headers={"Location": "https://index.example/elsewhere"})
    with pytest.raises(StoreError, match="longer than it may be"):
        ask(lambda request: answer)
    assert body.taken < bounds.PAGE_BYTES + 100_000


def test_a_packed_listing_is_read() -> None:
    page = gzip.compress(b'<a href="torch-1.0-py3-none-any.whl">torch</a>')
    with client(listing(Body(iter([page[:9], page[9:]])), **{"Content-Encoding": "gzip"})) as server:
        (file,) = list_files(server, "https://index.example/simple", "torch")
    assert (file.file, file.url) == (
        "torch-1.0-py3-none-any.whl",
        "https://index.example/simple/torch/torch-1.0-py3-none-any.whl",
    )


@pytest.mark.parametrize(
    "content", [b"no gzip at all", gzip.compress(b"x" * 1000)[:20] + b"damaged" * 9], ids=["none", "damaged"]
)
def test_what_cannot_be_unpacked_is_said(content: bytes) -> None:
    with pytest.raises(StoreError, match="cannot be unpacked"):
        ask(listing(Body(iter([content])), **{"Content-Encoding": "gzip"}))


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("https://download.pytorch.org/whl", True),
        ("http://download.pytorch.org/whl", False),
        ("http://127.0.0.1:8080/simple", True),
        ("http://localhost/simple", True),
        ("http://127.0.0.1.example/simple", False),
        ("ftp://127.0.0.1/simple", False),
    ],
)
def test_what_nobody_can_change_on_the_way(address: str, private: bool) -> None:
    assert bounds.is_private(address) is private


class Endless(BaseHTTPRequestHandler):
    """A hub whose listing does not end."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        try:
            for _ in range(1000):
                self.wfile.write(b"[1, " * 20_000)
        except ConnectionError:
            return  # the client has had enough


def test_the_hub_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    try:
        with pytest.raises(StoreError, match="longer than it may be"):
            Hub().offer(PUBLISHED["dinov2-vitl14-reg"])
    finally:
        server.shutdown()
        server.server_close()


def test_a_listing_that_is_sent_too_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "BEFORE_SLOW", 0.2)
    start = time.monotonic()
    with pytest.raises(StoreError, match="sent only"):
        ask(listing(Body(endless(b" ", 0.02))))
    assert time.monotonic() - start < 5
