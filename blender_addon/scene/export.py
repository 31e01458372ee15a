"""Writes an object of the scene as files for other programs. The scene stays as it was.

The object is written as it stands there, with what was edited since it was made. So Blender's own exporters write it,
and not the backend, which need not even run. Only 3MF is ours: Blender has no exporter for it.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ...backend.files import CutOff, written_together
from ...backend.formats import FORMATS, TARGETS, UDIM, Offer, files_of, hull_name, in_tiles, of_tile, parts_of
from ...backend.names import asset_name, key, longest_in, numbered
from ...backend.print_facts import SIZE, PrintCheck
from ...backend.threemf import Colors, write_3mf
from ..translations import translate
from . import print_check
from .export_images import Picture, halve_uvs, pictures_of, replace_images
from .made import HULL, LEVEL, besides
from .mesh_arrays import active_uvs, read_integers, triangle_loops
from .stand_in import group, named, part_stand_in, selected, stand_in

#: Bytes of an object's name that are kept in those of its levels and hulls: before Blender 5.0 a name has up to 63.
MOST_BASE = 40
#: What a .glb says if its mesh is compressed.
DRACO = b"KHR_draco_mesh_compression"


@dataclass(frozen=True)
class Wanted:
    """How objects are to be exported."""

    format: str  # in ``FORMATS``
    target: str = "any"  # in ``TARGETS``
    at_origin: bool = True  # whether the object's origin is that of the file
    print_size: float = SIZE  # mm: the longest side in formats for printing
    replace: bool = False  # whether files of the same names are replaced; else new ones get a number
    draco: bool = False  # whether the mesh in a .glb is compressed


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
        copies = stack.enter_context(stand_ins(context, target, wanted))
        pictures = pictures_of(copies.main.data)
        endings = endings_of(wanted, pictures) | copies.endings(wanted)
        there = written if wanted.replace else folder.iterdir()
        name = numbered(base, _free_among(there, endings, pictures))
        paths = [folder / (name + ending) for ending in endings.values()]
        parts = stack.enter_context(written_together(named=paths))
        check = write(context, copies, parts[0].parent, name, wanted, pictures)
        said = () if check is None else tuple(check.said())
        return Exported(tuple(paths), tuple(translate(words).format(**values) for words, values in said))


def endings_of(wanted: Wanted, pictures: Mapping[str, Picture]) -> dict[str, str]:
    """The endings of the files of an object with these pictures, by kind, the main one first."""
    return in_tiles(_endings(wanted.format, wanted, pictures), _tiles(wanted, pictures))


def _endings(format: str, wanted: Wanted, pictures: Mapping[str, Picture]) -> dict[str, str]:
    """As ``endings_of`` has them, but for images in tiles one each."""
    known = tuple(kind for kind, picture in pictures.items() if not picture.other)
    endings = files_of(format, known, TARGETS[wanted.target])
    if FORMATS[format].textures:
        endings |= {kind: picture.other for kind, picture in pictures.items() if picture.other}
    return endings


def _tiles(wanted: Wanted, pictures: Mapping[str, Picture]) -> dict[str, tuple[int, ...]]:
    """The UDIM tiles of the images that keep them, by kind."""
    keeps = FORMATS[wanted.format].tiles
    return {kind: picture.tiles for kind, picture in pictures.items() if keeps and picture.tiles}


@dataclass(frozen=True)
class StandIns:
    """Stand-ins of an object and of what is kept beside it, by number, with these names."""

    main: bpy.types.Object  # the only one that is selected
    levels: Mapping[int, bpy.types.Object]
    hulls: Mapping[int, bpy.types.Object]

    def endings(self, wanted: Wanted) -> dict[str, str]:
        """The endings of the files that the levels of detail and the convex hulls have of their own, by kind."""
        return parts_of(wanted.format, Offer.BUTTON, self.levels, bool(self.hulls), TARGETS[wanted.target])


def _shortened(name: str) -> str:
    """As much of an object's name as those of its levels and hulls have room for."""
    return name.encode()[:MOST_BASE].decode(errors="ignore")


@contextmanager
def stand_ins(context: bpy.types.Context, target: bpy.types.Object, wanted: Wanted) -> Iterator[StandIns]:
    """Give the stand-ins of an object, and take them away again."""
    with ExitStack() as stack:

        def part(one: bpy.types.Object, name: str) -> bpy.types.Object:
            return stack.enter_context(part_stand_in(context, target, one, name, wanted.at_origin))

        base = _shortened(target.name)
        main = stack.enter_context(stand_in(context, target, wanted.at_origin))
        for_print = FORMATS[wanted.format].print_size
        kept = {} if for_print else besides(target, LEVEL)
        levels = {number: part(level, f"{base}_LOD{number}") for number, level in kept.items()}
        kept = {} if for_print else besides(target, HULL)
        hulls = {number: part(hull, hull_name(base, number)) for number, hull in kept.items()}
        yield StandIns(main, levels, hulls)


