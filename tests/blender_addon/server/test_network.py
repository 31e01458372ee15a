"""Proxies, certificates and patience, as the system and Blender have them."""

from __future__ import annotations

import urllib.request

import pytest
from espalier.blender_addon.server import network


def test_the_environments_proxy_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": "http://system:1", "ftp": "http://system:2"})
    assert network.proxies({}) == {"https": "http://system:1"}
    assert network.proxies({"HTTPS_PROXY": "http://here:3", "no_proxy": "x"}) == {"https": "http://here:3"}
    assert network.proxies({"all_proxy": "socks5://here:4"}) == {"all": "socks5://here:4"}


def test_uv_is_told() -> None:
    told = network.for_uv({"https_proxy": "http://proxy:3128"}, 0)
    assert told == {"HTTPS_PROXY": "http://proxy:3128", "UV_SYSTEM_CERTS": "1", "UV_HTTP_TIMEOUT": "30"}
    assert network.for_uv({"https_proxy": "http://proxy:3128"}, 90)["UV_HTTP_TIMEOUT"] == "90"


def test_it_is_said_without_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    words = network.in_words({"HTTPS_PROXY": "http://anna:secret@proxy.corp:3128"}, 60)
    assert "through the proxy proxy.corp:3128" in words
    assert "60 seconds (Blender's preferences)" in words
    assert "secret" not in words
    assert "anna" not in words
    assert network.in_words({"SSL_CERT_FILE": "/ca.pem"}, 0).startswith(
        "without a proxy, with the certificates in /ca.pem"
    )
