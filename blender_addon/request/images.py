"""Reference images: image files, and all kinds of images of the .blend.

The backend reads files, and gets each image as it is when the button is pressed: what happens to it afterwards harms
nothing. Image files are opened then, packed files and pixels are copied, which takes a few milliseconds; a thread then
writes all of them into the job's folder. Only pixels have what was generated, painted or pasted, and formats that the
backend does not read. Python cannot read the pixels of the render result, so it is saved when it is added.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from ...backend import protocol
from ...backend.names import copy_name
from ..jobs.inputs import Content, ImageFile, Pixels
from ..scene import paths
from ..scene.made import MOST_IMAGES
from ..scene.material import create_image
from ..translations import translate
from . import thumbnails
from .orientation import orientation, upright
from .properties import EspalierImage, EspalierSettings

#: Marks an image of the .blend where a path is expected: ``image:NAME``.
DATABLOCK = "image:"
#: Marks a cut-out that was edited by hand, also an image of the .blend: ``cutout:NAME``.
CUTOUT = "cutout:"
#: The end of a cut-out's name.
EDITED = " cut-out"


def original(item: EspalierImage) -> str:
    """The source of the image itself: a path, or ``image:NAME`` for one of this .blend."""
    return DATABLOCK + item.image.name if item.image else paths.absolute(item.path)


def listed(settings: EspalierSettings) -> list[EspalierImage]:
    """The images that are shown and cut out: of a file's list, no more than an object can have."""
    return list(settings.images[:MOST_IMAGES])


def source(item: EspalierImage) -> str:
    """The source of what is used: the cut-out that was edited by hand, as ``cutout:NAME``, or else the image itself.

    ``add_source`` accepts it.
    """
    return CUTOUT + item.cutout.name if item.cutout else original(item)


def point(item: EspalierImage) -> protocol.Point | None:
    """Where the object is in the image; None if nobody picked it, or if its cut-out was edited by hand."""
    return (item.point[0], item.point[1]) if item.use_point and not item.cutout else None


def add_source(settings: EspalierSettings, named: str, at: protocol.Point | None = None) -> bool:
    """Add an image to the list, unless it is there, with the point on its object, if it was picked.

    False if it is an image of a .blend, but not of this one.
    """
    named = paths.absolute(named)
    if named in map(source, settings.images):
        return True
    image = datablock(named)
    if image is None and is_datablock(named):
        return False
    added = settings.images.add()
    if named.startswith(CUTOUT):
        added.cutout = image
    elif image is not None:
        image.preview_ensure()  # while the panel is drawn, no preview may be made
        thumbnails.forget(named)
        added.image = image
    else:
        thumbnails.forget(named)
        added.path = paths.kept(named)
    if at is not None:
        added.use_point, added.point = True, at
    return True


def is_datablock(named: str) -> bool:
    """Whether a source is an image of the .blend."""
    return named.startswith((DATABLOCK, CUTOUT))


def title(item: EspalierImage) -> str:
    """The text below the thumbnail."""
    if item.image or not item.path:
        return (item.image or item.cutout).name if item.image or item.cutout else ""
    return Path(paths.absolute(item.path)).name


def icon(item: EspalierImage) -> int:
    """The thumbnail, for ``UILayout.template_icon``; 0 if there is none."""
    if item.image:
        if not item.image.preview:
            return 0
        return thumbnails.image_icon(source(item), item.image.preview, lambda: _turn(item.image))
    return thumbnails.icon(paths.absolute(item.path)) if item.path else 0


def is_missing(item: EspalierImage) -> bool:
    """Whether what is used cannot be read: its file was moved, or it has neither pixels nor a file."""
    if item.cutout:
        return False
    if item.image is None:
        return not Path(paths.absolute(item.path)).is_file()
    return item.image.source == "FILE" and not (
        item.image.packed_file or item.image.has_data or Path(_file_of(item.image)).is_file()
    )


@dataclass(frozen=True)
class Picture:
    """A reference image at the moment of the press. ``content`` is an opened file, a file's bytes, or pixels.

    It is a path if there is no such file, or none that can be opened: the backend says what is wrong with it. ``point``
    is where its object is, if that was picked. ``painted``: its transparency was edited by hand.
    """

    name: str
    content: str | ImageFile | bytes | Pixels
    point: protocol.Point | None = None
    painted: bool = False


def collect(settings: EspalierSettings) -> list[Picture]:
    """All images in the list. Raises ValueError if one of them has no pixels.

    Edited cut-outs stay in the file from now on, even if they are reset: what is made of them remembers them.
    """
    for item in settings.images:
        if item.cutout:
            item.cutout.use_fake_user = True
    return [picture(source(item), point(item)) for item in settings.images]


def picture(named: str, at: protocol.Point | None = None) -> Picture:
    """The image of a source as it is now. Raises ValueError if it has no pixels or is no longer in this .blend."""
    if not is_datablock(named):
        return Picture(Path(named).stem, _opened(paths.absolute(named)), at)
    image = datablock(named)
    if image is None:
        gone = translate("The image {name} is no longer in this file")
        raise ValueError(gone.format(name=named.partition(":")[2]))
    content = _content(image)
    opened = _opened(content) if isinstance(content, str) else content
    return Picture(name_of(image), opened, at, named.startswith(CUTOUT))


