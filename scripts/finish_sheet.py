"""Eight assets on one picture: clay, wireframe, UV layout, texture and final render.

    python -m scripts.finish_sheet [--out docs/finish.jpg] [--resolution 128] [--faces 1500]

The objects are procedural and no model is involved: the picture shows what finishing makes of a raw surface. The
renders come from Blender (pip's bpy), the rest is drawn with numpy.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from backend.evaluation.viewing import Seen, look, look_up
from backend.mesh.bake.tangents import tangent_space
from backend.mesh.export import packed, write_glb
from backend.mesh.finish import FinishedMesh, finish
from backend.training.objects.families import FAMILIES
from backend.training.objects.render import View
from backend.training.objects.shapes import HELD_OUT
from scripts.benchmark.finishing import raw_surface
from scripts.benchmark.objects import procedural
from scripts.contact_sheet import GAP, INK, LABEL, PAPER, write

ROOT = Path(__file__).resolve().parent.parent
COUNT, TEXTURE_SIZE, TILE, SUPERSAMPLING = 8, 1024, 192, 6
LINE_WIDTH = 0.002  # of the wireframe, in sides of the cube
COLUMNS = ("clay", "wireframe", "UV layout", "texture", "render")
VIEW = View(azimuth=30, elevation=25, fov=36)
LIGHT = np.array([-0.4, -0.6, 0.7]) / np.linalg.norm([-0.4, -0.6, 0.7])
CLAY, LINE, CHART = np.array([205, 190, 175]), np.array([40, 60, 90]), np.array([225, 232, 240])


def main() -> int:
    """Finish one object of each of the first families, and write the sheet."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.finish_sheet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "finish.jpg", metavar="FILE")
    parser.add_argument("--resolution", type=int, default=128, help="grid of the raw surface, in cubes along a side")
    parser.add_argument("--faces", type=int, default=1500, help="target number of faces")
    options = parser.parse_args()
    rows = []
    for family in list(FAMILIES)[:COUNT]:
        mesh = finish(
            raw_surface(procedural(family, HELD_OUT + 2), options.resolution),
            faces=options.faces,
            texture_size=TEXTURE_SIZE,
        )
        rows.append((f"{family}: {len(mesh.faces)} faces, {mesh.counts['charts']} charts", list(tiles(mesh))))
        print(rows[-1][0], flush=True)
    sheet(rows).save(options.out, quality=88)
    return 0


def tiles(mesh: FinishedMesh) -> Iterator[Image.Image]:
    """The pictures of one asset, in the order of ``COLUMNS``."""
    yield shaded(mesh)
    yield shaded(mesh, wire=True)
    yield uv_layout(mesh)
    yield Image.fromarray(mesh.texture)
    yield rendered(mesh)


def shaded(mesh: FinishedMesh, wire: bool = False) -> Image.Image:
    """Clay with the normal map, or flat with the faces' edges; cropped to the object."""
    size = TILE * SUPERSAMPLING
    seen = look(mesh.vertices, mesh.faces, VIEW, size)
    corners = mesh.vertices[mesh.faces]
    if wire:
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[seen.face]
    else:
        assert mesh.normal_map is not None
        frame = tangent_space(mesh.vertices, mesh.faces, mesh.uvs)
        local = look_up(mesh.normal_map, seen.interpolate(mesh.uvs)) / 127.5 - 1
        normals = frame.decode(seen.face, seen.weights, local)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    shade = 0.45 + 0.6 * np.clip(normals @ LIGHT, 0, 1)[:, None]
    image = np.full((size * size, 3), PAPER, dtype=np.float64)
    image[seen.pixel] = CLAY * shade
    if wire:
        near = on_edges(seen, corners)[:, None]
        image[seen.pixel] = np.where(near, LINE, image[seen.pixel])
    rows, columns = np.divmod(seen.pixel, size)
    half = 0.55 * max(np.ptp(rows), np.ptp(columns))
    y, x = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    whole = Image.fromarray(image.clip(0, 255).astype(np.uint8).reshape(size, size, 3))
    tile = Image.new("RGB", (round(2 * half),) * 2, PAPER)  # larger than the picture if the object is near its border
    tile.paste(whole, (round(half - x), round(half - y)))
    return tile


def on_edges(seen: Seen, corners: np.ndarray) -> np.ndarray:
    """Whether each pixel is on a line along an edge of its face, [P] bool."""
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(u, v), axis=1)
    sides = np.linalg.norm(corners[:, [1, 2, 0]] - corners[:, [2, 0, 1]], axis=2)
    heights = (area[:, None] / np.maximum(sides, 1e-12))[seen.face]
    return np.asarray((seen.weights * heights).min(axis=1) < LINE_WIDTH / 2)


def uv_layout(mesh: FinishedMesh) -> Image.Image:
    """The triangles in UV space."""
    size = TILE * 3
    image = Image.new("RGB", (size, size), PAPER)
    draw = ImageDraw.Draw(image)
    for triangle in mesh.uvs * [size, -size] + [0, size]:
        draw.polygon([tuple(point) for point in triangle], fill=tuple(CHART.tolist()), outline=tuple(LINE.tolist()))
    return image


def write_asset(path: Path, mesh: FinishedMesh) -> None:
    """Write a .glb with all the textures that the mesh has."""
    normal_map = None if mesh.normal_map is None else png(mesh.normal_map)
    rough, materials = mesh.roughness is not None, None
    if rough:
        open_everywhere = np.full(mesh.texture.shape[:2], 255, np.uint8)
        materials = png(packed(open_everywhere, mesh.roughness, mesh.metallic))
    write_glb(path, mesh, png(mesh.color), normal_map, path.stem, materials, rough=rough)


def png(image: np.ndarray) -> bytes:
    """An image as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def rendered(mesh: FinishedMesh, size: int = TILE) -> Image.Image:
    """A Cycles render of the asset, imported from its .glb."""
    import bpy

    from scripts.batch import load_checkout

    load_checkout()
    from espalier.blender_addon.scene.render_preview import render_preview

    with tempfile.TemporaryDirectory() as folder:
        glb, render = Path(folder) / "asset.glb", Path(folder) / "asset.png"
        write_asset(glb, mesh)
        bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
        bpy.ops.import_scene.gltf(filepath=str(glb))
        render_preview(next(item for item in bpy.context.scene.objects if item.type == "MESH"), render, size)
        with Image.open(render) as picture:
            return picture.convert("RGB")


def sheet(rows: list[tuple[str, list[Image.Image]]]) -> Image.Image:
    """The sheet: two assets side by side, each a row of pictures."""
    columns = 2
    width, height = len(COLUMNS) * (TILE + GAP) + GAP, TILE + LABEL + GAP
    paper = Image.new("RGB", (columns * width, -(-len(rows) // columns) * height + GAP), PAPER)
    for index, (title, pictures) in enumerate(rows):
        left, top = index % columns * width + GAP, index // columns * height + GAP
        write(paper, (left, top), title, size=16, color=INK)
        for column, picture in enumerate(pictures):
            tile = picture.resize((TILE, TILE), Image.Resampling.LANCZOS)
            paper.paste(tile, (left + column * (TILE + GAP), top + LABEL - 4))
    return paper


if __name__ == "__main__":
    sys.exit(main())
