"""From the raw surface to an asset: clean, simplify, unwrap, bake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import MeshError, RawMesh
from .bake import bake
from .cleanup import keep_outer_faces, simplify
from .unwrap import unwrap


@dataclass(frozen=True)
class FinishedMesh:
    """What ``export.write_glb`` and the add-on take."""

    vertices: np.ndarray  # [V, 3] float32 in [-0.5, 0.5], z up
    faces: np.ndarray  # [F, 3] int64, outward
    uvs: np.ndarray  # [F, 3, 2] float32 at face corners, 0..1, v up
    texture: np.ndarray  # [T, T, 3] uint8 sRGB, row 0 at v = 1
    counts: dict[str, int]  # raw_faces, faces, vertices, charts


def finish(raw: RawMesh, *, faces: int, texture_size: int, check: Callable[[], None] = lambda: None) -> FinishedMesh:
    """Drop what cannot be seen, simplify to about ``faces`` faces, unwrap, and bake the colours into a texture.

    Args:
        raw: from ``flexicubes.extract_mesh``.
        faces: upper bound that simplification aims at; a mesh with fewer keeps them all.
        texture_size: texels along a side.
        check: called between the steps; it raises to cancel.

    Raises:
        MeshError: ``empty_mesh`` if nothing can be seen from outside.
    """
    if not len(raw.faces):
        raise MeshError("empty_mesh", "the model made no surface")
    check()
    surface = keep_outer_faces(raw.numpy())
    check()
    vertices, triangles = simplify(surface.vertices, surface.faces, faces)
    check()
    unwrapped = unwrap(vertices, triangles, texture_size)
    check()
    texture = bake(unwrapped, surface, texture_size)
    check()
    return FinishedMesh(
        vertices=unwrapped.vertices,
        faces=unwrapped.faces,
        uvs=unwrapped.uvs,
        texture=texture,
        counts={
            "raw_faces": len(raw.faces),
            "faces": len(unwrapped.faces),
            "vertices": len(unwrapped.vertices),
            "charts": unwrapped.charts,
        },
    )
