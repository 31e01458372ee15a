"""The latent VAE: features of the occupied voxels to a latent vector for each, and latents to what decoders predict.

There is a decoder for each representation: meshes, Gaussians and radiance fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sparse.convolution import SparseConv3d
from ..sparse.normalization import SparseGroupNorm32
from ..sparse.resample import subdivide
from ..sparse.tensor import SparseTensor
from .gaussians import ATTRIBUTES, Gaussians, offset_perturbation
from .layers import (
    AbsolutePositionEmbedder,
    MixedPrecisionNetwork,
    initialise_linears,
    posterior_sample,
    require_absolute_positions,
    zero_parameters,
)
from .sparse_layers import SparseTransformerBlock


class LatentTransformer(MixedPrecisionNetwork):
    """The torso of the latent VAE: a linear layer and transformer blocks over the occupied voxels.

    Args:
        attn_mode: "swin" for attention in cubic windows of ``window_size``, shifted by half a window in every second
            block; "full" for attention over all voxels of a batch item.
        pe_mode: must be "ape": sinusoidal embeddings of the voxel indices, added once.
    """

    out_layer: nn.Linear  # what follows the torso

    def __init__(
        self,
        *,
        in_channels: int,
        model_channels: int,
        num_blocks: int,
        num_heads: int | None = None,
        num_head_channels: int = 64,
        mlp_ratio: float = 4.0,
        attn_mode: str = "swin",
        window_size: int | None = None,
        pe_mode: str = "ape",
        qk_rms_norm: bool = False,
    ) -> None:
        super().__init__()
        require_absolute_positions(pe_mode)
        if attn_mode not in ("swin", "full"):
            raise ValueError(f"attn_mode must be 'swin' or 'full', not {attn_mode!r}")
        if attn_mode == "swin" and not window_size:
            raise ValueError("attn_mode 'swin' needs a window_size")
        window = window_size if attn_mode == "swin" else None
        self.input_layer = nn.Linear(in_channels, model_channels)
        self.pos_embedder = AbsolutePositionEmbedder(model_channels)
        self.blocks = nn.ModuleList(
            SparseTransformerBlock(
                model_channels,
                num_heads or model_channels // num_head_channels,
                mlp_ratio=mlp_ratio,
                window_size=window,
                shift=window // 2 * (index % 2) if window else 0,
                qk_rms_norm=qk_rms_norm,
            )
            for index in range(num_blocks)
        )
        initialise_linears(self)

    def torso(self, x: SparseTensor) -> SparseTensor:
        """[N, in_channels] to [N, model_channels], in the torso's dtype."""
        feats = self.input_layer(x.feats) + self.pos_embedder(x.coords[:, 1:])
        x = x.replace(feats.to(self.dtype))
        for block in self.blocks:
            x = block(x)
        return x

    def predicted(self, x: SparseTensor) -> SparseTensor:
        """Torso, norm and last layer: [N, in_channels] to [N, out], in the dtype of ``x``."""
        h = self.torso(x).feats.to(x.dtype)
        return x.replace(self.out_layer(F.layer_norm(h, h.shape[-1:])))


