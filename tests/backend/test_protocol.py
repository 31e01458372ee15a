from __future__ import annotations

import json
from typing import Any

import pytest

from backend import protocol

REQUESTS = [
    protocol.Generate(job="a", images=("ä b.png", "c.png"), out="/tmp/x", steps=2, seed=7, guidance=3.5),
    protocol.Generate(job="a", images=("b.png", "c.png"), out="/tmp/x", points=((0.25, 1.0), None)),
    protocol.Cutout("c", "ä b.png", "/tmp/x/b.png", "always", (0.5, 0.25)),
    protocol.Cutout("c", "b.png", "/tmp/x/b.png"),
    protocol.Cancel("a"),
    protocol.Unload(),
    protocol.Shutdown(),
]
MESSAGES = [
    protocol.Ready(1, "0.1.0", "3.11.7", "2.13.0", "cpu", ("mini",)),
    protocol.Progress("a", "structure", 0.25, 1, 2),
    protocol.Preview("a", "/tmp/x/raw.npz"),
    protocol.Result("a", "m.npz", "t.png", "a.glb", {"total": 1.5}, {"faces": 3}, {"seed": 0, "steps": None}),
    protocol.CutoutDone("c", "/tmp/x/b.png", True, (protocol.BACKGROUND_REMOVED, protocol.EDGE_TOUCHED)),
    protocol.CutoutDone("c", "/tmp/x/b.png", False),
    protocol.Error(None, "internal", "Something\nwent “wrong”.", "hint"),
    protocol.Cancelled("a"),
    protocol.Unloaded(),
]
INFO = protocol.ModelInfo(
    name="quick",
    title="Quick",
    state="installed",
    size=7,
    present=5,
    licence="MIT",
    source="https://page",
    needs=("large",),
    folder="/models/quick",
    usable=True,
    steps=(2, 25),
    teacher="large",
    gaussians=True,
    stamp="c0ffee",
)
OWN = protocol.ModelInfo("ä", "Ä", "own", 0, 0, "", "", (), problem="It is not whole.")
REPORTS: list[protocol.Report] = [
    protocol.ModelList("/models", 10**12, (INFO, OWN)),
    protocol.ModelList("/models", 0, ()),
    protocol.Transfer("quick", "download", "ckpts/flow.safetensors", 3, 7),
    protocol.Installed("quick", "/models/quick"),
    protocol.Done("quick", ("large",)),
    protocol.Done(),
    protocol.Error(None, "no_network", "There is no “network”.", "Look for one."),
    protocol.Interrupted(),
    protocol.Device("cpu", None, "2.13.0"),
    protocol.Device("NVIDIA GeForce RTX 4070", 12 << 30, "2.13.0+cu130"),
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


# --- reports of the commands -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("report", REPORTS, ids=lambda r: r.type)
def test_reports_survive_the_wire_as_one_line_of_ascii(report: protocol.Report) -> None:
    line = protocol.encode(report)
    assert line.isascii()
    assert line.count("\n") == 1
    assert protocol.decode_report(line) == report


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "3", "null", "{}", '{"type": "ready"}', '{"type": ["done"]}', "Fetching ...", '"models"']
)
def test_what_a_library_prints_is_no_report(line: str) -> None:
    with pytest.raises(protocol.ProtocolError, match="not"):
        protocol.decode_report(line)


def changed(report: Any, **values: object) -> str:
    return json.dumps(json.loads(protocol.encode(report)) | values)


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ('{"type": "models"}', "models lacks models_folder, free, models"),
        (changed(REPORTS[0], free="much"), "models.free must be int"),
        (changed(REPORTS[0], free=True), "models.free must be int"),
        (changed(REPORTS[0], models={}), "models.models must be"),
        (changed(REPORTS[0], models=[3]), r"models.models\[0\] must be ModelInfo"),
        (changed(REPORTS[0], models=[{"name": "a"}]), r"models.models\[0\] lacks title"),
        (changed(REPORTS[0], models=[vars(INFO) | {"steps": [2]}]), r"models.models\[0\].steps must be"),
        (changed(REPORTS[0], models=[vars(INFO) | {"steps": [2, "x"]}]), r"steps\[1\] must be int"),
        (changed(REPORTS[0], models=[vars(INFO) | {"usable": 1}]), "usable must be bool"),
        (changed(REPORTS[0], models=[vars(INFO) | {"needs": [1]}]), r"needs\[0\] must be str"),
        (changed(REPORTS[2], done=0.5), "progress.done must be int"),
        (changed(REPORTS[8], memory="12 GB"), "device.memory must be"),
        (changed(REPORTS[8], memory=False), "device.memory must be"),
        (changed(REPORTS[6], message=None), "error.message must be str"),
        (changed(REPORTS[6], job=3), "error.job must be"),
    ],
)
def test_a_report_with_a_field_that_cannot_be_is_refused_in_words(line: str, where: str) -> None:
    with pytest.raises(protocol.ProtocolError, match=where):
        protocol.decode_report(line)


def test_fields_of_a_newer_report_are_dropped() -> None:
    newer = vars(INFO) | {"mood": "good"}
    assert protocol.decode_report(changed(REPORTS[0], models=[newer], mood=1)) == protocol.ModelList(
        "/models", 10**12, (INFO,)
    )