def write(
    context: bpy.types.Context,
    copies: StandIns,
    folder: Path,
    name: str,
    wanted: Wanted,
    pictures: Mapping[str, Picture],
) -> PrintCheck | None:
    """Write the files of stand-ins into a folder of its own. Raises as ``export`` does.

    ``pictures`` are those of the object's mesh. Returns what a printer should know, if it is to be printed.
    """
    copy = copies.main
    if not copy.data.polygons:
        raise ValueError(translate("{name} has no faces").format(name=copy.name))
    chosen, target = FORMATS[wanted.format], TARGETS[wanted.target]
    main = folder / (name + chosen.ending)
    meshes = [copy.data, *(level.data for level in copies.levels.values())]
    joined = not chosen.tiles and any(picture.tiles for picture in pictures.values())
    if joined:
        halve_uvs(meshes, pictures.values())
    if chosen.print_size:
        return _print(copy, main, wanted.print_size, pictures)
    down = not target.green_up and wanted.format == "fbx"  # the other formats say themselves that green is up
    too_large = any(picture.side > target.most_pixels for picture in pictures.values())
    with ExitStack() as stack:
        if chosen.textures or wanted.format == "usdz" or joined or too_large:
            places = _places(wanted, pictures, folder, name)
            for kind, picture in pictures.items():
                picture.write(places[kind], target.most_pixels, flipped=down and kind == "normal_map")
            stack.enter_context(replace_images(meshes, pictures, places))
        own = copies.endings(wanted)
        for number, level in copies.levels.items():
            if ending := own.get(f"{wanted.format}_lod{number}"):
                _write_file(context, [level], folder / (name + ending), wanted)
        if ending := own.get(f"{wanted.format}_hulls"):
            _write_file(context, list(copies.hulls.values()), folder / (name + ending), wanted)
        what = stack.enter_context(_together(context, copies, wanted))
        _write_file(context, what, main, wanted)
    return None


@contextmanager
def _together(context: bpy.types.Context, copies: StandIns, wanted: Wanted) -> Iterator[list[bpy.types.Object]]:
    """Give what belongs into an object's main file, called as its program expects."""
    target, what, name = TARGETS[wanted.target], [copies.main], copies.main.name
    pattern = target.hulls.get(wanted.format, "") if copies.hulls else ""
    with ExitStack() as stack:
        if copies.levels and target.lod_group and wanted.format == "fbx":
            what += copies.levels.values()
            base = _shortened(name)
            name = f"{base}_LOD0"
            stack.enter_context(named(name, copies.main, bpy.data.objects))
            empty = stack.enter_context(group(context, base, what))
            empty["fbx_type"] = "LodGroup"  # what Blender's exporter makes of an empty object
            what.insert(0, empty)
        elif pattern:
            name = _shortened(name)
            stack.enter_context(named(name, copies.main, bpy.data.objects))
        if pattern:
            for number, hull in copies.hulls.items():
                stack.enter_context(named(hull_name(name, number, pattern), hull, bpy.data.objects))
            what += copies.hulls.values()
        yield what


def _write_file(context: bpy.types.Context, what: list[bpy.types.Object], path: Path, wanted: Wanted) -> None:
    """Write objects into one file. Raises OSError and RuntimeError."""
    with selected(context, what):
        context.view_layer.objects.active = what[-1]
        compressed = {"export_draco_mesh_compression_enable": wanted.draco}
        options = compressed if wanted.format == "glb" else TARGETS[wanted.target].fbx
        if _WRITERS[wanted.format](str(path), options) != {"FINISHED"} or not path.is_file():
            raise RuntimeError(translate("{name} could not be written").format(name=path.name))
    if wanted.format == "glb" and wanted.draco and DRACO not in path.read_bytes():
        # Without the library, Blender's exporter writes the mesh as it is, and calls that finished.
        raise RuntimeError(translate("This Blender was built without Draco. Turn Draco off"))
    if wanted.format == "obj":
        _count_faces(path, sum(len(each.data.polygons) for each in what))
    if wanted.format == "fbx":
        _forget_folder(path, path.parent)
    if wanted.format == "usdz":
        _forget_time(path)


def _places(wanted: Wanted, pictures: Mapping[str, Picture], folder: Path, name: str) -> dict[str, Path]:
    """Where each picture is written; for tiles with ``UDIM``. The kinds of a target's textures end with the kind."""
    endings = _endings(wanted.format if FORMATS[wanted.format].textures else "obj", wanted, pictures)
    tiles, found = _tiles(wanted, pictures), {}
    for kind in pictures:
        ending = next(one for label, one in endings.items() if label.endswith(kind))
        found[kind] = folder / (name + (of_tile(ending, UDIM) if kind in tiles else ending))
    return found


def _free_among(
    files: Iterable[Path], endings: Mapping[str, str], pictures: Mapping[str, Picture]
) -> Callable[[str], bool]:
    """Whether a name is none of these files'. A texture that is there already, with the same content, may be shared."""
    there = {key(path.name): path for path in files}

    def is_free(name: str) -> bool:
        found = {kind: there.get(key(name + ending)) for kind, ending in endings.items()}
        return all(path is None or _is_same(path, _content(kind, pictures)) for kind, path in found.items())

    return is_free


def _content(kind: str, pictures: Mapping[str, Picture]) -> bytes | None:
    """The PNG of a kind of image, or of one of its tiles, as ``in_tiles`` calls it; None if it is none of these."""
    if kind in pictures:
        return pictures[kind].png()
    kind, _, tile = kind.rpartition("_")
    return pictures[kind].tile_pngs().get(int(tile)) if kind in pictures and tile.isdigit() else None


def _is_same(path: Path, content: bytes | None) -> bool:
    return content is not None and path.is_file() and path.read_bytes() == content


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


def _glb(path: str, more: Mapping[str, object]) -> set[str]:
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
        **more,
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
        "object_types": {"MESH", "EMPTY"},  # an empty one is a group of levels of detail
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
