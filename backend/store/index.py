"""Package indexes: which files they have of a package, and where. The simple API as HTML (PEP 503) or JSON (PEP 691).

The only hash of a file that is read is the one in its own link, ``#sha256=...`` (in JSON: ``hashes``). Links have
other hashes as well, such as ``data-dist-info-metadata``: these are of a wheel's description, not of the wheel.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urldefrag, urljoin

from ..errors import StoreError
from ..protocol import Wheel
from . import bounds, transfer
from .transfer import RESUMED, Fault, Origin, asked_wait, may_pass

if TYPE_CHECKING:
    import httpx2

PYPI = "https://pypi.org/simple"
TORCH = "https://download.pytorch.org/whl"

_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_PIECE = 1 << 16


@dataclass(frozen=True)
class Listed:
    """A file that an index offers. What the index does not state is None. ``private`` is as in ``bounds``."""

    file: str
    url: str
    sha256: str | None = None
    size: int | None = None
    private: bool = False


def connect(timeout: float = transfer.TIMEOUT) -> httpx2.Client:
    """A client for package indexes, with the proxies and the certificates of this system. The caller closes it.

    ``timeout`` is how many seconds a server may be silent.
    """
    import httpx2

    return httpx2.Client(timeout=timeout, follow_redirects=True, event_hooks={"response": [bounds.limit]})


def origin(client: httpx2.Client) -> Origin:
    """A package index as an origin for ``transfer``."""
    return Origin(client, explain, timeout=client.timeout.read)


def explain(error: Exception) -> Fault | None:
    """What an error of httpx2 means, for the person who waits for the wheel."""
    import httpx2

    if isinstance(error, httpx2.HTTPStatusError):
        response = error.response
        words = f"{response.url.host} answered with status {response.status_code}."
        hint = f"Try again later, or use another package index. {RESUMED}"
        fault = StoreError("index_failed", words, hint)
        return Fault(fault, may_pass(response.status_code), asked_wait(response.headers))
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        words = f"The package index's certificate is not trusted ({error})."
        hint = "If a proxy inspects connections, add its certificate to this system, or name its file in SSL_CERT_FILE."
        return Fault(StoreError("certificate_unknown", words, hint), False)
    if isinstance(error, (httpx2.RequestError, ConnectionError)):
        words = f"The connection to the package index failed ({error})."
        return Fault(StoreError("no_network", words, f"Check the network and the proxy settings. {RESUMED}"), True)
    return None


def indexes(version: str, chosen: str, torch: str = TORCH) -> list[str]:
    """Where to look for a wheel: builds of torch such as 2.13.0+cpu are only on torch's own index, or on a mirror."""
    local = version.partition("+")[2]
    return [chosen, f"{torch}/{local}"] if local else [chosen]


def find(client: httpx2.Client, wheel: Wheel, addresses: list[str]) -> Listed:
    """The wheel on the first index that has it. Raises StoreError if none does, and httpx2's errors."""
    for address in addresses:
        for offered in list_files(client, address, wheel.name):
            if offered.file == wheel.file and offered.sha256 in (None, wheel.sha256):
                return offered
    hint = "Correct the package index in the preferences. A mirror may lack the file."
    raise StoreError("wheel_missing", f"The locked {wheel.file} is not on {' or '.join(addresses)}.", hint)


def list_files(client: httpx2.Client, index: str, name: str) -> list[Listed]:
    """The files that an index offers for a package; none if it does not know it. Raises StoreError, httpx2's errors."""
    address = f"{index.rstrip('/')}/{normal(name)}/"
    response = client.get(address, headers={"Accept": _ACCEPT})
    if response.status_code == 404:
        return []
    response.raise_for_status()
    base = str(response.url)
    private = all(bounds.is_private(str(one.url)) for one in (*response.history, response))
    try:
        read = _read_json if "json" in response.headers.get("Content-Type", "") else _read_html
        files = read(response.content, base, private)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        hint = "Correct the package index in the preferences. The network's login page may have answered instead."
        raise StoreError("index_failed", f"The answer of {address} is not a package index's.", hint) from error
    return files


def normal(name: str) -> str:
    """A package's name as indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _read_json(content: bytes, base: str, private: bool) -> list[Listed]:
    return [
        Listed(
            str(file["filename"]),
            urljoin(base, file["url"]),
            _digest(file["hashes"].get("sha256")),
            _size(file),
            private,
        )
        for file in json.loads(content)["files"]
    ]


def _read_html(content: bytes, base: str, private: bool) -> list[Listed]:
    page, end = _Page(), time.monotonic() + bounds.PAGE_SECONDS
    for start in range(0, len(content), _PIECE):
        page.feed(content[start : start + _PIECE].decode("utf-8", "replace"))
        if time.monotonic() > end:
            raise ValueError("the page takes too long to read")
    return [_listed(urljoin(base, link), private) for link in page.links]


class _Page(HTMLParser):
    """Collects the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attributes if tag == "a" and name == "href" and value]


def _listed(link: str, private: bool) -> Listed:
    url, fragment = urldefrag(link)
    kind, _, digest = fragment.partition("=")
    return Listed(unquote(url.rpartition("/")[2]), url, _digest(digest) if kind == "sha256" else None, None, private)


def _digest(value: Any) -> str | None:
    """A SHA-256 as it is written here; None if it is none."""
    digest = value.lower() if isinstance(value, str) else ""
    return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None


def _size(file: dict[str, Any]) -> int | None:
    size = file.get("size")
    return size if isinstance(size, int) and size > 0 else None
