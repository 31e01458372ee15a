"""Samples of a student beside its teacher's, as one picture with a row for each object, to judge a run by eye."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ...config import Normalization, SamplerSettings
from ...errors import GenerationError
from ...files import written_whole
from ...material_stages import decode_materials, material_mesh
from ...mesh.extract.flexicubes import extract_mesh
from ...models.dual_grid_vae import DualGridDecoder
from ...models.latent_flow import LatentFlow
from ...models.latent_vae import LatentMeshDecoder
from ...models.sparse_unet import SparseUnetDecoder
from ...models.structure_vae import StructureDecoder
from ...sampling import euler_sample, time_steps
from ...sparse.tensor import SparseTensor
from ...stages import unstandardized, velocity_of
from ...weights.checkpoints import load_network
from ..objects.drawing import draw_colors, outer_surface
from ..objects.render import View, Window
from .items import Clean
from .teacher import Teacher

SIDE = 128
#: Steps of the student's columns.
STUDENT_STEPS = (1, 2)
_VIEW, _WINDOW = View(35.0, 25.0, 30.0), Window(0.0, 0.0, 0.9)


def sample(flow: nn.Module, clean: Clean, settings: SamplerSettings, seed: int) -> Tensor:
    """Sample latents for the one object in ``clean``, from noise, with the shape of its own."""
    noise = torch.randn(clean.x_0.shape, generator=torch.Generator().manual_seed(seed)).to(clean.x_0.device)
    times = time_steps(settings.steps, settings.rescale_t)
    if clean.coords is None:
        velocity = velocity_of(flow, clean.cond, settings, times)
        return euler_sample(velocity, noise, steps=settings.steps, rescale_t=settings.rescale_t)
    voxels, given = clean.on_voxels(noise)
    velocity = velocity_of(flow, clean.cond, settings, times, **given)
    return euler_sample(velocity, voxels, steps=settings.steps, rescale_t=settings.rescale_t).feats


#: Draws the latents of one object: a picture [H, W, 3] uint8.
Drawer = Callable[[Tensor, Clean], np.ndarray]


def drawer_of(teacher: Teacher, device: torch.device) -> Drawer:
    """How to draw samples of a teacher's flow and of its students. Raises CheckpointError."""
    statistics = teacher.normalization
    mean, std = torch.tensor(statistics.mean, device=device), torch.tensor(statistics.std, device=device)
    files = teacher.model.network(teacher.decoder)
    if teacher.stage == "structure":
        return structure_drawer(load_network(files, StructureDecoder, device), mean, std)
    config = teacher.model.config
    if config.materials is not None:
        shapes = load_network(teacher.model.network(config.mesh_decoder), DualGridDecoder, device)
        textures = None if teacher.stage == "latents" else load_network(files, SparseUnetDecoder, device)
        side = cast(LatentFlow, teacher.described()).resolution
        return material_drawer(shapes, textures, config.latent_normalization, teacher.normalization, side)
    return voxel_drawer(load_network(files, LatentMeshDecoder, device), mean, std)


