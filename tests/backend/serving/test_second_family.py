"""What jobs do differently for a model of TRELLIS.2's family: its colours, a guide, boxes, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend import protocol
from backend.errors import SettingsError
from backend.generated import LIT
from backend.serving import explore, job
from backend.serving.model_list import list_models
from backend.serving.warm_models import WarmModels
from backend.store.catalog import PUBLISHED
from tests.backend.images.test_images import disc
from tests.backend.test_retexture import CUBE, FACES
from tests.fakes.tiny_model import write_tiny_model
from tests.fakes.tiny_trellis2 import write_tiny_trellis2

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_trellis2(tmp_path_factory.mktemp("models") / "second")


@pytest.fixture(scope="module")
def models() -> WarmModels:
    return WarmModels(CPU)


@pytest.fixture
def request_(tmp_path: Path, second: Path) -> protocol.Generate:
    disc().save(tmp_path / "disc.png")
    np.savez(tmp_path / "cube.npz", vertices=CUBE * 10, faces=FACES)
    few: dict[str, Any] = {"texture_size": 64, "faces": 300, "retry_seconds": 0.0}
    return protocol.Generate("a", (str(tmp_path / "disc.png"),), str(tmp_path), model=str(second), seed=3, **few)


def run(request: protocol.Generate, models: WarmModels) -> protocol.Result:
    return job.run(request, models, on_progress=lambda *_: None, on_preview=None, check=lambda: None)


def texture(result: protocol.Result) -> np.ndarray:
    return np.asarray(Image.open(result.texture))


def test_its_own_colors_are_taken_unless_the_picture_is_asked_for(
    request_: protocol.Generate, models: WarmModels
) -> None:
    assert request_.texture_source == "automatic"
    by_itself = run(request_, models)
    assert (by_itself.settings["texture_source"], by_itself.cameras) == ("colors", ())
    plain = texture(by_itself)
    assert np.array_equal(plain, texture(run(replace(request_, texture_source="colors"), models)))
    assert LIT not in by_itself.note
    painted = run(replace(request_, texture_source="picture"), models)
    assert (painted.settings["texture_source"], len(painted.cameras)) == ("picture", 1)
    assert LIT in painted.note, "the light of the picture is in it now"
    assert painted.materials
    assert LIT not in run(replace(request_, texture_source="picture", picture_strength=0.0), models).note


def test_a_given_mesh_gets_its_own_colors_too(request_: protocol.Generate, models: WarmModels, tmp_path: Path) -> None:
    given = replace(request_, mesh=str(tmp_path / "cube.npz"))
    by_itself = run(given, models)
    plain = texture(by_itself)
    assert (by_itself.settings["texture_source"], by_itself.cameras) == ("colors", ())
    assert np.array_equal(plain, texture(run(replace(given, texture_source="colors"), models)))
    assert LIT in run(replace(given, texture_source="picture"), models).note


def test_a_model_of_colors_alone_is_painted_as_ever(request_: protocol.Generate, tmp_path: Path) -> None:
    request, models = replace(request_, model=str(write_tiny_model(tmp_path / "first"))), WarmModels(CPU)
    by_itself = run(request, models)
    assert (by_itself.settings["texture_source"], len(by_itself.cameras)) == ("picture", 1)
    bytes_ = Path(by_itself.glb).read_bytes()
    assert bytes_ == Path(run(replace(request, texture_source="picture"), models).glb).read_bytes()
    assert LIT not in by_itself.note


def test_a_guide_is_followed_with_all_strength(request_: protocol.Generate, models: WarmModels, tmp_path: Path) -> None:
    guided = replace(request_, guide=str(tmp_path / "cube.npz"), shape_strength=1.0)
    result = run(guided, models)
    assert result.settings["voxels"]
    again = run(replace(request_, voxels=result.settings["voxels"], shape_strength=1.0), models)
    assert Path(again.glb).read_bytes() == Path(result.glb).read_bytes()


@pytest.mark.parametrize(
    ("changes", "words", "hint"),
    [
        ({"guide": "cube.npz"}, "follows a guide only with a shape strength of 1", "to 1"),
        ({"edits": (((0.0, 0.0, 0.0), (0.3, 0.3, 0.3), 1),)}, "nothing anew inside a box", "whole object"),
        ({"roughness": "estimated"}, "says itself how rough", "constant"),
    ],
)
def test_what_it_cannot_do_is_refused_before_it_is_loaded(
    request_: protocol.Generate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    words: str,
    hint: str,
) -> None:
    monkeypatch.setattr(WarmModels, "get", lambda *_, **__: pytest.fail("gigabytes were read in vain"))
    changes = {name: str(tmp_path / value) if name == "guide" else value for name, value in changes.items()}
    asked = replace(request_, **changes)
    with pytest.raises(SettingsError, match=words) as caught:
        run(asked, WarmModels(CPU))
    assert hint in caught.value.hint
    if "edits" in changes:
        return  # there are no candidates of a box, whatever the model
    with pytest.raises(SettingsError, match=words):
        explore.run(
            replace(asked, seeds=(1, 2)),
            WarmModels(CPU),
            on_progress=lambda *_: None,
            on_candidate=lambda _: None,
            check=lambda: None,
        )


def test_the_list_says_which_resolutions_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESPALIER_MODELS", str(tmp_path))
    write_tiny_model(tmp_path / "first")
    second, coarse = write_tiny_trellis2(tmp_path / "second"), write_tiny_trellis2(tmp_path / "coarse")
    for folder, mode in ((second, "1024_cascade"), (coarse, "1536_cascade")):
        text = (folder / "pipeline.json").read_text()
        (folder / "pipeline.json").write_text(text.replace('"512"', f'"{mode}"'))
    for file in (coarse / "ckpts").glob("fine_texture_flow.*"):
        file.unlink()
    listed = {model.name: model for model in list_models().models}
    told = {name: (m.resolutions, m.own_resolution, m.guides) for name, m in listed.items() if m.usable}
    assert told["first"] == told["mini"] == ((), 0, True)
    assert told["second"] == ((512, 1024, 1536), 1024, False)
    assert told["coarse"] == ((512,), 512, False), "the networks of finer shapes are not all there"
    assert [peak.resolution for peak in listed["trellis2-4b"].peaks] == [512, 1024, 1536], "of its finer part, too"
    assert (listed["trellis2-4b-fine"].part_of, listed["mdt-dist"].part_of) == ("trellis2-4b", "")
    assert PUBLISHED["dinov3-vitl16"].part_of == ""
