"""The stages of training a small model, except the flows, each after the stages that it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.image_encoder import ImageEncoder
from ...models.latent_vae import LatentEncoder, LatentMeshDecoder
from ...models.structure_vae import StructureDecoder, StructureEncoder
from ...sparse.tensor import SparseTensor
from ...weights.folders import ModelFolder
from ..loop import Metrics, Schedule, Stage, Trainer, checkpoint_in
from ..objects.data import DISTANCE_UNIT, SHARD, Objects
from ..objects.lattice import MESH_CELLS, corner_table
from .presets import Preset
from .pretext import ImagePretext, mirrorable, pretext_loss

#: The columns of objects with everything that an image encoder learns from.
VIEW_COLUMNS = ("coords", "child_color", "image", "surface", "view", "family", "visible", "palette", "pattern")


class ScratchStage(Stage, Protocol):
    """A stage of training a small model. ``earlier``: which networks an earlier stage has begun, and its name."""

    earlier: ClassVar[Mapping[str, str]]

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What a model folder keeps of its model, by name in ``model_files.FILES``."""


S = TypeVar("S", bound=ScratchStage)


class Run:
    """A training run: its preset, its folder outside the repository, and the results of finished stages there."""

    def __init__(self, preset: Preset, folder: Path, device: torch.device, start: ModelFolder | None = None) -> None:
        """``start``: the model whose weights every stage starts with, on schedules of their own."""
        self.preset, self.folder, self.device, self.start = preset, folder, device, start

    def schedule(self, stage: str) -> Schedule:
        """How long and how fast a stage learns."""
        return (self.preset.further if self.start else self.preset.schedules)[stage]

    def extended(self) -> Run:
        """The same with the preset's extra shards as a part of the data."""
        return Run(self.preset.extended, self.folder, self.device, self.start)

    def has(self, stage: str) -> bool:
        """Whether the run has begun to train a stage."""
        return checkpoint_in(self.folder / stage).exists()

    @property
    def data_folder(self) -> Path:
        """The folder of the shards."""
        return self.folder / "data"

    @property
    def training_objects(self) -> int:
        """How many objects are for training: the first ones. The rest of the data set is held out."""
        return (self.preset.data.shards - self.preset.held_out_shards) * SHARD

    def objects(self, *columns: str, shards: int | None = None) -> Objects:
        """These columns of the data set, or of its first shards. Raises FileNotFoundError for a missing shard."""
        numbers = self.preset.data.numbers
        return Objects.load(self.data_folder, numbers if shards is None else numbers[:shards], columns)

    def finished(self, stage: Callable[[Run], S]) -> S:
        """An earlier stage, its model with averaged weights. Raises FileNotFoundError if the stage is not finished."""
        made = stage(self)
        trainer = Trainer(made, self.folder / made.name, self.device)
        if trainer.step < made.schedule.steps:
            raise FileNotFoundError(
                f"stage {made.name} is at step {trainer.step} of {made.schedule.steps}: finish it first"
            )
        trainer.averaged()
        return made


def _kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """The Kullback-Leibler divergence of N(mean, exp(logvar)) from N(0, 1), mean over elements."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


def _draw_like(mean: Tensor, logvar: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(mean.shape, generator=generator).to(mean.device)
    return mean + (0.5 * logvar).exp() * noise


def voxel_losses(logits: Tensor, x: Tensor, lost_weight: float = 1.0) -> tuple[Tensor, Tensor]:
    """One minus the Dice coefficient, and the binary cross-entropy, of predicted occupancy [B, 1, R, R, R]. In the
    latter a voxel that is lost counts ``lost_weight`` times as much as one that is invented."""
    p, axes = logits.sigmoid(), (1, 2, 3, 4)
    dice = 1 - (2 * (p * x).sum(axes) + 1) / (p.sum(axes) + x.sum(axes) + 1)
    weight = torch.tensor(lost_weight, device=x.device)
    return dice.mean(), F.binary_cross_entropy_with_logits(logits, x, pos_weight=weight)


def voxel_errors(pairs: Callable[[Tensor], tuple[Tensor, Tensor]], index: Tensor) -> Metrics:
    """How well voxels are found again: over objects [N], the IoU of all voxels, and how many are wrong in an object.
    ``pairs`` makes the true and the found ones of some objects, both bool [B, 1, R, R, R]."""
    wrong = common = total = 0.0
    for part in index.split(16):
        x, y = pairs(part)
        wrong += float((x ^ y).sum())
        common += float((x & y).sum())
        total += float((x | y).sum())
    return {"iou": common / total, "wrong_voxels_per_object": wrong / len(index)}


class StructureVAE(nn.Module):
    """From occupied voxels [B, 1, R, R, R] to latents [B, 8, r, r, r], and back to the voxels' logits."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.encoder = StructureEncoder(**preset.networks["structure_encoder"])
        self.decoder = StructureDecoder(**preset.networks["structure_decoder"])


