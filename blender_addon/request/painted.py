"""Cut-outs that are edited by hand: images of the .blend, painted in Blender's image editor, with their thumbnails.

Blender saves painted pixels of a packed image only if it is packed again, so that is done before each save.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
import bpy.utils.previews
import numpy as np
from bpy.app.handlers import persistent
from numpy.typing import NDArray

from ...backend import protocol
from ..jobs.inputs import Pixels, straight
from ..scene.material import create_image
from ..translations import translate
from . import cutouts, images, opened
from .properties import EspalierImage

#: Seconds after the last stroke at which the thumbnail is made again.
PAUSE = 0.3
#: Names of image datablocks are cut off: before 5.0 at 63 bytes.
NAME_LENGTH = 40

_icons: bpy.utils.previews.ImagePreviewCollection | None = None
_out_of_date: set[int] = set()  # session uids of cut-outs that were painted since their thumbnail was made


def obstacle(item: EspalierImage) -> str:
    """Why there is no cut-out to edit or to pick an object in, in the user's language; empty if there is one."""
    if item.cutout or cutouts.answer(item) is not None:
        return ""
    cutout = cutouts.of(item)
    if cutout is not None and cutout.error is not None:
        return translate(cutout.error.message)
    return translate("The cut-out is not there yet")


def edit(item: EspalierImage) -> bpy.types.Image:
    """The cut-out of an image as an image of the .blend, to be painted. From now on it is used.

    Raises ValueError if there is no cut-out yet, and OSError if its file is gone.
    """
    if not item.cutout:
        answer = cutouts.answer(item)
        if answer is None:
            raise ValueError(obstacle(item))
        name = Path(images.title(item)).stem.encode()[:NAME_LENGTH].decode(errors="ignore")
        item.cutout = create_image(name + images.EDITED, Path(answer.out).read_bytes())
    return item.cutout


def reset(item: EspalierImage) -> None:
    """Use the cut-out of the backend again, of the largest object."""
    item.cutout = None
    item.use_point = False


def is_changed(item: EspalierImage) -> bool:
    """Whether a person has edited the cut-out or picked the object, so that there is something to reset."""
    return bool(item.cutout) or item.use_point


def icon(item: EspalierImage) -> int:
    """The thumbnail of an edited cut-out, for ``UILayout.template_icon``; 0 while there is none."""
    if _icons is None or not item.cutout or not has_thumbnail(item.cutout):
        return 0
    return int(_icons[_key(item.cutout)].icon_id)


def has_thumbnail(image: bpy.types.Image) -> bool:
    """Whether the thumbnail of an edited cut-out was made."""
    return _icons is not None and _key(image) in _icons


def prepare(context: bpy.types.Context) -> None:
    """Have missing thumbnails made soon. To be called while the panel is drawn."""
    if bpy.app.background or bpy.app.timers.is_registered(draw_thumbnails):
        return
    listed = images.listed(context.scene.espalier)
    cut = [item.cutout for item in listed if item.cutout and not opened.waits(images.source(item))]
    if not all(map(has_thumbnail, cut)):
        bpy.app.timers.register(draw_thumbnails, first_interval=0.0)


def draw_thumbnails() -> None:
    """Make the thumbnails that are missing or out of date."""
    assert _icons is not None
    for image in _edited():
        key = _key(image)
        if opened.waits(images.CUTOUT + image.name):
            continue
        if has_thumbnail(image) and image.session_uid not in _out_of_date:
            continue
        try:
            small = thumbnail(images.read_pixels(image))
        except ValueError:  # it has no pixels, which Generate says
            small = np.zeros((1, 1, 4), np.float32)
        preview = _icons[key] if key in _icons else _icons.new(key)
        preview.image_size = small.shape[1], small.shape[0]
        preview.image_pixels_float.foreach_set(small.ravel())
    _out_of_date.clear()
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


def thumbnail(pixels: Pixels) -> NDArray[np.float32]:
    """An image over a checkerboard, as [h, w, 4] of at most ``protocol.THUMBNAIL_SIDE``, in sRGB and opaque."""
    step = -(-max(pixels.values.shape[:2]) // protocol.THUMBNAIL_SIDE)
    color, alpha = straight(pixels.values[::step, ::step], pixels.linear)
    rows, columns = np.indices(color.shape[:2])[:, ::-1] // protocol.CHECKER_SQUARE  # from the top, as in all others
    board = np.where((rows + columns) % 2, *protocol.CHECKER_GREYS).astype(np.float32)[..., None] / 255
    shown = alpha * color + (1 - alpha) * board
    return np.concatenate((shown, np.ones_like(alpha)), axis=2)


def _edited() -> list[bpy.types.Image]:
    """All edited cut-outs of the .blend."""
    listed = (item.cutout for scene in bpy.data.scenes for item in images.listed(scene.espalier))
    return list(dict.fromkeys(image for image in listed if image is not None))


def _key(image: bpy.types.Image) -> str:
    return str(image.session_uid)


@persistent
def _changed(*_: object) -> None:
    """A stroke in an image editor tells only that something has changed: look whether it may have been a cut-out."""
    edited = _edited()
    if bpy.app.background or not edited:
        return
    shown = {
        area.spaces.active.image
        for window in bpy.context.window_manager.windows
        for area in window.screen.areas
        if area.type == "IMAGE_EDITOR"
    }
    painted = [image.session_uid for image in edited if image in shown]
    if painted:
        _out_of_date.update(painted)
        if bpy.app.timers.is_registered(draw_thumbnails):
            bpy.app.timers.unregister(draw_thumbnails)
        bpy.app.timers.register(draw_thumbnails, first_interval=PAUSE)


@persistent
def _loaded(*_: object) -> None:
    """Every thumbnail may be of something else now."""
    if _icons is not None:
        _icons.clear()


@persistent
def _undone(*_: object) -> None:
    _loaded()


@persistent
def _redone(*_: object) -> None:
    _loaded()


@persistent
def _save(*_: object) -> None:
    """Pack what was painted: Blender would not save it."""
    for image in _edited():
        if image.is_dirty and image.library is None:
            image.pack()


def _handlers() -> tuple[tuple[str, Callable[..., None]], ...]:
    """Lists of ``bpy.app.handlers``, and what goes into them."""
    return (
        ("depsgraph_update_post", _changed),
        ("load_post", _loaded),
        ("undo_post", _undone),
        ("redo_post", _redone),
        ("save_pre", _save),
    )


def register() -> None:
    """Have thumbnails follow the brush, and what was painted saved with the file."""
    global _icons
    _icons = bpy.utils.previews.new()
    for name, handler in _handlers():
        getattr(bpy.app.handlers, name).append(handler)


def unregister() -> None:
    """Undo ``register``."""
    global _icons
    for name, handler in _handlers():
        getattr(bpy.app.handlers, name).remove(handler)
    if bpy.app.timers.is_registered(draw_thumbnails):
        bpy.app.timers.unregister(draw_thumbnails)
    bpy.utils.previews.remove(_icons)
    _icons = None
    _out_of_date.clear()
