"""What a file is, by its first bytes: a kind that is read, or one that people have and for which they need advice."""

from __future__ import annotations

from typing import NamedTuple

_SAVE = "Save it as a PNG or JPEG."
_PAGE = "Save the page or picture that you mean as a PNG."
_RAW = "Develop it in your camera's or a raw program, and save it as a JPEG or PNG."


class Kind(NamedTuple):
    """A kind of file: what Pillow calls it, if it is read, or a name and what to do. All empty if it is not known."""

    formats: tuple[str, ...] = ()
    name: str = ""
    advice: str = ""


def _other(name: str, advice: str) -> Kind:
    return Kind((), name, advice)


#: Where the bytes stand, the bytes, and the kind. The first that fits counts.
_SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", Kind(("PNG",))),
    (0, b"\xff\xd8", Kind(("JPEG",))),
    (0, b"GIF8", Kind(("GIF",))),
    (0, b"BM", Kind(("BMP",))),
    (8, b"WEBP", Kind(("WEBP",))),
    (8, b"CR\x02", _other("a camera's raw file", _RAW)),  # in a TIFF
    (0, b"II*\0", Kind(("TIFF",))),
    (0, b"MM\0*", Kind(("TIFF",))),
    (0, b"II+\0", Kind(("TIFF",))),  # BigTIFF
    (0, b"MM\0+", Kind(("TIFF",))),
    (4, b"ftypavif", Kind(("AVIF",))),
    (4, b"ftypavis", Kind(("AVIF",))),
    (4, b"ftypmif1", Kind(("AVIF", "HEIF"))),  # either of them
    (4, b"ftypcrx", _other("a camera's raw file", _RAW)),
    (4, b"ftyphe", Kind(("HEIF",))),
    (4, b"ftypqt", _other("a film", _PAGE)),
    (4, b"ftyp", _other("a film", _PAGE)),
    (0, b"%PDF", _other("a PDF", _PAGE)),
    (0, b"%!PS", _other("PostScript", _PAGE)),
    (0, b"\xc5\xd0\xd3\xc6", _other("an EPS", _PAGE)),
    (0, b"8BPS", _other("a Photoshop file", _SAVE)),
    (0, b"gimp xcf", _other("a GIMP file", _SAVE)),
    (0, b"v/1\x01", _other("an OpenEXR image", "Open it in Blender's image editor, and save it as a PNG.")),
    (0, b"#?RADIANCE", _other("a Radiance HDR image", "Open it in Blender's image editor, and save it as a PNG.")),
    (0, b"\0\0\0\x0cjP  ", _other("a JPEG 2000", _SAVE)),
    (0, b"\xff\x4f\xff\x51", _other("a JPEG 2000", _SAVE)),
    (0, b"\xff\x0a", _other("a JPEG XL", _SAVE)),
    (0, b"\0\0\0\x0cJXL ", _other("a JPEG XL", _SAVE)),
    (0, b"DDS ", _other("a DDS texture", _SAVE)),
    (0, b"BLENDER", _other("a Blender file", "Render it, and use the picture.")),
    (0, b"<svg", _other("a vector drawing", "Export it as a PNG.")),
    (0, b"<?xml", _other("a vector drawing or other XML", "Export it as a PNG.")),
    (0, b"<!DOCTYPE html", _other("a web page", "Download the picture itself.")),
    (0, b"<html", _other("a web page", "Download the picture itself.")),
    (0, b"\0\x05\x16\x07", _other("what a Mac keeps beside a file", "Use the file without ._ in front of its name.")),
    (0, b"version https://git-lfs", _other("a Git LFS pointer, not the image", "Run git lfs pull.")),
)


def kind_of(head: bytes) -> Kind:
    """What a file that begins with ``head`` is; 32 bytes suffice."""
    return next((kind for at, mark, kind in _SIGNATURES if head[at : at + len(mark)] == mark), Kind())
