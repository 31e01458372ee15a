"""How the installation reaches the network: proxies, certificates, patience. No bpy.

Downloads through the backend find these by themselves: proxies in the environment, in Windows' or macOS' settings, and
the certificates that the system trusts, so also a company's own. uv is told, because by default it trusts a list of
its own.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

#: Seconds that a server may be silent, if Blender's preferences do not say (*System > Network > Time Out*).
TIMEOUT = 30


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxy for each scheme ("http", "https", "all"), from the environment, else from the system's settings."""
    named = {name.lower(): value for name, value in environ.items() if value}
    found = {scheme: named[f"{scheme}_proxy"] for scheme in ("http", "https", "all") if f"{scheme}_proxy" in named}
    system = found or urllib.request.getproxies()
    return {scheme: system[scheme] for scheme in ("http", "https", "all") if scheme in system}


def for_uv(environ: Mapping[str, str], timeout: int) -> dict[str, str]:
    """The environment variables that make uv use the system's proxies and certificates, and wait as long as we do."""
    named = {f"{scheme.upper()}_PROXY": address for scheme, address in proxies(environ).items()}
    return named | {"UV_SYSTEM_CERTS": "1", "UV_HTTP_TIMEOUT": str(timeout or TIMEOUT)}


def in_words(environ: Mapping[str, str], timeout: int) -> str:
    """How the network is reached, for people: *through the proxy proxy:8080, with the certificates of this system*."""
    found = proxies(environ)
    address = found.get("https") or found.get("all") or found.get("http")
    way = f"through the proxy {_without_password(address)}" if address else "without a proxy"
    file = environ.get("SSL_CERT_FILE")
    trusted = f"with the certificates in {file}" if file else "with the certificates of this system"
    source = "Blender's preferences" if timeout else "the default"
    return f"{way}, {trusted}; a server may be silent for {timeout or TIMEOUT} seconds ({source})"


def _without_password(address: str) -> str:
    parts = urlsplit(address if "://" in address else f"http://{address}")
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
