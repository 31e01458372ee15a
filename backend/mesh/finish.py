"""From a raw surface to an asset: clean, simplify, unwrap, bake."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..certificate import Certificate
from . import AnyRawMesh, MaterialMesh, Mesh, MeshError, RawMesh, Surface
from .bake.bake import Source, bake
from .bake.gaussian_color import GaussianColors
from .base.compiled import together
from .base.rings import rings_around
from .clean.cleanup import check_mesh, drop_bad_faces, drop_dust, drop_scraps, keep_outer_faces, select_faces
from .clean.cluster import clustered
from .clean.holes import LEAK, close_holes
from .clean.pairs import paired
from .clean.simplify import ENOUGH, Simplified, error_of, simplified
from .clean.visibility import keep_visible_faces
from .hulls import Collision, Hull, convex_hulls
from .lods import Lod, levels_of_detail
from .paint.paint import Painter, Pictures, View
from .quads.quads import remeshed
from .sound import warm_mending
from .sound.inspect import inspect
from .sound.shells import Shells
from .unwrap.unwrap import unwrap

if TYPE_CHECKING:
    from ..models.gaussians import Gaussians


FINER, FINE = 4, 40_000  # what quads are laid on has so many times their faces, and at least so many
HALF, MUCH = 128, 0.05  # alpha below which a texel counts as see-through, and the share of them that makes a surface so
FEWEST = 4  # faces of a closed surface
ENOUGH_QUADS = 0.9  # the least share of the faces asked for, with quads: how many fit, only trying shows


@dataclass(frozen=True)
class FinishedMesh:
    """A textured mesh, as ``export`` and the add-on take it."""

    vertices: np.ndarray  # [V, 3] float32, z up; in [-0.5, 0.5] if the raw mesh was
    faces: np.ndarray  # [F, 3] int64, outward; first two for each of the quads, (a, b, c) and (a, c, d)
    uvs: np.ndarray  # [F, 3, 2] float32 at face corners, 0..1, v up
    texture: np.ndarray  # [T, T, 3] uint8 sRGB, row 0 at v = 1
    normal_map: np.ndarray | None  # [T, T, 3] uint8, in the tangent space of ``tangents``; None if not requested
    occlusion: np.ndarray | None  # [T, T] uint8, linear, 255 where open; None if not requested
    counts: dict[str, int]  # raw_faces, faces, quads, vertices, charts
    seconds: dict[str, float]  # clean, simplify, unwrap, bake (and inspect), lods, hulls
    certificate: Certificate  # what was checked of it, in the unit of its vertices
    lods: tuple[Lod, ...] = ()  # coarser ones, with the same texture; empty if not requested
    collision: Collision | None = None  # convex hulls; None if not requested
    roughness: np.ndarray | None = None  # [T, T] uint8, linear; None if it is neither known nor estimated
    metallic: np.ndarray | None = None  # [T, T] uint8, linear; None if it is not known
    alpha: np.ndarray | None = None  # the same
    views: tuple[View, ...] = ()  # of the pictures that it was to be painted from, in their order

    @property
    def see_through(self) -> bool:
        """Whether much of the surface is: a rim of low alpha alone, as decoders leave it, would only flash."""
        return self.alpha is not None and float((self.alpha < HALF).mean()) > MUCH

    @property
    def color(self) -> np.ndarray:
        """The texture [T, T, 3] uint8; with alpha, [T, T, 4], where the surface is ``see_through``."""
        return np.dstack([self.texture, self.alpha]) if self.alpha is not None and self.see_through else self.texture

    def level(self, lod: Lod) -> FinishedMesh:
        """One of its levels of detail, with the same texture and as the only one."""
        counts = {**self.counts, "quads": 0}
        return replace(self, vertices=lod.vertices, faces=lod.faces, uvs=lod.uvs, counts=counts, lods=())

    def moved(self, factor: float, shift: Sequence[float]) -> FinishedMesh:
        """The mesh and all that belongs to it scaled by ``factor``, then moved by ``shift`` [3]."""

        def moved(vertices: np.ndarray) -> np.ndarray:
            return (vertices * np.float32(factor) + np.array(shift, np.float32)).astype(np.float32)

        hulls = tuple(hull._replace(vertices=moved(hull.vertices)) for hull in self.hulls)
        return replace(
            self,
            vertices=moved(self.vertices),
            lods=tuple(lod._replace(vertices=moved(lod.vertices)) for lod in self.lods),
            collision=self.collision and self.collision._replace(hulls=hulls),
        )

    @property
    def hulls(self) -> tuple[Hull, ...]:
        """Its convex hulls; empty if there are none."""
        return () if self.collision is None else self.collision.hulls

    def vertex_colors(self) -> np.ndarray:
        """[V, 3] float32 in 0..1 (sRGB): the texture's colours at the vertices, on one side of each seam."""
        size = len(self.texture)
        uvs = np.zeros((len(self.vertices), 2), dtype=np.float32)
        uvs[self.faces] = self.uvs
        column = np.clip((uvs[:, 0] * size).astype(np.int64), 0, size - 1)
        row = np.clip(((1 - uvs[:, 1]) * size).astype(np.int64), 0, size - 1)
        return self.texture[row, column].astype(np.float32) / 255


