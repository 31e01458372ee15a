"""What an object takes on this machine, known from one session to the next."""

from __future__ import annotations

from pathlib import Path

import pytest
from espalier.blender_addon.jobs.timings import Timings

STAGES = {"load": 2.0, "structure": 1.0, "finish": 0.5, "total": 4.0}


def test_the_next_session_knows_what_the_last_job_took(tmp_path: Path) -> None:
    path = tmp_path / "timings.json"
    first = Timings(path)
    assert first.seconds("mini", 2) is None
    first.note("mini", None, {"total": 9.0}, "cpu")
    first.note("mini", 2, {"total": 9.0}, "cpu")
    first.note("mini", 2, STAGES, "cpu")
    later = Timings(path)
    assert later.device == "cpu"
    assert later.seconds("mini", 2) == 2.0, "without the time that loading the model took"
    assert later.stages("mini", 2) == STAGES
    assert later.measured() == {("mini", None, None): 9.0, ("mini", 2, None): 2.0}


def test_each_resolution_has_its_own_time(tmp_path: Path) -> None:
    path = tmp_path / "timings.json"
    timings = Timings(path)
    timings.note("second", None, {"total": 20.0}, "GPU", 512)
    timings.note("second", None, {"total": 90.0}, "GPU", 1536)
    assert [Timings(path).seconds("second", None, each) for each in (512, 1024, 1536, None)] == [20.0, None, 90.0, None]


def test_what_earlier_versions_measured_is_known(tmp_path: Path) -> None:
    path = tmp_path / "timings.json"
    path.write_text('{"device": "cpu", "jobs": [["mini", 2, {"total": 3.0}]]}')
    assert Timings(path).seconds("mini", 2) == 3.0


def test_another_device_ends_what_was_known(tmp_path: Path) -> None:
    timings = Timings(tmp_path / "timings.json")
    timings.note("mini", 2, STAGES, "cpu")
    timings.note("large", 25, STAGES, "NVIDIA GeForce RTX 4070")
    assert timings.measured().keys() == {("large", 25, None)}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"device": "cpu", "jobs": [["mini", 2, {}]]}', '{"jobs": 3}'])
def test_a_damaged_file_is_said_and_written_anew(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "timings.json"
    path.write_text(content)
    timings = Timings(path)
    assert timings.measured() == {}
    assert "timings.json cannot be read" in capsys.readouterr().out
    timings.note("mini", 2, STAGES, "cpu")
    assert Timings(path).seconds("mini", 2) == 2.0