class StructureVAEStage:
    """Occupied voxels to latents and back. The loss is Dice + binary cross-entropy + KL."""

    name = "structure_vae"
    earlier: ClassVar[Mapping[str, str]] = {}
    kl_weight = 3e-3

    def __init__(self, run: Run) -> None:
        self.run = run
        self.schedule: Schedule = run.schedule(self.name)
        self.model = StructureVAE(run.preset)

    @cached_property
    def objects(self) -> Objects:
        """The run's objects, with the coordinates of their voxels."""
        return self.run.objects("coords")

    def _occupancy(self, index: Tensor) -> Tensor:
        return self.objects.occupancy(index, self.run.preset.data.resolution).to(self.run.device)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Both, see ``ScratchStage``."""
        return {"structure_encoder": self.model.encoder, "structure_decoder": self.model.decoder}

    def loss(self, model: nn.Module, generator: torch.Generator, progress: float) -> tuple[Tensor, Metrics]:
        """Voxels that are lost or invented, and the rate of the latents, see ``loop.Stage``."""
        model = cast(StructureVAE, model)
        index = torch.randint(self.run.training_objects, (self.schedule.batch,), generator=generator)
        x = self._occupancy(index)
        # In full precision on a CPU: oneDNN's gradients of bfloat16 convolutions read memory beyond their input.
        with torch.autocast("cpu", enabled=False):
            _, mean, logvar = model.encoder(x, return_raw=True)
            dice, cross_entropy = voxel_losses(model.decoder(_draw_like(mean, logvar, generator)), x)
        kl = _kl(mean, logvar)
        loss = dice + cross_entropy + self.kl_weight * kl
        return loss, {"dice": dice.item(), "bce": cross_entropy.item(), "kl": kl.item()}

    def evaluate(self, model: nn.Module) -> Metrics:
        """The IoU of the voxels and how many are wrong, from the latents' means, over held-out objects."""
        model = cast(StructureVAE, model)
        held_out = torch.arange(self.run.training_objects, len(self.objects))

        def pairs(index: Tensor) -> tuple[Tensor, Tensor]:
            x = self._occupancy(index)
            return x > 0, model.decoder(model.encoder(x)) > 0

        return voxel_errors(pairs, held_out)


def voxel_features(distance: Tensor, child_color: Tensor) -> Tensor:
    """The input of the latent encoder, [N, 149]: distances as a share of the clamp and colours, both in -1..1."""
    return torch.cat([distance.float() / 127, child_color.float().flatten(1) / 127.5 - 1], 1)


def sparse_batch(rows: list[tuple[Tensor, Tensor]], device: torch.device) -> SparseTensor:
    """Join (coords [N, 3], features [N, C]) of several objects into one sparse tensor."""
    coords = torch.cat([F.pad(c.int(), (1, 0), value=i) for i, (c, _) in enumerate(rows)])
    return SparseTensor(torch.cat([f for _, f in rows]).to(device), coords.to(device), batch_size=len(rows))