def file_read(named: str) -> str | None:
    """The path of the file that the backend gets a copy of for a source; None if it gets what the .blend holds."""
    if not is_datablock(named):
        return paths.absolute(named)
    image = datablock(named)
    return _file_of(image) if image is not None and not image.packed_file and _is_readable(image) else None


def datablock(named: str) -> bpy.types.Image | None:
    """The image of the .blend that a source names; None if it names a file, or if the image is gone."""
    return bpy.data.images.get(named.partition(":")[2]) if is_datablock(named) else None


def name_of(image: bpy.types.Image) -> str:
    """What an object is called that is made from an image of the .blend."""
    return Path(image.name).stem.removesuffix(EDITED)


def as_files(pictures: list[Picture], folder: Path) -> tuple[tuple[str, ...], dict[Path, Content]]:
    """The paths of all pictures, and what must be written below ``folder``."""
    paths: list[str] = []
    made: dict[Path, Content] = {}
    for number, picture in enumerate(pictures):
        path = place_of(picture, folder / f"image {number}")
        if not isinstance(picture.content, str):
            made[path] = picture.content
        paths.append(str(path))
    return tuple(paths), made


def place_of(picture: Picture, folder: Path) -> Path:
    """Where the backend finds a picture that is written into a folder of its own; a path stays what it is."""
    content = picture.content
    if isinstance(content, str):
        return Path(content)
    if isinstance(content, ImageFile):
        return folder / copy_name(content.path)
    suffix = ".bmp" if isinstance(content, Pixels) else ".png"  # the backend recognises a file by its content
    return folder / f"{bpy.path.clean_name(picture.name) or 'image'}{suffix}"


def _opened(path: str) -> ImageFile | str:
    """An image file, opened; its path if that is impossible."""
    try:
        return ImageFile(Path(path))
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return path


def _content(image: bpy.types.Image) -> str | bytes | Pixels:
    if not _is_readable(image):
        return read_pixels(image)
    return bytes(image.packed_file.data) if image.packed_file else _file_of(image)


def read_pixels(image: bpy.types.Image) -> Pixels:
    """An image's pixels as they are now. Raises ValueError if it has none."""
    (width, height), channels = image.size, image.channels
    if not (width and height and channels):
        raise ValueError(translate("{name} has no pixels. Its file may have been moved").format(name=image.name))
    values = np.empty(width * height * channels, np.float32)
    image.pixels.foreach_get(values)
    linear = image.is_float and not image.colorspace_settings.is_data
    return Pixels(upright(values.reshape(height, width, channels), _turn(image)), linear)


def add_render(context: bpy.types.Context) -> bpy.types.Image:
    """Add the render result to the .blend as a packed image. Raises RuntimeError if nothing has been rendered."""
    result = next((image for image in bpy.data.images if image.type == "RENDER_RESULT"), None)
    if result is None:
        raise RuntimeError(translate("Nothing has been rendered yet"))
    path = Path(bpy.app.tempdir, "espalier_render.png")
    output = context.scene.render.image_settings
    names = [name for name in ("media_type", "file_format", "color_mode", "color_depth") if hasattr(output, name)]
    before = {name: getattr(output, name) for name in names}
    wanted = {"media_type": "IMAGE", "file_format": "PNG", "color_mode": "RGBA", "color_depth": "8"}
    try:
        for name in names:
            setattr(output, name, wanted[name])
        result.save_render(str(path), scene=context.scene)
    finally:
        for name in names:
            setattr(output, name, before[name])
    image = create_image("Render", path.read_bytes())
    path.unlink()
    return image


def paste(context: bpy.types.Context) -> bpy.types.Image:
    """Add the image on the clipboard to the .blend. Raises RuntimeError if there is none.

    Blender's operator runs only in an image editor, where it shows the pasted image. So the area becomes one for the
    time of the call.
    """
    known = set(bpy.data.images)
    area = context.area
    kind = area.type
    area.type = "IMAGE_EDITOR"
    try:
        with context.temp_override(area=area, region=area.regions[-1]):
            bpy.ops.image.clipboard_paste()
    finally:
        area.type = kind
    pasted = next((image for image in bpy.data.images if image not in known), None)
    if pasted is None:
        raise RuntimeError(translate("There is no image on the clipboard"))
    return pasted


def _is_readable(image: bpy.types.Image) -> bool:
    """Whether the backend can read the image's file, packed or not, and nothing has been painted on it since."""
    if image.source != "FILE" or image.is_dirty or image.file_format not in protocol.IMAGE_FORMATS:
        return False
    return bool(image.packed_file) or Path(_file_of(image)).suffix.lower() in protocol.IMAGE_SUFFIXES


def _turn(image: bpy.types.Image) -> int:
    """The orientation that the image's file asks for. Blender shows its pixels as they are stored."""
    if image.source != "FILE":
        return 1
    if image.packed_file:
        return orientation(io.BytesIO(image.packed_file.data))
    return thumbnails.turn_of(_file_of(image))


def _file_of(image: bpy.types.Image) -> str:
    return bpy.path.abspath(image.filepath, library=image.library)