def finish(
    raw: AnyRawMesh | Mesh,
    *,
    faces: int,
    texture_size: int,
    normal_map: bool = True,
    ambient_occlusion: bool = False,
    gaussians: Gaussians | None = None,
    max_error: float | None = None,
    quads: bool = False,
    lods: bool = False,
    collision: bool = False,
    udim: bool = False,
    pictures: Pictures | None = None,
    check: Callable[[], None] = lambda: None,
) -> FinishedMesh:
    """Drop what cannot be seen, simplify to about ``faces`` faces, unwrap, bake the textures, and inspect the mesh.

    Args:
        raw: from ``flexicubes.extract_mesh`` or ``material_stages.material_mesh``, or any mesh.
        faces: upper bound for the simplification; a mesh with fewer faces keeps them all. Not used with ``max_error``.
        texture_size: texels along each side.
        normal_map: also bake the normals of the raw surface.
        ambient_occlusion: also bake the ambient occlusion of the raw surface.
        gaussians: take the colours from these instead of the raw mesh's vertices.
        max_error: how far the surface may move, in its longest sides: as few faces as keep to that.
        quads: cover the surface with quads; if they would cross, it keeps its triangles.
        lods: also make levels of detail.
        collision: also make convex hulls for collisions.
        udim: no face crosses the middle lines of the texture.
        pictures: paint what these show onto the colours.
        check: called between the steps, and often while painting; it raises to cancel.

    Raises:
        MeshError: ``empty_mesh`` if nothing can be seen from outside, ``bad_mesh`` if ``raw`` is no finite mesh.
    """
    clock = _Clock(check)
    count = len(raw.faces)
    surface = clean(raw)
    clock.stop("clean")

    def simplest(mesh: Mesh) -> tuple[Simplified, int]:
        return _simple(mesh, faces, quads, check) if max_error is None else _within(mesh, max_error, quads, check)

    source = Source(surface)
    simple, paired = simplest(surface)
    if not simple.sound and isinstance(raw, RawMesh):
        other = without_inner_shells(raw)
        if (found := simplest(other))[0].sound:
            source, (simple, paired) = Source(other), found
    source.begin()
    clock.stop("simplify")
    unwrapped = unwrap(simple.vertices, simple.faces, texture_size, paired, udim)
    clock.stop("unwrap")
    colors = None if gaussians is None else GaussianColors(gaussians)
    paint = None if pictures is None else Painter(unwrapped, pictures, check)
    baking = partial(
        bake,
        unwrapped,
        source,
        texture_size,
        normal_map=normal_map,
        ambient_occlusion=ambient_occlusion,
        gaussians=colors,
        retouch=paint,
    )
    crossing = 0 if simple.sound else None  # simplifying has looked for it
    inspecting = partial(inspect, unwrapped.vertices, unwrapped.faces, unwrapped.uvs, crossing=crossing)
    textures, certificate = together(baking, inspecting)
    clock.stop("bake")
    coarser = levels_of_detail(unwrapped.vertices, unwrapped.faces, unwrapped.uvs, check) if lods else []
    clock.stop("lods")
    hulls = convex_hulls(unwrapped.vertices, unwrapped.faces, check) if collision else None
    clock.stop("hulls")
    return FinishedMesh(
        vertices=unwrapped.vertices,
        faces=unwrapped.faces,
        uvs=unwrapped.uvs,
        texture=textures.color,
        normal_map=textures.normal,
        occlusion=textures.occlusion,
        roughness=textures.roughness,
        metallic=textures.metallic,
        alpha=textures.alpha,
        counts={
            "raw_faces": count,
            "faces": len(unwrapped.faces),
            "quads": paired,
            "vertices": len(unwrapped.vertices),
            "charts": unwrapped.charts,
        },
        seconds=clock.seconds,
        certificate=certificate,
        lods=tuple(coarser),
        collision=hulls,
        views=paint.views if paint else (),
    )


