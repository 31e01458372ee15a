"""Decode one image file, in a process of its own: ``python -m backend.images.decode PATH``.

A decoder cannot be interrupted, and a file of a few hundred kilobytes can keep it busy for minutes. So the process has
limits of its own, and ``files.py`` ends it when it takes too long. What needs too much is refused by its header, where
that shows it, before anything is decoded.

It writes a line of JSON, ``{"size": [W, H], "note": "..."}`` or ``{"error": [code, message, hint]}``, then the pixels:
RGBA, 8 bits each, row by row.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import AvifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from ..errors import ImageError
from ..files import MAX_PICTURE
from ..protocol import IMAGE_FORMATS
from .profiles import Converter
from .signatures import kind_of

#: Longest side of what is handed on. Larger images are reduced by a whole number: they come out at half of it or more.
LARGEST = 4096
MIN_SIDE = 16
#: Limits by the header. JPEG can be reduced while it is decoded.
MAX_PIXELS, MAX_JPEG_PIXELS = 64_000_000, 256_000_000
#: What decoding may need, reckoned from the header; and what the process may have, where the system can hold it to it.
MAX_MEMORY, HARD_MEMORY = 520_000_000, 560_000_000  # bytes
MAX_SECONDS = 2  # of a processor: cutting out takes up to 3 more, and 5 are the limit of both

READABLE = f"Save it as one of these kinds: {', '.join(IMAGE_FORMATS)}."
_AGAIN = "Save or download it again."

#: Bytes that decoding needs for each pixel: these libraries decode the image as a whole, and hand on a copy (measured).
_BYTES_PER_PIXEL = {"WEBP": 18, "AVIF": 16, "HEIF": 10}
_SMALL_MODES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # Pillow stores all others in 4 bytes
_BAND = 128  # rows of the result that are converted at once

_ORIENTATION = 0x0112  # of Exif and TIFF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def main(path: Path) -> None:
    """Decode the file and write the answer to stdout."""
    limit_process()
    prepare_libraries()
    pixels = b""
    try:
        image, note = decode(path)
        head, pixels = {"size": image.size, "note": note}, image.tobytes()
    except (ImageError, MemoryError) as error:
        problem = error if isinstance(error, ImageError) else too_much(path.name)
        head = {"error": [problem.code, str(problem), problem.hint]}
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + pixels)


def limit_process() -> None:
    """Let the system end this process when it takes too long, and refuse it more memory, where the system can."""
    try:
        import resource
    except ImportError:  # Windows: the header's reckoning and the time that files.py waits remain
        return
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (HARD_MEMORY, HARD_MEMORY))


def prepare_libraries() -> None:
    """Set what Pillow and libheif have no arguments for."""
    Image.MAX_IMAGE_PIXELS = None  # there are limits here
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread costs memory
    for name in ("chunk_tEXt", "chunk_zTXt", "chunk_iTXt", "chunk_iCCP"):
        setattr(PngImagePlugin.PngStream, name, _skipped_if_huge(getattr(PngImagePlugin.PngStream, name)))


def _skipped_if_huge(read):  # type: ignore[no-untyped-def]
    """A reader of a PNG's chunk that passes over what Pillow finds too large: it is of no interest here."""

    def read_or_skip(self, pos: int, length: int) -> bytes:  # type: ignore[no-untyped-def]
        try:
            return read(self, pos, length)
        except ValueError:
            self.fp.seek(pos)
            return ImageFile._safe_read(self.fp, length)

    return read_or_skip


def decode(path: Path) -> tuple[Image.Image, str]:
    """An image file's first frame as RGBA, upright, in sRGB, with sides up to ``LARGEST``; and a note for the user.

    Raises ImageError.
    """
    with open_checked(path) as image:
        try:
            image.load()
        except MemoryError:
            raise
        except Exception as error:  # with damaged data, decoders raise almost anything
            message = f"The image {path.name} is damaged or incomplete: {error}."
            raise ImageError("image_truncated", message, _AGAIN) from error
        turn = _orientation(image)
        converter = Converter(image, path)
        result = _converted(image, converter)
    if turn in _UPRIGHT:
        result = result.transpose(_UPRIGHT[turn])
    if min(result.size) < MIN_SIDE:
        raise _too_small(path.name, image.size)
    return result, converter.note