class LatentVAE(nn.Module):
    """Encoder, decoder, and a head that is discarded: it predicts the encoder's input from the decoder's torso."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.encoder = LatentEncoder(**preset.networks["latent_encoder"])
        self.decoder = LatentMeshDecoder(**preset.networks["latent_decoder_mesh"])
        inputs, width = (
            preset.networks["latent_encoder"]["in_channels"],
            preset.networks["latent_decoder_mesh"]["model_channels"],
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inputs))


class LatentVAEStage:
    """Surface voxels to latents, and back to what the mesh extractor takes, trained on analytic distance and colour.

    From scratch, only the torso learns at first (up to a progress of ``torso_only``): it reproduces the encoder's input
    voxel by voxel. So the latents learn what to encode before the 64 cells of every voxel are decoded at all, which
    costs three times as much.
    """

    name = "latent_vae"
    earlier: ClassVar[Mapping[str, str]] = {}
    near = 1.5  # up to this many cells from the surface, distance counts four times, and only there colour counts
    # A flow's latents are imprecise. With a weight of 1e-3 the decoder never saw such latents, and made rough surfaces.
    # From 0.05 to 0.3 the rate falls from 2.9 to 1.7 nats a channel and nothing is lost. At 1.5 surfaces blur.
    kl_weight = 0.3
    cropped = 0.75  # up to this progress it learns from crops, after that from whole objects

    def __init__(self, run: Run) -> None:
        self.run = run
        self.schedule: Schedule = run.schedule(self.name)
        self.model = LatentVAE(run.preset)
        self.torso_only = 0.0 if run.start else 0.4
        self.table = corner_table()

    @cached_property
    def objects(self) -> Objects:
        """The objects of the coloured shards, with everything known about their voxels."""
        return self.run.objects(
            "coords", "distance", "child_color", "color", shards=self.run.preset.data.colored_shards
        )

    @property
    def training_objects(self) -> int:
        """How many objects are for training: all but the last of the coloured shards, which is held out."""
        return (self.run.preset.data.colored_shards - 1) * SHARD

    def inputs(self, rows: list[Tensor]) -> SparseTensor:
        """The encoder's input, [N, 149]. ``rows`` are the voxels of each item."""
        column = self.objects.column
        features = voxel_features(column["distance"][torch.cat(rows)], column["child_color"][torch.cat(rows)])
        items = [(column["coords"][r], f) for r, f in zip(rows, features.split([len(r) for r in rows]), strict=True)]
        return sparse_batch(items, self.run.device)

    def targets(self, rows: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What the decoder should return: distances in cells [64 N, 8] and colours [64 N, 8, 3]."""
        column, device = self.objects.column, self.run.device
        distance, color = column["distance"][torch.cat(rows)], column["color"][torch.cat(rows)]
        return (
            distance[:, self.table].flatten(0, 1).to(device).float() * DISTANCE_UNIT,
            color[:, self.table].flatten(0, 1).to(device).float() / 255,
        )

    def whole(self, index: Tensor) -> list[Tensor]:
        """All voxels of each object."""
        ends = self.objects.offsets.tolist()
        return [torch.arange(ends[i], ends[i + 1]) for i in index.tolist()]

    def crops(self, index: Tensor, generator: torch.Generator) -> list[Tensor]:
        """The voxels of each object in a random cube of half the grid's side, around one of its voxels."""
        out = []
        side = self.run.preset.data.resolution // 2
        for rows in self.whole(index):
            coords = self.objects.column["coords"][rows].int()
            middle = coords[int(torch.randint(len(rows), (1,), generator=generator))]
            out.append(rows[((coords - middle).abs() <= side // 2).all(1)])
        return out

    def _draw(self, generator: torch.Generator, progress: float) -> list[Tensor]:
        """The voxels of random objects. At first four times as many objects, for the variety of colours: whole ones for
        the torso, crops for the cells. At the end whole ones, as in use (the group norms see all of an object)."""
        count = self.schedule.batch * (4 if progress < self.cropped else 1)
        index = torch.randint(self.training_objects, (count,), generator=generator)
        if self.torso_only <= progress < self.cropped:
            return self.crops(index, generator)
        return self.whole(index)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Both, see ``ScratchStage``."""
        return {"latent_encoder": self.model.encoder, "latent_decoder_mesh": self.model.decoder}

    def loss(self, model: nn.Module, generator: torch.Generator, progress: float) -> tuple[Tensor, Metrics]:
        """The errors of the torso and, later, of the cells, and the rate of the latents, see ``loop.Stage``."""
        model = cast(LatentVAE, model)
        rows = self._draw(generator, progress)
        x = self.inputs(rows)
        z, mean, logvar = model.encoder(x, return_raw=True)
        torso = model.decoder.torso(z.replace(_draw_like(mean.feats, logvar.feats, generator)))
        kl = _kl(mean.feats, logvar.feats)
        # With full weight from the start, colour would hold back the shape. With 5 throughout, it is never learnt.
        color_weight = 5 + 20 * min(1.0, max(0.0, progress / 0.3))
        error = (model.head(torso.feats) - x.feats).abs()
        lattice, children = 3 * error[:, : (MESH_CELLS + 1) ** 3].mean(), error[:, (MESH_CELLS + 1) ** 3 :].mean() / 2
        read, rate = lattice + color_weight * children, self.kl_weight * kl
        shown = {"lattice": lattice.item(), "children": children.item(), "kl": kl.item()}
        if progress < self.torso_only:
            return read + rate, shown
        predicted, spare, logits = self.decoded(model.decoder.upsampled(torso).feats)
        distance, color = self.targets(rows)
        shape, color_loss, sign_error = self.reconstruction(predicted, logits, distance, color)
        loss = shape + color_weight * color_loss + 0.1 * spare.square().mean() + 0.3 * read + rate
        return loss, shown | {"shape": shape.item(), "color": color_loss.item(), "sign": sign_error.item()}

    def decoded(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The decoder's output [N, 101], split into distances in cells [N, 8], deformations and weights [N, 45], and
        logits of the corners' colours [N, 8, 3]."""
        cells = MESH_CELLS * self.run.preset.data.resolution
        # Split, not sliced: the gradient of each slice would be as large as that of the whole.
        corners, spare, colors = raw.split([8, 45, 48], 1)
        # The extractor adds a bias of -1/resolution.
        return corners * cells - 1, spare, colors.reshape(-1, 8, 6)[..., :3]

    def reconstruction(
        self, predicted: Tensor, logits: Tensor, distance: Tensor, color: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss of the distances, the loss of the colours, and the share of wrong signs near the surface."""
        near = distance.abs() < self.near
        weight = 1 + 3 * near.float()
        error = (predicted.clamp(-4, 4) - distance).abs() + (predicted - predicted.clamp(-4, 4)).abs()
        signs = F.binary_cross_entropy_with_logits(-3 * predicted, (distance < 0).float(), weight=weight)
        shape = (error * weight).mean() / weight.mean() + 0.5 * signs
        color_loss = (logits.sigmoid() - color).abs()[near].mean()
        wrong = ((predicted < 0) != (distance < 0))[near].float().mean()
        return shape, color_loss, wrong

    def evaluate(self, model: nn.Module) -> Metrics:
        """On held-out objects, near the surface: error of distances in cells, share of wrong signs, PSNR of colours."""
        model = cast(LatentVAE, model)
        sums = torch.zeros(4)
        held_out = list(range(self.training_objects, min(len(self.objects), self.training_objects + 48)))
        for i in held_out:
            rows = self.whole(torch.tensor([i]))
            distance, color = self.targets(rows)
            predicted, _, logits = self.decoded(model.decoder(model.encoder(self.inputs(rows))).feats)
            near = distance.abs() < self.near
            _, _, wrong = self.reconstruction(predicted, logits, distance, color)
            error = (predicted - distance).abs()[near].mean()
            sums += torch.stack(
                [error, wrong, (logits.sigmoid() - color)[near].square().mean(), torch.tensor(1.0)]
            ).cpu()
        error, wrong, squared, _ = (sums / len(held_out)).tolist()
        return {"cells_off": error, "wrong_signs": wrong, "color_psnr": -10 * torch.tensor(squared).log10().item()}


class ImageEncoderStage:
    """The image encoder learns to predict family, pose, visible parameters, palette, and a coarse coloured volume."""

    name = "image_encoder"
    earlier: ClassVar[Mapping[str, str]] = {}

    def __init__(self, run: Run) -> None:
        self.run = run.extended()
        self.schedule: Schedule = run.schedule(self.name)
        self.model = ImagePretext(ImageEncoder(**run.preset.networks["image_encoder"]), run.preset.data.resolution)

    @cached_property
    def objects(self) -> Objects:
        """The run's objects, with their images and what the images show."""
        return self.run.objects(*VIEW_COLUMNS)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The encoder, see ``ScratchStage``."""
        return {self.name: self.model.encoder}

    def loss(self, model: nn.Module, generator: torch.Generator, progress: float) -> tuple[Tensor, Metrics]:
        """The loss of ``pretext_loss``, with channels permuted and half of the batch mirrored, see ``loop.Stage``."""
        index = torch.randint(self.run.training_objects, (self.schedule.batch,), generator=generator)
        view = torch.randint(self.run.preset.data.views, (self.schedule.batch,), generator=generator)
        channels = torch.rand(self.schedule.batch, 3, generator=generator).argsort(1)
        mirrored = (torch.rand(self.schedule.batch, generator=generator) < 0.5) & mirrorable(self.objects, index)
        return pretext_loss(cast(ImagePretext, model), self.objects, index, view, self.run.device, channels, mirrored)

    def evaluate(self, model: nn.Module) -> Metrics:
        """The loss and metrics of held-out objects, in their first view, without augmentation."""
        sums: Metrics = {}
        held_out = torch.arange(self.run.training_objects, len(self.objects))
        batches = held_out.split(32)
        for index in batches:
            loss, metrics = pretext_loss(
                cast(ImagePretext, model), self.objects, index, torch.zeros_like(index), self.run.device
            )
            for name, value in {"loss": loss.item(), **metrics}.items():
                sums[name] = sums.get(name, 0.0) + value / len(batches)
        return sums
