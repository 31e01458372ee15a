"""What the image encoder is first trained on."""

from __future__ import annotations

import torch

from backend.training.objects.data import PATCH_POINTS, Objects
from backend.training.objects.families import FAMILIES
from backend.training.objects.render import View, frame, surface_map
from backend.training.objects.shapes import draw
from backend.training.scratch.pretext import _mirror_images, mirrorable


def test_a_mirrored_image_shows_the_mirrored_object_from_the_opposite_azimuth() -> None:
    """To the right in the image is along the camera's right axis in the object, mirrored or not."""
    params = draw("car", [0, 1])
    views = [View(50, 20, 35), View(-110, 10, 35)]
    size = 8 * PATCH_POINTS
    surface = surface_map("car", params, views, size, frame("car", params, views))
    images = torch.randint(256, (2, size, size, 3), dtype=torch.uint8)
    for mirrored in (torch.tensor([False, True]), torch.tensor([True, False])):
        seen, shown = _mirror_images(images, surface, mirrored)
        for row, view in enumerate(views):
            swapped = bool(mirrored[row])
            assert torch.equal(seen[row], images[row].flip(1) if swapped else images[row])
            azimuth = torch.tensor(-view.azimuth if swapped else view.azimuth).deg2rad()
            there = shown[row, ..., 0] > 0
            x, y = (shown[row, ..., c][there].float() for c in (1, 2))
            column = torch.arange(size).expand(size, size)[there]
            right = x * azimuth.cos() + y * azimuth.sin()
            assert torch.corrcoef(torch.stack([right, column]))[0, 1] > 0.98


def test_mugs_are_not_mirrored() -> None:
    """An encoder that saw them could not tell where a mug's front is. (Their IoU was 0.45 once, and had been 0.80.)"""
    names = list(FAMILIES)
    family = torch.tensor([names.index(name) for name in ("mug", "chair", "desk", "car")], dtype=torch.uint8)
    objects = Objects({"count": torch.ones(4, dtype=torch.int32), "family": family})
    assert mirrorable(objects, torch.tensor([0, 1, 2, 3, 0])).tolist() == [False, True, False, True, False]
