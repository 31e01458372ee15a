"""A small pair of decoders of TRELLIS.2's kind, of shapes and of materials, trained on procedural objects.

Each has an encoder of its own, which the latents come from. The objects are drawn as they are needed, among millions:
none is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...material_stages import DualSurface, decode_materials, material_mesh, surfaces
from ...mesh import MaterialMesh
from ...models.dual_grid_vae import DualGrid, DualGridDecoder, DualGridEncoder, encoder_input
from ...models.sparse_unet import SparseUnetDecoder, SparseUnetEncoder
from ...sparse.resample import Splits, splits
from ...sparse.tensor import SparseTensor, VoxelSet
from ...weights.checkpoints import NETWORKS, load_network
from ..loop import Metrics, Schedule
from ..objects.dual_grid import Distance, VoxelObject, distance_of, voxel_object
from ..objects.families import FAMILIES
from ..objects.shapes import HELD_OUT, draw_values

#: What each network is, by its published name.
KINDS = {
    "shape_encoder": "FlexiDualGridVaeEncoder",
    "shape_decoder": "FlexiDualGridVaeDecoder",
    "texture_encoder": "SparseUnetVaeEncoder",
    "texture_decoder": "SparseUnetVaeDecoder",
}

#: Base colour, metallic, roughness and alpha.
_MATERIAL_CHANNELS = 6


@dataclass(frozen=True)
class PairPreset:
    """Everything that defines a pair. Sizes are those of the decoders, the coarsest level first."""

    resolution: int  # of the objects' grid
    latent_channels: int
    model_channels: tuple[int, ...]
    num_blocks: tuple[int, ...]
    schedule: Schedule

    @property
    def levels(self) -> int:
        """How often a latent's cell is split."""
        return len(self.model_channels) - 1

    @property
    def networks(self) -> dict[str, dict[str, Any]]:
        """The constructor arguments of the four networks, for the JSON files."""
        down = {"model_channels": list(self.model_channels[::-1]), "num_blocks": list(self.num_blocks[::-1])}
        up = {"model_channels": list(self.model_channels), "num_blocks": list(self.num_blocks)}
        latent = {"latent_channels": self.latent_channels}
        return {
            "shape_encoder": down | latent,
            "shape_decoder": up | latent | {"resolution": self.resolution},
            "texture_encoder": down | latent | {"in_channels": _MATERIAL_CHANNELS},
            "texture_decoder": up | latent | {"out_channels": _MATERIAL_CHANNELS, "pred_subdiv": False},
        }


PAIRS: dict[str, PairPreset] = {
    # Latents on a grid of 16^3, as fine as the structures of the bundled model; objects on one of 64^3.
    "mini": PairPreset(64, 16, (32, 32, 16), (2, 2, 0), Schedule(steps=2600, batch=2, rate=1e-3, warmup=50, ema=0.995)),
    "smoke": PairPreset(16, 4, (16, 8, 8), (1, 1, 0), Schedule(steps=2, batch=2, rate=1e-4, warmup=1)),
}


class Batch(NamedTuple):
    """Objects, one after another, and how their latents' cells are split into their voxels."""

    voxels: VoxelSet  # M
    grid: DualGrid  # [M, ...]
    materials: Tensor  # [M, 6]
    splits: Splits


def batch_of(objects: Sequence[VoxelObject], levels: int, device: torch.device) -> Batch:
    """Join objects for decoders that split their latents' cells ``levels`` times."""
    coords = torch.cat([F.pad(each.coords, (1, 0), value=item) for item, each in enumerate(objects)])
    voxels = VoxelSet(coords.to(device), len(objects))
    grid = DualGrid(*(torch.cat(parts).to(device) for parts in zip(*(each.grid for each in objects), strict=True)))
    return Batch(voxels, grid, torch.cat([each.materials for each in objects]).to(device), splits(voxels, levels))


class Gaussians(NamedTuple):
    """What an encoder says of latents: their means, [N, C], and the logarithms of their variances."""

    mean: SparseTensor
    logvar: SparseTensor

    def draw(self, generator: torch.Generator) -> SparseTensor:
        """A sample."""
        noise = torch.randn(self.mean.feats.shape, generator=generator).to(self.mean.device)
        return self.mean.replace(self.mean.feats + (0.5 * self.logvar.feats).exp() * noise)

    def kl(self) -> Tensor:
        """The Kullback-Leibler divergence from N(0, 1), mean over elements."""
        mean, logvar = self.mean.feats, self.logvar.feats
        return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


