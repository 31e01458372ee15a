"""Families of the pipeline's stages: image preparation, image encoding, and a whole run with tiny networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..config import Normalization, SamplerSettings
from ..images.framing import frame_side, images_to_tensor, object_bounds, object_box, prepare_image
from ..models.image_encoder import ImageEncoder
from ..models.latent_flow import LatentFlow
from ..models.latent_vae import LatentGaussianDecoder, LatentRadianceFieldDecoder
from ..models.structure_flow import StructureFlow
from ..models.structure_vae import StructureDecoder
from ..sparse.tensor import SparseTensor
from ..stages import decode_structure, encode, latent_noise, sample_latents, sample_structure
from .case import GoldenCase, Network, filled, filled_for
from .compare import Comparison, Value, compare_outputs
from .networks import field_outputs, gaussian_outputs, token_outputs
from .samplers import interval_of, strength_of

if TYPE_CHECKING:
    from PIL import Image

#: A whole run stores the radiance field's vectors for one in this many voxels.
STORED_VECTORS = 4


def open_image(case: GoldenCase, name: str) -> Image.Image:
    """An image of the case in the mode it is stored in, with its alpha if it has one."""
    from PIL import Image

    with Image.open(case.folder / name) as image:
        image.load()
        return image


def pixels_of(image: Image.Image) -> Tensor:
    """The bytes [H, W, C] of an image."""
    return torch.from_numpy(np.array(image))


def preprocess_image(case: GoldenCase) -> list[Comparison]:
    """An RGBA image framed for the encoder: the pixels, and the box that they were cropped by."""
    image = open_image(case, "input.png")
    prepared, expected = pixels_of(prepare_image(image)), pixels_of(open_image(case, "output.png"))
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    bounds = object_bounds(alpha)
    actual = {
        "output.png": prepared,
        "output_sum_per_channel": prepared.sum((0, 1)),
        "alpha_bbox_x0y0x1y1": torch.tensor(bounds),
        "crop_box_float": torch.tensor(object_box(alpha), dtype=torch.float64),
        "square_size": torch.tensor(frame_side(bounds)),
    }
    return compare_outputs({"output.png": expected, **case.outputs}, actual)


def image_encode(case: GoldenCase) -> list[Comparison]:
    """The tokens of images, or of a tensor of normalised pixels."""
    encoder = filled_for(case, ImageEncoder(**case.config["args"]))
    if "image" in case.inputs:
        images = case.inputs["image"]
    else:
        files = sorted(case.folder.glob("image*.png"), key=lambda file: (len(file.stem), file.stem))
        images = images_to_tensor([open_image(case, file.name) for file in files], encoder.grid * encoder.patch_size)
        images = images.to(case.device)
    precise = images.cpu().double()
    outputs = token_outputs(encoder, images) | {
        "image": images,
        "image_stats": torch.stack([precise.mean(), precise.std(), precise.abs().sum()]),
        **{name: images.flatten()[:: int(step)] for name, step in _steps(case, "image_every_")},
    }
    return compare_outputs(case.outputs, outputs)


def _steps(case: GoldenCase, prefix: str) -> list[tuple[str, str]]:
    """Names of outputs like ``image_every_997th``, each with its number."""
    names = [name for name in case.outputs if name.startswith(prefix)]
    return [(name, name.removeprefix(prefix).removesuffix("th")) for name in names]


def pipeline(case: GoldenCase) -> list[Comparison]:
    """A whole run, from an image to Gaussians and radiance fields."""
    config = case.config

    def network(name: str, published_name: str, kind: type[Network]) -> Network:
        return filled(kind(**config[name]), case.part(f"{published_name}:"))

    encoder = network("dino", "image_cond_model", ImageEncoder)
    image = prepare_image(open_image(case, "input.png"))
    cond = encode(encoder, images_to_tensor([image], encoder.grid * encoder.patch_size).to(case.device))

    generator = torch.Generator().manual_seed(config["torch_manual_seed"])
    structure_flow = network("ss_flow", "sparse_structure_flow_model", StructureFlow)
    shape = (config["num_samples"], structure_flow.in_channels, *[structure_flow.resolution] * 3)
    structure_noise = torch.randn(shape, generator=generator)
    sampler = sampler_of(config, "sparse_structure_sampler_params")
    structure = sample_structure(structure_flow, case.outputs["ss_noise"].to(case.device), cond, sampler, None)
    structure_decoder = network("ss_dec", "sparse_structure_decoder", StructureDecoder)
    logits = structure_decoder(structure)
    coords = decode_structure(structure_decoder, structure)

    latent_flow = network("slat_flow", "slat_flow_model", LatentFlow)
    drawn = latent_noise(latent_flow, coords, generator)
    noise = SparseTensor(case.outputs["slat_noise"].to(case.device), coords)
    statistics = Normalization(*(tuple(config["slat_normalization"][name]) for name in ("mean", "std")))
    latents = sample_latents(latent_flow, noise, cond, sampler_of(config, "slat_sampler_params"), statistics)

    outputs: dict[str, Tensor | Value] = {
        "preprocessed_rgb_sum": pixels_of(image).sum((0, 1)),
        "cond": cond,
        "ss_noise": structure_noise,
        "slat_noise": drawn.feats,
        "z_s": structure,
        "ss_logits": logits,
        "min_abs_logit": Value(logits.abs().min(), scale=float(logits.abs().max())),
        "coords": coords,
        "slat_feats": latents.feats,
    }
    if "slat_dec_gs" in config:
        gaussian_decoder = network("slat_dec_gs", "slat_decoder_gs", LatentGaussianDecoder)
        for index, item in enumerate(gaussian_decoder.gaussians(gaussian_decoder(latents))):
            outputs |= {f"gs{index}.{name}": x for name, x in _used(gaussian_outputs(item)).items()}
    if "slat_dec_rf" in config:
        field_decoder = network("slat_dec_rf", "slat_decoder_rf", LatentRadianceFieldDecoder)
        for index, field in enumerate(field_decoder.fields(field_decoder(latents))):
            stored = field_outputs(field) | {"trivec": field.trivec[::STORED_VECTORS]}
            outputs |= {f"rf{index}.{name}": x for name, x in stored.items()}
    return compare_outputs(case.outputs, outputs)


def _used(outputs: dict[str, Tensor | Value]) -> dict[str, Tensor | Value]:
    """The activated values, without the ``get_`` of their names."""
    return {name.removeprefix("get_"): x for name, x in outputs.items() if name.startswith("get_")}


def sampler_of(config: dict[str, Any], key: str) -> SamplerSettings:
    """The sampler of ``"sampler": "NAME sigma_min 1e-5"`` with the parameters under ``key``."""
    params = config[key]
    return SamplerSettings(
        steps=params["steps"],
        guidance=strength_of(params),
        interval=interval_of(params),
        rescale_t=params.get("rescale_t", 1.0),
        sigma_min=float(config["sampler"].partition("sigma_min")[2]),
        rescale=params.get("guidance_rescale", 0.0),
    )
