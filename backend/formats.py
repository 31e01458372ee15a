"""The file formats of an asset, and the programs that they are written for. Each is declared once, here.

Three doors offer formats: the backend's command line, batch, and *Export* in Blender. Their options, help, menus and
the names of the files derive from these tables. Standard library only: both sides use this module.

Who writes a format depends on where the object is. The backend has an asset as it was made, and writes it for the
command line and for batch. An object in a scene may have been edited since, so *Export* writes it as it stands there,
with Blender's own exporters. FBX and USD are Blender's in batch, too: the backend has no writer for them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


class Offer(enum.Flag):
    """The doors at which a format can be chosen."""

    COMMAND = enum.auto()  # ``python -m backend generate``, beside the .glb that it always writes
    BATCH = enum.auto()  # ``scripts/batch.py`` and ``blender --command espalier``
    BUTTON = enum.auto()  # *Export* in Blender


NOWHERE = Offer(0)


@dataclass(frozen=True)
class Format:
    """A file format of an asset."""

    name: str  # as ``--format`` takes it
    title: str
    words: str
    ending: str
    offers: Offer
    by_blender: bool = False  # whether Blender writes it in a batch
    textures: bool = False  # whether its textures lie beside it, as files of their own
    beside: Mapping[str, str] = field(default_factory=dict)  # kind -> ending of what else belongs to it
    print_size: bool = False  # whether it is for printing: in millimetres, and as large as the print
    #: Whether Blender writes it with UDIM tiles; else it gets the texture whole: glTF has none, and in a .usdc Blender
    #: writes their whole paths, which are nobody else's.
    tiles: bool = False
    levels: Offer = NOWHERE  # the doors at which each level of detail is a file of its own beside it
    hulls: Offer = NOWHERE  # the doors at which the convex hulls are a file of their own, unless they are in it
    #: Whether the backend writes an image of the metalness alone beside it, if the model makes materials: its readers
    #: do not know the channels of an image.
    metalness: bool = False


#: The endings of an asset's images, by kind. The kinds are fields of ``FinishedMesh``.
TEXTURES: Mapping[str, str] = {
    "texture": ".texture.png",
    "normal_map": ".normal_map.png",
    "occlusion": ".occlusion.png",
}
#: The image of the metalness alone, as above.
METALNESS: Mapping[str, str] = {"metallic": ".metallic.png"}
#: The UDIM tiles that a texture is laid out in on request: four equal squares, from the lower left, row by row.
TILES = (1001, 1002, 1011, 1012)
#: What stands for a tile's number in the path of all tiles, as in MaterialX and Blender.
UDIM = "<UDIM>"

ALL = Offer.COMMAND | Offer.BATCH | Offer.BUTTON
FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        Format("glb", "glTF Binary", "One file with its textures, for the web and for engines", ".glb", ALL,
            levels=Offer.BUTTON,  # the backend's has them itself
            hulls=ALL),
        Format("blend", "Blender", "The asset in Blender, its textures packed", ".blend", Offer.BATCH, by_blender=True),
        Format(
            "obj",
            "OBJ",
            "A simple format with its material and textures as files beside it",
            ".obj",
            ALL,
            textures=True,
            tiles=True,
            beside={"mtl": ".mtl"},
            levels=ALL,
            hulls=ALL,
            metalness=True,
        ),
        Format(
            "fbx",
            "FBX",
            "What Unreal Engine and Unity import, with its textures as files beside it",
            ".fbx",
            Offer.BATCH | Offer.BUTTON,
            by_blender=True,
            textures=True,
            tiles=True,
            levels=ALL,
            hulls=ALL,
        ),
        Format(
            "usd",
            "USD",
            "For film and layout, with its textures as files beside it",
            ".usdc",
            Offer.BATCH | Offer.BUTTON,
            by_blender=True,
            textures=True,
            levels=ALL,
            hulls=ALL,
        ),
        Format(
            "usdz",
            "USDZ",
            "USD in one file with its textures, also for phones",
            ".usdz",
            Offer.BATCH | Offer.BUTTON,
            by_blender=True,
            tiles=True,
            levels=ALL,
            hulls=ALL,
        ),
        Format("stl", "STL", "The shape alone, in millimeters, for 3D printing", ".stl", ALL, print_size=True),
        Format(
            "3mf", "3MF", "The shape and its colors, in millimeters, for 3D printing", ".3mf", ALL, print_size=True
        ),
        Format(
            "ply", "PLY", "The simplified mesh with vertex colors", ".ply", Offer.COMMAND | Offer.BATCH, levels=ALL
        ),
        Format(
            "gaussians", "Gaussians", "The model's 3D Gaussians as .ply", ".gaussians.ply", Offer.COMMAND
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A program that assets go to, and what it expects of their files. docs/using.md names the sources."""

    name: str  # as ``--target`` takes it
    title: str
    words: str
    formats: tuple[str, ...]  # those that fit it, the best first
    textures: Mapping[str, str] = field(default_factory=lambda: TEXTURES)  # kind -> ending
    green_up: bool = True  # handedness of normal maps: green is up (OpenGL, glTF), not down (DirectX)
    most_pixels: int = 16384  # the largest side of a texture
    fbx: Mapping[str, object] = field(default_factory=dict)  # options of Blender's exporter
    lod_group: bool = False  # whether it takes the levels of detail of an FBX from one file, in a group
    #: How it knows convex hulls by their names in the same file, by format. ``mesh`` is what the mesh is called there.
    hulls: Mapping[str, str] = field(default_factory=dict)


