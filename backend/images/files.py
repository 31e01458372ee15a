"""Read reference images: any file that a user may drop becomes an RGBA image with a cut-out object, or a clear error.

A process of its own decodes the file (``decode.py``), so that no file can hold up or crash the backend.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps

from ..errors import ImageError
from ..files import picture_digest
from ..kept import Kept
from ..protocol import Point, Settings
from .decode import READABLE, too_much
from .frames import has_margin, inside_frame, is_cut_out, opaque_box, solid, without_alpha

#: Seconds until a decoder is ended that has not ended itself: it has 2 seconds of a processor, others may be busy.
PATIENCE = 30

_MIN_OBJECT_SIDE = 8

if sys.platform == "win32":
    _CREATION_FLAGS = subprocess.CREATE_NO_WINDOW
else:
    _CREATION_FLAGS = 0


class Cut(NamedTuple):
    """An image as RGBA, and whether its background was removed: otherwise it is as the file has it."""

    image: Image.Image
    removed: bool


class _Changed(Exception):
    """The file of an image was changed while it was read. ``args`` is the cut-out."""


def load_image(
    path: Path | str,
    background: str = Settings.background,
    point: Point | None = None,
    kept: Kept | None = None,
) -> Image.Image:
    """One reference image as RGBA, upright, with an opaque object on a transparent background.

    ``background`` is the setting of that name. The object is the one at ``point``, without it the largest.
    ``info["note"]`` says what the user should know about the file, if anything. Cut-outs of the same content are taken
    from ``kept``. Raises ImageError if the file cannot be read or shows no object that can be cut out.
    """
    image = load_cut(path, background, point, kept).image
    _require_object(image, Path(path).name)
    if image.getchannel("A").getextrema()[0] == 255:  # the whole image is the object; the networks need a background
        note = image.info["note"]
        image = ImageOps.expand(image, 1, (0, 0, 0, 0))
        image.info["note"] = note
    return image


def load_cut(
    path: Path | str,
    background: str = Settings.background,
    point: Point | None = None,
    kept: Kept | None = None,
) -> Cut:
    """One image, cut out as ``background`` says; from ``kept`` if that has it. It must not be changed.

    Raises ImageError as ``load_image`` does, except for tiny objects.
    """
    path = Path(path)
    content = "" if kept is None else picture_digest(path)
    if kept is None or not content:
        return _cut(path, background, point)

    def make() -> Cut:
        cut = _cut(path, background, point)
        if picture_digest(path) != content:
            raise _Changed(cut)  # nobody knows which content this is the cut-out of
        return cut

    try:
        return kept.get((content, path.name, background, point), make)
    except _Changed as changed:
        cut: Cut = changed.args[0]
        return cut


def _cut(path: Path, background: str, point: Point | None) -> Cut:
    image, note = read_image(path)
    image, opacity_note = solid(image)
    masked = is_cut_out(image)
    removed = background == "always" or (background == "automatic" and not masked)
    margin_note = ""
    if removed:
        from .background import reduced  # imports scipy, which takes a while

        image = reduced(image)  # and nobody keeps the large one: the network needs much memory
        try:
            image = _without_background(image, masked, path.name, point)
        except ImageError:
            if background == "always" or not has_margin(image):
                raise
            margin_note, removed = f"{path.name} was taken as it is: nothing stands out in it.", False
    image.info["note"] = " ".join(filter(None, [note, opacity_note, margin_note]))
    return Cut(image, removed)


def _without_background(image: Image.Image, masked: bool, name: str, point: Point | None) -> Image.Image:
    """An RGBA image cut out, in its own proportions. What frames a photograph is no part of it."""
    from .background import remove_background

    if masked:
        return remove_background(image, name, point)
    photograph, (x, y) = without_alpha(image)
    box = inside_frame(photograph)
    left, top, right, bottom = box[0] + x, box[1] + y, box[2] + x, box[3] + y
    if point is not None:
        point = (
            min(1.0, max(0.0, (point[0] * image.width - left) / (right - left))),
            min(1.0, max(0.0, (point[1] * image.height - top) / (bottom - top))),
        )
    cut = remove_background(photograph.crop(box), name, point)
    if (left, top, right, bottom) == (0, 0, *image.size):
        return cut
    scale = cut.width / (right - left)
    whole = Image.new("RGBA", (round(image.width * scale), round(image.height * scale)))
    whole.paste(cut, (round(left * scale), round(top * scale)))
    return whole


def read_image(path: Path) -> tuple[Image.Image, str]:
    """The first frame of an image file as RGBA, upright, in sRGB, with sides of up to 4096; and a note for the user.

    The note is mostly empty. Raises ImageError.
    """
    _require_file(path)
    # Nothing of this folder, nothing written beside the sources; and of what is odd in a file the log need not tell.
    options = ["-P", "-B", "-W", "ignore"]
    command = [sys.executable, *options, "-m", f"{__package__}.decode", str(path.absolute())]
    modules = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    environment = os.environ | {"PYTHONPATH": modules, "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment,
            timeout=PATIENCE,
            creationflags=_CREATION_FLAGS,
        )
    except subprocess.TimeoutExpired:
        raise too_much(path.name) from None
    if done.returncode:
        raise _ended(done.returncode, path.name)
    end = done.stdout.index(b"\n")
    answer = json.loads(done.stdout[:end])
    if "error" in answer:
        raise ImageError(*answer["error"])
    return Image.frombytes("RGBA", tuple(answer["size"]), done.stdout[end + 1 :]), answer["note"]


def _require_file(path: Path) -> None:
    """Raise ImageError unless there is a file that may be read."""
    try:
        is_file, size = stat.S_ISREG(path.stat().st_mode), path.stat().st_size
        if is_file:
            path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        hint = "It may have been moved or renamed."
        raise ImageError("image_missing", f"The image {path} does not exist.", hint) from error
    except OSError as error:
        message = f"The image {path.name} may not be read: {error.strerror}."
        raise ImageError("image_forbidden", message, "Change its permissions, or copy it elsewhere.") from error
    if not is_file:
        raise ImageError("image_unreadable", f"{path} is not a file.", READABLE)
    if size == 0:
        raise ImageError("image_empty", f"The image {path.name} is an empty file.", "Save or download it again.")


def _ended(code: int, name: str) -> ImageError:
    """The error for a decoder that ended without an answer. A negative code is the signal that ended it."""
    if sys.platform != "win32" and code in (-signal.SIGXCPU, -signal.SIGKILL):
        return too_much(name)
    message = f"The image {name} could not be decoded: the decoder ended with code {code}."
    return ImageError("image_unreadable", message, "It may be damaged. Save or download it again.")


def _require_object(image: Image.Image, name: str) -> None:
    """Raise ImageError unless enough of the image is opaque to be an object. ``name`` is for messages."""
    box = opaque_box(image)
    if box is None:
        message = f"The image {name} is fully transparent, or nearly so."
        raise ImageError("image_transparent", message, "Its object must be opaque.")
    if max(box[2] - box[0], box[3] - box[1]) < _MIN_OBJECT_SIDE:
        message = f"The object in {name} is only {box[2] - box[0]} x {box[3] - box[1]} pixels."
        raise ImageError("object_too_small", message, "Crop the image to the object, or use a larger one.")
