"""Paint the textures of the simplified, unwrapped mesh from the raw surface: colour, tangent-space normals, occlusion.

Each texel is a point of the simplified mesh; it is projected onto the raw surface and takes what is found there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from . import Mesh
from .gaussian_color import GaussianColors
from .occlusion import vertex_occlusion
from .projection import Projection, Projector
from .tangents import TangentSpace, tangent_space, vertex_normals
from .texels import Gutter, Texels, border_texels, rasterize
from .topology import twins
from .unwrap import Unwrapped

NO_COLOR = 0.8  # sRGB grey of a mesh whose decoder has no colours
BATCH = 1 << 16  # texels at a time, about: as many as stay in the cache, and memory stays bounded


@dataclass(frozen=True)
class Textures:
    """What is painted; row 0 is at v = 1."""

    color: np.ndarray  # [T, T, 3] uint8, sRGB, straight (there is no alpha)
    normal: np.ndarray | None  # [T, T, 3] uint8, linear, see ``tangents``; None if it was not asked for
    occlusion: np.ndarray | None  # [T, T] uint8, linear, 255 where open; None if it was not asked for


def bake(
    mesh: Unwrapped,
    raw: Mesh,
    texture_size: int,
    *,
    normal_map: bool = True,
    ambient_occlusion: bool = False,
    gaussians: GaussianColors | None = None,
) -> Textures:
    """Paint the textures of ``mesh`` from ``raw``.

    Texels outside the charts take the value of the nearest texel inside one, so that filtering shows no seams.

    Args:
        mesh: what is painted.
        raw: where normals come from, and colours if it has any and there are no Gaussians.
        texture_size: texels along a side.
        normal_map: whether to bake normals too.
        ambient_occlusion: whether to bake it too. It is that of the raw surface, which has what simplification takes
            away, and vertices close together everywhere: those of the simplified mesh miss shadows on large faces.
        gaussians: take the colours from these.
    """
    size = texture_size
    color = np.full((size, size, 3), round(NO_COLOR * 255), dtype=np.uint8)
    normal = np.full((size, size, 3), (128, 128, 255), dtype=np.uint8) if normal_map else None
    occlusion = np.full((size, size, 1), 255, dtype=np.uint8) if ambient_occlusion else None
    colored = gaussians is not None or raw.colors is not None
    covered = np.zeros((size, size), dtype=bool)
    if colored or normal_map or ambient_occlusion:
        source = _Source(mesh, raw, normal_map, ambient_occlusion, gaussians)
        for texels in _batches(mesh, size, covered):
            place = texels.row * size + texels.column
            for image, values in zip((color, normal, occlusion), source.sample(texels), strict=True):
                if image is not None and values is not None:
                    image.reshape(size * size, -1)[place] = np.rint(np.clip(values, 0, 1) * 255)
        gutter = Gutter(covered)
        for image in (color, normal, occlusion):
            if image is not None:
                gutter.fill(image)
    return Textures(color, normal, None if occlusion is None else occlusion[..., 0])


def _batches(mesh: Unwrapped, size: int, covered: np.ndarray) -> Iterator[Texels]:
    """The texels of all faces, some at a time, then those around the charts' borders; all are marked as covered."""
    edges = (mesh.uvs[:, 1:] - mesh.uvs[:, :1]).astype(np.float64)
    areas = np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]) * (size * size / 2)
    batch = (np.cumsum(areas) // BATCH).astype(np.int64)
    bounds = np.append(np.unique(batch, return_index=True)[1], len(batch))
    for first, last in pairwise(bounds):
        texels = rasterize(mesh.uvs[first:last], size).shifted(first)
        covered[texels.row, texels.column] = True
        yield texels
    face, corner = _borders(mesh)
    yield border_texels(mesh.uvs, face, corner, covered)


def _borders(mesh: Unwrapped) -> tuple[np.ndarray, np.ndarray]:
    """The edges [B] where charts end: their faces, and the corners that they begin at."""
    twin = twins(mesh.faces)
    half = np.arange(len(twin))
    following = half // 3 * 3 + (half + 1) % 3
    uvs = mesh.uvs.reshape(-1, 2)
    inner = (twin >= 0) & (uvs[half] == uvs[following[twin]]).all(axis=1) & (uvs[following] == uvs[twin]).all(axis=1)
    border = np.flatnonzero(~inner & (mesh.chart[half // 3] >= 0))
    return border // 3, border % 3


class _Source:
    """Where texels get their values from."""

    def __init__(
        self, mesh: Unwrapped, raw: Mesh, normal_map: bool, occlusion: bool, gaussians: GaussianColors | None
    ) -> None:
        self._mesh, self._raw, self._gaussians = mesh, raw, gaussians
        self._corners = mesh.vertices[mesh.faces]
        a, b, c = self._corners.swapaxes(0, 1)
        self._face_normals = np.cross(b - a, c - a)
        same = mesh.vertices.shape == raw.vertices.shape and mesh.faces.shape == raw.faces.shape
        same = same and np.array_equal(mesh.vertices, raw.vertices) and np.array_equal(mesh.faces, raw.faces)
        self._projector = None if same else Projector(raw)
        self._frame: TangentSpace | None = None
        if normal_map:
            self._frame = tangent_space(mesh.vertices, mesh.faces, mesh.uvs)
        values = {}  # of the raw vertices: what is needed
        if normal_map or gaussians is not None or occlusion:
            values["normal"] = vertex_normals(raw.vertices, raw.faces)
        if gaussians is not None:
            values["place"] = raw.vertices
        elif raw.colors is not None:
            values["color"] = raw.colors
        if occlusion:
            values["occlusion"] = vertex_occlusion(raw, values["normal"])[:, None]
        self._values = np.concatenate(list(values.values()), axis=1, dtype=np.float32)
        ends = np.cumsum([value.shape[1] for value in values.values()])
        self._columns = dict(zip(values, map(slice, [0, *ends], ends), strict=True))

    def sample(self, texels: Texels) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        """Colours [T, 3], tangent-space normals [T, 3] and occlusion [T, 1], in 0..1; each None if there is none."""
        values = self._project(texels).interpolate(self._raw.faces, self._values)
        found = {name: values[:, columns] for name, columns in self._columns.items()}
        colors, normals = found.get("color"), None
        if self._gaussians is not None:
            colors = self._gaussians.at(found["place"], found["normal"], texels.groups())
        if self._frame is not None:
            normals = (self._frame.encode(texels.face, texels.weights, found["normal"]) + 1) / 2
        return colors, normals, found.get("occlusion")

    def _project(self, texels: Texels) -> Projection:
        if self._projector is None:
            return Projection(texels.face, texels.weights)
        points = texels.interpolate(self._corners)
        return self._projector.project(points, self._face_normals[texels.face], texels.groups())
