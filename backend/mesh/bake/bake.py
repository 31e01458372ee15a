"""Bake the textures of the simplified, unwrapped mesh from the raw surface: colour, tangent-space normals, occlusion.

Each texel is a point of the simplified mesh; it is projected onto the raw surface and takes the values found there.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from .. import Mesh
from ..base.compiled import compiled, in_strips, together
from ..base.projection import NEAR, Projection, Projector, Tree, search, walk
from ..base.topology import twins
from ..base.vectors import corners_of, cross, minus, mixed, vector
from ..unwrap.unwrap import Unwrapped
from .gaussian_color import GaussianColors
from .gutter import Gutter
from .occlusion import vertex_occlusion
from .tangents import encode, tangent_space, vertex_normals
from .texels import Cover, cover_borders, cover_rows, in_texels, weights_at

GREY, SMOOTH, OPEN = (204, 204, 204), (128, 128, 255), (255,)  # values of textures of an empty mesh
PLAIN = (0, 255, 255)  # not metallic, rough, opaque
STRIP = 128  # rows baked by one thread: more would occupy fewer threads, fewer would make more texels search
RUN = 4  # consecutive texels in a row that use the same Gaussians


#: From colours [T, T, 3] uint8 and the texels of all faces to other colours, and the roughness [T, T] uint8 or None.
Retouch = Callable[[np.ndarray, Cover], tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Textures:
    """The baked textures; row 0 is at v = 1."""

    color: np.ndarray  # [T, T, 3] uint8, sRGB, without alpha
    normal: np.ndarray | None  # [T, T, 3] uint8, linear, see ``tangents``; None if not requested
    occlusion: np.ndarray | None  # [T, T] uint8, linear, 255 where open; None if not requested
    roughness: np.ndarray | None = None  # [T, T] uint8, linear; None if ``retouch`` made none and the mesh has none
    metallic: np.ndarray | None = None  # [T, T] uint8, linear; None if the mesh has no materials
    alpha: np.ndarray | None = None  # the same


class Source:
    """A raw surface to bake from.

    Its normals are computed in a background thread from the beginning, while the mesh is simplified, and the tables for
    finding points from ``begin`` on: unwrapping, which follows, leaves more time to other threads than simplifying.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.faces = np.ascontiguousarray(mesh.faces, dtype=np.int64)
        self._threads = ThreadPoolExecutor(2)
        self._normals = self._threads.submit(vertex_normals, mesh.vertices, self.faces)

    @cached_property
    def _projector(self) -> Future[Projector]:
        return self._threads.submit(Projector, self.mesh)

    def begin(self) -> None:
        """Begin to build the tables for finding points."""
        _ = self._projector

    @property
    def projector(self) -> Projector:
        """Projects onto the surface. Waits until it is built."""
        return self._projector.result()

    @property
    def normals(self) -> np.ndarray:
        """Unit normals [V, 3] of the vertices. Waits until they are computed."""
        return self._normals.result()


