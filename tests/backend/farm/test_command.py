"""What the command refuses before it asks Ray for anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend import batches
from backend.__main__ import main
from backend.farm import command
from backend.serving.model_list import model_info
from tests.fakes.tiny_model import write_tiny_model
from tests.fakes.tiny_trellis2 import write_tiny_trellis2


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("second", "roughness", "estimated"),
        ("second", "texture_source", "gaussians"),
        ("first", "resolution", 512),
    ],
)
def test_what_the_model_cannot_do_is_told_once_in_the_words_of_a_batch(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    family: str,
    name: str,
    value: object,
) -> None:
    monkeypatch.setattr(command, "require_ray", lambda: None)
    monkeypatch.setattr(command.rows, "find", lambda *_: pytest.fail("the source was read in vain"))
    write = {"first": write_tiny_model, "second": write_tiny_trellis2}[family]
    model, out = str(write(tmp_path / "model")), tmp_path / "out"
    option = "--" + name.replace("_", "-")
    assert main(["farm", str(tmp_path), "--out", str(out), "--model", model, option, str(value)]) == 2
    settings = {"model": model, "texture_source": "automatic", "roughness": "constant", "resolution": None}
    words = batches.problem_with_model(settings | {name: value}, model_info(model))
    assert words.startswith(f"{option} {value}: the model {model}")
    assert capsys.readouterr().err.strip() == words
    assert not out.exists()


def test_what_the_model_can_do_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "require_ray", lambda: None)
    monkeypatch.setattr(command.rows, "find", lambda *_: ([], {}))
    model = str(write_tiny_trellis2(tmp_path / "model"))
    assert main(["farm", str(tmp_path), "--out", str(tmp_path / "out"), "--model", model, "--resolution", "512"]) == 1
    assert "There are no images" in capsys.readouterr().err
