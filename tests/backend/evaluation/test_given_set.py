"""A person's own objects as a set to judge models on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from backend.evaluation.cases import Case
from backend.evaluation.given_set import GivenSetError, given_set, set_digest
from backend.evaluation.samples import Row, encoder_of, scores_of
from backend.evaluation.table import Evaluation
from backend.store.catalog import find_model
from backend.weights.folders import ModelFolder
from scripts import eval as eval_script

CPU = torch.device("cpu")


def textured_box() -> trimesh.Trimesh:
    """A box of the proportions 1 : 2 : 4 along x, y and z of glTF, red where v < 0.5 and blue above."""
    box = trimesh.creation.box((1, 2, 4))
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4], image[4:] = (0, 0, 255), (255, 0, 0)  # a picture's first row is at v = 1
    uv = np.stack([np.full(len(box.vertices), 0.5), box.vertices[:, 1] / 2 + 0.5], 1)
    box.visual = trimesh.visual.TextureVisuals(uv=uv, image=Image.fromarray(image))
    return box


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of three: a textured box, and two procedural objects in vertex colours."""
    textured_box().export(tmp_path / "box.glb")
    Case.draw("chair", 100_000).image().save(tmp_path / "box.png")
    for family in ("mug", "rocket"):
        case = Case.draw(family, 100_000)
        mesh, colors = case.solid().mesh, case.solid().mesh.colors
        assert colors is not None
        vertices = 7 * mesh.vertices[:, [0, 2, 1]] * [1, 1, -1] + 3  # z up to y up, another size, another place
        trimesh.Trimesh(vertices, mesh.faces, vertex_colors=colors, process=False).export(tmp_path / f"{family}.glb")
        case.image().save(tmp_path / f"{family}.png")
    return tmp_path


def test_objects_are_read_with_their_colours_and_put_into_the_cube(folder: Path) -> None:
    solid = given_set(folder)[0].solid()
    assert np.ptp(solid.mesh.vertices, axis=0) == pytest.approx([0.25, 1.0, 0.5])  # y up to z up
    assert solid.filled.mean() == pytest.approx(0.25 * 0.5, rel=0.15)
    assert solid.mesh.colors is not None
    high = solid.mesh.vertices[:, 2] > 0.05
    assert solid.mesh.colors[high].mean(0) == pytest.approx([0, 0, 1], abs=0.02)
    assert solid.mesh.colors[solid.mesh.vertices[:, 2] < -0.05].mean(0) == pytest.approx([1, 0, 0], abs=0.02)


def test_an_object_is_like_itself_and_not_like_others(folder: Path) -> None:
    box, mug, rocket = given_set(folder)
    for subject in (box, mug, rocket):
        f_score, chamfer, psnr, silhouette, _ = scores_of(subject.solid(), subject.truth())
        assert f_score > 0.99
        assert chamfer < 0.03
        assert psnr > 40
        assert silhouette == 1.0
    assert scores_of(mug.solid(), rocket.truth())[0] < 0.8


def test_vertex_colours_and_places_are_those_of_the_file(folder: Path) -> None:
    case, given = Case.draw("rocket", 100_000), given_set(folder)[2]
    solid = given.judged_as(case.solid().mesh)  # type: ignore[arg-type]  # a drawn case has all that is read of it
    assert scores_of(solid, given.truth())[2] > 30


def test_a_model_is_judged_on_a_set(folder: Path, tmp_path: Path) -> None:
    encoder, _ = encoder_of(ModelFolder.read(find_model("mini")), CPU)
    evaluation = Evaluation(tmp_path / "kept", encoder, given_set(folder), 1, CPU)
    assert evaluation.kinds == ("paired",)
    judged = evaluation.judged(Row("student", find_model("mini-mdt"), 1))
    assert "1-NNA" not in judged
    assert all(np.isfinite(values).all() for values in judged.values())
    assert judged["F worst"][0] < 0.7 < judged["F"][0] + 0.2  # the box's picture shows a chair


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "mug.png").unlink(), "mug.glb has no picture"),
        (lambda folder: [path.unlink() for path in folder.glob("*.glb")], "has no .glb files"),
        (lambda folder: (folder / "mug.glb").write_bytes(b"glTF"), "mug.glb cannot be read"),
        (lambda folder: (folder / "mug.glb").write_bytes(b""), "mug.glb cannot be read"),
    ],
)
def test_what_is_wrong_with_a_set_is_named(
    folder: Path, spoil: object, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(spoil)
    spoil(folder)
    with pytest.raises(GivenSetError, match=words):
        [subject.solid() for subject in given_set(folder)]
    monkeypatch.setattr("sys.argv", ["eval.py", "students", "--set", str(folder / "nowhere"), "--table"])
    assert eval_script.main() == 1
    assert "is not a folder" in capsys.readouterr().err


def test_a_set_that_changed_is_another(folder: Path) -> None:
    before = set_digest(given_set(folder))
    assert set_digest(given_set(folder)) == before
    textured_box().apply_scale(2).export(folder / "mug.glb")
    assert set_digest(given_set(folder)) != before
