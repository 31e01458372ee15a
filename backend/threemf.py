"""Write a mesh as 3MF, the format of 3-D printing: in millimetres, with its texture if it has one.

As the 3MF Core Specification 1.3 and the Materials and Properties Extension 1.2 say (3mf.io). A 3MF file is a zip of
XML. Standard library only: both sides write such files, the backend for assets, Blender for objects in a scene.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias
from xml.sax.saxutils import escape, quoteattr

CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
MATERIALS = "http://schemas.microsoft.com/3dmanufacturing/material/2015/02"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
MODEL_RELATION = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
TEXTURE_RELATION = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dtexture"
MODEL, TEXTURE = "3D/3dmodel.model", "3D/Textures/texture.png"

#: Rows of numbers: a list of lists, or an array, of which only a piece at a time becomes lists.
Rows: TypeAlias = Any

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
#: Rows that are written between two calls of ``check``.
_PIECE = 2048
#: Characters that no XML document may have (XML 1.0, section 2.2).
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Colors:
    """A texture on a mesh: a PNG, UVs [N, 2] with v up, and for each face [F, 3] the indices of its corners' UVs."""

    png: bytes
    uvs: Rows
    corners: Rows


def write_3mf(
    path: Path,
    vertices: Rows,
    faces: Rows,
    *,
    name: str,
    closed: bool,
    colors: Colors | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write one object, in one piece of a file: give a path of ``files.written_whole``. The same input, the same bytes.

    Args:
        path: the file to write.
        vertices: [V, 3] in millimetres, z up. They are moved into the positive octant, where printers print.
        faces: [F, 3] indices, counter-clockwise from outside.
        name: the object's name.
        closed: whether the mesh is closed. One that is not is marked as a surface, which is no solid.
        colors: its texture.
        check: called every few milliseconds; ends the writing by raising.

    Raises OSError.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(part: str, pieces: Iterable[bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
            entry = zipfile.ZipInfo(part, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.compress_type = 3, method
            with archive.open(entry, "w", force_zip64=True) as stream:
                for piece in pieces:
                    check()
                    stream.write(piece)

        extensions = [("rels", "application/vnd.openxmlformats-package.relationships+xml")]
        extensions += [("model", "application/vnd.ms-package.3dmanufacturing-3dmodel+xml"), ("png", "image/png")]
        defaults = "".join(f'<Default Extension="{ending}" ContentType="{kind}"/>' for ending, kind in extensions)
        add("[Content_Types].xml", [f'{_HEAD}<Types xmlns="{TYPES}">{defaults}</Types>'.encode()])
        add("_rels/.rels", [_relation(MODEL, MODEL_RELATION)])
        if colors is not None:
            add("3D/_rels/3dmodel.model.rels", [_relation(TEXTURE, TEXTURE_RELATION)])
            add(TEXTURE, [colors.png], zipfile.ZIP_STORED)
        add(MODEL, (piece.encode() for piece in _model(vertices, faces, name, closed, colors)))


def _relation(target: str, kind: str) -> bytes:
    inner = f'<Relationship Target="/{target}" Id="rel0" Type="{kind}"/>'
    return f'{_HEAD}<Relationships xmlns="{RELATIONS}">{inner}</Relationships>'.encode()


def _model(
    vertices: Rows,
    faces: Rows,
    name: str,
    closed: bool,
    colors: Colors | None,
) -> Iterator[str]:
    """The XML of the model, in pieces."""
    name = _NOT_XML.sub("\ufffd", name)
    more = "" if colors is None else f' xmlns:m="{MATERIALS}"'
    yield f'{_HEAD}<model unit="millimeter" xml:lang="en-US" xmlns="{CORE}"{more}>\n'
    yield f'<metadata name="Title">{escape(name)}</metadata><metadata name="Application">Espalier</metadata>\n'
    yield "<resources>\n"
    if colors is not None:
        yield f'<m:texture2d id="1" path="/{TEXTURE}" contenttype="image/png"/>\n<m:texture2dgroup id="2" texid="1">\n'
        yield from _lines('<m:tex2coord u="%.7g" v="%.7g"/>\n', colors.uvs)
        yield "</m:texture2dgroup>\n"
    kind = "model" if closed else "surface"
    looks = "" if colors is None else ' pid="2" pindex="0"'
    yield f'<object id="3" type="{kind}" name={quoteattr(name)}{looks}><mesh><vertices>\n'
    yield from _lines('<vertex x="%.7g" y="%.7g" z="%.7g"/>\n', vertices)
    yield "</vertices><triangles>\n"
    if colors is None:
        yield from _lines('<triangle v1="%d" v2="%d" v3="%d"/>\n', faces)
    else:
        line = '<triangle v1="%d" v2="%d" v3="%d" pid="2" p1="%d" p2="%d" p3="%d"/>\n'
        yield from _lines(line, faces, colors.corners)
    yield "</triangles></mesh></object>\n</resources>\n"
    low = [math.inf] * 3
    for piece in _pieces(vertices):
        low = [min(least, *values) for least, values in zip(low, zip(*piece, strict=True), strict=True)]
        yield ""
    shift = " ".join(f"{-least:.7g}" for least in low)
    yield f'<build><item objectid="3" transform="1 0 0 0 1 0 0 0 1 {shift}"/></build>\n</model>\n'


def _lines(line: str, *rows: Rows) -> Iterator[str]:
    """A line for each row, in pieces. Of several kinds of rows each line takes one of each."""
    for pieces in zip(*map(_pieces, rows), strict=True):
        together = [chain(*parts) for parts in zip(*pieces, strict=True)]
        yield (line * len(together)) % tuple(chain.from_iterable(together))


def _pieces(rows: Rows) -> Iterator[list[Any]]:
    """The rows as lists, a few at a time."""
    for start in range(0, len(rows), _PIECE):
        piece = rows[start : start + _PIECE]
        yield piece.tolist() if hasattr(piece, "tolist") else piece
