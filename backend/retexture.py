"""Texture the user's own mesh from reference images: the shape stays, the model supplies the colours.

The voxels that the mesh's surface crosses replace the sampled structure. The latents on them are decoded to a surface
close to the mesh, with colours, and these are baked onto the mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import GenerationError, SettingsError
from .generated import Generated, note_on_light
from .kept import Kept
from .mesh import AnyRawMesh, MaterialMesh, MeshError
from .mesh.bake.bake import Source, bake
from .mesh.bake.gaussian_color import GaussianColors
from .mesh.clean.cleanup import check_mesh, drop_bad_faces
from .mesh.finish import FinishedMesh
from .mesh.given import GivenMesh, GivenMeshError, read_mesh
from .mesh.paint.paint import Painter, note_on_views
from .mesh.sound.inspect import inspect
from .mesh.voxelize import surface_voxels
from .pipeline import Pipeline, Reconstruction
from .progress import Check, Clock, OnProgress
from .protocol import Settings
from .stages import pictures_for

if TYPE_CHECKING:
    from PIL import Image


def load_mesh(path: Path) -> GivenMesh:
    """Read the mesh of a request. Raises SettingsError if it cannot be textured."""
    try:
        return read_mesh(path)
    except GivenMeshError as error:
        raise SettingsError("mesh_unusable", f"The mesh {error}.", "Choose an object with faces.") from error


def begin(
    pipeline: Pipeline,
    mesh: GivenMesh,
    images: Sequence[Image.Image],
    settings: Settings,
    *,
    on_progress: OnProgress = lambda stage, step, steps: None,
    on_preview: Callable[[AnyRawMesh], None] = lambda raw: None,
    check: Check = lambda: None,
    kept: Kept | None = None,
) -> Callable[[], Generated]:
    """Begin a texture for ``mesh``, moved into the cube. Returns a function that finishes it, as ``Pipeline.begin``.

    It is kept one voxel away from the cube's sides, where a surface would be cut off. ``settings.faces``,
    ``normal_map`` and ``ambient_occlusion`` have no effect. The other arguments, the result and the errors are those of
    ``Pipeline.generate``.
    """
    clock = Clock(pipeline.device, on_progress, check)
    resolution = pipeline.grid(settings)
    mesh = mesh.in_cube(1 - 2 / resolution)
    voxels = surface_voxels(mesh.vertices, mesh.faces, resolution)
    made = pipeline.reconstruct(images, settings, clock, on_preview, structure=voxels, kept=kept)
    return partial(_finished, mesh, made, images, settings, clock.without_device())


def retexture(pipeline: Pipeline, mesh: GivenMesh, images: Sequence[Image.Image], settings: Settings) -> Generated:
    """Make a texture for ``mesh``. The arguments are those of ``begin``."""
    return begin(pipeline, mesh, images, settings)()


def _finished(
    mesh: GivenMesh, made: Reconstruction, images: Sequence[Image.Image], settings: Settings, clock: Clock
) -> Generated:
    settings = settings.settled(materials=isinstance(made.raw, MaterialMesh))
    with clock.stage("finish"):
        painted, told = paint(mesh, made, images, settings, clock.check)
    counts = {"images": len(images), "voxels": made.voxels, "raw_faces": len(made.raw.faces)} | painted.counts
    notes = " ".join(filter(None, [told, made.note, note_on_views(painted.views), note_on_light(made.raw, settings)]))
    return Generated(painted, made.raw, made.gaussians, clock.seconds, counts, notes)


def paint(
    mesh: GivenMesh, made: Reconstruction, images: Sequence[Image.Image], settings: Settings, check: Check
) -> tuple[FinishedMesh, str]:
    """Unwrap the mesh and bake the reconstruction's colours onto it. Raises GenerationError if that has no surface.

    Also returns which UVs it got, and why, in words.
    """
    surface = made.raw.numpy()
    try:
        check_mesh(surface)
    except MeshError as error:
        hint = "Try another seed, or an image of a similar object."
        raise GenerationError(error.code, f"There is no surface to take colors from: {error}.", hint) from error
    source = Source(drop_bad_faces(surface))
    source.begin()
    check()
    target, told = mesh.unwrapped(settings.texture_size)
    check()
    colors = GaussianColors(made.gaussians) if settings.texture_source == "gaussians" and made.gaussians else None
    pictures = pictures_for(images, settings)
    painter = None if pictures is None else Painter(target, pictures, check)
    textures = bake(target, source, settings.texture_size, normal_map=False, gaussians=colors, retouch=painter)
    check()
    painted = FinishedMesh(
        vertices=target.vertices,
        faces=target.faces,
        uvs=target.uvs,
        texture=textures.color,
        normal_map=None,
        occlusion=None,
        counts={"faces": len(target.faces), "vertices": len(target.vertices), "charts": target.charts},
        seconds={},
        certificate=inspect(target.vertices, target.faces, target.uvs, check),
        views=painter.views if painter else (),
        roughness=None if textures.metallic is None else textures.roughness,  # the model's: none is estimated here
        metallic=textures.metallic,
        alpha=textures.alpha,
    )
    return painted, told
