"""How the parts of a small pair of TRELLIS.2's kind are trained, each alone, and how they are judged.

The objects are drawn as they are needed, among millions: none is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...material_stages import DualSurface, decode_materials, surfaces
from ...models.dual_grid_vae import DualGrid, DualGridDecoder
from ...sparse.tensor import SparseTensor, VoxelSet
from ..loop import Metrics, Schedule
from ..objects.dual_grid import Distance, distance_of, voxel_object
from ..objects.families import FAMILIES
from ..objects.materials import in_patches
from ..objects.shapes import HELD_OUT, draw_values
from .decoder_pair import Batch, PairPreset, ShapeAutoencoder, TextureAutoencoder, batch_of


class Likeness(NamedTuple):
    """How a shape comes back from its latents. Lengths are in voxels."""

    voxel_iou: float  # of its voxels
    wrong_flags: float  # the share of them, in the voxels that are right
    vertex_off: float  # mean distance of their vertices
    surface_off: float  # mean distance of the faces' middles from the true surface; with no face, the cube's side
    open_edges: float  # how many edges have an odd number of faces


class MaterialErrors(NamedTuple):
    """How far off materials come back from their latents: mean absolute errors, in 0..1."""

    color_off: float
    metallic_off: float
    roughness_off: float
    alpha_off: float


def compared(
    decoder: DualGridDecoder, features: SparseTensor, truth: Batch, distance: Distance, resolution: int
) -> Likeness:
    """Compare what was decoded of one object, ``features`` [N, 7], with the truth."""
    made, true = _common(features.voxels, truth.voxels)
    grid = decoder.dual_grid(features.feats)
    (surface,) = surfaces(decoder, features, resolution)
    return Likeness(
        voxel_iou=len(made) / (len(features.feats) + len(truth.voxels) - len(made)),
        wrong_flags=float((grid.crossed[made] != truth.grid.crossed[true]).float().mean()),
        vertex_off=float((grid.vertices[made] - truth.grid.vertices[true]).norm(dim=1).mean()),
        surface_off=resolution * _mean_distance(surface, distance),
        open_edges=float(_open_edges(surface.faces)),
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


class _PartStage:
    """What the stages of both parts share: objects to latents and back, decoders told how the objects are split."""

    # Nothing is to be drawn from a Gaussian, only to stay near one; with more, edges blur.
    kl_weight = 1e-3

    def __init__(self, schedule: Schedule, preset: PairPreset, device: torch.device) -> None:
        self.schedule, self.preset, self.device = schedule, preset, device

    def objects(self, numbers: Sequence[tuple[str, int]]) -> Batch:
        """The objects with these families and numbers."""
        with torch.autocast("cpu", enabled=False):  # where objects are drawn, whatever the networks are in
            made = [voxel_object(family, number, self.preset.resolution) for family, number in numbers]
        return batch_of(made, self.preset.levels, self.device)

    def drawn(self, generator: torch.Generator) -> Batch:
        """Objects to learn from."""
        kinds = torch.randint(len(FAMILIES), (self.schedule.batch,), generator=generator).tolist()
        numbers = torch.randint(HELD_OUT, (self.schedule.batch,), generator=generator).tolist()
        return self.objects([(list(FAMILIES)[kind], number) for kind, number in zip(kinds, numbers, strict=True)])


class ShapeStage(_PartStage):
    """Dual grids."""

    name = "shape_autoencoder"
    vertex_weight, split_weight = 10.0, 1.0

    def __init__(self, preset: PairPreset, device: torch.device) -> None:
        super().__init__(preset.shape, preset, device)
        self.model = ShapeAutoencoder.untrained(preset)

    def loss(self, model: nn.Module, generator: torch.Generator, progress: float) -> tuple[Tensor, Metrics]:
        """The errors of children, vertices, flags and splits, and the latents' rate, see ``loop.Stage``."""
        model = cast(ShapeAutoencoder, model)
        batch = self.drawn(generator)
        latents = model.encode(batch)
        masks, rows = batch.splits
        features, logits = model.decoder.guided(latents.draw(generator), masks)
        children = [F.binary_cross_entropy_with_logits(a, mask.float()) for a, mask in zip(logits, masks, strict=True)]
        truth = DualGrid(*(part[rows] for part in batch.grid))
        grid = model.decoder.dual_grid(features.feats)
        return _sum_of(
            {
                "children": torch.stack(children).sum(),
                "crossed": F.binary_cross_entropy_with_logits(features.feats[:, 3:6], truth.crossed.float()),
                "vertices": self.vertex_weight * (grid.vertices - truth.vertices).square().mean(),
                "weights": self.split_weight * (grid.weights.log() - truth.weights.log()).square().mean(),
                "kl": self.kl_weight * latents.kl(),
            }
        )

    def evaluate(self, model: nn.Module) -> Metrics:
        """How held-out objects come back from their latents' means, means over objects; see ``Likeness``."""
        model = cast(ShapeAutoencoder, model)
        return _means([self.likeness(model, family, HELD_OUT + kind) for kind, family in enumerate(FAMILIES)])

    @torch.no_grad()
    def likeness(self, model: ShapeAutoencoder, family: str, number: int) -> Likeness:
        """How one object comes back."""
        batch = self.objects([(family, number)])
        decoded = model.decoder(model.encode(batch).mean)
        distance = distance_of(family, draw_values(family, [number]))
        return compared(model.decoder, decoded.features, batch, distance, self.preset.resolution)


