"""The command that distils: what its options change, what it refuses, and a plan where nothing is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from backend.config import SamplerSettings
from backend.sampling import time_steps
from backend.training.distillation.items import Clean
from backend.training.distillation.methods import DISTILL_PRESETS, METHODS, distill_preset
from backend.training.distillation.pictures import sample
from backend.training.export import STUDENT_SAMPLING
from scripts import distill


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["distill.py", *arguments, "--device", "cpu"])
    return distill.main()


def plan(output: str) -> dict[str, Any]:
    """The JSON at the head of a dry run's output."""
    values: dict[str, Any] = json.JSONDecoder().raw_decode(output)[0]
    return values


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(distill, "CACHE", tmp_path / "cache")


def test_a_dry_run_needs_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for stage, tokens in (("structure", 4096), ("latents", 4096)):
        assert run(monkeypatch, "vm-vd", stage, "--preset", "paper", "--dry-run") == 0
        out = capsys.readouterr().out
        assert plan(out)["schedule"] == "constant"
        assert f"about {tokens} tokens" in out
        assert "missing teacher: TRELLIS image-large is not installed." in out
        assert "download trellis-image-large" in out
        assert "missing data: this preset needs --data" in out
    assert run(monkeypatch, "vm-vd", "latents", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "missing teacher" not in out
    assert "has 0 of 160 shards of objects; make them with: python -m scripts.train data --preset mini" in out


def test_a_dry_run_for_the_second_family_needs_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for stage, guidance in (("structure", 6.5), ("latents", 6.5), ("textures", 0.0)):
        assert run(monkeypatch, "vm-vd", stage, "--preset", "trellis2", "--dry-run") == 0
        out = capsys.readouterr().out
        assert (plan(out)["stage"], plan(out)["match_guidance"]) == (stage, guidance)
        assert "student: 1292." in out
        assert out.count("for 100,000 updates") == 3
        assert "download trellis2-4b" in out
        assert "--data FOLDER, a data set in TRELLIS.2's layout" in out


def test_without_data_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "vm", "structure") == 1
    assert "python -m scripts.train data" in capsys.readouterr().err


def test_a_teacher_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    columns = "sha256,aesthetic_score,cond_rendered,ss_latent_enc"
    (tmp_path / "metadata.csv").write_text(f"{columns}\naaaa,5.0,True,True\n")
    (tmp_path / "ss_latents" / "enc").mkdir(parents=True)
    assert run(monkeypatch, "vm", "structure", "--preset", "paper", "--data", str(tmp_path)) == 1
    assert "download trellis-image-large" in capsys.readouterr().err  # the hint, too


def test_options_take_the_place_of_the_preset(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--steps", "7", "--batch", "6", "--split", "3", "--rate", "1e-3", "--guidance", "2.5", "--derivative"]
    options += ["continuous", "--distill-guidance", "0", "--distill-from", "0.75", "--normalization", "l2"]
    options += ["--precision", "fp32"]
    assert run(monkeypatch, "vm-vd", "structure", "--dry-run", *options) == 0
    found = plan(capsys.readouterr().out)
    expected: dict[str, Any] = {
        "steps": 7,
        "batch": 6,
        "split": 3,
        "rate": 1e-3,
        "match_guidance": 2.5,
        "distill_guidance": 0.0,
        "distill_from": 0.75,
    }
    expected |= {"normalization": "l2", "derivative": "continuous", "precision": "fp32"}
    assert {name: found[name] for name in expected} == expected
    assert run(monkeypatch, "pcm", "structure", "--dry-run", "--phases", "8") == 0
    assert plan(capsys.readouterr().out)["phases"] == 8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("vm structure --steps 0", "'0' is not a whole number of at least 1"),
        ("vm structure --steps -3", "'-3' is not a whole number of at least 1"),
        ("vm structure --batch 2.5", "'2.5' is not a whole number of at least 1"),
        ("vm structure --rate 0", "it must be above 0"),
        ("vm structure --rate nan", "'nan' is not a number of at least 0"),
        ("vm structure --guidance much", "'much' is not a number of at least 0"),
        ("vm-vd structure --distill-from 1.5", "it must not be above 1"),
        ("vm structure --phases 2", "--phases has no effect on the method vm"),
        ("cm structure --derivative continuous", "--derivative has no effect on the method cm"),
        ("vd structure --guidance 1", "--guidance has no effect on the method vd"),
        ("vm structure --check-data", "--check-data needs --data"),
        ("vm structure --export-only", "--export-only needs --export"),
        ("vm structure --distill-guidance 1", "--distill-guidance has no effect on the method vm without --correction"),
        ("flow-map structure --distill-from 0.5", "--distill-from has no effect on the method flow-map"),
        ("flow-map structure --normalization rms", "--normalization has no effect on the method flow-map"),
        ("vm structure --data-free .", "--data-free has no effect on the method vm: choose one of vd, data-free"),
        ("data-free structure --data-free . --data .", "--data-free takes the place of --data"),
        ("data-free structure --data-free . --structure mini", "--structure is for latents and textures with"),
        ("vm textures", "preset mini has no textures: its models have no such flow"),
        ("data-free latents --structure mini", "--structure is for latents and textures with --data-free"),
    ],
)
def test_options_that_make_no_sense(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *arguments.split())
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("vm structure --precision fp16", "needs CUDA"),
        ("vm structure --batch 7 --split 2 --dry-run", "cannot be divided by 1 process of 2 accumulation steps"),
        ("vm structure --teacher nobody --dry-run", "There is no model named 'nobody'. Choose one of"),
    ],
)
def test_what_cannot_be_done_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    assert run(monkeypatch, *arguments.split()) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "words"), [("cuda", "there is no CUDA device"), ("abacus", "does not know the device")]
)
def test_a_device_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], device: str, words: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["distill.py", "vm", "structure", "--device", device])
    assert distill.main() == 1
    assert words in capsys.readouterr().err