def bake(
    mesh: Unwrapped,
    source: Source,
    texture_size: int,
    *,
    normal_map: bool = True,
    ambient_occlusion: bool = False,
    gaussians: GaussianColors | None = None,
    retouch: Retouch | None = None,
) -> Textures:
    """Bake the textures of ``mesh`` from a raw surface.

    Texels outside the charts take the value of the nearest texel inside one, so that filtering shows no seams.

    Args:
        mesh: the mesh that gets the textures.
        source: supplies normals, materials if it has any, and colours if it has any and there are no Gaussians.
        texture_size: texels along each side.
        normal_map: whether to bake normals too.
        ambient_occlusion: whether to bake it too. It is that of the raw surface, which still has the details that
            simplification removes, and dense vertices: those of the simplified mesh miss shadows on large faces.
        gaussians: take the colours from these.
        retouch: changes the colours inside the charts, and may say how rough they are.
    """
    raw = source.mesh
    (cover, gutter), frame = together(
        partial(_cover_and_gutter, mesh, texture_size),
        partial(tangent_space, mesh.vertices, mesh.faces, mesh.uvs),
    )
    same = np.array_equal(mesh.vertices, raw.vertices) and np.array_equal(mesh.faces, raw.faces)
    raw_cover, faces = (cover, source.faces) if same else projected(mesh, cover, source.projector)
    normals = source.normals
    on_mesh, on_raw = (cover.face, cover.weights), (raw_cover.face, raw_cover.weights, faces)

    def painted(loop: Callable[..., None], *values: object, blank: tuple[int, ...]) -> np.ndarray:
        if (cover.face < 0).all():
            return np.full((texture_size, texture_size, len(blank)), blank, dtype=np.uint8)
        image = np.empty((texture_size, texture_size, len(blank)), dtype=np.uint8)
        in_strips(partial(loop, *values, image), texture_size, STRIP)
        return gutter.fill(image)

    if gaussians is not None:
        color = painted(_paint_gaussians, gaussians, cover, raw_cover, raw.vertices, faces, normals, blank=GREY)
    else:
        colors = np.full(raw.vertices.shape, np.divide(GREY, 255)) if raw.colors is None else raw.colors
        color = painted(_paint, *on_raw, colors.clip(0, 1).astype(np.float32), blank=GREY)
    normal = occlusion = metallic = roughness = alpha = None
    if raw.materials is not None:
        values = raw.materials.clip(0, 1).astype(np.float32)
        metallic, roughness, alpha = np.moveaxis(painted(_paint, *on_raw, values, blank=PLAIN), -1, 0)
    if retouch is not None and (cover.face >= 0).any():
        color, estimated = retouch(color, cover)
        color = gutter.fill(color)
        if roughness is None and estimated is not None:  # what the model says of it counts more
            roughness = gutter.fill(estimated[..., None])[..., 0]
    if normal_map:
        frames = frame.frames.reshape(-1, 3), frame.signs
        normal = painted(_paint_normals, *frames, *on_mesh, *on_raw, normals, blank=SMOOTH)
    if ambient_occlusion:
        occlusion = painted(_paint, *on_raw, vertex_occlusion(raw, normals)[:, None], blank=OPEN)[..., 0]
    return Textures(color, normal, occlusion, roughness, metallic, alpha)


def _cover_and_gutter(mesh: Unwrapped, size: int) -> tuple[Cover, Gutter]:
    cover = covered(mesh, size)
    return cover, Gutter(cover.face >= 0)


def covered(mesh: Unwrapped, size: int) -> Cover:
    """The texels of all faces, and those around the borders of charts. size: texels along each side."""
    cover = Cover.nothing(size)
    corners = in_texels(mesh.uvs, size)
    in_strips(partial(cover_rows, corners, cover.face, cover.weights), size, STRIP)
    cover_borders(corners, twins(mesh.faces), np.ascontiguousarray(mesh.chart, np.int64), cover.face, cover.weights)
    return cover


def projected(mesh: Unwrapped, cover: Cover, projector: Projector) -> tuple[Cover, np.ndarray]:
    """Project the texels of a mesh onto the raw surface: the cover with the raw surface's faces, and these [F, 3].

    The faces are in an order of their own, see ``Tree``.
    """
    raw_cover = Cover.nothing(len(cover.face))
    vertices, faces = np.ascontiguousarray(mesh.vertices, np.float32), np.ascontiguousarray(mesh.faces, np.int64)
    chart = np.ascontiguousarray(mesh.chart, np.int64)
    on_mesh = cover.face, cover.weights, faces, vertices, chart
    in_strips(partial(_project, projector.tree, *on_mesh, raw_cover.face, raw_cover.weights), len(cover.face), STRIP)
    return raw_cover, projector.tree.faces


