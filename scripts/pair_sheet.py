"""Objects with materials, as they are and as a pair of decoders makes them of their latents, on one picture.

    python -m scripts.pair_sheet --pair FOLDER [--out docs/pair.jpg]

The objects are procedural and were never trained on. Beside each render (Blender's, by pip's bpy): the textures of the
second, its base colours, and its roughness in green and metalness in blue.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from backend.mesh import MaterialMesh
from backend.mesh.export import packed
from backend.mesh.extract.dual_grid import positions, quads_of, sample_at_vertices, split_by_weight
from backend.mesh.finish import FinishedMesh, finish
from backend.training.objects.dual_grid import voxel_object
from backend.training.objects.shapes import HELD_OUT
from backend.training.scratch.decoder_pair import PAIRS, Batch, DecoderPair, batch_of
from scripts.contact_sheet import GAP, INK, LABEL, PAPER, write
from scripts.finish_sheet import ROOT, rendered, write_asset

FACES, TEXTURE_SIZE, TILE = 6000, 1024, 320
OBJECTS = ("robot", 3), ("car", 5), ("mug", 1), ("rocket", 4)
COLUMNS = ("as it is", "from latents", "base colours", "roughness, metalness")


def main() -> int:
    """Decode and finish the objects, and write the sheet and their .glb beside it."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.pair_sheet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pair", type=Path, required=True, metavar="FOLDER", help="what scripts.train pair has written"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pair.jpg", metavar="FILE")
    options = parser.parse_args()
    pair, preset = DecoderPair.load(options.pair), PAIRS["mini"]
    resolution = preset.resolution
    rows = []
    for family, number in OBJECTS:
        batch = batch_of([voxel_object(family, HELD_OUT + number, resolution)], preset.levels, torch.device("cpu"))
        true, made = (finished(mesh) for mesh in (as_it_is(batch, resolution), decoded(pair, batch, resolution)))
        write_asset(options.out.with_name(f"{family}.glb"), made)
        rows.append((f"{family}: {'watertight' if made.certificate.watertight else 'open'}", list(tiles(true, made))))
        print(rows[-1][0], flush=True)
    sheet(rows).save(options.out, quality=90)
    return 0


def as_it_is(batch: Batch, resolution: int) -> MaterialMesh:
    """The surface of an object's own dual grid."""
    grid, neighbours = batch.grid, batch.voxels.neighbours
    painted = sample_at_vertices(grid.vertices, neighbours, batch.materials)
    faces = split_by_weight(quads_of(neighbours, grid.crossed), grid.weights)
    vertices = positions(batch.voxels.coords[:, 1:], grid.vertices, resolution)
    return MaterialMesh(vertices, faces, painted[:, :3], painted[:, 3:], resolution)


@torch.no_grad()
def decoded(pair: DecoderPair, batch: Batch, resolution: int) -> MaterialMesh:
    """The surface that the decoders make of the object's latents."""
    shape, texture = (part.encode(batch).mean for part in pair)
    return pair.decode(shape, texture, resolution)


def finished(mesh: MaterialMesh) -> FinishedMesh:
    """The asset."""
    return finish(mesh, faces=FACES, texture_size=TEXTURE_SIZE)


def tiles(true: FinishedMesh, made: FinishedMesh) -> Iterator[Image.Image]:
    """The pictures of one object, in the order of ``COLUMNS``."""
    yield rendered(true, TILE)
    yield rendered(made, TILE)
    yield Image.fromarray(made.texture)
    yield Image.fromarray(packed(np.zeros(made.texture.shape[:2], np.uint8), made.roughness, made.metallic))


def sheet(rows: list[tuple[str, list[Image.Image]]]) -> Image.Image:
    """The sheet: a row of pictures for each object."""
    height = TILE + LABEL + GAP
    paper = Image.new("RGB", (len(COLUMNS) * (TILE + GAP) + GAP, len(rows) * height + GAP), PAPER)
    for index, (title, pictures) in enumerate(rows):
        for column, (name, picture) in enumerate(zip(COLUMNS, pictures, strict=True)):
            left, top = column * (TILE + GAP) + GAP, index * height + GAP
            write(paper, (left, top), f"{title}, {name}" if not column else name, size=16, color=INK)
            paper.paste(picture.resize((TILE, TILE), Image.Resampling.LANCZOS), (left, top + LABEL - 4))
    return paper


if __name__ == "__main__":
    sys.exit(main())