#: How convex hulls are called: by Unreal's convention, which others read too, and by Godot's.
UCX, CONVEX_ONLY = "UCX_{mesh}_{number:02}", "{mesh}_{number:02}-convcolonly"
#: The levels of detail after the first: as many as the backend makes.
LEVELS = (1, 2, 3)
HULLS = ".hulls"

TARGETS: Mapping[str, Target] = {
    each.name: each
    for each in (
        Target(
            "any",
            "Any Program",
            "No conventions of any program: green is up in normal maps",
            tuple(name for name, each in FORMATS.items() if Offer.BUTTON in each.offers),
        ),
        Target(
            "unreal",
            "Unreal Engine",
            "FBX in centimeters, green down in normal maps, textures named _BC, _N and _ORM",
            ("fbx", "glb", "usd"),
            textures={"texture": "_BC.png", "normal_map": "_N.png", "occlusion": "_ORM.png"},
            green_up=False,
            most_pixels=8192,
            fbx={"apply_scale_options": "FBX_SCALE_NONE"},
            lod_group=True,
            hulls={"fbx": UCX},
        ),
        Target(
            "unity",
            "Unity",
            "FBX with no scale and no rotation left on the object, textures named as its Lit shader names them",
            ("fbx", "glb"),
            textures={
                "texture": "_BaseMap.png",
                "normal_map": "_NormalMap.png",
                "occlusion": "_OcclusionMap.png",
            },
            fbx={"apply_scale_options": "FBX_SCALE_ALL", "bake_space_transform": True},
            lod_group=True,
        ),
        Target(
            "godot",
            "Godot",
            "glTF, which Godot recommends",
            ("glb", "obj", "fbx"),
            hulls={"glb": CONVEX_ONLY, "fbx": CONVEX_ONLY},
        ),
        Target(
            "threejs",
            "three.js",
            "glTF with textures of at most 4096 pixels, which nearly every browser can show",
            ("glb", "usdz"),
            most_pixels=4096,
        ),
        Target("print", "3D Print", "The shape in millimeters, checked for printing", ("3mf", "stl")),
    )
}  # fmt: skip


def offered(door: Offer) -> tuple[str, ...]:
    """The names of the formats that a door offers."""
    return tuple(name for name, each in FORMATS.items() if door in each.offers)


def hull_name(mesh: str, number: int, pattern: str = "") -> str:
    """What the convex hull of a number, from 1, is called. ``pattern`` is one of ``Target.hulls``."""
    return (pattern or UCX).format(mesh=mesh, number=number)


def parts_of(
    name: str, door: Offer, levels: Iterable[int], hulls: bool, target: Target | None = None
) -> dict[str, str]:
    """The endings of the files of a format that hold its levels of detail and its convex hulls, by kind.

    A part that the main file has as well, because the program knows it there, is none of them. ``levels`` are the
    numbers of those that the object has, and ``hulls`` says whether it has any.
    """
    chosen = FORMATS[name]
    found: dict[str, str] = {}
    if door in chosen.levels and not (target is not None and target.lod_group and name == "fbx"):
        for number in levels:
            found |= {f"{kind}_lod{number}": f"_LOD{number}{ending}" for kind, ending in _own(name, door)}
    if hulls and door in chosen.hulls and not (target is not None and name in target.hulls):
        found |= {f"{kind}_hulls": f"{HULLS}{ending}" for kind, ending in _own(name, door)}
    return found


def _own(name: str, door: Offer) -> list[tuple[str, str]]:
    """The files of a part. Blender writes a material for each .obj; the backend's share that of the asset."""
    chosen = FORMATS[name]
    return [(name, chosen.ending), *(chosen.beside.items() if door is Offer.BUTTON else ())]


def of_tile(name: str, tile: int | str) -> str:
    """The name or ending of the file of one tile, or with ``UDIM`` of all: a.png is a.1001.png."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.{tile}{dot}{suffix}"


def in_tiles(endings: Mapping[str, str], tiles: Mapping[str, Iterable[int]]) -> dict[str, str]:
    """Endings by kind, where those of images in UDIM tiles are replaced: texture by ``texture_1001`` and so on.

    ``tiles`` has the numbers of an image's tiles, by its kind. A target's kinds end with these.
    """
    found: dict[str, str] = {}
    for label, ending in endings.items():
        numbers = next((numbers for kind, numbers in tiles.items() if label.endswith(kind)), ())
        found |= {f"{label}_{tile}": of_tile(ending, tile) for tile in numbers} or {label: ending}
    return found


def files_of(name: str, images: tuple[str, ...], target: Target | None = None) -> dict[str, str]:
    """The endings of all files of a format, by kind, itself first.

    ``images`` are the kinds of images that the asset has. Only what Blender writes follows a ``target``.
    """
    chosen = FORMATS[name]
    found = {name: chosen.ending, **chosen.beside}
    if chosen.textures:
        of_target = target is not None and chosen.by_blender and target.textures != TEXTURES
        endings = target.textures if target is not None and of_target else TEXTURES
        found |= {f"{target.name}_{kind}" if target and of_target else kind: endings[kind] for kind in images}
    return found