@compiled
def _project(
    tree: Tree,
    face_at: np.ndarray,
    weights: np.ndarray,
    faces: np.ndarray,
    vertices: np.ndarray,
    chart: np.ndarray,
    raw_at: np.ndarray,
    raw_weights: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Project the texels in some rows of a mesh's cover, and fill in the same rows of the raw surface's cover.

    The search for each starts at the face found for the texel to the left in the same chart, or else for the one above;
    if there is neither, at the face found where the chart was last entered from the left.
    """
    prisms, across, reach = tree.prisms, tree.across, NEAR * tree.edge
    starts = np.full(len(chart), -1, dtype=np.int64)  # the face found where each chart was last entered
    for row in range(first, last):
        before = -1
        for column in range(len(face_at)):
            face = face_at[row, column]
            if face >= 0 and face != before:
                a, b, c = corners_of(vertices, faces, face)
                normal = cross(minus(b, a), minus(c, a))
            if face < 0:
                before = -1
                continue
            enters = before < 0 or chart[face] != chart[before]
            before = face
            if enters:
                upper = face_at[row - 1, column] if row > first else -1
                above = upper >= 0 and chart[face] == chart[upper]
                begin = raw_at[row - 1, column] if above else starts[chart[face]]
            point = mixed(weights_at(weights, row, column), a, b, c)
            found, s, t = False, 0.0, 0.0
            if begin >= 0:
                found, begin, s, t = walk(prisms, across, reach, begin, point, normal)
            if not found:
                begin, s, t = search(tree, begin, point, normal)
            if enters:
                starts[chart[face]] = begin
            raw_at[row, column], raw_weights[row, column, 0], raw_weights[row, column, 1] = begin, s, t


@compiled
def _paint(
    raw_at: np.ndarray,
    raw_weights: np.ndarray,
    faces: np.ndarray,
    values: np.ndarray,
    image: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fill in rows of an image [T, T, C] by the values [V, C] in 0..1 at the raw surface's vertices."""
    for row in range(first, last):
        for column in range(len(raw_at)):
            face = raw_at[row, column]
            if face < 0:
                continue
            r, s, t = weights_at(raw_weights, row, column)
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            for channel in range(values.shape[1]):
                value = r * values[a, channel] + s * values[b, channel] + t * values[c, channel]
                image[row, column, channel] = int(255.0 * value + 0.5)


@compiled
def _paint_normals(
    frames: np.ndarray,
    signs: np.ndarray,
    face_at: np.ndarray,
    weights: np.ndarray,
    raw_at: np.ndarray,
    raw_weights: np.ndarray,
    faces: np.ndarray,
    normals: np.ndarray,
    image: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fill in rows of an image [T, T, 3] by the normals [V, 3] of the raw surface, in the mesh's tangent space."""
    for row in range(first, last):
        before = -1
        for column in range(len(face_at)):
            face = face_at[row, column]
            if face >= 0 and face != before:
                n0, n1, n2 = vector(frames, 6 * face), vector(frames, 6 * face + 2), vector(frames, 6 * face + 4)
                t0, t1, t2 = vector(frames, 6 * face + 1), vector(frames, 6 * face + 3), vector(frames, 6 * face + 5)
            before = face
            if face < 0:
                continue
            a, b, c = corners_of(normals, faces, raw_at[row, column])
            normal = mixed(weights_at(raw_weights, row, column), a, b, c)
            at = weights_at(weights, row, column)
            x, y, z = encode(mixed(at, n0, n1, n2), mixed(at, t0, t1, t2), signs[face], normal)
            image[row, column, 0] = int(127.5 * x + 128.0)
            image[row, column, 1] = int(127.5 * y + 128.0)
            image[row, column, 2] = int(127.5 * z + 128.0)


def _paint_gaussians(
    gaussians: GaussianColors,
    cover: Cover,
    raw_cover: Cover,
    vertices: np.ndarray,
    faces: np.ndarray,
    normals: np.ndarray,
    image: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fill in rows of an image [T, T, 3] by the colours of Gaussians around the raw surface."""
    face = cover.face[first:last].reshape(-1)
    texels = np.flatnonzero(face >= 0)
    s, t = raw_cover.weights[first:last].reshape(-1, 2)[texels].T
    on_raw = Projection(raw_cover.face[first:last].reshape(-1)[texels], np.stack([1 - s - t, s, t], axis=1))
    points, looks = (on_raw.interpolate(faces, values) for values in (vertices, normals))
    colors = gaussians.at(points, looks, _runs(texels, face[texels], len(cover.face)))
    image[first:last].reshape(-1, 3)[texels] = (colors.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _runs(texels: np.ndarray, face: np.ndarray, size: int) -> np.ndarray:
    """[T] ascending numbers: the same for up to ``RUN`` adjacent texels of a row in the same face."""
    begins = np.ones(len(texels), dtype=bool)
    begins[1:] = (np.diff(face) != 0) | (np.diff(texels) != 1) | (texels[1:] % size == 0)
    index = np.arange(len(begins))
    start = np.maximum.accumulate(np.where(begins, index, 0))
    return np.cumsum((index - start) % RUN == 0) - 1
