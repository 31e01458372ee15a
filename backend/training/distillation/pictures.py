"""Samples of a student beside its teacher's, as one picture with a row for each object, to judge a run by eye."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ...config import SamplerSettings
from ...files import written_whole
from ...mesh.extract.flexicubes import extract_mesh
from ...models.latent_vae import LatentMeshDecoder
from ...models.structure_vae import StructureDecoder
from ...sampling import euler_sample, time_steps
from ...sparse.tensor import SparseTensor
from ...stages import velocity_of
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
    velocity = velocity_of(flow, clean.cond, settings, time_steps(settings.steps, settings.rescale_t))
    if clean.coords is None:
        return euler_sample(velocity, noise, steps=settings.steps, rescale_t=settings.rescale_t)
    voxels = SparseTensor(noise, clean.coords)
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
            return np.full((SIDE, SIDE, 3), 237, np.uint8)
        image = draw_colors(outer_surface(raw), _VIEW, _WINDOW, SIDE)
        return (255 * (image[..., :3] * image[..., 3:] + (1 - image[..., 3:]) * 0.93)).astype(np.uint8)

    return draw


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
