"""Bounds for whatever a server answers: in bytes, decoded ones too, and for pages and listings in seconds.

``limit`` is a hook for httpx2's clients. It sees each answer before anything reads its body, those of redirects as
well. A file's length is known: ``at_most`` says how much one may have.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import StoreError

if TYPE_CHECKING:
    import httpx2

#: The longest page or listing, in bytes, and the longest time that it may take, in seconds.
PAGE_BYTES = 16 << 20
PAGE_SECONDS = 120.0
#: How many bytes a second a page must bring on average, once it has had some seconds: who sends less never ends.
SLOWEST, BEFORE_SLOW = 1000, 8.0

_BYTES = "espalier.bytes"


def at_most(count: int) -> dict[str, Any]:
    """The ``extensions`` of a request for a file of so many bytes. However slow the line is, it may take its time."""
    return {_BYTES: count}


def limit(response: httpx2.Response) -> None:
    """Bound what can be read of an answer. Reading raises StoreError once there is too much, or it takes too long."""
    import httpx2

    count: int | None = response.request.extensions.get(_BYTES)
    source = response.stream
    assert isinstance(source, httpx2.SyncByteStream)
    server, decoder = response.url.host, _decoder(response)

    class Bounded(httpx2.SyncByteStream):
        def __init__(self, inner: httpx2.SyncByteStream) -> None:
            self._inner = inner

        def __iter__(self) -> Iterator[bytes]:
            yield from _bounded(self._inner, decoder, server, count)

        def close(self) -> None:
            self._inner.close()

    response.stream = Bounded(source)


def _decoder(response: httpx2.Response) -> zlib._Decompress | None:
    """What unpacks the answer, in place of httpx2, which would unpack a small answer to gigabytes at once."""
    encoding = response.headers.pop("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        return None
    if encoding not in ("gzip", "deflate"):
        words = f"{response.url.host} answered in the encoding {encoding!r}, which was not asked for."
        raise StoreError("answer_unusable", words, "A proxy may have answered instead. Try again, or elsewhere.")
    return zlib.decompressobj(wbits=31 if encoding == "gzip" else 15)


def _bounded(
    source: httpx2.SyncByteStream, decoder: zlib._Decompress | None, server: str, count: int | None
) -> Iterator[bytes]:
    start, arrived, left = time.monotonic(), 0, PAGE_BYTES if count is None else count
    for chunk in source:
        arrived += len(chunk)
        seconds = time.monotonic() - start
        if count is None and seconds > PAGE_SECONDS:
            raise _refused(f"The answer of {server} did not end within {PAGE_SECONDS:.0f} seconds.")
        if count is None and seconds > BEFORE_SLOW and arrived < SLOWEST * seconds:
            raise _refused(f"{server} sent only {arrived} bytes in {seconds:.0f} seconds.")
        for piece in (chunk,) if decoder is None else _unpacked(decoder, chunk, left + 1, server):
            left -= len(piece)
            if left < 0:
                raise _refused(f"The answer of {server} is longer than it may be.")
            yield piece


def _unpacked(decoder: zlib._Decompress, chunk: bytes, most: int, server: str) -> Iterator[bytes]:
    """What a piece of a packed answer holds, at most so many bytes of it."""
    try:
        yield decoder.decompress(chunk, most)
    except zlib.error as error:
        raise _refused(f"The answer of {server} cannot be unpacked ({error}).") from error


def _refused(words: str) -> StoreError:
    return StoreError("answer_unusable", words, "Try again later, or use another network or source.")


def is_private(address: str) -> bool:
    """Whether nobody on the way can change what this address answers: by TLS, or within this machine."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))
