"""What the image encoder of a small model is first trained on, because no DINOv2 exists at its size.

Every patch predicts what it shows: where on the object each of its points is, and its colour without the light. That is
the fastest way to learn both shape and pose, because it gives targets for each patch and not just a few for the image.
The tokens must also serve the flows through cross-attention. So queries on a coarse grid attend to them and predict the
block of the object around each query: which voxels are occupied, and in which colour.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...images.framing import IMAGENET_MEAN, IMAGENET_STD
from ...models.image_encoder import ImageEncoder
from ...models.layers import AbsolutePositionEmbedder
from ..loop import Metrics
from ..objects.data import MAX_VISIBLE, PATCH_POINTS, Objects
from ..objects.families import FAMILIES

BLOCK = 4  # the side in voxels of the block that one query predicts
AZIMUTH_BINS = 24


class ImagePretext(nn.Module):
    """The encoder in training, and the heads that are discarded afterwards."""

    positions: Tensor  # [queries, C]

    def __init__(self, encoder: ImageEncoder, resolution: int) -> None:
        super().__init__()
        self.encoder = encoder
        _initialise(encoder)
        width = encoder.pos_embed.shape[-1]
        self.side = resolution // BLOCK
        axis = torch.arange(self.side)
        grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        self.register_buffer("positions", AbsolutePositionEmbedder(width)(grid), persistent=False)
        self.query_blocks = nn.ModuleList(
            nn.TransformerDecoderLayer(width, width // 32, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.blocks = nn.Linear(width, BLOCK**3 * 4)
        self.patches = nn.Linear(width, PATCH_POINTS**2 * 7)
        # Family, azimuth, elevation, visible parameters, four colours, four patterns.
        facts = len(FAMILIES) + AZIMUTH_BINS + 1 + MAX_VISIBLE + 12 + 4
        self.facts = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, facts))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The predictions of ``heads`` for normalised images [B, 3, S, S]."""
        return self.heads(self.encoder(images))

    def heads(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From an image's tokens, facts [B, F], blocks [B, queries, BLOCK^3, 4] (occupancy logit and colour logits),
        and what the patches show [B, patches, points, 7] (logits, as in ``render.surface_map``)."""
        facts = self.facts(torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1))
        h = self.positions.expand(len(tokens), -1, -1)
        for layer in self.query_blocks:
            h = layer(h, tokens)
        patches = self.patches(tokens[:, -(self.encoder.grid**2) :]).unflatten(-1, (PATCH_POINTS**2, 7))
        return facts, self.blocks(h).unflatten(-1, (BLOCK**3, 4)), patches


def _initialise(encoder: ImageEncoder) -> None:
    """Initialise a small ViT that learns from scratch: products keep their variance, positions differ from the start.

    DINOv2's own initialisation (standard deviation 0.02 throughout) suits a width of 1024. At 192, attention would
    start almost uniform.
    """
    for layer in encoder.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5)
    for name, parameter in encoder.named_parameters():
        if name.endswith(".gamma"):
            nn.init.constant_(parameter, len(encoder.blocks) ** -0.5)
    side, width = encoder.grid, encoder.pos_embed.shape[-1]
    axis = torch.arange(side)
    positions = torch.stack([*torch.meshgrid(axis, axis, indexing="ij"), torch.zeros(side, side)], -1).reshape(-1, 3)
    with torch.no_grad():
        encoder.pos_embed[0, 1:] = 0.5 * AbsolutePositionEmbedder(width)(positions)


def normalized(images: Tensor, device: torch.device) -> Tensor:
    """Images, uint8 [B, S, S, 3], as the encoder takes them, [B, 3, S, S]."""
    x = images.to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (x - mean) / std


def _colored_blocks(objects: Objects, index: Tensor, side: int, mirrored: Tensor) -> Tensor:
    """The occupancy and mean colour of every voxel, by block: [B, side^3, BLOCK^3, 4]."""
    resolution = side * BLOCK
    rows, item = objects.rows(index)
    x, y, z = objects.column["coords"][rows].long().unbind(1)
    x = torch.where(mirrored[item], resolution - 1 - x, x)
    grid = torch.zeros(len(index), resolution, resolution, resolution, 4, device=objects.device)
    grid[item, x, y, z, 0] = 1
    grid[item, x, y, z, 1:] = objects.column["child_color"][rows].float().mean(1) / 255
    blocks = grid.reshape(len(index), side, BLOCK, side, BLOCK, side, BLOCK, 4).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return blocks.reshape(len(index), side**3, BLOCK**3, 4)


def mirrorable(objects: Objects, index: Tensor) -> Tensor:
    """Whether objects [B] may be mirrored, [B] bool. A mirrored mug looks like one with its handle on the right side,
    turned by half: an encoder that saw both could not tell where a mug's front is."""
    both_sided = torch.tensor([not family.one_sided for family in FAMILIES.values()], device=objects.device)
    return both_sided[objects.column["family"][index].long()]


def _mirror_images(images: Tensor, surface: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Swap left and right in some images [B, S, S, 3] and in what their points show [B, S, S, 7]. The result is the
    object mirrored in x, seen from the opposite azimuth."""
    chosen = mirrored[:, None, None, None]
    swapped = surface.flip(2)
    swapped[..., 1] = 255 - swapped[..., 1]
    return torch.where(chosen, images.flip(2), images), torch.where(chosen, swapped, surface)


def _by_patch(surface: Tensor) -> Tensor:
    """Maps, uint8 [B, S, S, 7], as [B, patches, points, 7] in 0..1."""
    side = surface.shape[1] // PATCH_POINTS
    grid = surface.float().div(255).unflatten(2, (side, PATCH_POINTS)).unflatten(1, (side, PATCH_POINTS))
    return grid.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _patch_losses(patches: Tensor, shown: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of presence (cross-entropy), and of position and colour where there is a surface (mean distance)."""
    there = shown[..., 0]
    off = (patches[..., 1:].sigmoid() - shown[..., 1:]).abs() * there[..., None]
    position, tint = off[..., :3].sum() / (3 * there.sum()), off[..., 3:].sum() / (3 * there.sum())
    return F.binary_cross_entropy_with_logits(patches[..., 0], there), position, tint


def azimuth_target(degrees: Tensor) -> Tensor:
    """Azimuths [B], each shared between the two nearest bins, [B, AZIMUTH_BINS].

    They are bins because many objects look the same from two or more sides: a regressed sine and cosine could only
    give the mean of these.
    """
    at = (degrees / 360 * AZIMUTH_BINS).remainder(AZIMUTH_BINS)
    low = at.floor()
    share = (at - low)[:, None]
    near = F.one_hot(low.long() % AZIMUTH_BINS, AZIMUTH_BINS)
    return (1 - share) * near + share * near.roll(1, 1)


class Truth(NamedTuple):
    """What B views of objects are, and what they show."""

    image: Tensor  # [B, S, S, 3] uint8
    shown: Tensor  # [B, patches, points, 7] in 0..1, see ``_by_patch``
    palette: Tensor  # [B, 4, 3]
    color: Tensor  # [B, queries, BLOCK^3, 4], see ``_colored_blocks``
    angles: Tensor  # [B, 2]: azimuth and elevation in degrees
    family: Tensor  # [B]
    visible: Tensor  # [B, MAX_VISIBLE], not a number where the family has no such parameter
    pattern: Tensor  # [B]

    @classmethod
    def of(cls, objects: Objects, index: Tensor, view: Tensor, side: int, mirrored: Tensor | None = None) -> Truth:
        """The truth for views ``view`` [B] of objects ``index`` [B], those mirrored that ``mirrored`` [B] chooses."""
        index, view = index.to(objects.device), view.to(objects.device)
        mirrored = torch.zeros_like(index, dtype=torch.bool) if mirrored is None else mirrored.to(objects.device)
        column = objects.column
        image, surface = _mirror_images(column["image"][index, view], column["surface"][index, view], mirrored)
        angles = column["view"][index, view][:, :2]
        signs = torch.stack([1 - 2.0 * mirrored, torch.ones_like(mirrored, dtype=torch.float32)], 1)
        facts = [column[name][index] for name in ("family", "visible", "pattern")]
        blocks = _colored_blocks(objects, index, side, mirrored)
        return cls(image, _by_patch(surface), column["palette"][index], blocks, angles * signs, *facts)

    def with_channels(self, channels: Tensor) -> Truth:
        """The same with red, green and blue in another order [B, 3] for each item, wherever there are colours."""
        channels = channels.to(self.image.device)
        image = self.image.gather(3, channels[:, None, None].expand_as(self.image))
        palette = self.palette.gather(2, channels[:, None].expand_as(self.palette))
        order = F.pad(channels + 1, (1, 0))  # the first is the occupancy
        color = self.color.gather(3, order[:, None, None].expand_as(self.color))
        kept = torch.arange(4, device=channels.device).expand(len(channels), 4)  # presence and position stay
        order = torch.cat([kept, channels + 4], 1)
        shown = self.shown.gather(3, order[:, None, None].expand_as(self.shown))
        return self._replace(image=image, shown=shown, palette=palette, color=color)

    def to(self, device: torch.device) -> Truth:
        """The same on a device."""
        return Truth(*(part.to(device) for part in self))


def pretext_losses(predicted: tuple[Tensor, Tensor, Tensor], truth: Truth) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of what ``ImagePretext.heads`` predicts, and the metrics, all still on the device."""
    facts, blocks, patches = predicted
    losses = _fact_losses(facts, truth)
    occupied = truth.color[..., 0]
    occupancy = F.binary_cross_entropy_with_logits(blocks[..., 0], occupied)
    shade = ((blocks[..., 1:].sigmoid() - truth.color[..., 1:]).abs().mean(-1) * occupied).sum() / occupied.sum()
    seen, position, tint = _patch_losses(patches, truth.shown)
    losses |= {"position": position, "tint": tint}
    loss = 4 * occupancy + 2 * shade + 0.5 * seen + 10 * position + 2 * tint + losses["visible"] + losses["palette"]
    loss = loss + 0.2 * (losses["family"] + losses["azimuth"] + losses["elevation"]) + 0.1 * losses["pattern"]
    hit = ((blocks[..., 0] > 0) & (occupied > 0)).sum() / ((blocks[..., 0] > 0) | (occupied > 0)).sum()
    return loss, {"iou": hit, "color": shade} | losses


def pretext_loss(
    model: ImagePretext,
    objects: Objects,
    index: Tensor,
    view: Tensor,
    device: torch.device,
    channels: Tensor | None = None,
    mirrored: Tensor | None = None,
) -> tuple[Tensor, Metrics]:
    """The loss and metrics for views ``view`` [B] of objects ``index`` [B]. The augmentations vary the same views.

    ``channels`` [B, 3]: the order of red, green and blue for each item, both in its image and in its colours.
    ``mirrored`` [B]: whether left and right are swapped, in the image and in the object. By default neither is done.
    """
    truth = Truth.of(objects, index, view, model.side, mirrored)
    if channels is not None:
        truth = truth.with_channels(channels)
    truth = truth.to(device)
    loss, metrics = pretext_losses(model(normalized(truth.image, device)), truth)
    return loss, {name: value.item() for name, value in metrics.items()}


def _fact_losses(facts: Tensor, truth: Truth) -> dict[str, Tensor]:
    """The losses of the facts about an object as a whole, by name."""
    family, azimuth, elevation, visible, colors, pattern = facts.split(
        [len(FAMILIES), AZIMUTH_BINS, 1, MAX_VISIBLE, 12, 4], 1
    )
    known = truth.visible.isfinite()
    off = torch.where(known, visible - truth.visible, torch.zeros_like(visible))
    return {
        "family": F.cross_entropy(family, truth.family.long()),
        "azimuth": F.cross_entropy(azimuth, azimuth_target(truth.angles[:, 0])),
        "elevation": (elevation - truth.angles[:, 1:] / 45).square().mean(),
        "visible": off.square().sum() / known.sum(),
        "palette": (colors.sigmoid() - truth.palette.flatten(1)).abs().mean(),
        "pattern": F.cross_entropy(pattern, truth.pattern.long()),
    }