class LatentEncoder(LatentTransformer):
    """Features of the occupied voxels [N, in_channels] to the posterior of their latents [N, latent_channels].

    The published encoder is called SLatEncoder. ``resolution`` is that of the voxel grid; further options are those of
    the torso.
    """

    def __init__(
        self,
        resolution: int,
        in_channels: int,
        model_channels: int,
        latent_channels: int,
        use_fp16: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(in_channels=in_channels, model_channels=model_channels, **options)
        self.resolution = resolution
        self.out_layer = nn.Linear(model_channels, 2 * latent_channels)
        zero_parameters(self.out_layer)
        if use_fp16:
            self.convert_to_fp16()

    def forward(
        self, x: SparseTensor, sample_posterior: bool = False, return_raw: bool = False
    ) -> SparseTensor | tuple[SparseTensor, SparseTensor, SparseTensor]:
        """Features [N, in_channels] to latents: the posterior's mean or a sample of it.

        With ``return_raw`` also the mean and the log-variance. All are [N, latent_channels].
        """
        mean, logvar = self.predicted(x).feats.chunk(2, dim=-1)
        z = posterior_sample(mean, logvar, torch.randn_like(mean)) if sample_posterior else mean
        return (x.replace(z), x.replace(mean), x.replace(logvar)) if return_raw else x.replace(z)


class SparseSubdivideBlock(nn.Module):
    """Split every voxel into eight, refine the features with two convolutions and add them to the split input."""

    def __init__(self, channels: int, out_channels: int, num_groups: int = 32) -> None:
        super().__init__()
        self.act_layers = nn.Sequential(SparseGroupNorm32(num_groups, channels), nn.SiLU())
        self.out_layers = nn.Sequential(
            SparseConv3d(channels, out_channels, 3),
            SparseGroupNorm32(num_groups, out_channels),
            nn.SiLU(),
            SparseConv3d(out_channels, out_channels, 3),
        )
        zero_parameters(self.out_layers[3])
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else SparseConv3d(channels, out_channels, 1)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features [N, channels] to [8 N, out_channels].

        The skip path treats each voxel on its own, so it is computed before the voxels are split.
        """
        norm_in, norm_out = cast(SparseGroupNorm32, self.act_layers[0]), cast(SparseGroupNorm32, self.out_layers[1])
        conv_in, conv_out = cast(SparseConv3d, self.out_layers[0]), self.out_layers[3]
        h = conv_in(norm_in.silu(x), subdivide=True)
        h = conv_out(norm_out.silu(h))
        return h + subdivide(self.skip_connection(x))


class LatentMeshDecoder(LatentTransformer):
    """Latents [N, latent_channels] to the raw features of the mesh extractor on a grid four times as fine.

    The published decoder is called SLatMeshDecoder. The features of a voxel at ``4 * resolution`` are 8 corner SDFs,
    8 x 3 corner deformations, 21 weights and, with ``use_color``, 8 x 6 corner colours and normals.
    """

    def __init__(
        self,
        resolution: int,
        model_channels: int,
        latent_channels: int,
        representation_config: Mapping[str, Any],
        use_fp16: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(in_channels=latent_channels, model_channels=model_channels, **options)
        self.resolution = resolution
        self.upsample = nn.ModuleList(
            [
                SparseSubdivideBlock(model_channels, model_channels // 4),
                SparseSubdivideBlock(model_channels // 4, model_channels // 8),
            ]
        )
        self.out_layer = nn.Linear(model_channels // 8, 101 if representation_config.get("use_color") else 53)
        zero_parameters(self.out_layer)
        if use_fp16:
            self.convert_to_fp16()

    def half_modules(self) -> list[nn.Module]:
        """The modules whose matrices may be kept in half precision."""
        return [self.blocks, self.upsample]

    def forward(self, z: SparseTensor) -> SparseTensor:
        """[N, latent_channels] to [64 N, 101] (53 without colour); the 64 rows of a voxel are consecutive.

        Row order: every voxel is split into 8 consecutive children, twice, z fastest.
        """
        return self.upsampled(self.torso(z))

    def upsampled(self, h: SparseTensor) -> SparseTensor:
        """The second half of ``forward``: the torso's output [N, model_channels] to [64 N, 101]."""
        for block in self.upsample:
            h = block(h)
        return h.replace(self.out_layer(h.feats.to(self.out_layer.weight.dtype)))


def _require(config: Mapping[str, Any], *names: str) -> None:
    """Raise ValueError if ``config`` lacks any of ``names``; the message lists those that are missing."""
    missing = ", ".join(name for name in names if name not in config)
    if missing:
        raise ValueError(f"representation_config lacks {missing}")


_GAUSSIAN_CONFIG = (
    "num_gaussians",
    "lr",
    "voxel_size",
    "perturb_offset",
    "scaling_bias",
    "opacity_bias",
    "3d_filter_kernel_size",
    "scaling_activation",
)


class LatentGaussianDecoder(LatentTransformer):
    """Latents [N, latent_channels] to 3-D Gaussians, ``num_gaussians`` per voxel, around the voxel's centre.

    The published decoder is called SLatGaussianDecoder. ``representation_config`` holds ``num_gaussians``, the factors
    ``lr`` that each attribute is multiplied by, ``voxel_size`` (the side, in voxels, of the cube that the Gaussians of
    a voxel stay in), ``perturb_offset`` (whether they start spread evenly in it), and the settings of ``Gaussians``.
    Raises ValueError if one of these is missing.
    """

    offset_perturbation: Tensor

    def __init__(
        self,
        resolution: int,
        model_channels: int,
        latent_channels: int,
        representation_config: Mapping[str, Any],
        use_fp16: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(in_channels=latent_channels, model_channels=model_channels, **options)
        _require(representation_config, *_GAUSSIAN_CONFIG)
        _require(representation_config["lr"], *(f"_{name}" for name in ATTRIBUTES))
        self.resolution = resolution
        self.config = representation_config
        count = representation_config["num_gaussians"]
        self.out_layer = nn.Linear(model_channels, count * sum(map(math.prod, ATTRIBUTES.values())))
        zero_parameters(self.out_layer)
        # Where the offsets start, before tanh. The published checkpoints hold this buffer whether it is used or not.
        spread = offset_perturbation(count, representation_config["voxel_size"])
        self.register_buffer("offset_perturbation", spread.to(self.out_layer.weight.device))
        if use_fp16:
            self.convert_to_fp16()

    def forward(self, z: SparseTensor) -> SparseTensor:
        """[N, latent_channels] to [N, 14 num_gaussians], one attribute after another."""
        return self.predicted(z)

    def gaussians(self, raw: SparseTensor) -> list[Gaussians]:
        """The Gaussians of each batch item, voxel by voxel, from what ``forward`` returns."""
        return [self._item(raw[index]) for index in range(raw.batch_size)]

    def _item(self, raw: SparseTensor) -> Gaussians:
        config, count = self.config, self.config["num_gaussians"]
        sizes = [count * math.prod(shape) for shape in ATTRIBUTES.values()]
        values = {
            name: part.unflatten(1, (count, *shape)) * config["lr"][f"_{name}"]
            for (name, shape), part in zip(ATTRIBUTES.items(), raw.feats.split(sizes, dim=1), strict=True)
        }
        offset = values["xyz"] + self.offset_perturbation if config["perturb_offset"] else values["xyz"]
        offset = torch.tanh(offset) / self.resolution * 0.5 * config["voxel_size"]
        values["xyz"] = voxel_centres(raw, self.resolution)[:, None] + offset
        return Gaussians(
            **{f"raw_{name}": value.flatten(0, 1) for name, value in values.items()},
            scaling_bias=config["scaling_bias"],
            opacity_bias=config["opacity_bias"],
            minimum_size=config["3d_filter_kernel_size"],
            scaling_activation=config["scaling_activation"],
        )


@dataclass(frozen=True)
class RadianceField:
    """A field of N voxels in [0, 1]^3, each the sum of R products of three vectors (Gao et al. 2023, "Strivec")."""

    position: Tensor  # [N, 3]: the voxels' centres
    depth: Tensor  # [N, 1] uint8: a voxel's side is 2^-depth
    trivec: Tensor  # [N, R, 3, D]: a vector along each axis
    density: Tensor  # [N, R]: weights of the products in the density, before its activation
    features_dc: Tensor  # [N, R, 1, 3]: weights in the colour, as spherical harmonics of degree 0
    density_shift: float = 0.0  # added to the density before its activation


class LatentRadianceFieldDecoder(LatentTransformer):
    """Latents [N, latent_channels] to a radiance field: for each voxel ``rank`` products of three ``dim``-vectors.

    The published decoder is called SLatRadianceFieldDecoder; ``representation_config`` holds ``rank`` and ``dim``.
    Raises ValueError if one of these is missing.
    """

    def __init__(
        self,
        resolution: int,
        model_channels: int,
        latent_channels: int,
        representation_config: Mapping[str, Any],
        use_fp16: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(in_channels=latent_channels, model_channels=model_channels, **options)
        _require(representation_config, "rank", "dim")
        self.resolution = resolution
        rank, dim = representation_config["rank"], representation_config["dim"]
        self.shapes = ((rank, 3, dim), (rank,), (rank, 1, 3))
        self.out_layer = nn.Linear(model_channels, sum(map(math.prod, self.shapes)))
        zero_parameters(self.out_layer)
        if use_fp16:
            self.convert_to_fp16()

    def forward(self, z: SparseTensor) -> SparseTensor:
        """[N, latent_channels] to [N, rank (3 dim + 4)]: vectors, densities, colours."""
        return self.predicted(z)

    def fields(self, raw: SparseTensor) -> list[RadianceField]:
        """The field of each batch item, from what ``forward`` returns."""
        return [self._item(raw[index]) for index in range(raw.batch_size)]

    def _item(self, raw: SparseTensor) -> RadianceField:
        parts = raw.feats.split([math.prod(shape) for shape in self.shapes], dim=1)
        trivec, density, features_dc = (
            part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)
        )
        return RadianceField(
            position=voxel_centres(raw, self.resolution),
            depth=torch.full_like(raw.coords[:, :1], int(math.log2(self.resolution)), dtype=torch.uint8),
            trivec=trivec + 1,
            density=density,
            features_dc=features_dc,
        )


def voxel_centres(x: SparseTensor, resolution: int) -> Tensor:
    """The centres [N, 3] float32, in [0, 1]^3, of the voxels of a grid of resolution^3."""
    return (x.coords[:, 1:].float() + 0.5) / resolution