def _simple(surface: Mesh, faces: int, quads: bool, check: Callable[[], None]) -> tuple[Simplified, int]:
    """The surface with about so many faces, and how many pairs of them, the first ones, are quads."""
    if quads:
        fine = simplified(surface.vertices, surface.faces, max(FINER * faces, FINE), check=check)
        if fine.sound:
            made = remeshed(fine.vertices, fine.faces, faces, check)
            if made.sound:
                return Simplified(made.vertices, made.faces, sound=True), made.quads
    known = partial(rings_around, surface)
    return simplified(surface.vertices, surface.faces, faces, check=check, rings=known), 0


def _within(surface: Mesh, max_error: float, quads: bool, check: Callable[[], None]) -> tuple[Simplified, int]:
    """The surface with as few faces as keep it within an error, as ``_simple`` has it."""
    bound = max_error * float(np.ptp(surface.vertices, axis=0).max())
    made = simplified(surface.vertices, surface.faces, FEWEST, bound, check)
    faces = len(made.faces)
    while quads and faces <= len(surface.faces):
        simple, paired = _simple(surface, faces, True, check)
        if not paired:
            break
        if error_of(surface.vertices, simple.vertices, simple.faces) <= bound:
            return simple, paired
        faces *= 2  # quads lie less close than the same number of triangles
    return made, 0


def clean(raw: AnyRawMesh | Mesh) -> Mesh:
    """The visible part of a mesh, without dust, bad faces and small holes. Raises MeshError as ``finish`` does."""
    if not len(raw.faces):
        raise MeshError("empty_mesh", "the model made no surface")
    if isinstance(raw, RawMesh):
        surface = raw.numpy()
        outer = keep_outer_faces(surface)
        seen = _without_leaks(outer)
        # Dropping what cannot be seen has opened it: it was closed before.
        return close_holes(seen, math.inf) if len(outer.faces) < len(surface.faces) else seen
    whole = raw.numpy() if isinstance(raw, MaterialMesh) else raw
    check_mesh(whole)
    mesh = drop_bad_faces(whole)
    if not len(mesh.faces):
        raise MeshError("empty_mesh", "no face has any area")
    return drop_dust(close_holes(keep_visible_faces(mesh)))


def _without_leaks(surface: Surface) -> Mesh:
    return drop_scraps(close_holes(drop_bad_faces(surface), LEAK))


def without_inner_shells(raw: RawMesh) -> Mesh:
    """A decoded surface without the shells that lie inside others; what else cannot be seen stays.

    Nothing is cut open, so that nothing has to be closed. ``clean`` cuts, and where the hole is long and bent, a fan of
    faces over it crosses the surface beside it.
    """
    whole = _without_leaks(raw.numpy())
    shells = Shells(whole.vertices, whole.faces)
    return select_faces(whole, (shells.depths == 0)[shells.of_face])


def note_on_surface(mesh: FinishedMesh, faces: int | None, quads: bool = False) -> str:
    """What to tell the user about a mesh that was to have so many faces, or quads; empty if it has, and is sound.

    ``faces`` is None for as few as keep to an error.
    """
    notes, wrong = [], mesh.certificate.problems()
    if quads and not mesh.counts["quads"]:
        too_far = "" if faces is not None else " or move the surface too far"
        notes.append(f"Quads would cross each other here{too_far}, so the mesh has triangles. More faces may help.")
    if faces is None:
        faces = len(mesh.faces)
    if len(mesh.faces) < (ENOUGH_QUADS if mesh.counts["quads"] else ENOUGH) * faces:
        asked = f"{faces:,} faces were asked for, but"
        if mesh.counts["quads"]:
            notes.append(f"{asked} the quads that fit onto this surface have {len(mesh.faces):,} triangles.")
        else:
            notes.append(f"{asked} the surface that the model made has only {len(mesh.faces):,}, and none are added.")
    if len(mesh.faces) > faces:
        notes.append(f"With fewer than {len(mesh.faces):,} faces, parts of the surface would cross.")
    if mesh.collision is not None and mesh.collision.note:
        notes.append(mesh.collision.note)
    if wrong:
        notes.append(f"The mesh is not sound: {', '.join(wrong)}.")
    return " ".join(notes)


def warm(*, seldom: bool = False) -> None:
    """Load the machine code of finishing and painting, or compile it if there is none yet, by finishing a small grey
    ball with a picture of it. ``seldom``: that of quads and levels of detail, too."""
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
    ball = extract_mesh(coords, features, side)
    paired(clustered(ball.numpy().vertices, ball.numpy().faces, 200), 100)  # else it is for large meshes only
    finish(ball, faces=100, texture_size=64, pictures=Pictures([picture]))
    if seldom:
        finish(ball, faces=100, texture_size=64, quads=True, lods=True)


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
