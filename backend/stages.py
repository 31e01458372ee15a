"""The stages of a job, one after the other: prepare, encode, structure, latents, decode, finish.

Each is a function of plain tensors that knows nothing about the others. ``pipeline`` connects them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Normalization, SamplerSettings
from .errors import GenerationError, SettingsError
from .images.framing import images_to_tensor, prepare_image, prepare_tight
from .mesh import AnyRawMesh, MeshError, RawMesh
from .mesh.extract.corners import cubic, find, number
from .mesh.extract.flexicubes import extract_mesh
from .mesh.extract.seal import seal_cubes
from .mesh.finish import FinishedMesh, finish
from .mesh.paint.paint import Pictures
from .models.gaussians import Gaussians
from .models.image_encoder import DinoEncoder
from .models.latent_flow import LatentFlow
from .models.latent_vae import LatentGaussianDecoder, LatentMeshDecoder
from .models.layers import FlowNetwork
from .models.structure_flow import StructureFlow
from .models.structure_vae import StructureDecoder, StructureEncoder, VolumeNetwork
from .progress import Check
from .protocol import Settings
from .sampling import (
    FlowMap,
    Hold,
    Model,
    State,
    Velocity,
    conditioned,
    euler_sample,
    held,
    mapped,
    of_several,
    state_at,
    time_steps,
    with_guidance,
)
from .sparse.tensor import SparseTensor

if TYPE_CHECKING:
    from PIL import Image

#: What a person can try if a sample is of no use.
RETRY = "Try another seed, or an image that shows one object clearly."


#: The logit that a guide's voxels get where its decoded latents are wrong.
MARGIN = 1.0


def prepare(images: Sequence[Image.Image], size: int, *, tight: bool = False) -> Tensor:
    """RGBA images of V views to framed, normalised pixels [V, 3, size, size]; ``tight`` leaves no margin."""
    return images_to_tensor([prepare_tight(image) if tight else prepare_image(image, size) for image in images], size)


def encode(encoder: DinoEncoder, pixels: Tensor) -> Tensor:
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
    known: Known | None = None,
) -> Tensor:
    """Structure latents [B, C, R, R, R] of B objects, all conditioned on the tokens [V, L, C] of the same V views.

    With ``known`` latents the sampling begins with these, or keeps a part of them.
    """
    mean, std = torch.zeros((), device=noise.device), torch.ones((), device=noise.device)
    if normalization is not None:
        mean, std = (values[:, None, None, None] for values in _statistics(normalization, noise.device))
    hold, start = None, 1.0
    if known is not None:
        x_0 = (known.latents - mean) / std
        if known.new is not None:
            hold = held(x_0, noise, known.new, sampler.sigma_min)
        else:
            start, noise = known.start, state_at(x_0, noise, known.start, sampler.sigma_min)
    latents = _sample(flow, noise, cond, sampler, on_step, start, hold)
    return latents if normalization is None else latents * std + mean


class Known(NamedTuple):
    """Structure latents [1, C, R, R, R] that are known before sampling.

    It begins with them, noised to the time ``start``; or, where the mask ``new`` [1, 1, R, R, R] is 0, they stay.
    """

    latents: Tensor
    start: float = 1.0
    new: Tensor | None = None


def encode_structure(encoder: StructureEncoder, grid: np.ndarray, device: torch.device) -> Tensor:
    """Voxels, bool [S, S, S], to structure latents [1, C, R, R, R]."""
    return _on_its_device(encoder, torch.from_numpy(grid).to(device, torch.float32)[None, None])


def _on_its_device(network: VolumeNetwork, x: Tensor) -> Tensor:
    """What a network makes of a volume, on the volume's device: the network may be on another, see ``Checkpoint``."""
    return cast(Tensor, network(x.to(next(network.parameters()).device)).to(x.device))


def box_share(inside: np.ndarray, side: int) -> Tensor:
    """How new each of side^3 structure latents is to be: the share of its voxels that are ``inside``, bool [S, S, S].

    [1, 1, side, side, side]. The largest is 1, or a small box would change nothing.
    """
    share = F.adaptive_avg_pool3d(torch.from_numpy(inside).float()[None, None], side)
    return share / share.max()


