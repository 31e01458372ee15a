"""Paint a mesh that a person made from reference images: the shape stays, the model sees to its colours.

The voxels that the mesh's surface crosses take the place of a sampled structure. The latents on them give a surface
close to the mesh's own, with colours; these are baked onto the mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from .errors import GenerationError, SettingsError
from .mesh import MeshError, RawMesh
from .mesh.bake.bake import Source, bake
from .mesh.bake.gaussian_color import GaussianColors
from .mesh.clean.cleanup import check_mesh, drop_bad_faces
from .mesh.finish import FinishedMesh
from .mesh.given import GivenMesh, GivenMeshError, read_mesh
from .mesh.voxelize import surface_voxels
from .pipeline import Check, Clock, Generated, OnProgress, Pipeline, Reconstruction
from .protocol import Settings

if TYPE_CHECKING:
    from PIL import Image


def load_mesh(path: Path) -> GivenMesh:
    """The mesh of a request. Raises SettingsError."""
    try:
        return read_mesh(path)
    except GivenMeshError as error:
        raise SettingsError("mesh_unusable", f"The mesh {error}.", "Choose an object with faces.") from error


def retexture(
    pipeline: Pipeline,
    mesh: GivenMesh,
    images: Sequence[Image.Image],
    settings: Settings,
    *,
    on_progress: OnProgress = lambda stage, step, steps: None,
    on_preview: Callable[[RawMesh], None] = lambda raw: None,
    check: Check = lambda: None,
) -> Generated:
    """A texture for ``mesh``, moved into the cube: a voxel from its sides, where a surface would be cut
    off. ``settings.faces``, ``normal_map`` and ``ambient_occlusion`` play no part.

    Otherwise as ``Pipeline.generate``.
    """
    clock = Clock(pipeline.device, on_progress, check)
    resolution = pipeline.latent_flow.resolution
    mesh = mesh.in_cube(1 - 2 / resolution)
    voxels = surface_voxels(mesh.vertices, mesh.faces, resolution)
    structure = torch.from_numpy(np.pad(voxels, ((0, 0), (1, 0)))).to(pipeline.device)
    made = pipeline.reconstruct(images, settings, clock, on_preview, structure=structure)
    with clock.stage("finish"):
        painted = paint(mesh, made, settings, check)
    counts = {"images": len(images), "voxels": made.voxels, "raw_faces": len(made.raw.faces)} | painted.counts
    return Generated(painted, made.raw, made.gaussians, clock.seconds, counts, made.note)


def paint(mesh: GivenMesh, made: Reconstruction, settings: Settings, check: Check) -> FinishedMesh:
    """Lay the mesh out and bake the colours of what the model made onto it. Raises GenerationError."""
    surface = made.raw.numpy()
    try:
        check_mesh(surface)
    except MeshError as error:
        hint = "Try another seed, or an image of a similar object."
        raise GenerationError(error.code, f"There is no surface to take colours from: {error}.", hint) from error
    source = Source(drop_bad_faces(surface))
    check()
    target = mesh.laid_out(settings.texture_size)
    check()
    colors = GaussianColors(made.gaussians) if settings.texture_source == "gaussians" and made.gaussians else None
    textures = bake(target, source, settings.texture_size, normal_map=False, gaussians=colors)
    check()
    return FinishedMesh(
        vertices=target.vertices,
        faces=target.faces,
        uvs=target.uvs,
        texture=textures.color,
        normal_map=None,
        occlusion=None,
        counts={"faces": len(target.faces), "vertices": len(target.vertices), "charts": target.charts},
        seconds={},
    )
