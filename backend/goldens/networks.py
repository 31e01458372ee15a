"""Families of whole networks, tiny and of full size."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..material_stages import materials, surfaces
from ..models.dual_grid_vae import DualGridDecoder, DualGridEncoder, encoder_input
from ..models.gaussians import ATTRIBUTES, Gaussians
from ..models.image_encoder import ImageEncoder
from ..models.latent_flow import LatentFlow
from ..models.latent_vae import (
    LatentEncoder,
    LatentGaussianDecoder,
    LatentMeshDecoder,
    LatentRadianceFieldDecoder,
    RadianceField,
)
from ..models.layers import posterior_sample
from ..models.sparse_unet import ChannelToSpaceBlock, Decoded, SpaceToChannelBlock, SparseUnet, SparseUnetDecoder
from ..models.structure_flow import StructureFlow
from ..models.structure_vae import StructureDecoder, StructureEncoder
from ..sparse.tensor import SparseTensor
from ..weights.checkpoints import NETWORKS
from .case import GoldenCase, filled_for
from .compare import FP32, FP32_FULL_SIZE, Comparison, Value, compare, compare_outputs
from .dual_grids import shape_outputs
from .surfaces import Outputs, comparable_surfaces, mesh_outputs


def network_of(case: GoldenCase) -> type[nn.Module]:
    """The class that a configuration's ``model_class`` refers to."""
    name = str(case.config["model_class"]).split(" ")[0]
    return ImageEncoder if name.startswith("dinov2") else NETWORKS[name]


#: A shape of full size stores one in this many rows.
STORED_ROWS = 101

#: Layer norms over few channels make differences larger.
SPARSE_UNET = 5e-5


def network(case: GoldenCase) -> list[Comparison]:
    """A tiny network, as in ``ss_flow`` or ``slat_dec_gs``."""
    return _check(case, SPARSE_UNET if issubclass(network_of(case), SparseUnet) else FP32)


def full_size_network(case: GoldenCase) -> list[Comparison]:
    """A network of full size, with weights made from its keys by a rule."""
    return _check(case, FP32_FULL_SIZE)


def _check(case: GoldenCase, tolerance: float) -> list[Comparison]:
    kind = network_of(case)
    model = filled_for(case, kind(**case.config.get("args", {})))
    weights = _compare_probe(case, model)
    if not all(comparison.passed for comparison in weights):
        return weights  # no output can agree if the weights differ
    outputs = RUN[kind](model, case)
    return weights + compare_outputs(comparable_surfaces(case.outputs, outputs), outputs, tolerance)


def _compare_probe(case: GoldenCase, model: nn.Module) -> list[Comparison]:
    """Compare samples and sums of weights made by rule, to see whether this machine draws the same numbers."""
    state, comparisons = model.state_dict(), []
    for key, probe in case.config.get("weights_probe", {}).items():
        values = state[key].double().flatten()
        if isinstance(probe, list):
            expected, actual = probe, [float(values[0]), float(values.sum())]
        else:
            expected = [*probe["first4"], probe["sum_f64"], probe["abs_sum_f64"]]
            actual = [*values[:4].tolist(), float(values.sum()), float(values.abs().sum())]
        name = f"weights.{key}"
        comparisons.append(compare(name, torch.tensor(actual).double(), torch.tensor(expected).double(), 1e-6))
    return comparisons


# --- what the networks compute, under the names of the stored outputs ------------------------------------------------


def recorded(modules: Iterable[nn.Module], run: Callable[[], Any]) -> tuple[Any, list[Any]]:
    """What ``run`` returns, and what the modules return meanwhile, in the order of their calls."""
    seen: list[Any] = []
    hooks = [module.register_forward_hook(lambda _, __, output: seen.append(output)) for module in modules]
    try:
        return run(), seen
    finally:
        for hook in hooks:
            hook.remove()


def _structure_flow(flow: nn.Module, case: GoldenCase) -> Outputs:
    assert isinstance(flow, StructureFlow)
    out, (modulation, *blocks) = recorded(
        [flow.adaLN_modulation, *flow.blocks], lambda: flow(case.inputs["x"], case.inputs["t"], case.inputs["cond"])
    )
    return {"out": out, "shared_modulation": modulation} | {f"after_block{i}": x for i, x in enumerate(blocks)}