class TextureStage(_PartStage):
    """Materials. Those to learn from are in patches; those that it is judged by are the objects' own."""

    name = "texture_autoencoder"
    material_weight = 3.0
    patches = 60, 140  # at least, and fewer than

    def __init__(self, preset: PairPreset, device: torch.device) -> None:
        super().__init__(preset.texture, preset, device)
        self.model = TextureAutoencoder.untrained(preset)

    def loss(self, model: nn.Module, generator: torch.Generator, progress: float) -> tuple[Tensor, Metrics]:
        """The errors of the materials, and the latents' rate, see ``loop.Stage``."""
        model = cast(TextureAutoencoder, model)
        batch = self._in_patches(self.drawn(generator), generator)
        latents = model.encode(batch)
        off = _off(model, latents.draw(generator), batch)
        terms = dict(zip(("color", "metallic", "roughness", "alpha"), _by_kind(off), strict=True))
        share = self.material_weight / len(off)
        return _sum_of(
            {name: share * each.sum() for name, each in terms.items()} | {"kl": self.kl_weight * latents.kl()}
        )

    def _in_patches(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The same shapes of other materials."""
        points = batch.voxels.coords[:, 1:].cpu() / self.preset.resolution
        made = []
        for rows in batch.voxels.layout:
            count = int(torch.randint(*self.patches, (), generator=generator))
            made.append(in_patches(points[rows], count, generator))
        return batch._replace(materials=torch.cat(made).to(self.device))

    def evaluate(self, model: nn.Module) -> Metrics:
        """How held-out objects' materials come back from their latents' means, means over objects."""
        model = cast(TextureAutoencoder, model)
        return _means([self.errors(model, family, HELD_OUT + kind) for kind, family in enumerate(FAMILIES)])

    @torch.no_grad()
    def errors(self, model: TextureAutoencoder, family: str, number: int) -> MaterialErrors:
        """How one object comes back."""
        batch = self.objects([(family, number)])
        off = _off(model, model.encode(batch).mean, batch)
        return MaterialErrors(*(float(each.mean()) for each in _by_kind(off)))


#: The stages of a pair, by the part that they train.
STAGES: dict[str, type[ShapeStage | TextureStage]] = {"shape": ShapeStage, "texture": TextureStage}


def _off(model: TextureAutoencoder, latents: SparseTensor, truth: Batch) -> Tensor:
    """The mean absolute error [6] of each channel of what is decoded of latents."""
    masks, rows = truth.splits
    return (decode_materials(model.decoder, latents, masks) - truth.materials[rows]).abs().mean(0)


def _by_kind(off: Tensor) -> tuple[Tensor, ...]:
    """The errors [6] of base colour, metallic, roughness and alpha."""
    return off.split([3, 1, 1, 1])


def _sum_of(terms: dict[str, Tensor]) -> tuple[Tensor, Metrics]:
    return torch.stack(list(terms.values())).sum(), {name: term.item() for name, term in terms.items()}


def _means(found: Sequence[tuple[float, ...]]) -> Metrics:
    """The mean of each field of named tuples."""
    means = [sum(values) / len(found) for values in zip(*found, strict=True)]
    return dict(zip(type(found[0])._fields, means, strict=True))  # type: ignore[attr-defined]
