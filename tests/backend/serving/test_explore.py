"""Candidates: objects that are made but not finished, and finished when they are taken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend import protocol
from backend.errors import GenerationError, JobCancelled, SettingsError
from backend.images import files
from backend.kept import Kept
from backend.pipeline import Pipeline
from backend.serving import explore, job
from backend.serving.warm_models import WarmModels
from tests.backend.images.test_images import disc
from tests.fakes.tiny_model import write_tiny_model

SEEDS = (3, 9, 4)
ASSET = {"steps": 2, "texture_size": 64, "faces": 300, "retry_seconds": 0.0}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_model(tmp_path_factory.mktemp("explore") / "tiny"))


@pytest.fixture
def models() -> WarmModels:
    return WarmModels(torch.device("cpu"))


class Asked:
    """Makes requests for images of discs, each in a folder of its own, and runs them."""

    def __init__(self, folder: Path, model: str, models: WarmModels) -> None:
        self.folder, self.model, self.models = folder, model, models
        self.images = tuple(str(folder / f"{name}.png") for name in ("a", "b"))
        disc().save(self.images[0])
        disc((10, 20, 30, 0)).resize((70, 60)).save(self.images[1])
        self.candidates: list[protocol.Candidate] = []

    def request(self, name: str, count: int = 1, **fields: Any) -> protocol.Generate:
        out = self.folder / name
        out.mkdir()
        return protocol.Generate(name, self.images[:count], str(out), model=self.model, **(ASSET | fields))

    def explore(self, name: str = "explore", count: int = 1, **fields: Any) -> protocol.Explored:
        request = self.request(name, count, **({"seeds": SEEDS} | fields))
        return explore.run(request, self.models, on_candidate=self.candidates.append, **QUIET)

    def finish(self, name: str, models: WarmModels, **fields: Any) -> tuple[protocol.Result, dict[str, bytes]]:
        result = job.run(self.request(name, **fields), models, on_preview=lambda path: None, **QUIET)
        paths = result.arrays, result.texture, result.glb, result.normal_map
        return result, {Path(path).name: Path(path).read_bytes() for path in paths}


QUIET: dict[str, Any] = {"on_progress": lambda stage, step, steps: None, "check": lambda: None}


@pytest.fixture
def asked(tmp_path: Path, tiny: str, models: WarmModels) -> Asked:
    return Asked(tmp_path, tiny, models)


def test_a_taken_candidate_is_the_object_of_its_seed_byte_for_byte(asked: Asked) -> None:
    asked.explore()
    taken, files = asked.finish("taken", asked.models, seed=9)
    alone, expected = asked.finish("alone", WarmModels(torch.device("cpu")), seed=9)
    assert files == expected
    assert "structure" in alone.timings
    assert not {"encode", "structure", "latents", "decode"} & taken.timings.keys()
    assert taken.settings == alone.settings
    assert (taken.counts, taken.note) == (alone.counts, alone.note)


def test_candidates_come_one_by_one_with_the_raw_mesh_of_their_seed(asked: Asked) -> None:
    explored = asked.explore()
    assert [c.number for c in asked.candidates] == [0, 1, 2]
    assert explored.job == "explore"
    assert explored.settings["steps"] == 2
    assert explored.timings["preview"] < explored.timings["total"]
    previews: list[bytes] = []
    request = asked.request("alone", seed=9)
    keep = lambda path: previews.append(path.read_bytes())  # noqa: E731
    job.run(request, WarmModels(torch.device("cpu")), on_preview=keep, **QUIET)
    with np.load(asked.candidates[1].arrays) as found:
        assert set(found) == {"vertices", "faces", "colors"}
    assert Path(asked.candidates[1].arrays).read_bytes() == previews[0]
    assert len({os.path.basename(c.arrays) for c in asked.candidates}) == 3


def test_a_setting_of_the_finish_reuses_what_was_made_and_one_of_the_networks_does_not(asked: Asked) -> None:
    asked.finish("first", asked.models, seed=5)
    assert "structure" not in asked.finish("faces", asked.models, seed=5, faces=200)[0].timings
    assert "structure" in asked.finish("guided", asked.models, seed=5, guidance=3.0)[0].timings
    other = asked.finish("two", asked.models, seed=5, count=2)[0]
    assert {"encode", "structure"} <= other.timings.keys()
    again = asked.finish("again", asked.models, seed=6)[0]
    assert "structure" in again.timings
    assert "encode" not in again.timings


def test_another_model_forgets_what_was_made(asked: Asked, tmp_path: Path) -> None:
    asked.finish("first", asked.models, seed=5)
    asked.models.release()
    assert "structure" in asked.finish("second", asked.models, seed=5)[0].timings


def test_each_candidate_may_have_images_of_its_own(asked: Asked) -> None:
    asked.explore(count=2, seeds=(3, 3, 3), views=((0,), (1,), (0, 1)))
    contents = [Path(c.arrays).read_bytes() for c in asked.candidates]
    assert len(set(contents)) == 3
    taken, _ = asked.finish("taken", asked.models, seed=3)
    assert "structure" not in taken.timings


def test_a_seed_that_gives_no_object_does_not_end_the_others(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Pipeline.reconstruct

    def reconstruct(self: Pipeline, images: Any, settings: protocol.Settings, *rest: Any, **more: Any) -> Any:
        if settings.seed == 9:
            raise GenerationError("mesh_empty", "It has no surface.", "Try another seed.")
        return real(self, images, settings, *rest, **more)

    monkeypatch.setattr(Pipeline, "reconstruct", reconstruct)
    asked.explore()
    assert [bool(c.arrays) for c in asked.candidates] == [True, False, True]
    assert (asked.candidates[1].problem, asked.candidates[1].hint) == ("It has no surface.", "Try another seed.")


def test_a_cancel_ends_it_and_what_was_made_stays(asked: Asked) -> None:
    def check() -> None:
        if asked.candidates:
            raise JobCancelled

    request = asked.request("cancelled", seeds=SEEDS)
    with pytest.raises(JobCancelled):
        explore.run(request, asked.models, on_candidate=asked.candidates.append, **QUIET | {"check": check})
    assert len(asked.candidates) == 1
    assert "structure" not in asked.finish("taken", asked.models, seed=SEEDS[0])[0].timings


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seeds": (1, -1)}, "Seed"),
        ({"seeds": (1, "2")}, "Seed"),
        ({"seeds": tuple(range(65))}, "1 to 64 seeds"),
        ({"seeds": 5}, "1 to 64 seeds"),
        ({"views": ((0,),)}, "one for each seed"),
        ({"views": ((0,), (1,), (0,))}, "from 0 to 0"),
        ({"views": ((0,), (), (0,))}, "from 0 to 0"),
        ({"views": ((0,), ([],), (0,))}, "from 0 to 0"),
        ({"mesh": "shape.npz"}, "given mesh"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(asked: Asked, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        asked.explore(**fields)


def test_a_cut_out_is_made_once_for_the_same_content(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()
    real = files.read_image

    def read_image(path: Path) -> tuple[Image.Image, str]:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(files, "read_image", read_image)
    kept = Kept(1 << 20)
    for name in ("one", "two"):
        explore.run(
            asked.request(name, seeds=(1,)), asked.models, on_candidate=lambda message: None, kept=kept, **QUIET
        )
    assert read == ["a.png"]
    disc().resize((90, 80)).save(asked.images[0])
    explore.run(asked.request("three", seeds=(1,)), asked.models, on_candidate=print, kept=kept, **QUIET)
    assert read == ["a.png", "a.png"]