class DecoderPair(nn.Module):
    """Both decoders with their encoders."""

    def __init__(
        self,
        shape_encoder: DualGridEncoder,
        shape_decoder: DualGridDecoder,
        texture_encoder: SparseUnetEncoder,
        texture_decoder: SparseUnetDecoder,
    ) -> None:
        super().__init__()
        self.shape_encoder, self.shape_decoder = shape_encoder, shape_decoder
        self.texture_encoder, self.texture_decoder = texture_encoder, texture_decoder

    @classmethod
    def untrained(cls, preset: PairPreset) -> DecoderPair:
        """A pair with initial weights."""
        return cls(**{name: _kind(name)(**args) for name, args in preset.networks.items()})

    @classmethod
    def load(cls, folder: Path) -> DecoderPair:
        """The pair that ``export.export_pair`` has written into a folder. Raises CheckpointError."""
        return cls(**{name: load_network(folder / name, _kind(name), torch.device("cpu")) for name in KINDS})

    def encode(self, batch: Batch) -> tuple[Gaussians, Gaussians]:
        """The latents of the objects' shapes and of their materials, on the same cells."""
        shape = SparseTensor(encoder_input(batch.grid.vertices, batch.grid.crossed), batch.voxels)
        texture = SparseTensor(2 * batch.materials - 1, batch.voxels)
        return (
            Gaussians(*self.shape_encoder(shape, return_raw=True)[1:]),
            Gaussians(*self.texture_encoder(texture, return_raw=True)[1:]),
        )

    def decode(self, shape: SparseTensor, texture: SparseTensor, resolution: int) -> MaterialMesh:
        """The surface of one object's latents, with materials. Raises GenerationError if there is none."""
        decoded = self.shape_decoder(shape)
        painted = decode_materials(self.texture_decoder, texture, decoded.masks)
        return material_mesh(self.shape_decoder, decoded.features, painted, resolution)


def _kind(name: str) -> type[Any]:
    return NETWORKS[KINDS[name]]


class Likeness(NamedTuple):
    """How an object comes back from its latents. Lengths are in voxels, materials in 0..1."""

    voxel_iou: float  # of its voxels
    wrong_flags: float  # the share of them, in the voxels that are right
    vertex_off: float  # mean distance of their vertices
    surface_off: float  # mean distance of the faces' middles from the true surface; with no face, the cube's side
    open_edges: float  # how many edges have an odd number of faces
    color_off: float  # mean absolute errors in the voxels that are right
    metallic_off: float
    roughness_off: float
    alpha_off: float


def compared(
    decoder: DualGridDecoder,
    features: SparseTensor,
    painted: Tensor,
    truth: Batch,
    distance: Distance,
    resolution: int,
) -> Likeness:
    """Compare what was decoded of one object, ``features`` [N, 7] and materials [N, 6], with the truth."""
    made, true = _common(features.voxels, truth.voxels)
    grid = decoder.dual_grid(features.feats)
    (surface,) = surfaces(decoder, features, resolution)
    color, *others = (painted[made] - truth.materials[true]).abs().split([3, 1, 1, 1], dim=1)
    return Likeness(
        voxel_iou=len(made) / (len(features.feats) + len(truth.voxels) - len(made)),
        wrong_flags=float((grid.crossed[made] != truth.grid.crossed[true]).float().mean()),
        vertex_off=float((grid.vertices[made] - truth.grid.vertices[true]).norm(dim=1).mean()),
        surface_off=resolution * _mean_distance(surface, distance),
        open_edges=float(_open_edges(surface.faces)),
        color_off=float(color.mean()),
        **{
            f"{name}_off": float(off.mean())
            for name, off in zip(("metallic", "roughness", "alpha"), others, strict=True)
        },
    )


