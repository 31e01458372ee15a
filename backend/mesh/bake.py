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

#: A texel while it is painted: colour, normal and occlusion in eight bytes, which are moved as one number. At first it
#: is the grey of a mesh whose decoder has no colours, smooth and open.
BLANK = np.array([204, 204, 204, 128, 128, 255, 255, 0], dtype=np.uint8)
COLOR, NORMAL, OCCLUSION = slice(3), slice(3, 6), slice(6, 7)
BATCH = 1 << 18  # texels at a time, about, so that memory stays bounded
CHUNK = 1 << 14  # texels of those at a time: as many as stay in the cache


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
    canvas = np.full((size, size), BLANK.view(np.uint64)[0])
    covered = np.zeros((size, size), dtype=bool)
    if gaussians is not None or raw.colors is not None or normal_map or ambient_occlusion:
        source = _Source(mesh, raw, normal_map, ambient_occlusion, gaussians)
        for texels in _batches(mesh, size, covered):
            canvas.reshape(-1)[texels.row * size + texels.column] = source.sample(texels)
        Gutter(covered).fill(canvas)
    layers = canvas.view(np.uint8).reshape(size, size, -1)
    return Textures(
        _image(layers[..., COLOR]),
        _image(layers[..., NORMAL]) if normal_map else None,
        _image(layers[..., OCCLUSION])[..., 0] if ambient_occlusion else None,
    )


def _image(layers: np.ndarray) -> np.ndarray:
    """A copy, channel by channel: much faster than pixel by pixel."""
    image = np.empty(layers.shape, dtype=np.uint8)
    for channel in range(layers.shape[2]):
        image[..., channel] = layers[..., channel]
    return image


def _put(layers: np.ndarray, values: np.ndarray, factor: float, shift: float) -> None:
    """Put values [T, C] times factor plus shift, rounded, into layers [T, C]: channel by channel, too."""
    scaled = np.ascontiguousarray(values.T) * np.float32(factor) + np.float32(shift + 0.5)
    for channel, rounded in enumerate(scaled.astype(np.uint8)):
        layers[:, channel] = rounded


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
            values["color"] = np.clip(raw.colors, 0, 1)
        if occlusion:
            values["occlusion"] = vertex_occlusion(raw, values["normal"])[:, None]
        self._values = np.concatenate(list(values.values()), axis=1, dtype=np.float32)
        ends = np.cumsum([value.shape[1] for value in values.values()])
        self._columns = dict(zip(values, map(slice, [0, *ends], ends), strict=True))

    def sample(self, texels: Texels) -> np.ndarray:
        """[T] uint64: like ``BLANK``, with what was asked for and there is."""
        place = self._project(texels)
        painted = np.full(len(texels.face), BLANK.view(np.uint64)[0])
        for first in range(0, len(painted), CHUNK):
            part = slice(first, first + CHUNK)
            self._paint(texels.part(part), place.part(part), painted[part].view(np.uint8).reshape(-1, len(BLANK)))
        return painted

    def _paint(self, texels: Texels, place: Projection, layers: np.ndarray) -> None:
        """Fill in the layers [T, 8] of texels whose place on the raw mesh is known."""
        values = place.interpolate(self._raw.faces, self._values)
        found = {name: values[:, columns] for name, columns in self._columns.items()}
        if self._gaussians is not None:
            found["color"] = self._gaussians.at(found["place"], found["normal"], texels.groups()).clip(0, 1)
        if "color" in found:
            _put(layers[:, COLOR], found["color"], 255, 0)
        if self._frame is not None:
            _put(layers[:, NORMAL], self._frame.encode(texels.face, texels.weights, found["normal"]), 127.5, 127.5)
        if "occlusion" in found:
            _put(layers[:, OCCLUSION], found["occlusion"], 255, 0)

    def _project(self, texels: Texels) -> Projection:
        if self._projector is None:
            return Projection(texels.face, texels.weights)
        points = texels.interpolate(self._corners)
        return self._projector.project(points, self._face_normals[texels.face], texels.leaders(self._mesh.chart))
