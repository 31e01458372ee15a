"""Image preparation and the image encoder, beside the reference's figures, which ``test_goldens`` holds them to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend.images.framing import images_to_tensor, prepare_image
from backend.models.image_encoder import ImageEncoder


def rgba(height: int, width: int, box: tuple[int, int, int, int] | None) -> Image.Image:
    """A white opaque rectangle (left, top, right, bottom) on full transparency."""
    pixels = np.zeros((height, width, 4), np.uint8)
    if box is not None:
        left, top, right, bottom = box
        pixels[top:bottom, left:right] = 255
    return Image.fromarray(pixels)


def test_prepared_object_is_centred_on_black_and_fills_five_sixths() -> None:
    prepared = prepare_image(rgba(100, 300, (10, 20, 71, 51)), 120)
    assert (prepared.mode, prepared.size) == ("RGB", (120, 120))
    rows, columns = np.nonzero(np.asarray(prepared)[..., 0] > 128)
    assert abs((columns.min() + columns.max()) / 2 - 59.5) <= 1
    assert abs((rows.min() + rows.max()) / 2 - 59.5) <= 1
    assert abs(columns.max() - columns.min() + 1 - 100) <= 2


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (rgba(32, 32, None), "no opaque pixels"),
        (rgba(32, 32, (5, 5, 6, 6)), "less than two pixels"),
        (rgba(32, 32, (0, 0, 32, 32)), "no transparent background"),
        (Image.new("RGB", (32, 32)), "no transparent background"),
    ],
)
def test_an_image_without_a_cut_out_object_is_refused(image: Image.Image, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare_image(image)


def test_images_are_resized_and_normalised_per_channel() -> None:
    images = [Image.new("RGB", (20, 30), (255, 0, 51)), Image.new("RGB", (7, 7), (0, 255, 102))]
    tensor = images_to_tensor(images, 14)
    assert (tensor.shape, tensor.dtype) == ((2, 3, 14, 14), torch.float32)
    means, stds = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (np.array([[1.0, 0.0, 0.2], [0.0, 1.0, 0.4]]) - means) / stds
    np.testing.assert_allclose(tensor.amin((2, 3)).numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(tensor.amax((2, 3)).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("size", [14, 28])
def test_an_image_with_alpha_is_resized_before_the_alpha_is_dropped(size: int) -> None:
    """As TRELLIS's ``encode_image`` does it: Pillow resizes RGBA premultiplied, so that hidden colours stay hidden."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 26, 4), dtype=np.uint8)
    pixels[:, :13, 3] = 0
    image = Image.fromarray(pixels)
    resized = image.convert("RGBa").resize((size, size), Image.Resampling.LANCZOS).convert("RGBA")
    rgb = np.asarray(resized)[..., :3].astype(np.float32) / 255
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    expected = (rgb - mean) / std
    tensor = images_to_tensor([image], size)
    np.testing.assert_allclose(tensor[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)
    assert (tensor - images_to_tensor([image.convert("RGB")], size)).abs().max() > 1


def test_image_rows_stay_rows() -> None:
    pixels = np.zeros((14, 14, 3), np.uint8)
    pixels[:7] = 255
    tensor = images_to_tensor([Image.fromarray(pixels)], 14)
    assert (tensor[0, :, :7] > 0).all()
    assert (tensor[0, :, 7:] < 0).all()


@torch.no_grad()
def test_encoder_of_small_images_takes_its_own_grid_as_it_is() -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(img_size=112, embed_dim=24, depth=1, num_heads=2)
    assert encoder.pos_embed.shape == (1, 1 + 8 * 8, 24)
    assert encoder.position_embedding(8, 8) is encoder.pos_embed
    tokens = encoder(torch.randn(2, 3, 112, 112))
    assert tokens.shape == (2, 1 + 4 + 64, 24)
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(2, 69), atol=1e-5, rtol=0)


def test_images_that_do_not_divide_into_patches_are_refused() -> None:
    encoder = ImageEncoder(img_size=28, embed_dim=12, depth=1, num_heads=2)
    with pytest.raises(ValueError, match="multiples of 14"):
        encoder(torch.zeros(1, 3, 28, 30))


@pytest.mark.parametrize(("name", "value"), [("ffn_layer", "swiglu"), ("block_chunks", 4), ("interpolate_offset", 0.1)])
def test_other_vision_transformers_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        ImageEncoder(embed_dim=12, depth=1, num_heads=2, **{name: value})
