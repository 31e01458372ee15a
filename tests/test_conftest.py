"""The refusal of the network, which other tests rely on without seeing it."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 9), ("example.org", 80)])
def test_other_machines_are_refused(address: tuple[str, int]) -> None:
    with socket.socket() as one:
        with pytest.raises(PermissionError, match="without the network"):
            one.connect(address)
        with pytest.raises(PermissionError, match="without the network"):
            one.connect_ex(address)


def test_libraries_are_refused_too() -> None:
    with pytest.raises(urllib.error.URLError, match="without the network"):
        urllib.request.urlopen("http://192.0.2.1/")


def test_this_machine_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()