def structure_drawer(decoder: StructureDecoder, mean: Tensor, std: Tensor) -> Drawer:
    """Draws structure latents as seen from the front and from above: the nearest voxels, brighter if nearer."""

    def draw(latents: Tensor, clean: Clean) -> np.ndarray:
        shape = (1, -1, 1, 1, 1)
        occupied = (decoder(latents * std.reshape(shape) + mean.reshape(shape))[0, 0] > 0).float().cpu().numpy()
        ramp = np.linspace(1.0, 0.35, occupied.shape[0], dtype=np.float32)
        front = (occupied * ramp[None, :, None]).max(1).T[::-1]  # seen along +y, z up
        top = (occupied * ramp[None, None, ::-1]).max(2).T[::-1]
        views = [np.kron(v, np.ones((SIDE // len(v),) * 2, np.float32)) for v in (front, top)]
        return np.repeat((255 * np.concatenate(views, 1)).astype(np.uint8)[..., None], 3, 2)

    return draw


def voxel_drawer(decoder: LatentMeshDecoder, mean: Tensor, std: Tensor) -> Drawer:
    """Draws latents of voxels as the mesh that they decode to, with its colours, unlit."""

    def draw(latents: Tensor, clean: Clean) -> np.ndarray:
        assert clean.coords is not None
        features = decoder(SparseTensor(latents * std + mean, clean.coords, batch_size=1))
        raw = extract_mesh(features.coords[:, 1:], features.feats, 4 * decoder.resolution)
        if len(raw.faces) == 0:
            return _nothing()
        return _on_grey(draw_colors(outer_surface(raw), _VIEW, _WINDOW, SIDE))

    return draw


def material_drawer(
    shapes: DualGridDecoder,
    textures: SparseUnetDecoder | None,
    shape_statistics: Normalization,
    statistics: Normalization,
    side: int,
) -> Drawer:
    """Draws latents of TRELLIS.2 on a grid of ``side``^3: of shapes with their normals as colours, and with the decoder
    of ``textures`` those of textures, as base colours on the shape that they belong to, unlit."""

    def draw(latents: Tensor, clean: Clean) -> np.ndarray:
        own = clean.on_voxels(latents)[0]
        shape = own if textures is None else own.replace(cast(Tensor, clean.fixed))
        decoded = shapes(shape.replace(unstandardized(shape.feats, shape_statistics)))
        if textures is None:
            attributes = torch.zeros(len(decoded.features.feats), 6, device=latents.device)
        else:
            texture = own.replace(unstandardized(latents, statistics))
            attributes = decode_materials(textures, texture, decoded.masks)
        try:
            mesh = material_mesh(shapes, decoded.features, attributes, side * shapes.scale)
        except GenerationError:
            return _nothing()
        colors = _normals(mesh.vertices, mesh.faces) if textures is None else mesh.colors.clamp(0, 1)
        return _on_grey(draw_colors(replace(mesh, colors=colors).numpy(), _VIEW, _WINDOW, SIDE))

    return draw


def _normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """The directions of a surface at its vertices [V, 3] as colours: how far along each axis, whichever side is out."""
    a, b, c = (vertices[corner] for corner in faces.unbind(1))
    across = torch.linalg.cross(b - a, c - a).abs()
    total = torch.zeros_like(vertices)
    for corner in faces.unbind(1):
        total.index_add_(0, corner, across)
    return torch.nn.functional.normalize(total, dim=1)


def _nothing() -> np.ndarray:
    """The picture of no object."""
    return np.full((SIDE, SIDE, 3), 237, np.uint8)


def _on_grey(image: np.ndarray) -> np.ndarray:
    """A picture [H, W, 4] float on the background that ``_nothing`` is."""
    return (255 * (image[..., :3] * image[..., 3:] + (1 - image[..., 3:]) * 0.93)).astype(np.uint8)


@torch.inference_mode()
def picture(
    path: Path,
    objects: Sequence[Clean],
    teacher: tuple[nn.Module, SamplerSettings],
    student: tuple[nn.Module, SamplerSettings],
    draw: Drawer,
) -> None:
    """Write a row for each object: the truth if it is known, the teacher's sample, and the student's in one and in two
    steps. Both are sampled as their settings say."""
    rows = []
    for seed, clean in enumerate(objects):
        made = [clean.x_0] if bool(clean.x_0.isfinite().all()) else []
        made.append(sample(teacher[0], clean, teacher[1], seed))
        made += [sample(student[0], clean, replace(student[1], steps=steps), seed) for steps in STUDENT_STEPS]
        tiles = [draw(latents, clean) for latents in made]
        rows.append(np.concatenate(tiles, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        Image.fromarray(np.concatenate(rows, 0)).save(part)
