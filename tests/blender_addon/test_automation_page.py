"""The examples in docs/automation.md run as they stand there. What finds an installed extension: see real_blender."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import bpy
import pytest
from espalier.backend import __main__ as command_line
from espalier.blender_addon import api, pump

from tests.fakes import fake_backend

PAGE = (Path(__file__).parents[2] / "docs" / "automation.md").read_text("utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
EXAMPLE = re.compile(r"^<!-- example: (\w+) -->\n```python\n(.*?)^```", re.M | re.S)
OPERATOR = re.compile(r"^\| `espalier\.(\w+)\((.*?)\)` \|", re.M)


def examples(kind: str) -> list[str]:
    return [code for found, code in EXAMPLE.findall(PAGE) if found == kind]


@pytest.fixture
def project(mode: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A saved .blend with images beside it, and the fake backend."""
    for name in ("mug", "chair_front", "chair_back"):
        fake_backend.write_png(tmp_path / f"{name}.png", 16, fake_backend.paint)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "project.blend"))


def test_every_example_is_run_somewhere() -> None:
    assert {kind for kind, _ in EXAMPLE.findall(PAGE)} == {"installed", "background", "window"}
    assert len(EXAMPLE.findall(PAGE)) == len(BLOCK.findall(PAGE))
    assert len(examples("installed")) == 1


@pytest.mark.parametrize("code", examples("background"))
def test_an_example_without_a_window(project: None, code: str) -> None:
    there = set(bpy.data.objects.keys())
    exec(compile(code, "docs/automation.md", "exec"), {"api": api})
    assert pump.jobs.jobs == []
    if "EspalierError" not in code:
        assert len(bpy.data.objects) > len(there) + 1


def test_what_the_example_of_an_error_says(project: None, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = (code for code in examples("background") if "EspalierError" in code)
    exec(code, {"api": api})
    assert capsys.readouterr().out.strip() == code.partition("# ")[2].strip()


def test_the_example_in_a_window(
    project: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], until: Callable[..., None]
) -> None:
    monkeypatch.setattr(api, "_without_window", lambda: False)
    (code,) = examples("window")
    exec(code, {"api": api})
    assert capsys.readouterr().out.startswith("False")
    until(lambda: not pump.jobs.jobs, pump.step)
    assert "mug" in capsys.readouterr().out.splitlines()


def test_the_operators_are_there_with_their_properties(mode: list[str]) -> None:
    found = OPERATOR.findall(PAGE)
    assert len(found) >= 8
    for name, properties in found:
        known = getattr(bpy.ops.espalier, name).get_rna_type().properties.keys()
        assert set(filter(None, properties.split(", "))) <= set(known), name


def test_the_command_of_the_tool_server() -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.M | re.S)
    server = json.loads(block)["mcpServers"]["espalier"]
    options, (module, *arguments) = server["args"][:2], server["args"][2:]
    assert (options, module) == (["-P", "-m"], "backend")
    assert command_line._parser().parse_args(arguments).allow == [Path("/path/to/assets")]
    assert sys.version_info >= (3, 11), "Python knows -P"
