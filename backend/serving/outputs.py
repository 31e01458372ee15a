"""The files of an asset: what they are called, and how they are written.

Every name is made of the asset's, so that several assets can share a folder. ``NAME.json`` says which images an asset
was made from. Made from the same images again, it replaces its earlier files; another asset of that name gets a number.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..asset_facts import standing
from ..certificate import Certificate
from ..files import picture_digest, write_whole, written_together, written_whole
from ..formats import (
    CONVEX_ONLY,
    FORMATS,
    LEVELS,
    METALNESS,
    TEXTURES,
    TILES,
    UDIM,
    Offer,
    in_tiles,
    of_tile,
    offered,
    parts_of,
)
from ..generated import Generated
from ..mesh import AnyRawMesh, Mesh, printing
from ..mesh.export import (
    hulls_obj_text,
    mtl_text,
    obj_text,
    packed,
    write_gaussians,
    write_glb,
    write_hulls_glb,
    write_ply,
)
from ..mesh.finish import FinishedMesh
from ..mesh.lods import Lod
from ..mesh.portrait import draw_portrait
from ..names import asset_name, key, longest_in, numbered, seen_from
from ..portrait_facts import PORTRAIT
from ..print_facts import PrintCheck
from ..protocol import ImageCamera, Settings
from ..threemf import Colors, write_3mf

#: zlib level of the texture: the default (6) takes far longer for a few percent.
_PNG_LEVEL = 3

#: The endings of the UDIM tiles of an asset's images, by kind.
TILE_ENDINGS = in_tiles(TEXTURES, dict.fromkeys(TEXTURES, TILES))
#: The endings of an asset's files, by kind. The name of an image is that of the field of ``FinishedMesh``.
ENDINGS = {"arrays": ".npz", **TEXTURES, **TILE_ENDINGS, **METALNESS, "raw": ".raw.ply"}
for _format in offered(Offer.COMMAND):
    ENDINGS |= {_format: FORMATS[_format].ending, **FORMATS[_format].beside}
    ENDINGS |= parts_of(_format, Offer.COMMAND, LEVELS, True)
RAW_ARRAYS, NOTES = ".raw.npz", ".json"


@dataclass(frozen=True)
class Place:
    """Where the files of one asset go. ``pictures`` is the digest of the images that it is made from."""

    folder: Path
    name: str
    pictures: str

    @classmethod
    def find(cls, folder: Path, wanted: str, images: Sequence[str]) -> Place:
        """The place for an asset that is to be called ``wanted``, in an existing folder. Raises OSError."""
        pictures = _digest(images)
        there = {key(path.name): path for path in folder.iterdir()}

        def is_free(name: str) -> bool:
            if not any(key(name + ending) in there for ending in (*ENDINGS.values(), RAW_ARRAYS, NOTES)):
                return True
            notes = there.get(key(name + NOTES))
            return notes is not None and _pictures_in(notes) == pictures

        return cls(folder, numbered(asset_name(wanted, longest_in(folder)), is_free), pictures)

    def path(self, kind: str) -> Path:
        """The path of a kind of file."""
        return self.folder / (self.name + ENDINGS[kind])

    def tiles(self, kind: str) -> Path:
        """The path of all tiles of a kind of image, with ``UDIM`` for their number."""
        return self.folder / (self.name + of_tile(ENDINGS[kind], UDIM))

    def candidate(self, number: int) -> Place:
        """The place of one of several candidates."""
        return replace(self, name=f"{self.name}.{number}")

    @property
    def raw_arrays(self) -> Path:
        """The path of the raw mesh's arrays."""
        return self.folder / (self.name + RAW_ARRAYS)