def only_inside(box: np.ndarray, old: SparseTensor, new: SparseTensor, resolution: int) -> SparseTensor:
    """The ``new`` features [N, C] in a box, the ``old`` ones outside; within a voxel of it they pass into each other.

    ``box`` says which voxels are inside, bool [S, S, S]; the features are those of their parts, on a grid of this
    ``resolution``. What a voxel decodes to depends a little on all others, by attention and by normalisation: without
    this, all of an object would change when a part of it does.
    """
    inside = torch.from_numpy(np.argwhere(box)).to(new.device)
    middles = (new.coords[:, 1:] + 0.5) * (len(box) / resolution)
    distance = torch.maximum(inside.amin(0) - middles, middles - inside.amax(0) - 1).amax(1)  # in voxels
    here, there = (number(each.coords[:, 1:].long(), cubic(resolution)) for each in (new, old))
    ascending, order = there.sort()
    place = find(ascending, here)
    share = torch.where(place < len(there), 1 - distance.clamp(0, 1), 1.0)[:, None].to(new.dtype)
    return new.replace(share * new.feats + (1 - share) * old.feats[order[place.clamp(max=len(there) - 1)]])


def decode_structure(
    decoder: StructureDecoder, latents: Tensor, correction: Tensor | None = None, *, side: int | None = None
) -> Tensor:
    """Latents [B, C, R, R, R] to occupied voxels [N, 4] int32 (batch, x, y, z): those with a positive logit.

    A ``correction`` [1, S, S, S] is added to the logits. On a coarser grid of ``side``^3, a voxel is occupied if one of
    its parts is. Raises ValueError if the decoder's grid is not that of its parts.
    """
    logits = _on_its_device(decoder, latents)  # [B, 1, S, S, S]
    if correction is not None:
        logits = logits + correction
    if side is not None:
        parts, rest = divmod(logits.shape[-1], side)
        if rest or not parts:
            raise ValueError(f"a grid of {logits.shape[-1]}^3 cannot be put on one of {side}^3")
        logits = F.max_pool3d(logits, parts)
    return torch.nonzero(logits[:, 0] > 0).int()


def decoding_error(decoder: StructureDecoder, latents: Tensor, grid: np.ndarray) -> Tensor:
    """What to add to the logits of a guide's latents so that they give its voxels, bool [S, S, S]: [1, S, S, S].

    It is 0 where they are right. A blockout is none of the objects that the VAE knows, and its walls come back with
    holes. A sample that begins with its latents has the same holes.
    """
    logits, wanted = _on_its_device(decoder, latents)[:, 0].float(), torch.from_numpy(grid).to(latents.device)
    return torch.where((logits > 0) == wanted, 0.0, torch.where(wanted, MARGIN, -MARGIN) - logits)


def latent_noise(flow: LatentFlow, coords: Tensor, generator: torch.Generator) -> SparseTensor:
    """The noise [N, C] to sample latents on the voxels [N, 4] from. Drawn on the CPU, as ``structure_noise`` is."""
    return SparseTensor(torch.randn((len(coords), flow.out_channels), generator=generator).to(coords.device), coords)


def sample_latents(
    flow: LatentFlow,
    noise: SparseTensor,
    cond: Tensor,
    sampler: SamplerSettings,
    normalization: Normalization,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
    hold: Hold[SparseTensor] | None = None,
    concat_cond: SparseTensor | None = None,
) -> SparseTensor:
    """Structured latents [N, C] on the voxels of the noise, conditioned on the tokens [V, L, C] of V views.

    ``hold`` is as in ``euler_sample``, of standardised latents. ``concat_cond`` are the standardised latents of the
    shape [N, c] that a flow of textures is given besides.
    """
    given: dict[str, Any] = {} if concat_cond is None else {"concat_cond": concat_cond}
    latents = _sample(flow, noise, cond, sampler, on_step, hold=hold, **given)
    return latents.replace(unstandardized(latents.feats, normalization))


def standardized(latents: Tensor, normalization: Normalization) -> Tensor:
    """Structured latents [N, C] as the flow samples them."""
    mean, std = _statistics(normalization, latents.device)
    return (latents - mean) / std


def unstandardized(latents: Tensor, normalization: Normalization) -> Tensor:
    """Structured latents [N, C] as a decoder takes them, from what a flow samples."""
    mean, std = _statistics(normalization, latents.device)
    return latents * std + mean


class Outside(NamedTuple):
    """Latents that stay as they are while the rest of an object, what is in a box, is sampled."""

    rows: Tensor  # [N] bool, of those that stay
    latents: Tensor  # [N, C]: they, and zeros
    hold: Hold[SparseTensor]  # what keeps them while sampling

    @classmethod
    def of(
        cls,
        inside: Tensor,
        noise: SparseTensor,
        latents: Tensor,
        coords: Tensor,
        normalization: Normalization,
        sampler: SamplerSettings,
    ) -> Outside:
        """Those outside of the mask ``inside``, bool [S, S, S], of the old ``latents`` [M, C] on voxels [M, 4].

        Outside, the voxels of the ``noise`` are the old ones, in the same order.
        """
        rows = ~inside[noise.coords[:, 1:].long().unbind(1)]
        old = torch.zeros_like(noise.feats)
        old[rows] = latents.to(old)[~inside[coords[:, 1:].long().unbind(1)]]
        known, new = noise.replace(standardized(old, normalization)), noise.replace((~rows).to(old)[:, None])
        return cls(rows, old, held(known, noise, new, sampler.sigma_min))

    def put_back(self, latents: SparseTensor) -> SparseTensor:
        """Sampled latents [N, C], exactly the old ones outside."""
        return latents.replace(torch.where(self.rows[:, None], self.latents, latents.feats))


