"""From a raw surface to an asset: clean, simplify, unwrap, bake."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..certificate import Certificate
from . import Mesh, MeshError, RawMesh
from .bake.bake import Source, bake
from .bake.gaussian_color import GaussianColors
from .clean.cleanup import check_mesh, drop_bad_faces, drop_dust, drop_scraps, keep_outer_faces
from .clean.holes import LEAK, close_holes
from .clean.simplify import ENOUGH, simplified
from .clean.visibility import keep_visible_faces
from .paint.paint import Painter, Pictures, View
from .sound import warm_mending
from .sound.inspect import inspect
from .unwrap.unwrap import unwrap

if TYPE_CHECKING:
    from ..models.gaussians import Gaussians


@dataclass(frozen=True)
class FinishedMesh:
    """A textured mesh, as ``export`` and the add-on take it."""

    vertices: np.ndarray  # [V, 3] float32, z up; in [-0.5, 0.5] if the raw mesh was
    faces: np.ndarray  # [F, 3] int64, outward
    uvs: np.ndarray  # [F, 3, 2] float32 at face corners, 0..1, v up
    texture: np.ndarray  # [T, T, 3] uint8 sRGB, row 0 at v = 1
    normal_map: np.ndarray | None  # [T, T, 3] uint8, in the tangent space of ``tangents``; None if not requested
    occlusion: np.ndarray | None  # [T, T] uint8, linear, 255 where open; None if not requested
    counts: dict[str, int]  # raw_faces, faces, vertices, charts
    seconds: dict[str, float]  # clean, simplify, unwrap, bake, inspect
    certificate: Certificate  # what was checked of it, in the unit of its vertices
    views: tuple[View, ...] = ()  # of the pictures that it was to be painted from, in their order

    def vertex_colors(self) -> np.ndarray:
        """[V, 3] float32 in 0..1 (sRGB): the texture's colours at the vertices, on one side of each seam."""
        size = len(self.texture)
        uvs = np.zeros((len(self.vertices), 2), dtype=np.float32)
        uvs[self.faces] = self.uvs
        column = np.clip((uvs[:, 0] * size).astype(np.int64), 0, size - 1)
        row = np.clip(((1 - uvs[:, 1]) * size).astype(np.int64), 0, size - 1)
        return self.texture[row, column].astype(np.float32) / 255


def finish(
    raw: RawMesh | Mesh,
    *,
    faces: int,
    texture_size: int,
    normal_map: bool = True,
    ambient_occlusion: bool = False,
    gaussians: Gaussians | None = None,
    max_error: float | None = None,
    pictures: Pictures | None = None,
    check: Callable[[], None] = lambda: None,
) -> FinishedMesh:
    """Drop what cannot be seen, simplify to about ``faces`` faces, unwrap, bake the textures, and inspect the mesh.

    Args:
        raw: from ``flexicubes.extract_mesh``, or any mesh.
        faces: upper bound for the simplification; a mesh with fewer faces keeps them all.
        texture_size: texels along each side.
        normal_map: also bake the normals of the raw surface.
        ambient_occlusion: also bake the ambient occlusion of the raw surface.
        gaussians: take the colours from these instead of the raw mesh's vertices.
        max_error: keep more faces if the surface would otherwise move by more than this, in the mesh's units.
        pictures: paint what these show onto the colours.
        check: called between the steps, and often while painting; it raises to cancel.

    Raises:
        MeshError: ``empty_mesh`` if nothing can be seen from outside, ``bad_mesh`` if ``raw`` is no finite mesh.
    """
    clock = _Clock(check)
    count = len(raw.faces)
    surface = clean(raw)
    clock.stop("clean")
    source = Source(surface)
    simple = simplified(surface.vertices, surface.faces, faces, max_error, check)
    clock.stop("simplify")
    unwrapped = unwrap(simple.vertices, simple.faces, texture_size)
    clock.stop("unwrap")
    colors = None if gaussians is None else GaussianColors(gaussians)
    paint = None if pictures is None else Painter(unwrapped, pictures, check)
    textures = bake(
        unwrapped,
        source,
        texture_size,
        normal_map=normal_map,
        ambient_occlusion=ambient_occlusion,
        gaussians=colors,
        retouch=paint,
    )
    clock.stop("bake")
    crossing = 0 if simple.sound else None  # simplifying has looked for it
    certificate = inspect(unwrapped.vertices, unwrapped.faces, unwrapped.uvs, check, crossing=crossing)
    clock.stop("inspect")
    return FinishedMesh(
        vertices=unwrapped.vertices,
        faces=unwrapped.faces,
        uvs=unwrapped.uvs,
        texture=textures.color,
        normal_map=textures.normal,
        occlusion=textures.occlusion,
        counts={
            "raw_faces": count,
            "faces": len(unwrapped.faces),
            "vertices": len(unwrapped.vertices),
            "charts": unwrapped.charts,
        },
        seconds=clock.seconds,
        certificate=certificate,
        views=paint.views if paint else (),
    )


def clean(raw: RawMesh | Mesh) -> Mesh:
    """The visible part of a mesh, without dust, bad faces and small holes. Raises MeshError as ``finish`` does."""
    if not len(raw.faces):
        raise MeshError("empty_mesh", "the model made no surface")
    if isinstance(raw, RawMesh):
        surface = raw.numpy()
        check_mesh(surface)
        outer = keep_outer_faces(surface)
        return drop_scraps(close_holes(drop_bad_faces(Mesh(outer.vertices, outer.faces, outer.colors)), LEAK))
    check_mesh(raw)
    mesh = drop_bad_faces(raw)
    if not len(mesh.faces):
        raise MeshError("empty_mesh", "no face has any area")
    return drop_dust(close_holes(keep_visible_faces(mesh)))


def note_on_surface(mesh: FinishedMesh, faces: int) -> str:
    """What to tell the user about a mesh that was to have so many faces; empty if it has, and is sound."""
    notes, wrong = [], mesh.certificate.problems()
    if len(mesh.faces) < ENOUGH * faces:
        notes.append(f"The surface has only {len(mesh.faces):,} faces.")
    if len(mesh.faces) > faces:
        notes.append(f"With fewer than {len(mesh.faces):,} faces, parts of the surface would cross.")
    if wrong:
        notes.append(f"The mesh is not sound: {', '.join(wrong)}.")
    return " ".join(notes)


def warm() -> None:
    """Load the machine code of finishing and painting, or compile it if there is none yet, by finishing a small grey
    ball with a picture of it."""
    import torch
    from PIL import Image, ImageDraw

    from .extract.flexicubes import extract_mesh

    side = 8
    coords = torch.cartesian_prod(*[torch.arange(side, dtype=torch.int32)] * 3)
    corners = torch.tensor([[k & 1, k >> 1 & 1, k >> 2 & 1] for k in range(8)])
    features = torch.zeros(len(coords), 101)
    warm_mending()
    features[:, :8] = ((coords[:, None] + corners) / side - 0.5).norm(dim=2) - 0.35
    picture = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(picture).ellipse((8, 8, 56, 56), fill=(128, 128, 128, 255))
    finish(extract_mesh(coords, features, side), faces=100, texture_size=64, pictures=Pictures([picture]))


class _Clock:
    """Times the steps and ends a cancelled job between them."""

    def __init__(self, check: Callable[[], None]) -> None:
        check()
        self.seconds: dict[str, float] = {}
        self._check, self._started = check, time.perf_counter()

    def stop(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step], self._started = now - self._started, now
        self._check()
