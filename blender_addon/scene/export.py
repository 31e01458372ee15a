"""Writes an object of the scene as files for other programs. The scene stays as it was.

The object is written as it stands there, with what was edited since it was made. So Blender's own exporters write it,
and not the backend, which need not even run. Only 3MF is ours: Blender has no exporter for it.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ...backend.files import CutOff, written_together
from ...backend.formats import FORMATS, TARGETS, files_of
from ...backend.names import asset_name, key, longest_in, numbered
from ...backend.print_facts import SIZE, PrintCheck
from ...backend.threemf import Colors, write_3mf
from ..translations import translate
from . import print_check
from .export_images import Picture, pictures_of, replace_images
from .mesh_arrays import active_uvs, read_integers, triangle_loops
from .stand_in import stand_in


@dataclass(frozen=True)
class Wanted:
    """How objects are to be exported."""

    format: str  # in ``FORMATS``
    target: str = "any"  # in ``TARGETS``
    at_origin: bool = True  # whether the object's origin is that of the file
    print_size: float = SIZE  # mm: the longest side in formats for printing
    replace: bool = False  # whether files of the same names are replaced; else new ones get a number


@dataclass(frozen=True)
class Exported:
    """What was written of an object, and what should be said about it."""

    files: tuple[Path, ...]  # the main one first
    notes: tuple[str, ...] = ()


def obstacle(name: str) -> str:
    """Why this Blender cannot write a format, in words; empty if it can. Some are built without USD."""
    operator = _OPERATORS.get(name)
    if operator is None:
        return ""
    try:
        operator().get_rna_type()
    except (KeyError, AttributeError):
        words = translate("This Blender cannot write {format}: it was built without it, or its add-on is turned off")
        return words.format(format=FORMATS[name].title)
    return ""


def export(
    context: bpy.types.Context, target: bpy.types.Object, folder: Path, wanted: Wanted, written: Iterable[Path] = ()
) -> Exported:
    """Write an object into a folder, under its own name: all of its files, or none.

    ``written`` are the files that the same press of a button wrote: they are never replaced. Raises OSError,
    RuntimeError (what Blender's exporter says) and ValueError if the object has no faces.
    """
    folder = Path(os.path.abspath(folder))  # as exporters write it: see ``_forget_folder``
    base = asset_name(target.name, longest_in(folder))
    with ExitStack() as stack:
        copy = stack.enter_context(stand_in(context, target, wanted.at_origin))
        pictures = pictures_of(copy.data)
        endings = endings_of(wanted, pictures)
        there = written if wanted.replace else folder.iterdir()
        name = numbered(base, _free_among(there, endings, pictures))
        paths = [folder / (name + ending) for ending in endings.values()]
        parts = stack.enter_context(written_together(named=paths))
        check = write(copy, parts[0].parent, name, wanted, pictures)
        said = () if check is None else tuple(check.said())
        return Exported(tuple(paths), tuple(translate(words).format(**values) for words, values in said))


def endings_of(wanted: Wanted, pictures: Mapping[str, Picture]) -> dict[str, str]:
    """The endings of the files of an object with these pictures, by kind, the main one first."""
    known = tuple(kind for kind, picture in pictures.items() if not picture.other)
    endings = files_of(wanted.format, known, TARGETS[wanted.target])
    if FORMATS[wanted.format].textures:
        endings |= {kind: picture.other for kind, picture in pictures.items() if picture.other}
    return endings


def write(
    copy: bpy.types.Object, folder: Path, name: str, wanted: Wanted, pictures: Mapping[str, Picture]
) -> PrintCheck | None:
    """Write the files of a stand-in, which is selected, into a folder of its own. Raises as ``export`` does.

    ``pictures`` are those of its mesh. Returns what a printer should know, if it is to be printed.
    """
    if not copy.data.polygons:
        raise ValueError(translate("{name} has no faces").format(name=copy.name))
    chosen, target = FORMATS[wanted.format], TARGETS[wanted.target]
    main = folder / (name + chosen.ending)
    if chosen.print_size:
        return _print(copy, main, wanted.print_size, pictures)
    down = not target.green_up and wanted.format == "fbx"  # the other formats say themselves that green is up
    too_large = any(picture.side > target.most_pixels for picture in pictures.values())
    with ExitStack() as stack:
        if chosen.textures or wanted.format == "usdz" or too_large:
            endings = endings_of(wanted, pictures) if chosen.textures else files_of("obj", tuple(pictures))
            places = _places(endings, pictures, folder, name)
            for kind, picture in pictures.items():
                picture.write(places[kind], target.most_pixels, flipped=down and kind == "normal_map")
            stack.enter_context(replace_images(copy.data, pictures, places))
        if _WRITERS[wanted.format](str(main), target.fbx) != {"FINISHED"} or not main.is_file():
            raise RuntimeError(translate("{name} could not be written").format(name=main.name))
    if wanted.format == "obj":
        _count_faces(main, len(copy.data.polygons))
    if wanted.format == "fbx":
        _forget_folder(main, folder)
    if wanted.format == "usdz":
        _forget_time(main)
    return None


def _places(endings: Mapping[str, str], pictures: Mapping[str, Picture], folder: Path, name: str) -> dict[str, Path]:
    """Where each picture is written. The kinds of a target's textures end with the kind itself."""
    found = {}
    for kind, picture in pictures.items():
        ending = picture.other or next(one for label, one in endings.items() if label.endswith(kind))
        found[kind] = folder / (name + ending)
    return found


def _free_among(
    files: Iterable[Path], endings: Mapping[str, str], pictures: Mapping[str, Picture]
) -> Callable[[str], bool]:
    """Whether a name is none of these files'. A texture that is there already, with the same content, may be shared."""
    there = {key(path.name): path for path in files}

    def is_free(name: str) -> bool:
        for kind, ending in endings.items():
            path = there.get(key(name + ending))
            if path is not None and (kind not in pictures or not _is_same(path, pictures[kind].png())):
                return False
        return True

    return is_free


def _is_same(path: Path, content: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def _count_faces(path: Path, count: int) -> None:
    """Blender does not say that a disk was full, and nothing marks the end of an OBJ. Raises CutOff."""
    with path.open("rb") as stream:
        found = sum(line.startswith(b"f ") for line in stream)
    if found < count:
        raise CutOff(path, f"it has {found} of {count} faces")


def _forget_folder(path: Path, folder: Path) -> None:
    """Make an FBX find its textures beside it, and nowhere else.

    Blender writes each texture's whole path, and a relative one. The whole path would tell its maker's folders, and the
    folder it was written in is gone. In binary FBX a text cannot become shorter, so the folder becomes one of the same
    length that is the file's own: ``././``.
    """
    content = path.read_bytes()
    for prefix in {str(folder) + slash for slash in ("/", "\\")}:
        told = prefix.encode()
        here = ("./" * (len(told) // 2) + "/")[: len(told)].encode()
        content = content.replace(told, here)
    path.write_bytes(content)


def _forget_time(path: Path) -> None:
    """Take the times of writing out of a zip, so that the same object gives the same bytes. Nothing in it moves."""
    content, never = bytearray(path.read_bytes()), struct.pack("<2H", 0, 0x21)  # midnight, the first day of 1980
    with zipfile.ZipFile(path) as archive:
        entries, at = archive.infolist(), archive.start_dir
    for entry in entries:
        content[entry.header_offset + 10 : entry.header_offset + 14] = content[at + 12 : at + 16] = never
        at += 46 + sum(struct.unpack_from("<3H", content, at + 28))
    path.write_bytes(content)


# --- formats ---------------------------------------------------------------------------------------------------------


def _run(operator: Callable[[], Any], path: str, **options: object) -> set[str]:
    """Run an exporter with those of the options that this version of Blender knows."""
    known = operator().get_rna_type().properties.keys()
    result: set[str] = operator()(filepath=path, **{name: value for name, value in options.items() if name in known})
    return result


def _glb(path: str, _: Mapping[str, object]) -> set[str]:
    return _run(
        _OPERATORS["glb"],
        path,
        export_format="GLB",
        use_selection=True,
        export_tangents=True,
        export_extras=False,
        export_animations=False,
        export_skins=False,
        export_morph=False,
        export_yup=True,
    )


def _obj(path: str, _: Mapping[str, object]) -> set[str]:
    return _run(
        _OPERATORS["obj"],
        path,
        export_selected_objects=True,
        export_triangulated_mesh=True,
        export_pbr_extensions=True,
        forward_axis="NEGATIVE_Z",
        up_axis="Y",
        path_mode="RELATIVE",
    )


def _fbx(path: str, more: Mapping[str, object]) -> set[str]:
    options: dict[str, object] = {
        "use_selection": True,
        "object_types": {"MESH"},
        "mesh_smooth_type": "FACE",
        "use_tspace": True,
        "use_triangles": True,
        "use_custom_props": False,
        "bake_anim": False,
        "path_mode": "RELATIVE",
        "axis_forward": "-Z",
        "axis_up": "Y",
    }
    return _run(_OPERATORS["fbx"], path, **(options | dict(more)))


def _usd(path: str, _: Mapping[str, object]) -> set[str]:
    packed = path.endswith(".usdz")
    return _run(
        _OPERATORS["usd"],
        path,
        selected_objects_only=True,
        export_animation=False,
        export_hair=False,
        export_armatures=False,
        export_shapekeys=False,
        export_lights=False,
        export_cameras=False,
        convert_world_material=False,
        export_custom_properties=False,
        author_blender_name=False,
        generate_preview_surface=True,
        export_textures=packed,  # before Blender 4.5
        export_textures_mode="NEW" if packed else "KEEP",
        relative_paths=True,
        evaluation_mode="VIEWPORT",
        # Apple's viewer refuses files in which z is up. Others turn them by what the file says.
        convert_orientation=packed,
        export_global_forward_selection="NEGATIVE_Z",
        export_global_up_selection="Y",
    )


def _print(copy: bpy.types.Object, path: Path, size: float, pictures: Mapping[str, Picture]) -> PrintCheck:
    """Write an object for printing, in millimetres: its longest side becomes ``size``."""
    mesh = copy.data
    loops = triangle_loops(mesh)
    vertices = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", vertices.ravel())
    longest = float((vertices.max(axis=0) - vertices.min(axis=0)).max())
    if not longest > 0 or not math.isfinite(longest):
        raise ValueError(translate("{name} has no size").format(name=copy.name))
    vertices *= np.float32(size / longest)
    faces = read_integers(mesh.loops, "vertex_index", (len(mesh.loops),))[loops]
    check = print_check.checked(vertices, faces, size)
    if path.suffix == ".stl":
        mesh.attributes["position"].data.foreach_set("vector", vertices.ravel())
        mesh.update()
        options = {"export_selected_objects": True, "global_scale": 1.0, "use_scene_unit": False, "ascii_format": False}
        if _run(_OPERATORS["stl"], str(path), forward_axis="Y", up_axis="Z", **options) != {"FINISHED"}:
            raise RuntimeError(translate("{name} could not be written").format(name=path.name))
        return check
    colors, uvs, picture = None, active_uvs(mesh), pictures.get("texture")
    if picture is not None and len(uvs):
        places, numbers = np.unique(uvs, axis=0, return_inverse=True)
        colors = Colors(picture.png(), places, numbers.reshape(-1)[loops])
    write_3mf(path, vertices, faces, name=copy.name, closed=check.closed, colors=colors)
    return check


_OPERATORS: Mapping[str, Callable[[], Any]] = {
    "glb": lambda: bpy.ops.export_scene.gltf,
    "obj": lambda: bpy.ops.wm.obj_export,
    "fbx": lambda: bpy.ops.export_scene.fbx,
    "usd": lambda: bpy.ops.wm.usd_export,
    "usdz": lambda: bpy.ops.wm.usd_export,
    "stl": lambda: bpy.ops.wm.stl_export,
}
_WRITERS: Mapping[str, Callable[[str, Mapping[str, object]], set[str]]] = {
    "glb": _glb,
    "obj": _obj,
    "fbx": _fbx,
    "usd": _usd,
    "usdz": _usd,
}
