"""Image to textured mesh: a model in memory, and all stages in their order.

The stages are in ``stages``. This is the only place that connects them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from .config import Normalization, PipelineConfig, SamplerSettings
from .errors import GenerationError, SettingsError
from .guard import StructureReport, inspect, note_on, outline
from .kept import Kept, image_digest
from .mesh import RawMesh
from .mesh.extract.seal import seal_voxels
from .mesh.finish import FinishedMesh, note_on_surface
from .mesh.paint.paint import note_on_views
from .mesh.paint.roughness import note_on_roughness
from .models.gaussians import Gaussians
from .models.image_encoder import ImageEncoder
from .models.latent_flow import LatentFlow
from .models.latent_vae import LatentGaussianDecoder, LatentMeshDecoder
from .models.structure_flow import StructureFlow
from .models.structure_vae import StructureDecoder
from .progress import Check, Clock, OnProgress, interruptible
from .protocol import Settings
from .sparse.tensor import SparseTensor
from .stages import (
    RETRY,
    decode_gaussians,
    decode_mesh,
    decode_structure,
    encode,
    finish_mesh,
    latent_noise,
    prepare,
    require_turns,
    sample_latents,
    sample_structure,
    structure_noise,
)
from .weights.checkpoints import Checkpoint, Network
from .weights.folders import ModelFolder

if TYPE_CHECKING:
    from PIL import Image

#: How often to resample a structure that cannot be what the images show; the last time with the teacher.
RETRIES = 3


@dataclass(frozen=True)
class Reconstruction:
    """What the networks make from images: a surface, its number of voxels, and Gaussians if they were asked for.

    ``note`` says if the first structure was not good; else it is empty.
    """

    raw: RawMesh
    voxels: int
    gaussians: Gaussians | None
    note: str


@dataclass(frozen=True)
class Generated:
    """A finished object, what it was made from, the seconds that each stage took, and counts of voxels, faces etc."""

    mesh: FinishedMesh
    raw: RawMesh
    gaussians: Gaussians | None
    timings: dict[str, float]
    counts: dict[str, int]
    note: str = ""


class Teacher(NamedTuple):
    """The flow that a structure flow was distilled from: slower, but more reliable."""

    flow: Checkpoint[StructureFlow]  # in memory only while it is used
    sampler: SamplerSettings
    normalization: Normalization | None


@dataclass(frozen=True)
class Pipeline:
    """A model in memory.

    With little memory, ``checkpoints`` says for each network where to read its weights: they are in memory only while
    it is used, so that the peak is the largest network, not the sum of all.
    """

    folder: Path
    config: PipelineConfig
    device: torch.device
    image_encoder: ImageEncoder
    structure_flow: StructureFlow
    structure_decoder: StructureDecoder
    latent_flow: LatentFlow
    mesh_decoder: LatentMeshDecoder
    gaussian_decoder: Checkpoint[LatentGaussianDecoder] | None = None  # in memory only while a job needs it
    teacher: Teacher | None = None
    checkpoints: Mapping[nn.Module, Checkpoint] = field(default_factory=dict)

    @classmethod
    def load(
        cls, model: ModelFolder, device: torch.device | str, *, low_memory: bool = False, verify: bool = False
    ) -> Pipeline:
        """Load a model's networks. Raises CheckpointError: keys are checked here, not later, even with ``low_memory``.

        ``verify`` compares the SHA-256 of downloaded weights with the recorded one.
        """
        config, device = model.config, torch.device(device)

        def checkpoint(name: str, kind: type[Network]) -> Checkpoint[Network]:
            return Checkpoint(model.network(name), kind, device, verify=verify)

        image_encoder = checkpoint(config.image_encoder, ImageEncoder)
        structure_flow = checkpoint(config.structure_flow, StructureFlow)
        structure_decoder = checkpoint(config.structure_decoder, StructureDecoder)
        latent_flow = checkpoint(config.latent_flow, LatentFlow)
        mesh_decoder = checkpoint(config.mesh_decoder, LatentMeshDecoder)
        checkpoints = (image_encoder, structure_flow, structure_decoder, latent_flow, mesh_decoder)
        gaussians = config.gaussian_decoder
        if not low_memory:
            for each in checkpoints:
                each.fill()
        return cls(
            model.path,
            config,
            device,
            image_encoder=image_encoder.network,
            structure_flow=structure_flow.network,
            structure_decoder=structure_decoder.network,
            latent_flow=latent_flow.network,
            mesh_decoder=mesh_decoder.network,
            gaussian_decoder=checkpoint(gaussians, LatentGaussianDecoder)
            if gaussians is not None and model.has(gaussians)
            else None,
            teacher=_teacher(model, device, verify),
            checkpoints={each.network: each for each in checkpoints} if low_memory else {},
        )

    @contextmanager
    def resident(self, network: nn.Module) -> Iterator[None]:
        """Keep a network's weights in memory while the context lasts."""
        checkpoint = self.checkpoints.get(network)
        with checkpoint.filled() if checkpoint else nullcontext():
            yield

    def samplers(self, settings: Settings) -> tuple[SamplerSettings, SamplerSettings]:
        """The samplers of structure and latents with these settings."""
        structure, latents = self.config.structure_sampler, self.config.latent_sampler
        return structure.overridden(settings), latents.overridden(settings)

    def generate(
        self,
        images: Sequence[Image.Image],
        settings: Settings,
        *,
        on_progress: OnProgress = lambda stage, step, steps: None,
        on_preview: Callable[[RawMesh], None] = lambda raw: None,
        check: Check = lambda: None,
        kept: Kept | None = None,
    ) -> Generated:
        """Make one object from one or several RGBA images of it.

        The same images, settings and device give the same bytes, unless the first structure was not good: how often it
        is sampled again depends on time (``_structure``). ``kept`` is as in ``reconstruct``.

        ``check()`` is called before every block of every network and often while finishing; an exception that it raises
        ends the job and leaves the model unchanged. ``on_preview`` gets the mesh as soon as it is decoded.

        Raises GenerationError, and SettingsError for settings that this model does not support.
        """
        clock = Clock(self.device, on_progress, check)
        made = self.reconstruct(images, settings, clock, on_preview, kept=kept)
        with clock.stage("finish"):
            mesh = finish_mesh(made.raw, made.gaussians, images, settings, check)
        counts = {"images": len(images), "voxels": made.voxels, "raw_faces": len(made.raw.faces)} | mesh.counts
        wanted = settings.faces if settings.max_error is None else None
        notes = [made.note, note_on_views(mesh.views), note_on_surface(mesh, wanted, settings.quads)]
        if settings.roughness == "estimated":
            notes.append(note_on_roughness(mesh.roughness))
        return Generated(mesh, made.raw, made.gaussians, clock.seconds, counts, " ".join(filter(None, notes)))

    def reconstruct(
        self,
        images: Sequence[Image.Image],
        settings: Settings,
        clock: Clock | None = None,
        on_preview: Callable[[RawMesh], None] = lambda raw: None,
        *,
        structure: Tensor | None = None,
        kept: Kept | None = None,
    ) -> Reconstruction:
        """Run all stages but the last; the voxels ``structure`` [N, 4], if given, replace a sampled structure.

        What was reconstructed before from the same input is taken from ``kept``, and what is reconstructed now is kept
        there. Raises GenerationError, and SettingsError for settings that this model does not support.
        """
        clock, kept = clock or Clock(self.device), kept or Kept(0)
        images_key = tuple(map(image_digest, images))
        made_by = (self.samplers(settings), settings.seed, settings.gaussians, settings.retry_seconds)
        voxels = None if structure is None else structure.cpu().numpy().tobytes()
        fresh: list[Reconstruction] = []

        def make() -> Reconstruction:
            fresh.append(self._reconstruct(images, images_key, settings, clock, on_preview, structure, kept))
            return in_main_memory(fresh[0])

        made = kept.get(("object", images_key, made_by, voxels), make)
        if fresh:
            return fresh[0]
        on_preview(made.raw)
        return made

    @torch.inference_mode()
    def _reconstruct(
        self,
        images: Sequence[Image.Image],
        images_key: Hashable,
        settings: Settings,
        clock: Clock,
        on_preview: Callable[[RawMesh], None],
        structure: Tensor | None,
        kept: Kept,
    ) -> Reconstruction:
        if settings.gaussians and self.gaussian_decoder is None:
            message = f"The model {self.folder.name} has no decoder of Gaussians."
            raise SettingsError("settings_invalid", message, "Take the texture from the colors of the mesh.")
        generator = torch.Generator().manual_seed(settings.seed)
        samplers = self.samplers(settings)
        for sampler in samplers if structure is None else samplers[1:]:
            require_turns(len(images), sampler)
        networks = (
            self.image_encoder,
            self.structure_flow,
            self.structure_decoder,
            self.latent_flow,
            self.mesh_decoder,
        )
        with interruptible(networks, clock.check):
            cond = kept.get(("tokens", images_key), lambda: self._tokens(images, clock))
            if structure is None:
                coords, note = self._structure(images, cond, settings, generator, clock)
            else:
                coords, note = structure, ""
            with clock.stage("latents", samplers[1].steps) as step:
                sparse_noise = latent_noise(self.latent_flow, coords, generator)
                statistics = self.config.latent_normalization
                with self.resident(self.latent_flow):
                    latents = sample_latents(self.latent_flow, sparse_noise, cond, samplers[1], statistics, step)
            with clock.stage("decode"), self.resident(self.mesh_decoder):
                raw = decode_mesh(self.mesh_decoder, latents, seal=self.config.seal_leaks)
            on_preview(raw)
            gaussians = self._gaussians(latents, clock) if settings.gaussians else None
        return Reconstruction(raw, len(coords), gaussians, note)

    def _tokens(self, images: Sequence[Image.Image], clock: Clock) -> Tensor:
        """The condition tokens [V, L, C] of V images."""
        with clock.stage("prepare"):
            side = self.image_encoder.grid * self.image_encoder.patch_size
            pixels = prepare(images, side).to(self.device)
        with clock.stage("encode"), self.resident(self.image_encoder):
            return encode(self.image_encoder, pixels)

    def _structure(
        self,
        images: Sequence[Image.Image],
        cond: Tensor,
        settings: Settings,
        generator: torch.Generator,
        clock: Clock,
    ) -> tuple[Tensor, str]:
        """Voxels [N, 4], and a note if the first attempt was not good.

        A structure that cannot be what the images show is sampled again from other noise, the last time with the
        teacher if there is one. Attempts end when another would exceed ``retry_seconds`` in all, judged by the time of
        the last one, and the best is taken. Only the first attempt reports its steps: progress must not go back.
        """
        sampler, outlines = self.samplers(settings)[0], [outline(image) for image in images]
        found: list[Tensor] = []
        reports: list[StructureReport] = []
        left, pace = settings.retry_seconds, 0.0  # seconds, and seconds for each call of the flow
        with clock.stage("structure", sampler.steps) as step:
            for attempt in range(1 + RETRIES):
                teacher = self.teacher if attempt == RETRIES else None
                calls = (teacher.sampler if teacher else sampler).calls
                if attempt and pace * calls > left:
                    break
                started = time.perf_counter()
                noise = structure_noise(self.structure_flow, generator, self.device)
                if teacher:
                    latents = self._taught(noise, cond, teacher, clock)
                else:
                    latents = self._sampled(noise, cond, sampler, step if attempt == 0 else _silent)
                with self.resident(self.structure_decoder):
                    found.append(decode_structure(self.structure_decoder, latents))
                voxels = found[-1][:, 1:].cpu().numpy()
                reports.append(inspect(voxels, self.latent_flow.resolution, outlines))
                if not reports[-1].problem:
                    break
                seconds = time.perf_counter() - started
                pace, left = seconds / calls, left - seconds * (attempt > 0)
        chosen = max(range(len(reports)), key=lambda i: reports[i].rank)
        if not len(found[chosen]):
            raise GenerationError("structure_empty", "The model found no object in the image.", RETRY)
        coords = found[chosen]
        if self.config.seal_leaks:
            coords = seal_voxels(coords, self.latent_flow.resolution)
        return coords, note_on(reports, chosen)

    def _sampled(
        self, noise: Tensor, cond: Tensor, sampler: SamplerSettings, on_step: Callable[[int, int], None]
    ) -> Tensor:
        with self.resident(self.structure_flow):
            normalization = self.config.structure_normalization
            return sample_structure(self.structure_flow, noise, cond, sampler, normalization, on_step)

    def _taught(self, noise: Tensor, cond: Tensor, teacher: Teacher, clock: Clock) -> Tensor:
        with teacher.flow.filled() as flow, interruptible([flow], clock.check):
            return sample_structure(flow, noise, cond, teacher.sampler, teacher.normalization)

    def _gaussians(self, latents: SparseTensor, clock: Clock) -> Gaussians:
        assert self.gaussian_decoder is not None
        network = self.gaussian_decoder.network
        with interruptible([network], clock.check), self.gaussian_decoder.filled():
            return decode_gaussians(network, latents)


def _teacher(model: ModelFolder, device: torch.device, verify: bool) -> Teacher | None:
    """The structure flow that an overlay replaces; None for a complete model."""
    if model.base is None:
        return None
    config = model.base.config
    flow = Checkpoint(model.base.network(config.structure_flow), StructureFlow, device, verify=verify)
    return Teacher(flow, config.structure_sampler, config.structure_normalization)


Value = TypeVar("Value")


def in_main_memory(value: Value) -> Value:
    """The value with its tensors in main memory, where there is more of it than on a device."""
    if isinstance(value, Tensor):
        return cast(Value, value.cpu())
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: in_main_memory(getattr(value, each.name)) for each in fields(value)})
    return value


def _silent(step: int, steps: int) -> None:
    pass
