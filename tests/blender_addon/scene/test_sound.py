"""Blender finds nothing to mend in a finished mesh. Needs the backend's libraries beside bpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest
from espalier.blender_addon.scene import mesh_import

torch = pytest.importorskip("torch", reason="the backend's libraries are not in this environment")


@pytest.mark.parametrize("faces", [10_000, 1_000, 300])
@pytest.mark.parametrize("family", ["stool", "house", "car", "desk"])
def test_blender_changes_nothing(family: str, faces: int, tmp_path: Path, made: Callable[[str], object]) -> None:
    from backend.mesh.finish import finish

    finished = finish(made(family), faces=faces, texture_size=16)  # type: ignore[arg-type]
    assert finished.certificate.sound
    factor, shift = mesh_import.stand(finished.vertices, 1.0)
    mesh = mesh_import.create_mesh(family, finished.vertices * factor + shift, finished.faces.astype(np.int32))
    assert not mesh.validate(verbose=False)  # True would say that something had to be mended
    assert len(mesh.polygons) == len(finished.faces)
    assert len(mesh.edges) == len(finished.faces) * 3 // 2
    bpy.data.meshes.remove(mesh)


@pytest.mark.parametrize("family", ["house", "desk"])
def test_blender_changes_nothing_about_quads(family: str, made: Callable[[str], object]) -> None:
    from backend.mesh.finish import finish

    finished = finish(made(family), faces=8_000, texture_size=16, quads=True)  # type: ignore[arg-type]
    count = finished.counts["quads"]
    assert finished.certificate.sound
    faces = finished.faces.astype(np.int32)
    polygons = mesh_import.Polygons.of(faces, finished.uvs, count)
    factor, shift = mesh_import.stand(finished.vertices, 1.0)
    points = finished.vertices * factor + shift
    mesh = mesh_import.create_mesh(family, points, polygons.corners, polygons.starts)
    assert not mesh.validate(verbose=False)
    sizes = np.array([polygon.loop_total for polygon in mesh.polygons])
    assert (sizes == 4).sum() == count > 0.85 * len(sizes)
    assert (sizes == 3).sum() == len(faces) - 2 * count
    bpy.data.meshes.remove(mesh)


@pytest.fixture(scope="module")
def made() -> Callable[[str], object]:
    """The raw surface that the bundled student makes of a held-out object of a family."""
    from functools import cache

    from backend.evaluation.cases import Case
    from backend.pipeline import Pipeline
    from backend.protocol import Settings
    from backend.training.objects.shapes import HELD_OUT
    from backend.weights.folders import ModelFolder

    pipeline = Pipeline.load(ModelFolder.find("mini-mdt"), "cpu")

    @cache
    def make(family: str) -> object:
        return pipeline.reconstruct([Case.draw(family, HELD_OUT + 7).image()], Settings(seed=3)).raw

    return make
