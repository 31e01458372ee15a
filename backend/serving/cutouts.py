"""Cut-outs for the panel and for the command ``cutout``.

For the panel they are made while jobs run: in a thread of their own, one at a time, in the order of the requests.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import protocol
from ..errors import BackendError, ImageError, SettingsError, describe
from ..files import sha256, written_whole
from ..names import asset_name, key, longest_in, numbered

if TYPE_CHECKING:
    from PIL import Image

    from ..kept import Kept

#: How many cut-outs may wait.
MOST = 64

#: The share of an image's border that an object must cover to count as cut off by it.
TOUCHING = 0.005

#: Where a cut-out says what image it is of.
_SOURCE = "Source"

#: zlib's level: the default takes three times as long for a few percent.
_PNG_LEVEL = 3


class Cutouts:
    """The cut-outs that wait. ``send`` gets exactly one message for each that is received.

    ``kept`` has cut-outs for jobs, too: what the panel shows need not be made again for a job.
    """

    def __init__(self, send: Callable[[protocol.Message], None], kept: Kept) -> None:
        self._send = send
        self._kept = kept
        self._changed = threading.Condition()
        self._waiting: deque[protocol.Cutout] = deque()

    def receive(self, request: protocol.Cutout) -> None:
        """Let a request wait for its turn, or refuse it."""
        if not isinstance(request.id, str) or not request.id:
            self._send(protocol.Error(None, "request_unreadable", "A cut-out must have a name."))
            return
        with self._changed:
            accepted = len(self._waiting) < MOST
            if accepted:
                self._waiting.append(request)
                self._changed.notify()
        if not accepted:
            words = f"{MOST} cut-outs are waiting already."
            self._send(protocol.Error(request.id, "cutouts_busy", words, "Wait until some are done."))

    def cancel(self, name: object) -> None:
        """Drop a request that waits."""
        with self._changed:
            dropped = [request for request in self._waiting if request.id == name]
            for request in dropped:
                self._waiting.remove(request)
        for request in dropped:
            self._send(protocol.Cancelled(request.id))

    def work(self) -> None:
        """Make cut-outs for ever."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                request = self._waiting.popleft()
            self._send(answer(request, self._kept))


def answer(request: protocol.Cutout, kept: Kept | None = None) -> protocol.CutoutDone | protocol.Error:
    """Make a cut-out. Never raises: the thread stays alive for the next one."""
    try:
        return make(request, kept)
    except Exception as error:  # an image may fail in any way: Blender is told why
        folder = Path(request.out).parent if isinstance(request.out, str) else ""
        code, message, hint = describe(error, folder)
        print(f"cut-out {request.id}: {code}: {message}", file=sys.stderr, flush=True)
        if not isinstance(error, BackendError):
            traceback.print_exc()
        return protocol.Error(request.id, code, message, hint)


def make(request: protocol.Cutout, kept: Kept | None = None) -> protocol.CutoutDone:
    """Write the cut-out that a request from the wire asks for; if no object stands out, the whole image.

    Raises BackendError for what a person can mend, and OSError.
    """
    from ..images.files import load_cut

    _require_valid(request)
    try:
        image, removed = load_cut(request.image, request.background, request.point, kept)
        notes = noted(image) if removed else ()
    except ImageError as error:
        if error.code != "background_unclear":
            raise
        image, removed = load_cut(request.image, "never", kept=kept)
        notes = (protocol.NOTHING_STANDS_OUT,)
    write(image, Path(request.out))
    if request.thumbnail:
        write(on_checkerboard(image), Path(request.thumbnail))
    return protocol.CutoutDone(request.id, request.out, removed, notes)


def cut_out_all(options: argparse.Namespace) -> int:
    """The command ``cutout``. Returns the exit code: 1 if an image could not be cut out, 2 for a point outside."""
    point = None if options.point is None else tuple(options.point)
    if not is_point(point):
        print("--point must be two numbers from 0 to 1.", file=sys.stderr)
        return 2
    failed, taken = False, set[str]()
    for path in options.images:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
            out = _free_name(options.out, path, taken)
            print(f"{out}: {_cut_out_one(path, out, options.background, point)}")
        except KeyboardInterrupt:
            print("Cancelled.", file=sys.stderr)
            return 130
        except Exception as error:  # the others are still made
            if options.traceback:
                raise
            _, message, hint = describe(error, options.out)
            print(f"{message} {hint}".strip(), file=sys.stderr)
            failed = True
    return 1 if failed else 0