def _digest(images: Sequence[str]) -> str:
    """A digest of the content of images that can be read, or of their paths: then the job says what is wrong."""
    found = hashlib.sha256()
    for image in images:
        found.update((picture_digest(Path(image)) or image).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def _pictures_in(notes: Path) -> object:
    """What the notes beside an asset say of its images; None if they cannot be read, or are a link or a pipe."""
    if notes.is_symlink() or not notes.is_file():
        return None
    try:
        return json.loads(notes.read_text("utf-8")).get("pictures")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def write_asset(
    place: Place,
    generated: Generated,
    settings: Settings,
    *,
    durable: bool,
    check: Callable[[], None] = lambda: None,
    printed: PrintCheck | None = None,
) -> dict[str, Path]:
    """Write an asset's files, all of them or none. Returns the path of each kind. Raises OSError.

    ``printed`` is what ``check_print`` found, if it is to be printed. ``check()`` may end the writing by raising.

    The files for other programs hold the asset as Blender's object stands: see ``standing``. Only the arrays are as
    they were made.
    """
    mesh = generated.mesh
    factor, shift = standing(mesh.vertices.min(axis=0), mesh.vertices.max(axis=0))
    stood = mesh.moved(factor, shift)
    rough = settings.roughness == "estimated" or mesh.metallic is not None
    painted = {"texture": mesh.color, "normal_map": mesh.normal_map, "occlusion": _packed(mesh, rough)}
    present = {kind: image for kind, image in painted.items() if image is not None}
    if settings.udim:
        present |= {f"{kind}_{tile}": _quarter(image, tile) for kind, image in present.items() for tile in TILES}
    if mesh.metallic is not None and any(FORMATS[name].metalness for name in settings.formats):
        present["metallic"] = mesh.metallic
    images = {kind: _png(image) for kind, image in present.items()}
    kinds = ["arrays", "glb", *images, *_asked_for(generated, settings)]
    files = {kind: place.path(kind) for kind in kinds}
    with written_together(*files.values(), durable=durable) as parts:
        part = dict(zip(kinds, parts, strict=True))
        for kind, png in images.items():
            part[kind].write_bytes(png)
        np.savez(part["arrays"], **_arrays(mesh))
        normal_map, occlusion = images.get("normal_map"), images.get("occlusion")
        embedded = images["texture"], normal_map, place.name, occlusion
        pattern = CONVEX_ONLY if settings.collision_nodes else ""
        write_glb(part["glb"], stood, *embedded, rough=rough, draco=settings.draco, hulls=pattern)
        if "raw" in part:
            raw = generated.raw.numpy()
            moved = (raw.vertices * np.float32(factor) + np.array(shift, np.float32)).astype(np.float32)
            write_ply(part["raw"], replace(raw, vertices=moved))
        if "obj" in part:
            normals = files["normal_map"].name if "normal_map" in files else None
            part["obj"].write_text(obj_text(stood, files["mtl"].name, place.name), "utf-8", newline="\n")
            for number, lod in enumerate(stood.lods, 1):
                text = obj_text(stood.level(lod), files["mtl"].name, f"{place.name}_LOD{number}", place.name)
                part[f"obj_lod{number}"].write_text(text, "utf-8", newline="\n")
            maps = files["occlusion"].name if rough else None, files["metallic"].name if "metallic" in files else None
            words = mtl_text(files["texture"].name, normals, place.name, *maps, see_through=mesh.see_through)
            part["mtl"].write_text(words, "utf-8", newline="\n")
        check()
        if printed is not None:
            opaque = _png(mesh.texture) if mesh.see_through else images["texture"]
            _write_prints(part, stood, settings.print_size, opaque, place.name, printed.closed, check)
        if "ply" in part:
            for number, level in enumerate([stood, *map(stood.level, stood.lods)]):
                colored = Mesh(level.vertices, level.faces, level.vertex_colors())
                write_ply(part[f"ply_lod{number}" if number else "ply"], colored)
        if "glb_hulls" in part:
            write_hulls_glb(part["glb_hulls"], stood.hulls, place.name)
        if "obj_hulls" in part:
            part["obj_hulls"].write_text(hulls_obj_text(stood.hulls, place.name), "utf-8", newline="\n")
        if "gaussians" in part and generated.gaussians is not None:
            write_gaussians(part["gaussians"], generated.gaussians, factor, shift)
    return files


def _packed(mesh: FinishedMesh, rough: bool) -> np.ndarray | None:
    """The image of occlusion, roughness and metalness, [T, T, 3] uint8; None if none is asked for or known."""
    if mesh.occlusion is None and not rough:
        return None
    unoccluded = np.full(mesh.texture.shape[:2], 255, np.uint8)
    return packed(unoccluded if mesh.occlusion is None else mesh.occlusion, mesh.roughness, mesh.metallic)


def _quarter(image: np.ndarray, tile: int) -> np.ndarray:
    """A UDIM tile [T / 2, T / 2, ...] of an image [T, T, ...] with row 0 at the top. The first is the lower left."""
    half, (row, column) = len(image) // 2, divmod(tile - TILES[0], 10)
    top = half * (1 - row)
    return image[top : top + half, half * column : half * (column + 1)]


def _arrays(mesh: FinishedMesh) -> dict[str, Any]:
    """The arrays of a mesh, see ``protocol.Result``."""
    found: dict[str, Any] = {PORTRAIT: draw_portrait(mesh)}
    levels: list[FinishedMesh | Lod] = [mesh, *mesh.lods]
    for number, level in enumerate(levels):
        prefix = f"lod{number}_" if number else ""
        found[prefix + "vertices"] = level.vertices.astype(np.float32)
        found[prefix + "faces"] = level.faces.astype(np.int32)
        found[prefix + "uvs"] = level.uvs.astype(np.float32)
    for number, hull in enumerate(mesh.hulls, 1):
        found[f"hull{number}_vertices"] = hull.vertices.astype(np.float32)
        found[f"hull{number}_faces"] = hull.faces.astype(np.int32)
    return found


def _asked_for(generated: Generated, settings: Settings) -> list[str]:
    """The kinds of files that a person chose."""
    kinds = ["raw"] if settings.keep_raw else []
    for name in settings.formats:
        if name != "gaussians" or generated.gaussians is not None:
            kinds += [kind for kind in (name, *FORMATS[name].beside) if kind not in kinds]
    levels = range(1, len(generated.mesh.lods) + 1)
    for name in ("glb", *settings.formats):
        parts = parts_of(name, Offer.COMMAND, levels, bool(generated.mesh.hulls))
        kinds += [kind for kind in parts if kind not in kinds]
    return kinds


def check_print(generated: Generated, settings: Settings, check: Callable[[], None]) -> PrintCheck | None:
    """What a printer should know of an asset; None if it is not to be printed. ``check()`` may end it by raising."""
    if not settings.is_printed:
        return None
    mesh = generated.mesh
    factor, _ = standing(mesh.vertices.min(axis=0), mesh.vertices.max(axis=0), settings.print_size)
    return printing.checked(printing.solid(Mesh(mesh.vertices * np.float32(factor), mesh.faces, None))[0], check)


def _write_prints(
    part: dict[str, Path],
    stood: FinishedMesh,
    size: float,
    texture: bytes,
    name: str,
    closed: bool,
    check: Callable[[], None],
) -> None:
    """Write the files for printing, in millimetres, of a mesh whose longest side is a metre."""
    mesh, kept = printing.solid(Mesh(stood.vertices * np.float32(size), stood.faces, None))
    if "stl" in part:
        printing.write_stl(part["stl"], mesh, check)
    if "3mf" in part:
        uvs, corners = np.unique(stood.uvs[kept].reshape(-1, 2), axis=0, return_inverse=True)
        colors = Colors(texture, uvs, corners.reshape(-1, 3))
        write_3mf(part["3mf"], mesh.vertices, mesh.faces, name=name, closed=closed, colors=colors, check=check)


def write_raw(place: Place, raw: AnyRawMesh) -> Path:
    """Write the arrays of a raw mesh, and return their path. Raises OSError."""
    surface = raw.numpy()
    colors = np.full_like(surface.vertices, 0.8) if surface.colors is None else surface.colors
    with written_whole(place.raw_arrays) as part:
        np.savez(
            part,
            vertices=surface.vertices.astype(np.float32),
            faces=surface.faces.astype(np.int32),
            colors=colors.astype(np.float32),
        )
    return place.raw_arrays


def certificate_of(mesh: FinishedMesh) -> Certificate:
    """The certificate of an asset as its files for other programs hold it."""
    factor, _ = standing(mesh.vertices.min(axis=0), mesh.vertices.max(axis=0))
    return mesh.certificate.scaled(factor)


def write_notes(
    place: Place,
    settings: dict[str, Any],
    counts: dict[str, int],
    cameras: tuple[ImageCamera | None, ...],
    certificate: Certificate | None = None,
) -> None:
    """Write how an asset was made and what was checked, with paths as seen from its folder. Raises OSError."""
    told = dict(settings)
    if "images" in told:
        told["images"] = [seen_from(place.folder, image) for image in told["images"]]
    if told.get("model"):
        told["model"] = seen_from(place.folder, told["model"])
    notes: dict[str, Any] = {"settings": told, "counts": counts, "pictures": place.pictures}
    if certificate is not None:
        notes["certificate"] = {**asdict(certificate), "sound": certificate.sound}
    if cameras:
        notes["cameras"] = [camera and asdict(camera) for camera in cameras]
    write_whole(place.folder / (place.name + NOTES), json.dumps(notes, indent=2) + "\n")


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()
