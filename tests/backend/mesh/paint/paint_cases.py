"""Objects whose true colours are known, with a picture of each and a texture as blurred as a model predicts it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from backend.evaluation import painted, retextured
from backend.evaluation.cases import Case
from backend.mesh import Mesh
from backend.mesh.bake.bake import Source, bake, covered
from backend.mesh.bake.texels import Cover
from backend.mesh.paint.camera import Camera
from backend.mesh.paint.shape import Shape
from backend.training.objects.shapes import HELD_OUT

TEXTURE_SIZE = 512
BLUR = 0.06  # radius within which colours are mixed, in sides of the cube


@dataclass(frozen=True)
class Known:
    """An object with its true texture."""

    case: Case
    shape: Shape  # with blurred colours
    cover: Cover
    blurred: np.ndarray  # [T, T, 3] uint8
    true: np.ndarray  # [T, T, 3] uint8

    @property
    def camera(self) -> Camera:
        """The true camera of the whole image."""
        return painted.as_camera(self.case.view, self.case.window)

    def psnr(self, texture: np.ndarray, where: np.ndarray) -> float:
        """The PSNR of some texels [T, T] bool in dB."""
        difference = texture[where].astype(np.float64) - self.true[where]
        return float(-10 * np.log10(np.square(difference / 255).mean()))


@lru_cache(maxsize=8)
def known(family: str, number: int = 30_000) -> Known:
    """The object of a family with this number among those that were never trained on."""
    case = Case.draw(family, HELD_OUT + number)
    made = retextured.surface_of(case)
    (target, _), true = made.given.unwrapped(TEXTURE_SIZE), made.true
    assert true.colors is not None
    some = true.vertices[:: max(1, len(true.vertices) // 4000)]
    around = cKDTree(true.vertices).query_ball_point(some, BLUR)
    means = np.array([true.colors[near].mean(axis=0) for near in around], dtype=np.float32)
    soft = Mesh(true.vertices, true.faces, means[cKDTree(some).query(true.vertices)[1]])
    blurred, exact = (bake(target, Source(mesh), TEXTURE_SIZE, normal_map=False).color for mesh in (soft, true))
    shape = Shape.of(target.vertices, target.faces, target.uvs, blurred)
    return Known(case, shape, covered(target, TEXTURE_SIZE), blurred, exact)
