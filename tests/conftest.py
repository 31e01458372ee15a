"""What holds for all tests: no network, and no hardware or time that was not asked for."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from scripts.batch import load_checkout

load_checkout()  # tests import the add-on as ``espalier.blender_addon``, as Blender does

#: Marker -> the option that selects it. pyproject.toml says what they mean.
ON_REQUEST = {"gpu": "--gpu", "real_blender": "--real-blender", "slow": "--slow"}


def pytest_addoption(parser: pytest.Parser) -> None:
    for marker, option in ON_REQUEST.items():
        parser.addoption(option, action="store_true", help=f"run the tests marked {marker} too")
    parser.addoption(
        "--write-counts", action="store_true", help="write what a GPU is asked to docs/benchmarks/counts.json"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for marker, option in ON_REQUEST.items():
            if item.get_closest_marker(marker) and not config.getoption(option):
                item.add_marker(pytest.mark.skip(reason=f"marked {marker}: run with {option}"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for another machine fails. (The processes that it starts are not watched.)"""
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, _only_loopback(getattr(socket.socket, name)))


@pytest.fixture(autouse=True)
def no_models_installed(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What this machine's user has installed plays no part."""
    monkeypatch.setenv("ESPALIER_MODELS", str(tmp_path_factory.getbasetemp() / "no-models"))


def _only_loopback(connect: Any) -> Any:
    def checked(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise PermissionError(f"a test wanted to connect to {address[0]}: tests run without the network")
        return connect(self, address)

    return checked


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
