"""Image to textured mesh: a model in memory, and all stages in their order.

The stages are in ``stages``. This is the only place that connects them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attempts import StructureRun, best_of, silent
from .config import PipelineConfig, SamplerSettings
from .errors import GenerationError, SettingsError
from .generated import Generated, finished
from .guard import note_on, outline
from .guide import agreement_around, box_mask, grid_of
from .kept import Kept, image_digest, in_main_memory
from .material_run import MaterialRun, Sampled
from .mesh import AnyRawMesh, RawMesh
from .mesh.extract.seal import seal_voxels
from .models.dual_grid_vae import DualGridDecoder
from .models.gaussians import Gaussians
from .models.image_encoder import DinoEncoder
from .models.latent_flow import LatentFlow
from .models.latent_vae import LatentGaussianDecoder, LatentMeshDecoder
from .models.structure_flow import StructureFlow
from .models.structure_vae import StructureDecoder, StructureEncoder
from .modes import COARSE, Mode
from .networks import ENCODER_HINT, Materials, Teacher, require_possible
from .progress import Check, Clock, OnProgress, interruptible
from .protocol import Edit, Settings
from .reconstruction import Reconstruction
from .sparse.tensor import SparseTensor
from .stages import (
    RETRY,
    Known,
    Outside,
    box_share,
    decode_gaussians,
    decode_mesh,
    decoding_error,
    encode,
    encode_structure,
    latent_noise,
    prepare,
    require_turns,
    sample_latents,
)
from .weights.checkpoints import Checkpoint, Network
from .weights.folders import ModelFolder

if TYPE_CHECKING:
    from PIL import Image

#: How many samples are tried for what is in a box, and the agreement around it with which the first is good enough.
BOX_ATTEMPTS, BOX_AGREEMENT = 3, 0.95


@dataclass(frozen=True)
class Pipeline:
    """A model in memory.

    ``checkpoints`` says where the weights of networks come from that are on the device only while they are used. With
    little memory these are all, so that the peak is the largest network, not the sum of all. A GPU's host keeps them.
    Else they are those of finer shapes.
    """

    folder: Path
    config: PipelineConfig
    device: torch.device
    image_encoder: DinoEncoder
    structure_flow: StructureFlow
    structure_decoder: StructureDecoder
    latent_flow: LatentFlow
    mesh_decoder: LatentMeshDecoder | DualGridDecoder
    materials: Materials | None = None  # None for a model of TRELLIS
    structure_encoder: Checkpoint[StructureEncoder] | None = None  # in memory only while a job needs it
    gaussian_decoder: Checkpoint[LatentGaussianDecoder] | None = None  # the same
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
        in_turns = low_memory and device.type != "cpu"  # on the CPU, what is kept would be what was to be saved

        def checkpoint(name: str, kind: type[Network], keep: bool = False) -> Checkpoint[Network]:
            return Checkpoint(model.network(name), kind, device, verify=verify, keep=keep)

        image_encoder = checkpoint(config.image_encoder, DinoEncoder, in_turns)
        structure_flow = checkpoint(config.structure_flow, StructureFlow, in_turns)
        structure_decoder = checkpoint(config.structure_decoder, StructureDecoder, in_turns)
        latent_flow = checkpoint(config.latent_flow, LatentFlow, in_turns)
        decoder_kind = LatentMeshDecoder if config.materials is None else DualGridDecoder
        mesh_decoder: Checkpoint[Any] = checkpoint(config.mesh_decoder, decoder_kind, in_turns)
        materials, textures, seldom = Materials.of(config.materials, partial(checkpoint, keep=in_turns), model.has)
        first = image_encoder, structure_flow, structure_decoder, latent_flow, mesh_decoder
        always: tuple[Checkpoint[Any], ...] = (*first, *textures)
        gaussians = config.gaussian_decoder
        for each in () if low_memory else always:
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
            materials=materials,
            structure_encoder=checkpoint(config.structure_encoder, StructureEncoder)
            if model.has(config.structure_encoder)
            else None,
            gaussian_decoder=checkpoint(gaussians, LatentGaussianDecoder)
            if gaussians is not None and model.has(gaussians)
            else None,
            teacher=Teacher.of(model, device, verify),
            checkpoints={each.network: each for each in (*seldom, *(always if low_memory else ()))},
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

    def mode(self, settings: Settings) -> Mode | None:
        """How a shape is sampled; None for a model of TRELLIS, which has one way. Raises SettingsError if it cannot."""
        if self.materials is not None:
            return self.materials.mode(settings)
        if settings.resolution is not None:
            message = f"A model of {self.config.family} has no choice of resolutions."
            raise SettingsError("settings_invalid", message, "Leave the resolution out, or use a model of TRELLIS.2.")
        return None

    def grid(self, settings: Settings) -> int:
        """The side of the grid of the structure, and of the voxels of a guide or a mesh. Raises SettingsError."""
        mode = self.mode(settings)
        return self.latent_flow.resolution * (mode.first if mode else COARSE) // COARSE

    def generate(self, images: Sequence[Image.Image], settings: Settings, **more: Any) -> Generated:
        """Make one object from one or several RGBA images of it. ``more`` and the errors are those of ``begin``.

        The same images, settings and device give the same bytes, unless the first structure was not good: how often it
        is sampled again depends on time (``_structure``).
        """
        return self.begin(images, settings, **more)()

    def begin(
        self,
        images: Sequence[Image.Image],
        settings: Settings,
        *,
        on_progress: OnProgress = lambda stage, step, steps: None,
        on_preview: Callable[[AnyRawMesh], None] = lambda raw: None,
        check: Check = lambda: None,
        kept: Kept | None = None,
        guide: np.ndarray | None = None,
        edits: Sequence[Edit] = (),
    ) -> Callable[[], Generated]:
        """Do all of ``generate`` but finishing the object. Returns a function that finishes it.

        Any thread may call that while this model makes the next object: it needs nothing of the model or its device.

        ``check()`` is called before every block of every network and often while finishing; an exception that it raises
        ends the job and leaves the model unchanged. ``on_preview`` gets the mesh as soon as it is decoded. ``kept``,
        ``guide`` and ``edits`` are as in ``reconstruct``.

        Both raise GenerationError, and ``begin`` SettingsError for settings that this model does not support.
        """
        clock = Clock(self.device, on_progress, check)
        made = self.reconstruct(images, settings, clock, on_preview, guide=guide, edits=edits, kept=kept)
        guided = guide is not None and settings.shape_strength > 0
        return partial(finished, made, images, settings, clock.without_device(), guided=guided)

    def reconstruct(
        self,
        images: Sequence[Image.Image],
        settings: Settings,
        clock: Clock | None = None,
        on_preview: Callable[[AnyRawMesh], None] = lambda raw: None,
        *,
        structure: np.ndarray | None = None,
        guide: np.ndarray | None = None,
        edits: Sequence[Edit] = (),
        kept: Kept | None = None,
    ) -> Reconstruction:
        """Run all stages but the last; its result is in main memory. Voxels are [N, 3], on ``grid``.

        The voxels ``structure``, if given, replace a sampled one. Those of a ``guide`` do so with a ``shape_strength``
        of 1; with less, their latents are noised and sampled from there; with 0 they change nothing. Then the object is
        made anew in the boxes of ``edits``, see ``_edited``. What was reconstructed before from the same input is taken
        from ``kept``, and what is reconstructed now is kept there.

        Raises GenerationError, and SettingsError for settings that this model does not support.
        """
        clock, kept = clock or Clock(self.device), kept or Kept(0)
        images_key = tuple(map(image_digest, images))
        if guide is not None and settings.shape_strength == 1:
            structure, guide = guide, None
        elif settings.shape_strength == 0:
            guide = None
        guided = None if guide is None else (settings.shape_strength, guide.tobytes())
        mode = self.mode(settings)
        made_by = (self.samplers(settings), mode, settings.seed, settings.gaussians, settings.retry_seconds)
        shown: list[AnyRawMesh] = []

        def show(raw: AnyRawMesh) -> None:
            shown.append(raw)
            on_preview(raw)

        def make() -> Reconstruction:
            made = self._reconstruct(images, images_key, settings, clock, show, structure, guide, edits, kept)
            return in_main_memory(made)

        voxels = None if structure is None else structure.tobytes()
        made = kept.get(("object", images_key, made_by, voxels, guided, tuple(edits)), make)
        if not shown:
            on_preview(made.raw)
        return made

    @torch.inference_mode()
    def _reconstruct(
        self,
        images: Sequence[Image.Image],
        images_key: Hashable,
        settings: Settings,
        clock: Clock,
        on_preview: Callable[[AnyRawMesh], None],
        structure: np.ndarray | None,
        guide: np.ndarray | None,
        edits: Sequence[Edit],
        kept: Kept,
    ) -> Reconstruction:
        if settings.gaussians and self.gaussian_decoder is None:
            message = f"The model {self.folder.name} has no decoder of Gaussians."
            raise SettingsError("settings_invalid", message, "Take the texture from the colors of the mesh.")
        require_possible(self.config, settings, guided=guide is not None, boxed=bool(edits))
        samplers, mode = self.samplers(settings), self.mode(settings)
        for sampler in samplers if structure is None or edits else samplers[1:]:
            require_turns(len(images), sampler)
        base = None
        if edits:  # what is not in the last box; it is kept, or made again without a word of its progress
            silent = Clock(self.device, check=clock.check)
            base = self.reconstruct(
                images, settings, silent, structure=structure, guide=guide, edits=edits[:-1], kept=kept
            )
        generator = torch.Generator().manual_seed(edits[-1][2] if edits else settings.seed)
        networks = (
            self.image_encoder,
            self.structure_flow,
            self.structure_decoder,
            self.latent_flow,
            self.mesh_decoder,
            *(self.materials.networks if self.materials else ()),
        )
        with interruptible(networks, clock.check):
            is_fine = mode is not None and mode.is_fine
            tokens = kept.get(("tokens", images_key, is_fine), lambda: self._tokens(images, is_fine, clock))
            cond = tokens[0]
            note = "" if base is None else base.note
            if base is not None:
                run = self.structure_run(settings, generator, clock.check)
                coords = self._edited(base, edits[-1], cond, run, clock)
            elif structure is None:
                coords, note = self._structure(images, cond, settings, guide, generator, clock)
            else:
                coords = torch.from_numpy(np.pad(structure, ((0, 0), (1, 0)))).to(self.device)
            before = () if base is None else (*base.before, (base.coords, base.latents))
            raw: AnyRawMesh
            if self.materials is not None and mode is not None:
                sampled, raw = self._with_materials(coords, tokens, mode, settings, generator, clock)
                latents, coords = sampled.shape, sampled.shape.coords
                note = " ".join(filter(None, (note, self.materials.note(settings), sampled.note)))
            else:
                with clock.stage("latents", samplers[1].steps) as step:
                    latents = self._latents(coords, base, edits, cond, samplers[1], generator, step)
                with clock.stage("decode"), self.resident(self.mesh_decoder):
                    raw = self._decoded(latents, before, edits)
            on_preview(raw)
            gaussians = self._gaussians(latents, clock) if settings.gaussians else None
        return Reconstruction(raw, coords, latents.feats, gaussians, note, before)

    def _tokens(self, images: Sequence[Image.Image], is_fine: bool, clock: Clock) -> tuple[Tensor, ...]:
        """The condition tokens [V, L, C] of V images; for finer shapes those of larger images, too."""
        side, tight = self.image_encoder.side, self.materials is not None
        sides = (side, 2 * side) if is_fine else (side,)
        with clock.stage("prepare"):
            pixels = [prepare(images, each, tight=tight).to(self.device) for each in sides]
        with clock.stage("encode"), self.resident(self.image_encoder):
            return tuple(encode(self.image_encoder, each) for each in pixels)

    def _structure(
        self,
        images: Sequence[Image.Image],
        cond: Tensor,
        settings: Settings,
        guide: np.ndarray | None,
        generator: torch.Generator,
        clock: Clock,
    ) -> tuple[Tensor, str]:
        """Voxels [N, 4], and a note if the first attempt was not good.

        A structure that cannot be what the images show is sampled again from other noise, see ``StructureRun``, and the
        best is taken. An object with a guide need not have the outline of the images.
        """
        run, outlines = self.structure_run(settings, generator, clock.check), [outline(image) for image in images]
        known: Known | None = None
        correction: Tensor | None = None
        if guide is not None:
            strength, grid = settings.shape_strength, grid_of(guide, run.side)
            known, outlines = Known(self._encoded(grid, clock), 1 - strength), []
            with self.resident(self.structure_decoder):
                correction = strength * decoding_error(self.structure_decoder, known.latents, grid)
        with clock.stage("structure", run.sampler.steps) as step:
            found = list(run.attempts(cond, outlines, settings.retry_seconds, step, known, correction))
        chosen = best_of(found)
        coords = found[chosen].coords
        if not len(coords):
            raise GenerationError("structure_empty", "The model found no object in the image.", RETRY)
        if self.config.seal_leaks:
            coords = seal_voxels(coords, run.side)
        return coords, note_on([each.report for each in found], chosen)

    def structure_run(self, settings: Settings, generator: torch.Generator, check: Check) -> StructureRun:
        """How the structure of an object with these settings is sampled. Raises SettingsError."""
        return StructureRun(
            self.structure_flow,
            self.structure_decoder,
            self.samplers(settings)[0],
            self.config.structure_normalization,
            self.teacher,
            self.grid(settings),
            generator,
            self.device,
            self.resident,
            check,
        )

    def _encoded(self, grid: np.ndarray, clock: Clock) -> Tensor:
        """The structure latents of voxels, bool [S, S, S]. Raises SettingsError if the model has no encoder."""
        if self.structure_encoder is None:
            message = f"The model {self.folder.name} has no structure encoder, which guides and boxes need."
            raise SettingsError("encoder_missing", message, ENCODER_HINT)
        network = self.structure_encoder.network
        with interruptible([network], clock.check), self.structure_encoder.filled():
            return encode_structure(network, grid, self.device)

    def _edited(
        self,
        base: Reconstruction,
        edit: Edit,
        cond: Tensor,
        run: StructureRun,
        clock: Clock,
    ) -> Tensor:
        """The voxels [N, 4] of an object that is made anew in a box; those outside of it are the same.

        Structure latents are many voxels wide: of those that a side of the box cuts through, a part stays that is as
        large as what lies outside. Of a few samples the one is taken whose own voxels meet the old ones best.
        """
        resolution = self.latent_flow.resolution
        inside, old = box_mask(edit, resolution), grid_of(base.coords[:, 1:].cpu().numpy(), resolution)
        latents = self._encoded(old, clock)
        known = Known(latents, new=box_share(inside, latents.shape[-1]).to(self.device))
        best, agreement = old, -1.0
        with clock.stage("structure", run.sampler.steps) as step:
            for attempt in range(BOX_ATTEMPTS):
                coords = run.decode(run.sample(cond, known, step if attempt == 0 else silent))
                found = grid_of(coords[:, 1:].cpu().numpy(), resolution)
                met = agreement_around(inside, found, old)
                if met > agreement:
                    best, agreement = np.where(inside, found, old), met
                if agreement >= BOX_AGREEMENT:
                    break
        if not best.any():
            raise GenerationError("structure_empty", "The model left nothing of the object in the box.", RETRY)
        if self.config.seal_leaks:
            best |= inside & grid_of(seal_voxels(_coords(best), resolution)[:, 1:].numpy(), resolution)
        return _coords(best).to(self.device)

    def _latents(
        self,
        coords: Tensor,
        base: Reconstruction | None,
        edits: Sequence[Edit],
        cond: Tensor,
        sampler: SamplerSettings,
        generator: torch.Generator,
        on_step: Callable[[int, int], None],
    ) -> SparseTensor:
        """Latents on the voxels [N, 4]. Those outside of the last box are the ones of ``base``, if there is one."""
        noise, statistics = latent_noise(self.latent_flow, coords, generator), self.config.latent_normalization
        outside = None
        if base is not None:
            inside = torch.from_numpy(box_mask(edits[-1], self.latent_flow.resolution)).to(self.device)
            outside = Outside.of(inside, noise, base.latents, base.coords.to(self.device), statistics, sampler)
        with self.resident(self.latent_flow):
            hold = outside and outside.hold
            latents = sample_latents(self.latent_flow, noise, cond, sampler, statistics, on_step, hold)
        return outside.put_back(latents) if outside else latents

    def _decoded(
        self, latents: SparseTensor, before: Sequence[tuple[Tensor, Tensor]], edits: Sequence[Edit]
    ) -> RawMesh:
        assert isinstance(self.mesh_decoder, LatentMeshDecoder)
        boxes = [box_mask(edit, self.latent_flow.resolution) for edit in edits]
        earlier = [SparseTensor(feats, coords).to(self.device) for coords, feats in before]
        return decode_mesh(self.mesh_decoder, latents, seal=self.config.seal_leaks, before=earlier, boxes=boxes)

    def _with_materials(
        self,
        coords: Tensor,
        cond: tuple[Tensor, ...],
        mode: Mode,
        settings: Settings,
        generator: torch.Generator,
        clock: Clock,
    ) -> tuple[Sampled, AnyRawMesh]:
        """Latents for the structure of voxels [N, 4], and the surface with materials."""
        assert self.materials is not None
        assert isinstance(self.mesh_decoder, DualGridDecoder)
        networks, statistics = (self.latent_flow, self.mesh_decoder, self.materials), self.config.latent_normalization
        samplers = self.samplers(settings)[1], self.materials.sampler(settings)
        run = MaterialRun(*networks, mode, *samplers, statistics, generator, self.resident)
        with clock.stage("latents", run.steps) as step:
            sampled = run.sample(coords, cond, step)
        with clock.stage("decode"):
            return sampled, run.decode(sampled)

    def _gaussians(self, latents: SparseTensor, clock: Clock) -> Gaussians:
        assert self.gaussian_decoder is not None
        network = self.gaussian_decoder.network
        with interruptible([network], clock.check), self.gaussian_decoder.filled():
            return decode_gaussians(network, latents)


def _coords(grid: np.ndarray) -> Tensor:
    """The voxels [N, 4] int32 of one object from bool [R, R, R], in row-major order."""
    return F.pad(torch.from_numpy(np.argwhere(grid).astype(np.int32)), (1, 0))
