"""What other tests rely on without seeing it: the refusal of the network, and modules that are skipped alone."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


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


def test_no_test_imports_from_one_that_may_be_skipped_as_a_whole() -> None:
    """Where something is missing, as Pillow inside Blender, that one is skipped half-way through, and what it had not
    come to is missing to the other: an error, not a skip."""
    skips = re.compile(r"^(\w+ = )?pytest\.(importorskip\(|skip\(.*allow_module_level)", re.MULTILINE)
    taken = re.compile(r"^\s*from (tests\.[\w.]+\.test_\w+) import", re.MULTILINE)
    sources = {path: path.read_text("utf-8") for path in TESTS.rglob("*.py")}
    names = {
        ".".join(path.relative_to(TESTS.parent).with_suffix("").parts)
        for path in sources
        if skips.search(sources[path])
    }
    assert names, "no test is skipped as a whole: is the pattern still right?"
    found = {(path.name, name) for path, text in sources.items() for name in taken.findall(text) if name in names}
    assert found == set()
