"""Remove the background of an image: directly if it is plain, else with a matting network."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from ..errors import ImageError
from ..memory import give_back
from ..protocol import CUTOUT_SIDE, Point
from . import graphcut, matting, pattern, refine
from .cutout import OBJECT_SHARE, background_unclear, cut_out
from .framing import OPAQUE

#: The largest share of transparent pixels that is taken for a frame, not for a background.
FRAME = 0.25

#: The parts of an image to search for an object around a point, as shares of its longer side, and the least share of
#: such a part that the object fills.
PARTS = (0.25, 0.35, 0.5, 0.7)
LEAST = 0.1

#: What to do where no network can be run.
_SET_UP = (
    "Install the backend again; in a checkout, run: python3.11 scripts/dev.py setup. "
    "Or supply a PNG with a transparent background."
)


def remove_background(image: Image.Image, name: str, point: Point | None = None) -> Image.Image:
    """An image as RGBA with everything transparent but one object: that at ``point``, without it the largest.

    What was transparent stays so. ``name`` is that of the file, for messages. Raises ImageError if no object stands
    out, and CheckpointError if the matting network is damaged.
    """
    image = reduced(image)
    rgb = _opaque(image)
    try:
        cut = _one_object(cut_out(rgb, name), name, point)
    except ImageError as error:
        # Without its traceback, which would keep all arrays of ``cut_out`` in memory.
        cut = _matted(rgb, name, point, error.with_traceback(None))
    if image.mode == "RGBA":
        cut.putalpha(Image.fromarray(np.minimum(np.asarray(image.getchannel("A")), np.asarray(cut.getchannel("A")))))
    return cut


def reduced(image: Image.Image) -> Image.Image:
    """The image with sides of at most ``CUTOUT_SIDE``."""
    if max(image.size) <= CUTOUT_SIDE:
        return image.copy()
    mode = image.mode
    # With an alpha channel all colours are multiplied by it first, which takes longer than all the rest.
    is_opaque = mode == "RGBA" and image.getchannel("A").getextrema()[0] == 255
    image = image.convert("RGB") if is_opaque else image.copy()
    image.thumbnail((CUTOUT_SIDE, CUTOUT_SIDE), Image.Resampling.LANCZOS, reducing_gap=1.2)
    return image.convert(mode)


def _opaque(image: Image.Image) -> Image.Image:
    """An RGB image, because what is transparent may have any colour, and shall not count.

    A few transparent pixels are a frame or rounded corners: the image goes on there. Many are a background: white.
    """
    if image.mode != "RGBA":
        return image.convert("RGB")
    hidden = np.asarray(image.getchannel("A")) <= OPAQUE
    if hidden.mean() > FRAME:
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    rows, columns = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return Image.fromarray(np.asarray(image.convert("RGB"))[rows, columns])


def _one_object(cut: Image.Image, name: str, point: Point | None) -> Image.Image:
    """A cut-out without the objects that are not meant. Raises ImageError if there is none at ``point``."""
    alpha = np.asarray(cut.getchannel("A"))
    meant = refine.separate(alpha.astype(np.float32) / 255, point)
    if not meant.any():
        raise _nothing(name, point)
    cut.putalpha(Image.fromarray(np.where(meant, alpha, 0).astype(np.uint8)))
    return cut


def _matted(rgb: Image.Image, name: str, point: Point | None, plain: ImageError) -> Image.Image:
    """The image cut out by the best network; ``plain`` says why its background is not plain. Raises ImageError."""
    network = matting.best()
    if network is None:
        raise _missing(plain)
    give_back()  # what looking for a plain background took: the network needs much itself
    colours = np.asarray(rgb, np.float32) / 255
    try:
        coarse = _coarse(rgb, colours, network, point)
    except ImportError as error:
        raise _missing(plain) from error
    finally:
        give_back()
    if network.mended:
        coarse = graphcut.mended(colours, coarse)
    alpha, own = refine.refined(colours, coarse)
    alpha = refine.without_specks(alpha)
    if not OBJECT_SHARE[0] <= float((255 * alpha > OPAQUE).mean()) <= OBJECT_SHARE[1]:
        raise _nothing(name, point)
    hidden = alpha < 0.5 / 255  # what is transparent keeps its colours: a person may paint it back
    own[hidden] = colours[hidden]
    return _eight_bits(own, alpha)


def _eight_bits(colours: np.ndarray, alpha: np.ndarray) -> Image.Image:
    """The RGBA image of colours [H, W, 3], which are overwritten to save memory, and alpha [H, W]."""
    rgba = np.empty((*alpha.shape, 4), np.uint8)
    np.multiply(colours, 255, out=colours)
    rgba[..., :3] = np.rint(colours, out=colours)
    rgba[..., 3] = (255 * alpha).round()
    return Image.fromarray(rgba)


def _nothing(name: str, point: Point | None) -> ImageError:
    where = "" if point is None else " at the chosen point"
    return background_unclear(f"No object stands out from the background of {name}{where}.")


def _missing(plain: ImageError) -> ImageError:
    return ImageError("matting_missing", f"{plain} What removes other backgrounds is not installed.", _SET_UP)


def _coarse(rgb: Image.Image, colours: np.ndarray, network: matting.Network, point: Point | None) -> np.ndarray:
    """The rough alpha [H, W] of the object that is meant; zeros if there is none. ``colours`` are those of ``rgb``.

    A network finds what stands out in the whole image. If a point is given, it is asked first about parts of the image
    around the point, ever larger ones, until it finds an object there that does not run out of that part.
    """
    for share in () if point is None else PARTS:
        assert point is not None
        box = _around(point, share, rgb.size)
        part = matting.foreground(rgb.crop(box), network)
        inside = (point[0] * rgb.width - box[0]) / part.shape[1], (point[1] * rgb.height - box[1]) / part.shape[0]
        meant = np.where(refine.separate(part, inside), part, 0)
        if (meant > 0.5).mean() >= LEAST and not _runs_out(meant, box, rgb.size):
            found = np.zeros((rgb.height, rgb.width), np.float32)
            found[box[1] : box[3], box[0] : box[2]] = meant
            return found
    alpha = matting.foreground(rgb, network)
    if network.mended:
        alpha = pattern.with_unlike(colours, alpha)
    return np.where(refine.separate(alpha, point), alpha, 0)


def _around(point: Point, share: float, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The square part of an image around a point, as far as it lies in the image: left, top, right, bottom."""
    x, y, half = point[0] * size[0], point[1] * size[1], share * max(size) / 2
    return max(0, int(x - half)), max(0, int(y - half)), min(size[0], int(x + half)), min(size[1], int(y + half))


def _runs_out(alpha: np.ndarray, box: tuple[int, int, int, int], size: tuple[int, int]) -> bool:
    """Whether an object in a part of an image reaches a side of the part that is no side of the image."""
    solid = alpha > 0.5
    sides = (solid[:, 0], solid[0], solid[:, -1], solid[-1])
    ends = (box[0] == 0, box[1] == 0, box[2] == size[0], box[3] == size[1])
    return any(side.any() and not end for side, end in zip(sides, ends, strict=True))
