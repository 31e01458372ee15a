from __future__ import annotations

import json

import pytest

from backend import protocol

REQUESTS = [
    protocol.Generate(job="a", images=("ä b.png", "c.png"), out="/tmp/x", steps=2, seed=7, guidance=3.5),
    protocol.Cancel("a"),
    protocol.Unload(),
    protocol.Shutdown(),
]
MESSAGES = [
    protocol.Ready(1, "0.1.0", "3.11.7", "2.13.0", "cpu", ("mini",)),
    protocol.Progress("a", "structure", 0.25, 1, 2),
    protocol.Preview("a", "/tmp/x/raw.npz"),
    protocol.Result("a", "m.npz", "t.png", "a.glb", {"total": 1.5}, {"faces": 3}, {"seed": 0, "steps": None}),
    protocol.Error(None, "internal", "Something\nwent “wrong”.", "hint"),
    protocol.Cancelled("a"),
    protocol.Unloaded(),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: r.type)
def test_requests_survive_the_wire(request_: protocol.Request) -> None:
    assert protocol.decode_request(protocol.encode(request_)) == request_


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.type)
def test_messages_survive_the_wire_as_one_line_of_ascii(message: protocol.Message) -> None:
    line = protocol.encode(message)
    assert line.isascii()
    assert line.count("\n") == 1
    assert protocol.decode_message(line) == message


@pytest.mark.parametrize("line", ["", "{", "[]", "3", "{}", '{"type": "ready"}', '{"type": "cancel"}', '{"type": 3}'])
def test_a_line_that_is_no_request_is_refused(line: str) -> None:
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_request(line)


def test_unhashable_type_is_refused() -> None:
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_request('{"type": ["cancel"]}')


def test_fields_of_a_newer_peer_are_dropped() -> None:
    line = json.dumps({"type": "cancel", "job": "a", "reason": "whim"})
    assert protocol.decode_request(line) == protocol.Cancel("a")


def test_the_stages_share_the_whole_progress_bar() -> None:
    assert sum(protocol.STAGES.values()) == pytest.approx(1.0)
