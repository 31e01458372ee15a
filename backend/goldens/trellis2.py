"""Families of TRELLIS.2's stages: image preparation and encoding, and a whole run with tiny networks."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..cascade import refined
from ..config import Normalization
from ..images.framing import images_to_tensor, prepare_tight, resized_to
from ..material_stages import materials, materials_at_vertices, surfaces
from ..models.dual_grid_vae import DualGridDecoder
from ..models.image_encoder import RotaryImageEncoder
from ..models.latent_flow import LatentFlow
from ..models.sparse_unet import SparseUnetDecoder
from ..models.structure_flow import StructureFlow
from ..models.structure_vae import StructureDecoder
from ..modes import MODES, Mode
from ..sparse.tensor import SparseTensor
from ..stages import decode_structure, latent_noise, sample_latents, sample_structure, standardized
from ..weights import dinov3_layout
from ..weights.checkpoints import NETWORKS
from .case import GoldenCase, Network, filled
from .compare import FP32, Comparison, Value, compare_outputs
from .dual_grids import shape_outputs
from .networks import with_logits
from .stages import open_image, pixels_of, sampler_of
from .surfaces import Outputs

if TYPE_CHECKING:
    from PIL import Image

#: The sides in pixels of the images that are encoded.
IMAGE_SIDES = (512, 1024)

#: Guidance makes differences of latents larger, and thin decoders those of what is decoded from them.
LATENTS, DECODED = 2e-4, 2e-3


def image(case: GoldenCase) -> list[Comparison]:
    """An RGBA image framed and resized, to the byte, and its tokens at both sizes."""
    encoder = _encoder(case, "dinov3", case.weights)
    framed = prepare_tight(open_image(case, "input.png"))
    pixels = pixels_of(framed)
    outputs: Outputs = {
        "output.png": pixels,
        "framed_size_wh": torch.tensor(framed.size),
        "framed_sum_per_channel": pixels.long().sum((0, 1)),
    }
    hashed = {"framed": framed}
    for side in IMAGE_SIDES:
        resized = hashed[f"resized_{side}"] = resized_to(framed, side)
        outputs |= {
            f"resized_{side}": pixels_of(resized),
            f"resized_{side}_sum_per_channel": pixels_of(resized).long().sum((0, 1)),
        }
        outputs |= _tokens(case, encoder, framed, side)
    expected = {"output.png": pixels_of(open_image(case, "output.png")), **case.outputs}
    hashes = case.config["sha256_of_rgb_bytes"]
    return compare_outputs(expected, outputs) + [_same_bytes(name, hashed[name], hashes[name]) for name in hashes]


def _encoder(case: GoldenCase, key: str, stored: Mapping[str, Tensor]) -> RotaryImageEncoder:
    """The encoder with the arguments under ``key``, and weights as transformers has them."""
    encoder = RotaryImageEncoder(**case.config[key])
    parts = dinov3_layout.sources(encoder.state_dict(), stored)
    return filled(encoder, {key: torch.cat([stored[name] for name in names]) for key, names in parts.items()})


def _tokens(case: GoldenCase, encoder: RotaryImageEncoder, framed: Image.Image, side: int) -> Outputs:
    tokens = encoder(images_to_tensor([framed], side).to(case.device))
    outputs: Outputs = {f"cond_{side}": tokens}
    rows = f"cond_{side}.row_index"
    if rows in case.outputs:
        outputs |= {rows: case.outputs[rows], f"cond_{side}.rows": tokens[0, case.outputs[rows].to(case.device)]}
    return outputs


def _same_bytes(name: str, found: Image.Image, expected: str) -> Comparison:
    """Whether the RGB bytes of an image have the SHA-256 that is expected."""
    same = hashlib.sha256(found.tobytes()).hexdigest() == expected
    return Comparison(f"sha256 of {name}", 0.0 if same else math.inf, 0.0 if same else math.inf, 0.0)


# --- a whole run -----------------------------------------------------------------------------------------------------


def pipeline(case: GoldenCase) -> list[Comparison]:
    """A whole run, from an image to a surface with materials."""
    config, mode = case.config, MODES[case.config["pipeline_type"]]
    generator = torch.Generator().manual_seed(config["torch_manual_seed"])
    framed = prepare_tight(open_image(case, "input.png"))
    encoder = _encoder(case, "image_cond_model", case.part("image_cond_model:"))
    outputs: Outputs = {}
    for side in IMAGE_SIDES:
        outputs |= {name: Value(_tensor(x), FP32) for name, x in _tokens(case, encoder, framed, side).items()}
    cond = {side: _tensor(outputs[f"cond_{side}"]) for side in IMAGE_SIDES}

    coords, found = _structure(case, cond[512], mode.voxels, generator)
    outputs |= found
    shape, resolution, found = _shape(case, coords, cond, mode, generator)
    outputs |= found | {"resolution": torch.tensor(resolution)}

    flow = _network(case, f"tex_slat_flow_model_{_size(resolution)}", LatentFlow)
    fixed = shape.replace(standardized(shape.feats, _normalization(config, "shape_slat_normalization")))
    drawn = latent_noise(flow, shape.coords, generator).feats
    texture = sample_latents(
        flow,
        shape.replace(case.outputs["tex_noise"].to(case.device)),
        cond[_size(resolution)],
        sampler_of(config, "tex_slat_sampler_params"),
        _normalization(config, "tex_slat_normalization"),
        concat_cond=fixed,
    )
    outputs |= {"tex_noise": drawn, "tex_slat": Value(texture.feats, LATENTS)}
    outputs |= _decoded(case, shape, texture, resolution)
    framed_hash = _same_bytes("the framed image", framed, config["sha256_of_framed_rgb_bytes"])
    return [framed_hash, *compare_outputs(case.outputs, outputs, DECODED)]


def _structure(case: GoldenCase, cond: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Outputs]:
    """The occupied voxels [N, 4]."""
    flow = _network(case, "sparse_structure_flow_model", StructureFlow)
    noise = torch.randn((1, flow.in_channels, *[flow.resolution] * 3), generator=generator)
    sampler = sampler_of(case.config, "sparse_structure_sampler_params")
    latents = sample_structure(flow, noise.to(case.device), cond, sampler, None)
    decoder = _network(case, "sparse_structure_decoder", StructureDecoder)
    logits = decoder(latents)
    coords = decode_structure(decoder, latents, side=side)
    return coords, {
        "ss_noise": noise,
        "z_s": Value(latents, LATENTS),
        "ss_logits": logits,
        "min_abs_logit": Value(logits.abs().min(), scale=float(logits.abs().max())),
        "coords": coords,
    }


def _shape(
    case: GoldenCase, coords: Tensor, cond: Mapping[int, Tensor], mode: Mode, generator: torch.Generator
) -> tuple[SparseTensor, int, Outputs]:
    """The latents of the shape, what they are to be decoded to, and what came before."""
    latents, outputs = _shape_latents(case, coords, cond, _size(mode.first), "shape_noise", generator)
    if mode.second is None:
        return latents, mode.first, outputs | {"shape_slat": Value(latents.feats, LATENTS)}
    voxels = _network(case, "shape_slat_decoder", DualGridDecoder).finest(latents)
    finer = refined(voxels.coords, mode.first, mode.second, case.config["max_num_tokens"])
    outputs |= {
        f"shape_slat_{mode.first}": Value(latents.feats, LATENTS),
        "upsample_coords": voxels.coords,
        "hr_coords": finer.coords,
    }
    latents, drawn = _shape_latents(case, finer.coords, cond, 1024, "shape_noise_1024", generator)
    return latents, finer.resolution, outputs | drawn | {"shape_slat": Value(latents.feats, LATENTS)}


def _shape_latents(
    case: GoldenCase, coords: Tensor, cond: Mapping[int, Tensor], size: int, noise: str, generator: torch.Generator
) -> tuple[SparseTensor, Outputs]:
    flow = _network(case, f"shape_slat_flow_model_{size}", LatentFlow)
    drawn = latent_noise(flow, coords, generator)
    sampler = sampler_of(case.config, "shape_slat_sampler_params")
    statistics = _normalization(case.config, "shape_slat_normalization")
    return sample_latents(flow, drawn, cond[size], sampler, statistics), {noise: drawn.feats}


def _decoded(case: GoldenCase, shape: SparseTensor, texture: SparseTensor, resolution: int) -> Outputs:
    """The surface and its materials."""
    decoder = _network(case, "shape_slat_decoder", DualGridDecoder)
    decoded, logits = with_logits(decoder, shape)
    features = _network(case, "tex_slat_decoder", SparseUnetDecoder)(texture, decoded.masks).features
    raw, attributes = decoded.features, materials(features.feats)
    (surface,) = surfaces(decoder, raw, resolution)
    return shape_outputs(decoded, logits) | {
        "voxel_coords": raw.coords[:, 1:],
        "shape_raw_feats": raw.feats,
        "voxel_attrs": attributes,
        "vertices": surface.vertices,
        "faces": surface.faces,
        "vertex_attrs": materials_at_vertices(decoder, raw, attributes),
    }


def _network(case: GoldenCase, name: str, kind: type[Network]) -> Network:
    """A network of the run, with a few weights changed as the case says."""
    described = case.config["models"][name]
    built = NETWORKS[described["model_class"]](**described["args"])
    if not isinstance(built, kind):
        raise ValueError(f"{name} is no {kind.__name__}")
    network = filled(built, case.part(f"{name}:"))
    for change, value in case.config["changed_after_loading"].items():
        whose, _, what = change.partition(":")
        if whose == name:
            _change(network.state_dict(), what.strip(), value)
    return network


def _change(weights: Mapping[str, Tensor], what: str, value: float) -> None:
    """Set a weight, or add to all whose key has an ending: "added to every to_subdiv.bias"."""
    every = re.fullmatch(r"added to every (\S+)", what)
    if every is None:
        weights[what].fill_(value)
    for key in (key for key in weights if every and key.endswith(every[1])):
        weights[key].add_(value)


def _size(resolution: int) -> int:
    """For which of the two sizes a flow and its images are that sample a shape of this resolution."""
    return 512 if resolution == 512 else 1024


def _normalization(config: Mapping[str, Any], key: str) -> Normalization:
    return Normalization(*(tuple(config[key][name]) for name in ("mean", "std")))


def _tensor(value: Tensor | Value) -> Tensor:
    return value.tensor if isinstance(value, Value) else value