def decode_mesh(
    decoder: LatentMeshDecoder,
    latents: SparseTensor,
    *,
    seal: bool = False,
    before: Sequence[SparseTensor] = (),
    boxes: Sequence[np.ndarray] = (),
) -> RawMesh:
    """The surface of structured latents [N, C], on a grid four times as fine; with ``seal`` its leaks are closed.

    ``boxes`` [S, S, S] bool say in which voxels the object was made anew, one after the other, and ``before`` has the
    latents before each of them. Outside of a box the surface is the old one: see ``only_inside``.

    Raises GenerationError if the surface is empty or the decoder's output cannot be used.
    """
    first, *later = *before, latents
    features, resolution = decoder(first), 4 * decoder.resolution
    for box, each in zip(boxes, later, strict=True):
        features = only_inside(box, features, decoder(each), resolution)
    coords, values = features.coords[:, 1:], features.feats
    try:
        if seal:
            coords, values = seal_cubes(coords, values, resolution)
        raw = extract_mesh(coords, values, resolution)
    except MeshError as error:
        raise _mesh_error(error) from error
    if len(raw.faces) == 0:
        raise GenerationError("mesh_empty", "The object that the model made has no surface.", RETRY)
    return raw


def decode_gaussians(decoder: LatentGaussianDecoder, latents: SparseTensor) -> Gaussians:
    """The Gaussians of structured latents [N, C] of one object."""
    return decoder.gaussians(decoder(latents))[0]


def finish_mesh(
    raw: AnyRawMesh, gaussians: Gaussians | None, images: Sequence[Image.Image], settings: Settings, check: Check
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
    flow: nn.Module,
    noise: State,
    cond: Tensor,
    sampler: SamplerSettings,
    on_step: Callable[[int, int], None],
    start: float = 1.0,
    hold: Hold[State] | None = None,
    **given: Any,
) -> State:
    """Integrate a flow from ``noise``, conditioned on the tokens of the views and on what else it is ``given``."""
    times = start * time_steps(sampler.steps, sampler.rescale_t)
    return euler_sample(
        cast("Velocity[State]", velocity_of(flow, cond, sampler, times, **given)),
        noise,
        steps=sampler.steps,
        rescale_t=sampler.rescale_t,
        sigma_min=sampler.sigma_min,
        on_step=lambda step: on_step(step.index, step.total),
        start=start,
        hold=hold,
    )


def velocity_of(
    flow: nn.Module, cond: Tensor, sampler: SamplerSettings, times: np.ndarray, **given: Any
) -> Velocity[Any]:
    """The velocity of a flow or a flow map at each of ``times``, conditioned on the tokens [V, L, C] of V views.

    The network also gets what is ``given``.

    A flow is guided by its velocity under the negative condition, zeros. A flow map has learned what guidance does, at
    all times, and takes its strength as an input. Each condition gets its own call: a single batch would take 12 to
    25 % less time on the CPU at the sizes of mini (0.1 s of a 2-step job), but twice the memory at those of TRELLIS.
    """
    views = cond.split(1)
    if cast(FlowNetwork, flow).flow_map:
        mapping = cast("FlowMap[Any]", partial(flow, **given))
        maps = [mapped(mapping, view, sampler.guidance, times) for view in views]
        return of_several(maps, sampler.multi_image, times)
    flowing = cast("Model[Any]", partial(flow, **given))
    return with_guidance(
        of_several([conditioned(flowing, view) for view in views], sampler.multi_image, times),
        conditioned(flowing, torch.zeros_like(cond[:1])),
        sampler.guidance,
        sampler.interval,
        rescale=sampler.rescale,
        sigma_min=sampler.sigma_min,
    )


def _statistics(normalization: Normalization, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor(normalization.mean, device=device), torch.tensor(normalization.std, device=device)


def require_turns(images: int, sampler: SamplerSettings) -> None:
    """Raise SettingsError if images take turns, one step each, and there are fewer steps than images."""
    if sampler.multi_image == "stochastic" and images > sampler.steps:
        message = f"{images} images cannot take turns in {sampler.steps} step{'s' * (sampler.steps > 1)}."
        raise SettingsError("settings_invalid", message, "Use more steps, fewer images, or multidiffusion.")


def _mesh_error(error: MeshError) -> GenerationError:
    return GenerationError(error.code, f"No mesh could be made of what the model predicted: {error}.", RETRY)