def _common(one: VoxelSet, other: VoxelSet) -> tuple[Tensor, Tensor]:
    """The rows [K] of the voxels that two sets have in common, in either."""
    both, place = torch.cat([one.coords, other.coords]).unique(dim=0, return_inverse=True)
    row = torch.full((2, len(both)), -1, device=both.device)
    row[0, place[: len(one)]] = torch.arange(len(one), device=both.device)
    row[1, place[len(one) :]] = torch.arange(len(other), device=both.device)
    first, second = row[:, (row >= 0).all(0)]
    return first, second


def _mean_distance(surface: DualSurface, distance: Distance) -> float:
    """How far the middles of faces are from the surface with a signed distance, in sides of the cube; 1 for no face."""
    middles = surface.vertices[surface.faces].mean(1).cpu()
    return float(distance(middles).abs().mean()) if len(middles) else 1.0


def _open_edges(faces: Tensor) -> int:
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    return int((ends.unique(dim=0, return_counts=True)[1] % 2).sum())


class DecoderPairStage:
    """A dual grid and its materials to latents and back, in teacher forcing: the decoders split as the object is."""

    name = "decoder_pair"
    # Nothing is to be drawn from a Gaussian, only to stay near one; with more, edges blur.
    kl_weight = 1e-3
    vertex_weight, split_weight, material_weight = 10.0, 1.0, 3.0

    def __init__(self, preset: PairPreset, device: torch.device) -> None:
        self.preset, self.schedule, self.device = preset, preset.schedule, device
        self.model = DecoderPair.untrained(preset)

    def objects(self, numbers: Sequence[tuple[str, int]]) -> Batch:
        """The objects with these families and numbers."""
        made = [voxel_object(family, number, self.preset.resolution) for family, number in numbers]
        return batch_of(made, self.preset.levels, self.device)

    def loss(self, model: nn.Module, generator: torch.Generator, progress: float) -> tuple[Tensor, Metrics]:
        """The errors of children, vertices, flags, splits and materials, and the latents' rate, see ``loop.Stage``."""
        model = cast(DecoderPair, model)
        kinds = torch.randint(len(FAMILIES), (self.schedule.batch,), generator=generator).tolist()
        numbers = torch.randint(HELD_OUT, (self.schedule.batch,), generator=generator).tolist()
        batch = self.objects([(list(FAMILIES)[kind], number) for kind, number in zip(kinds, numbers, strict=True)])
        shape, texture = model.encode(batch)
        masks, rows = batch.splits
        features, logits = model.shape_decoder.guided(shape.draw(generator), masks)
        children = [F.binary_cross_entropy_with_logits(a, mask.float()) for a, mask in zip(logits, masks, strict=True)]
        truth = DualGrid(*(part[rows] for part in batch.grid))
        grid = model.shape_decoder.dual_grid(features.feats)
        painted = decode_materials(model.texture_decoder, texture.draw(generator), masks)
        terms = {
            "children": torch.stack(children).sum(),
            "crossed": F.binary_cross_entropy_with_logits(features.feats[:, 3:6], truth.crossed.float()),
            "vertices": self.vertex_weight * (grid.vertices - truth.vertices).square().mean(),
            "weights": self.split_weight * (grid.weights.log() - truth.weights.log()).square().mean(),
            "materials": self.material_weight * (painted - batch.materials[rows]).abs().mean(),
            "kl": self.kl_weight * (shape.kl() + texture.kl()),
        }
        return torch.stack(list(terms.values())).sum(), {name: term.item() for name, term in terms.items()}

    def evaluate(self, model: nn.Module) -> Metrics:
        """How held-out objects come back from their latents' means, means over objects; see ``Likeness``."""
        model = cast(DecoderPair, model)
        found = [self.likeness(model, family, HELD_OUT + kind) for kind, family in enumerate(FAMILIES)]
        means = [sum(values) / len(found) for values in zip(*found, strict=True)]
        return dict(zip(Likeness._fields, means, strict=True))

    @torch.no_grad()
    def likeness(self, model: DecoderPair, family: str, number: int) -> Likeness:
        """How one object comes back."""
        batch = self.objects([(family, number)])
        shape, texture = (latents.mean for latents in model.encode(batch))
        decoded = model.shape_decoder(shape)
        painted = decode_materials(model.texture_decoder, texture, decoded.masks)
        distance = distance_of(family, draw_values(family, [number]))
        return compared(model.shape_decoder, decoded.features, painted, batch, distance, self.preset.resolution)