def test_methods_are_compared_in_equal_time() -> None:
    structure = {name: distill_preset("mini", "structure", name).steps for name in METHODS}
    latents = {name: distill_preset("mini", "latents", name).steps for name in METHODS}
    first = {"vm": 486, "vd": 398, "vm-vd": 270, "cm": 486, "pcm": 486, "scm": 405}
    assert structure == {**first, "flow-map": 486, "lagrangian": 384, "data-free": 173}
    first = {"vm": 338, "vd": 276, "vm-vd": 200, "cm": 338, "pcm": 338, "scm": 281}
    assert latents == {**first, "flow-map": 311, "lagrangian": 257, "data-free": 104}
    assert distill_preset("paper", "latents", "vm") == DISTILL_PRESETS["paper"]["latents"]


def test_velocity_distillation_alone_can_follow_an_unguided_teacher(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for stage in ("structure", "latents"):
        for options, guidance in (([], 0.0), (["--distill-guidance", "1"], 1.0)):
            assert run(monkeypatch, "vd", stage, "--dry-run", *options) == 0
            assert plan(capsys.readouterr().out)["distill_guidance"] == guidance


def test_new_methods_have_options_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "vm structure --dry-run --correction 0.01 --distill-guidance 2 --offload --recompute"
    assert run(monkeypatch, *command.split()) == 0
    found = plan(capsys.readouterr().out)
    names = ("correction", "distill_guidance", "offload", "checkpoint_blocks")
    assert [found[name] for name in names] == [0.01, 2.0, True, True]
    for name in ("flow-map", "lagrangian", "data-free"):
        assert run(monkeypatch, name, "structure", "--dry-run", "--derivative", "continuous", "--guidance", "3") == 0
        found = plan(capsys.readouterr().out)
        assert (found["derivative"], found["match_guidance"], found["correction"]) == (
            "continuous",
            3.0,
            1.0 if name == "data-free" else 0.0,
        )


def test_pictures_take_the_place_of_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["data-free", "structure", "--preset", "paper", "--data-free", str(tmp_path)]
    assert run(monkeypatch, *command) == 1
    assert f"{tmp_path} has no pictures" in capsys.readouterr().err
    Image.new("RGBA", (32, 32)).save(tmp_path / "empty.png")
    assert run(monkeypatch, *command, "--check-data") == 1
    assert "empty.png shows no object" in capsys.readouterr().out
    image = Image.new("RGBA", (32, 32))
    image.paste((200, 100, 50, 255), (8, 8, 24, 24))
    image.save(tmp_path / "empty.png")
    assert run(monkeypatch, *command, "--check-data") == 0
    assert run(monkeypatch, *command, "--dry-run") == 0
    assert "missing data" not in capsys.readouterr().out
    command[1] = "latents"
    assert run(monkeypatch, *command, "--dry-run") == 0
    assert "missing data: the latents of pictures need a structure student" in capsys.readouterr().out


class Recorder(torch.nn.Module):
    """A flow that remembers its times and whether it had a condition."""

    flow_map = False

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[float, bool]] = []

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        self.calls.append((float(t), bool(cond.any())))
        return torch.zeros_like(x)


@pytest.mark.parametrize("settings", [SamplerSettings(25, 5.0, (0.5, 1.0), 3.0, 1e-5), STUDENT_SAMPLING])
def test_pictures_are_sampled_as_the_settings_say(settings: SamplerSettings) -> None:
    flow, clean = Recorder(), Clean(torch.zeros(1, 2, 4, 4, 4), None, torch.ones(1, 3, 8))
    sample(flow, clean, settings, seed=0)
    times = time_steps(settings.steps, settings.rescale_t)[:-1]
    assert [t for t, conditional in flow.calls if conditional] == pytest.approx(list(1000 * times))
    guided = [1000 * t for t in times if settings.guidance and t >= 0.5]
    assert [t for t, conditional in flow.calls if not conditional] == pytest.approx(guided)