def _structure_decoder(decoder: nn.Module, case: GoldenCase) -> Outputs:
    logits = decoder(case.inputs["z"])
    scale = float(logits.abs().max())
    undecided = int((logits.abs() < 1e-6 * scale).sum())  # their signs may depend on rounding alone
    return {
        "logits": logits,
        "positive_count": Value((logits > 0).sum(), slack=undecided),
        "min_abs_logit": Value(logits.abs().min(), scale=scale),
    }


def _structure_encoder(encoder: nn.Module, case: GoldenCase) -> Outputs:
    return _posterior(case, *encoder(_occupancy(case), return_raw=True))


def _occupancy(case: GoldenCase) -> Tensor:
    """A structure encoder's input [B, 1, R, R, R]: ``x``, or ones at ``coords`` where only these are stored."""
    if "x" in case.inputs:
        return case.inputs["x"]
    shape, _ = case.config["inputs"]["x"]
    volume = torch.zeros(shape, device=case.device)
    batch, x, y, z = case.inputs["coords"].long().unbind(1)
    volume[batch, 0, x, y, z] = 1.0
    return volume


def _posterior(case: GoldenCase, z: Tensor, mean: Tensor, logvar: Tensor) -> Outputs:
    outputs: Outputs = {"z": z, "mean": mean, "logvar": logvar}
    if "eps" in case.inputs:
        outputs["z_sampled"] = posterior_sample(mean, logvar, case.inputs["eps"])
    return outputs


def _latent_flow(flow: nn.Module, case: GoldenCase) -> Outputs:
    assert isinstance(flow, LatentFlow)
    x = case.voxels
    fixed = x.replace(case.inputs["concat_cond"]) if "concat_cond" in case.inputs else None
    out, blocks = recorded(flow.blocks, lambda: flow(x, case.inputs["t"], case.inputs["cond"], concat_cond=fixed))
    return {"out_feats": out.feats} | {f"after_block{i}": y.feats for i, y in enumerate(blocks)}


def _latent_encoder(encoder: nn.Module, case: GoldenCase) -> Outputs:
    return _posterior(case, *(x.feats for x in encoder(case.voxels, return_raw=True)))


def _gaussian_decoder(decoder: nn.Module, case: GoldenCase) -> Outputs:
    assert isinstance(decoder, LatentGaussianDecoder)
    raw = decoder(case.voxels)
    outputs: Outputs = {"raw_feats": raw.feats, "offset_perturbation": decoder.offset_perturbation}
    return outputs | _by_item([gaussian_outputs(item) for item in decoder.gaussians(raw)])


def gaussian_outputs(item: Gaussians) -> Outputs:
    """The Gaussians of one batch item, raw and with activations, by the names of the stored outputs."""
    return {
        **{f"raw_{name}": getattr(item, f"raw_{name}") for name in ATTRIBUTES},
        "features_dc": item.raw_features_dc,
        "get_features": item.raw_features_dc,
        **{f"get_{name}": getattr(item, name) for name in ("xyz", "scaling", "rotation", "opacity", "covariance")},
        "scale_bias": torch.tensor(item.scaling_shift),
        "opacity_bias": torch.tensor(item.opacity_shift),
    }


def _radiance_field_decoder(decoder: nn.Module, case: GoldenCase) -> Outputs:
    assert isinstance(decoder, LatentRadianceFieldDecoder)
    raw = decoder(case.voxels)
    return {"raw_feats": raw.feats} | _by_item([field_outputs(item) for item in decoder.fields(raw)])


def field_outputs(item: RadianceField) -> Outputs:
    """The radiance field of one batch item, by the names of the stored outputs."""
    names = ("position", "depth", "trivec", "density", "features_dc")
    return {
        **{name: getattr(item, name) for name in names},
        "density_shift": torch.tensor(item.density_shift),
    }


def _mesh_decoder(decoder: nn.Module, case: GoldenCase) -> Outputs:
    assert isinstance(decoder, LatentMeshDecoder)
    raw = decoder(case.voxels)
    outputs: Outputs = {"raw_feats": raw.feats, "raw_coords": raw.coords}
    return outputs | _by_item([mesh_outputs(raw[i], 4 * decoder.resolution) for i in range(raw.batch_size)])


