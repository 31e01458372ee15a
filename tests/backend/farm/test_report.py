"""What is said of each object, whoever is killed when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.errors import BackendError
from backend.farm.pace import Pace
from backend.farm.report import JSON, PARQUET, Line, Report
from backend.farm.stores import Target
from tests.backend.farm.farms import needs_ray

pytestmark = needs_ray


def line(name: str, **more: object) -> Line:
    return Line(name, [f"{name}.png"], "print", name, **{"status": "done", "files": {"glb": f"{name}.glb"}, **more})  # type: ignore[arg-type]


@pytest.fixture
def target(tmp_path: Path) -> Target:
    (tmp_path / ".farm").mkdir()
    return Target(str(tmp_path))


def loaded(target: Target) -> Report:
    report = Report(target, {"seed": 0})
    report.load()
    return report


def test_a_report_is_read_as_it_was_written(target: Target) -> None:
    report = loaded(target)
    report.take(line("a", sizes={"glb": 3}, seconds={"read": 0.5}, counts={"faces": 4}, settings={"seed": 7}))
    report.take(line("b", status="failed", files={}, error={"code": "c", "message": "m", "hint": "h"}))
    report.write(last=True)
    assert loaded(target).lines == report.lines
    assert [asset["name"] for asset in json.loads(target.read(JSON))["assets"]] == ["a", "b"]


def test_lines_that_no_report_has_are_found_and_go_at_the_end(target: Target) -> None:
    report = loaded(target)
    report.take(line("a", status="pending"))
    report.write()
    target.note("a.json", line("a").text().encode())  # a worker did; then the driver was killed
    target.note("b.json", b'{"name": "b"')
    again = loaded(target)
    assert again.lines == {"a": line("a")}
    again.write(last=True)
    assert target.own() == {}
    assert loaded(target).lines == {"a": line("a")}


def test_a_damaged_report_is_not_overwritten(target: Target) -> None:
    Path(target.address, PARQUET).write_bytes(b"PAR1 something else")
    with pytest.raises(BackendError, match=PARQUET):
        loaded(target)


def test_an_object_is_whole_if_all_of_its_files_are_there() -> None:
    made = line("a", files={"glb": "a.glb", "obj": "a.obj"}, sizes={"glb": 3, "obj": 4})
    assert made.is_whole({"a.glb": 3, "a.obj": 4, "b.glb": 1})
    assert not made.is_whole({"a.glb": 3})
    assert not made.is_whole({"a.glb": 3, "a.obj": 5})
    assert not line("a", files={}, sizes={}).is_whole({})


def test_the_pace_tells_what_is_done_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    pace = Pace(100, lambda: clock[0])
    for number in range(40):
        clock[0] += 2.0
        pace.take(line("a", status="failed" if number == 3 else "done"))
    assert pace.text() == "39 done, 1 failed of 100, 30 objects a minute, 2 min left"
    assert len(capsys.readouterr().out.splitlines()) == 2  # every half minute