def _cut_out_one(path: Path, out: Path, background: str, point: protocol.Point | None) -> str:
    """Cut one image out, and say in words what was done. Raises BackendError, OSError."""
    from ..images.files import load_cut

    image, removed = load_cut(path, background, point)
    write(image, out, _source(path))
    return " ".join(noted(image)) if removed else "Background kept."


def _free_name(folder: Path, path: Path, taken: set[str]) -> Path:
    """Where an image's cut-out goes: NAME.png, or NAME-2.png where there is something else of that name.

    The cut-out of the same image is replaced. Never the image itself, and nothing that no cut-out of it is.
    """

    def is_free(name: str) -> bool:
        there = folder / f"{name}.png"
        return key(name) not in taken and (not os.path.lexists(there) or _is_of(there, path))

    name = numbered(asset_name(path.stem, longest_in(folder)), is_free)
    taken.add(key(name))
    return folder / f"{name}.png"


def _is_of(cutout: Path, path: Path) -> bool:
    """Whether a file is an earlier cut-out of an image."""
    from PIL import Image

    try:
        if cutout.resolve() == path.resolve():
            return False
        with Image.open(cutout, formats=("PNG",)) as image:
            return image.info.get(_SOURCE) == _source(path) != ""
    except (OSError, ValueError, SyntaxError):
        return False


def _source(path: Path) -> str:
    """What tells an image from others of its name; "" if it cannot be read, which the work itself says."""
    try:
        return sha256(path)
    except (OSError, ValueError):
        return ""


def noted(image: Image.Image) -> tuple[str, ...]:
    """What a person should know about an image whose background was removed."""
    import numpy as np

    alpha = np.asarray(image.getchannel("A"))
    border = np.concatenate([alpha[0], alpha[-1], alpha[1:-1, 0], alpha[1:-1, -1]])
    touched = (border > 127).mean() >= TOUCHING
    return (protocol.BACKGROUND_REMOVED, *([protocol.EDGE_TOUCHED] if touched else []))


def write(image: Image.Image, path: Path, source: str = "") -> None:
    """Write a cut-out as PNG, whole or not at all, with a note of its ``source``. Raises OSError."""
    from PIL.PngImagePlugin import PngInfo

    image, notes = image.copy(), PngInfo()
    image.thumbnail((protocol.CUTOUT_SIDE, protocol.CUTOUT_SIDE))
    if source:
        notes.add_text(_SOURCE, source)
    with written_whole(path, durable=bool(source)) as part:
        image.save(part, "PNG", compress_level=_PNG_LEVEL, pnginfo=notes)


def on_checkerboard(image: Image.Image) -> Image.Image:
    """A cut-out as a thumbnail: small, and over a checkerboard, which shows what is transparent."""
    import numpy as np
    from PIL import Image

    small = image.convert("RGBA")
    small.thumbnail((protocol.THUMBNAIL_SIDE, protocol.THUMBNAIL_SIDE))
    rows, columns = np.indices((small.height, small.width)) // protocol.CHECKER_SQUARE
    grey = np.where((rows + columns) % 2, *protocol.CHECKER_GREYS).astype(np.uint8)
    board = Image.fromarray(grey).convert("RGBA")
    return Image.alpha_composite(board, small).convert("RGB")


def is_point(value: Any) -> bool:
    """Whether a value from the wire is a point, or None."""
    if value is None:
        return True
    pair = isinstance(value, tuple) and len(value) == 2
    return pair and all(type(one) in (int, float) and math.isfinite(one) and 0 <= one <= 1 for one in value)


def _require_valid(request: protocol.Cutout) -> None:
    """Raise SettingsError if a field is not what it should be."""
    wrong = protocol.problem("background", request.background)
    if not isinstance(request.image, str) or not request.image:
        wrong = "The image must be a path."
    elif not isinstance(request.out, str) or not request.out.lower().endswith(".png"):
        wrong = "The cut-out must be the path of a .png file."
    elif not os.path.isdir(Path(request.out).parent):
        wrong = f"The folder of {request.out} does not exist."
    elif not isinstance(request.thumbnail, str) or Path(request.thumbnail).suffix.lower() not in ("", ".png"):
        wrong = "The thumbnail must be the path of a .png file, or empty."
    elif not is_point(request.point):
        wrong = f"The point must be two numbers from 0 to 1, not {request.point!r:.80}."
    if wrong:
        raise SettingsError("settings_invalid", wrong)
