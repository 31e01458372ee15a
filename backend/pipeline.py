"""Image to textured mesh: prepare, encode, structure, latents, decode, finish.

Each stage is a function of plain tensors that knows nothing about the others. ``Pipeline.generate`` runs them in this
order and is the only place that connects them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from .config import Normalization, PipelineConfig, SamplerSettings
from .errors import GenerationError, SettingsError
from .guard import StructureReport, inspect, note_on, outline
from .images.framing import images_to_tensor, prepare_image
from .mesh import MeshError, RawMesh
from .mesh.extract.flexicubes import extract_mesh
from .mesh.extract.seal import seal_cubes, seal_voxels
from .mesh.finish import FinishedMesh, finish, note_on_surface
from .mesh.paint.paint import Pictures, note_on_views
from .mesh.paint.roughness import note_on_roughness
from .models.gaussians import Gaussians
from .models.image_encoder import ImageEncoder
from .models.latent_flow import LatentFlow
from .models.latent_vae import LatentGaussianDecoder, LatentMeshDecoder
from .models.structure_flow import StructureFlow
from .models.structure_vae import StructureDecoder
from .progress import Check, Clock, OnProgress, interruptible
from .protocol import Settings
from .sampling import Model, State, conditioned, euler_sample, of_several, time_steps, with_guidance
from .sparse.tensor import SparseTensor
from .weights.checkpoints import Checkpoint, Network
from .weights.folders import ModelFolder

if TYPE_CHECKING:
    from PIL import Image

#: How often to resample a structure that cannot be what the images show; the last time with the teacher.
RETRIES = 3

_RETRY = "Try another seed, or an image that shows one object clearly."


# --- stages ----------------------------------------------------------------------------------------------------------


def prepare(images: Sequence[Image.Image], size: int) -> Tensor:
    """RGBA images of V views to framed, normalised pixels [V, 3, size, size]."""
    return images_to_tensor([prepare_image(image, size) for image in images], size)


def encode(encoder: ImageEncoder, pixels: Tensor) -> Tensor:
    """Pixels [V, 3, S, S] of V views to condition tokens [V, L, C]."""
    return cast(Tensor, encoder(pixels))


def structure_noise(flow: StructureFlow, generator: torch.Generator, device: torch.device) -> Tensor:
    """The noise [1, C, R, R, R] to sample a structure from. Drawn on the CPU, so that all devices get the same."""
    shape = (1, flow.in_channels, *[flow.resolution] * 3)
    return torch.randn(shape, generator=generator).to(device)


def sample_structure(
    flow: StructureFlow,
    noise: Tensor,
    cond: Tensor,
    sampler: SamplerSettings,
    normalization: Normalization | None,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> Tensor:
    """Structure latents [B, C, R, R, R] of B objects, all conditioned on the tokens [V, L, C] of the same V views."""
    latents = _sample(flow, noise, cond, sampler, on_step)
    if normalization is None:
        return latents
    mean, std = _statistics(normalization, latents.device)
    return latents * std[:, None, None, None] + mean[:, None, None, None]


def decode_structure(decoder: StructureDecoder, latents: Tensor) -> Tensor:
    """Latents [B, C, R, R, R] to occupied voxels [N, 4] int32 (batch, x, y, z): those with a positive logit."""
    logits = decoder(latents)  # [B, 1, S, S, S]
    return torch.nonzero(logits[:, 0] > 0).int()


def latent_noise(flow: LatentFlow, coords: Tensor, generator: torch.Generator) -> SparseTensor:
    """The noise [N, C] to sample latents on the voxels [N, 4] from. Drawn on the CPU, as ``structure_noise`` is."""
    return SparseTensor(torch.randn((len(coords), flow.in_channels), generator=generator).to(coords.device), coords)


def sample_latents(
    flow: LatentFlow,
    noise: SparseTensor,
    cond: Tensor,
    sampler: SamplerSettings,
    normalization: Normalization,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> SparseTensor:
    """Structured latents [N, C] on the voxels of the noise, conditioned on the tokens [V, L, C] of V views."""
    latents = _sample(flow, noise, cond, sampler, on_step)
    mean, std = _statistics(normalization, cond.device)
    return latents.replace(latents.feats * std + mean)


def decode_mesh(decoder: LatentMeshDecoder, latents: SparseTensor, *, seal: bool = False) -> RawMesh:
    """The surface of structured latents [N, C], on a grid four times as fine; with ``seal`` its leaks are closed.

    Raises GenerationError if the surface is empty or the decoder's output cannot be used.
    """
    features, resolution = decoder(latents), 4 * decoder.resolution
    coords, values = features.coords[:, 1:], features.feats
    try:
        if seal:
            coords, values = seal_cubes(coords, values, resolution)
        raw = extract_mesh(coords, values, resolution)
    except MeshError as error:
        raise _mesh_error(error) from error
    if len(raw.faces) == 0:
        raise GenerationError("mesh_empty", "The object that the model made has no surface.", _RETRY)
    return raw


def decode_gaussians(decoder: LatentGaussianDecoder, latents: SparseTensor) -> Gaussians:
    """The Gaussians of structured latents [N, C] of one object."""
    return decoder.gaussians(decoder(latents))[0]


def finish_mesh(
    raw: RawMesh, gaussians: Gaussians | None, images: Sequence[Image.Image], settings: Settings, check: Check
) -> FinishedMesh:
    """Clean, simplify, unwrap and texture the surface. Raises GenerationError if no part of it is visible."""
    try:
        return finish(
            raw,
            faces=settings.faces,
            texture_size=settings.texture_size,
            max_error=None if settings.max_error is None else settings.max_error / 100,
            normal_map=settings.normal_map,
            ambient_occlusion=settings.ambient_occlusion,
            gaussians=gaussians if settings.texture_source == "gaussians" else None,
            quads=settings.quads,
            lods=settings.lods,
            collision=settings.collision,
            udim=settings.udim,
            pictures=pictures_for(images, settings),
            check=check,
        )
    except MeshError as error:
        raise _mesh_error(error) from error


def pictures_for(images: Sequence[Image.Image], settings: Settings) -> Pictures | None:
    """What to paint the texture from; None if it is not painted from the images."""
    if settings.texture_source != "picture":
        return None
    return Pictures(images, settings.picture_strength, settings.keep_shading, settings.roughness == "estimated")


def _sample(
    flow: nn.Module, noise: State, cond: Tensor, sampler: SamplerSettings, on_step: Callable[[int, int], None]
) -> State:
    """Integrate a flow from ``noise``, conditioned on the tokens of the views; the negative condition is zeros.

    Each condition gets its own call: a single batch would take 12 to 25 % less time on the CPU at the sizes of mini
    (0.1 s of a 2-step job), but twice the memory at those of TRELLIS.
    """
    model = cast("Model[State]", flow)
    times = time_steps(sampler.steps, sampler.rescale_t)
    velocity = with_guidance(
        of_several([conditioned(model, view) for view in cond.split(1)], sampler.multi_image, times),
        conditioned(model, torch.zeros_like(cond[:1])),
        sampler.guidance,
        sampler.interval,
    )
    return euler_sample(
        velocity,
        noise,
        steps=sampler.steps,
        rescale_t=sampler.rescale_t,
        sigma_min=sampler.sigma_min,
        on_step=lambda step: on_step(step.index, step.total),
    )


def _statistics(normalization: Normalization, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor(normalization.mean, device=device), torch.tensor(normalization.std, device=device)


def _require_turns(images: int, sampler: SamplerSettings) -> None:
    """Raise SettingsError if images take turns, one step each, and there are fewer steps than images."""
    if sampler.multi_image == "stochastic" and images > sampler.steps:
        message = f"{images} images cannot take turns in {sampler.steps} step{'s' * (sampler.steps > 1)}."
        raise SettingsError("settings_invalid", message, "Use more steps, fewer images, or multidiffusion.")


def _mesh_error(error: MeshError) -> GenerationError:
    return GenerationError(error.code, f"No mesh could be made of what the model predicted: {error}.", _RETRY)


# --- all of them -----------------------------------------------------------------------------------------------------


class Reconstruction(NamedTuple):
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
    ) -> Generated:
        """Make one object from one or several RGBA images of it.

        The same images, settings and device give the same bytes, unless the first structure was not good: how often it
        is sampled again depends on time (``_structure``).

        ``check()`` is called before every block of every network and often while finishing; an exception that it raises
        ends the job and leaves the model unchanged. ``on_preview`` gets the mesh as soon as it is decoded.

        Raises GenerationError, and SettingsError for settings that this model does not support.
        """
        clock = Clock(self.device, on_progress, check)
        raw, voxels, gaussians, note = self.reconstruct(images, settings, clock, on_preview)
        with clock.stage("finish"):
            mesh = finish_mesh(raw, gaussians, images, settings, check)
        counts = {"images": len(images), "voxels": voxels, "raw_faces": len(raw.faces)} | mesh.counts
        wanted = settings.faces if settings.max_error is None else None
        notes = [note, note_on_views(mesh.views), note_on_surface(mesh, wanted, settings.quads)]
        if settings.roughness == "estimated":
            notes.append(note_on_roughness(mesh.roughness))
        return Generated(mesh, raw, gaussians, clock.seconds, counts, " ".join(filter(None, notes)))

    @torch.inference_mode()
    def reconstruct(
        self,
        images: Sequence[Image.Image],
        settings: Settings,
        clock: Clock | None = None,
        on_preview: Callable[[RawMesh], None] = lambda raw: None,
        *,
        structure: Tensor | None = None,
    ) -> Reconstruction:
        """Run all stages but the last; the voxels ``structure`` [N, 4], if given, replace a sampled structure.

        Raises GenerationError, and SettingsError for settings that this model does not support.
        """
        clock = clock or Clock(self.device)
        if settings.gaussians and self.gaussian_decoder is None:
            message = f"The model {self.folder.name} has no decoder of Gaussians."
            raise SettingsError("settings_invalid", message, "Take the texture from the colors of the mesh.")
        generator = torch.Generator().manual_seed(settings.seed)
        samplers = self.samplers(settings)
        for sampler in samplers if structure is None else samplers[1:]:
            _require_turns(len(images), sampler)
        networks = (
            self.image_encoder,
            self.structure_flow,
            self.structure_decoder,
            self.latent_flow,
            self.mesh_decoder,
        )
        with interruptible(networks, clock.check):
            with clock.stage("prepare"):
                side = self.image_encoder.grid * self.image_encoder.patch_size
                pixels = prepare(images, side).to(self.device)
            with clock.stage("encode"), self.resident(self.image_encoder):
                cond = encode(self.image_encoder, pixels)
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
            raise GenerationError("structure_empty", "The model found no object in the image.", _RETRY)
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


def _silent(step: int, steps: int) -> None:
    pass
