"""UV coordinates: cut a mesh into charts and pack them into the unit square."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Unwrapped:
    """A mesh with UVs at its face corners. The vertices are those that were given: not split along seams."""

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int64
    uvs: np.ndarray  # [F, 3, 2] float32 in 0..1, v up
    charts: int


def unwrap(vertices: np.ndarray, faces: np.ndarray, texture_size: int) -> Unwrapped:
    """Charts and packing by xatlas, with gutters that keep charts apart in a texture of ``texture_size`` texels a side.

    Faces without area get no chart; their UVs are 0. The same mesh gives the same UVs.
    """
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(np.ascontiguousarray(vertices, dtype=np.float32), faces.astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.resolution = texture_size
    packing.padding = max(2, texture_size // 256)
    atlas.generate(pack_options=packing)
    _, corners, uvs = atlas[0]  # xatlas splits vertices along seams and keeps the faces in order
    size = np.array([atlas.width, atlas.height], dtype=np.float32)
    uvs = (uvs * (size / max(size.max(), 1.0)))[corners]  # the atlas is not square, the texture is
    return Unwrapped(vertices, faces, np.clip(uvs, 0.0, 1.0).astype(np.float32), int(atlas.chart_count))