def _orientation(image: Image.Image) -> object:
    """How the image is to be turned, as its Exif data says. None if that is damaged: the picture is not."""
    try:
        return image.getexif().get(_ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # Pillow raises what its reader of TIFF does, SyntaxError among them
        return None


def open_checked(path: Path) -> Image.Image:
    """An image file opened, not decoded yet, whose header promises that it can be. Raises ImageError."""
    size = path.stat().st_size
    if size > MAX_PICTURE:
        message = f"{path.name} is a file of {size // 1_000_000} MB; the limit is {MAX_PICTURE // 1_000_000} MB."
        raise ImageError("image_too_large", message, "Save a smaller version; 1024 pixels per side are plenty.")
    image = _open(path)
    width, height = image.size
    is_jpeg = image.format in ("JPEG", "MPO")
    limit = MAX_JPEG_PIXELS if is_jpeg else MAX_PIXELS
    if width * height > limit:
        raise _too_large(path.name, f"{width} x {height} pixels; the limit is {limit // 1_000_000} million")
    if min(width, height) < MIN_SIDE:
        raise _too_small(path.name, image.size)
    if is_jpeg and max(image.size) > LARGEST:
        image.draft(None, (LARGEST // 2, LARGEST // 2))
    if memory_needed(image, width * height, size) > MAX_MEMORY:
        raise too_much(path.name)
    return image


def _open(path: Path) -> Image.Image:
    with path.open("rb") as stream:
        head = stream.read(64)
    kind = kind_of(head)
    if kind.name:
        raise ImageError("image_unreadable", f"{path.name} is {kind.name}.", kind.advice)
    if not kind.formats:
        raise ImageError("image_unreadable", f"{path.name} is not an image that can be read.", READABLE)
    if "HEIF" in kind.formats:
        import pi_heif

        pi_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    try:
        # Opened here: of a path, Pillow maps uncompressed pixels, and takes rows for columns in a TIFF that is turned.
        return Image.open(path.open("rb"), formats=kind.formats)
    except MemoryError:
        raise
    except Image.UnidentifiedImageError as error:
        message = f"{path.name} is damaged, or of a rare kind of {kind.formats[-1]} that cannot be read."
        raise ImageError("image_unreadable", message, f"{_AGAIN} Or save it as a PNG.") from error
    except Exception as error:  # with damaged headers, decoders raise almost anything
        raise ImageError("image_unreadable", f"{path.name} is damaged: {error}.", _AGAIN) from error


def memory_needed(image: Image.Image, pixels: int, file_size: int) -> int:
    """About how many bytes decoding will take. ``pixels`` is the image's number, before JPEG reduces it."""
    held = _SMALL_MODES.get(image.mode, 4) * image.width * image.height
    if image.format in _BYTES_PER_PIXEL:
        return _BYTES_PER_PIXEL[image.format] * pixels + 2 * file_size
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        return held + (_coefficients(image, pixels) if _is_buffered(image) else 0)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        turned = held if image.tag_v2.get(_ORIENTATION, 1) != 1 else 0
        mapped = file_size if image.use_load_libtiff else 0
        return held + turned + _largest_part(image) + mapped
    return held


def _is_buffered(image: JpegImagePlugin.JpegImageFile) -> bool:
    """Whether a JPEG comes in several scans, so that all its coefficients are held until the last one."""
    assert image.fp is not None
    length = 6 + 2 * image.layers
    image.fp.seek(-length - 2, 1)  # Pillow has just read the head of the first scan
    is_whole = image.fp.read(length + 2)[:4] == b"\xff\xda" + length.to_bytes(2, "big")
    return "progressive" in image.info or not is_whole


def _coefficients(image: JpegImagePlugin.JpegImageFile, pixels: int) -> int:
    """The bytes of a JPEG's coefficients: two for each, as many as there are samples."""
    samples = [across * down for _, across, down, _ in image.layer]
    return 2 * pixels * sum(samples) // max(1, *samples)  # a damaged header may state none


def _largest_part(image: TiffImagePlugin.TiffImageFile) -> int:
    """The bytes of a TIFF's strip or tile, which is decoded as a whole."""
    tags = image.tag_v2
    bits = sum(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    across = tags.get(TiffImagePlugin.TILEWIDTH, image.width)
    rows = min(tags.get(TiffImagePlugin.ROWSPERSTRIP, image.height), image.height)
    down = tags.get(TiffImagePlugin.TILELENGTH, rows)
    return across * down * max(bits, 8) // 8


def _converted(image: Image.Image, converter: Converter) -> Image.Image:
    """The image as RGBA in sRGB, reduced to ``LARGEST``. Band by band, so that there is no second large image."""
    factor = -(-max(image.size) // LARGEST)
    width, height = (-(-side // factor) for side in image.size)
    result = Image.new("RGBA", (width, height))
    for top in range(0, height, _BAND):
        band = image.crop((0, top * factor, image.width, min((top + _BAND) * factor, image.height)))
        result.paste(converter.srgb(band).reduce(factor), (0, top))
    return result


def too_much(name: str) -> ImageError:
    """The error for an image that takes too much memory or time."""
    message = f"The image {name} takes too much memory or time to decode."
    return ImageError("image_too_large", message, "Save a smaller version as a PNG; 1024 pixels per side are plenty.")


def _too_large(name: str, size: str) -> ImageError:
    message = f"The image {name} is too large ({size})."
    return ImageError("image_too_large", message, "Scale it down; 1024 pixels per side are plenty.")


def _too_small(name: str, size: tuple[int, int]) -> ImageError:
    message = f"The image {name} is only {size[0]} x {size[1]} pixels."
    return ImageError("image_too_small", message, f"Use an image of at least {MIN_SIDE} x {MIN_SIDE} pixels.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