def with_logits(decoder: DualGridDecoder, latents: SparseTensor) -> tuple[Decoded, list[Tensor]]:
    """What the shape decoder makes of latents, and the logits [N, 8] by which it split each level."""
    predictors = [module.to_subdiv for module in decoder.modules() if isinstance(module, ChannelToSpaceBlock)]
    decoded, logits = recorded([each for each in predictors if each is not None], lambda: decoder(latents))
    return decoded, logits


def _dual_grid_decoder(decoder: nn.Module, case: GoldenCase) -> Outputs:
    assert isinstance(decoder, DualGridDecoder)
    decoded, logits = with_logits(decoder, case.voxels)
    raw, resolution = decoded.features, _resolution(case)
    outputs = shape_outputs(decoded, logits) | {
        "raw_feats": raw.feats,
        "raw_feats.rows": raw.feats[::STORED_ROWS],
        "coords": raw.coords,
    }
    voxels = case.voxels.voxels
    for level, (mask, values) in enumerate(zip(decoded.masks, logits, strict=True)):
        named = {"coords": voxels.coords, "subdivision_logits": values, "mask": mask}
        outputs |= {f"level{level}.{name}": value for name, value in named.items()}
        voxels = voxels.kept_children(mask).voxels
    return outputs | _by_item([surface._asdict() for surface in surfaces(decoder, raw, resolution)])


def _resolution(case: GoldenCase) -> int:
    """What the decoder's resolution was set to before it ran: the notes say it, or else it is that of the arguments."""
    later = re.search(r"set_resolution\((\d+)\)", case.config.get("notes", ""))
    return int(later[1] if later else case.config["args"]["resolution"])


def _dual_grid_encoder(encoder: nn.Module, case: GoldenCase) -> Outputs:
    x = SparseTensor(encoder_input(case.inputs["vertices"], case.inputs["flags"]), case.inputs["coords"])
    halvings = [module for module in encoder.modules() if isinstance(module, SpaceToChannelBlock)]
    found, cells = recorded(halvings, lambda: encoder(x, return_raw=True))
    outputs = _posterior(case, *(y.feats for y in found)) | {"coords": found[0].coords}
    for level, y in enumerate(cells, start=1):
        outputs |= {f"level{level}.coords": y.coords, f"level{level}.feats": y.feats}
    return outputs


def _sparse_decoder(decoder: nn.Module, case: GoldenCase) -> Outputs:
    masks = [case.inputs[f"mask{level}"].bool() for level in range(len(case.config["args"]["num_blocks"]) - 1)]
    features = decoder(case.voxels, masks).features
    return {"coords": features.coords, "raw_feats": features.feats, "attributes": materials(features.feats)}


def _image_encoder(encoder: nn.Module, case: GoldenCase) -> Outputs:
    assert isinstance(encoder, ImageEncoder)
    return token_outputs(encoder, case.inputs["image"])


def token_outputs(encoder: ImageEncoder, images: Tensor) -> Outputs:
    """The tokens of normalised images [B, 3, H, W] at each stage, and the position embeddings added to them."""
    tokens = encoder.tokens(images)
    normed = encoder.norm(tokens)
    rows, columns = (side // encoder.patch_size for side in images.shape[-2:])
    return {
        "x_prenorm": tokens,
        "cond_tokens": encoder.condition(tokens),
        "x_norm_clstoken": normed[:, 0],
        "x_norm_regtokens": normed[:, 1 : 1 + encoder.register_tokens.shape[1]],
        "pos_embed_interpolated": encoder.position_embedding(rows, columns),
    }


def _by_item(items: list[Outputs]) -> Outputs:
    """Outputs of batch items as ``item0.NAME``, ...; those of a single item also without prefix."""
    named = {f"item{index}.{name}": value for index, item in enumerate(items) for name, value in item.items()}
    return named | items[0] if len(items) == 1 else named


RUN: dict[type[nn.Module], Callable[[nn.Module, GoldenCase], Outputs]] = {
    ImageEncoder: _image_encoder,
    StructureFlow: _structure_flow,
    StructureDecoder: _structure_decoder,
    StructureEncoder: _structure_encoder,
    LatentFlow: _latent_flow,
    LatentEncoder: _latent_encoder,
    LatentGaussianDecoder: _gaussian_decoder,
    LatentRadianceFieldDecoder: _radiance_field_decoder,
    LatentMeshDecoder: _mesh_decoder,
    DualGridDecoder: _dual_grid_decoder,
    DualGridEncoder: _dual_grid_encoder,
    SparseUnetDecoder: _sparse_decoder,
}
