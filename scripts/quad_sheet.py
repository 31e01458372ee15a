"""Quads beside Instant Meshes and Blender's QuadriFlow: figures for held-out objects, and a sheet of wireframes.

    python -m scripts.quad_sheet [--n 24] [--faces 10000] [--out docs/quads.jpg] [--json]

The bundled student makes each object. Its surface is remeshed three times to about half as many quads as ``--faces``
says. QuadriFlow needs pip's bpy; Instant Meshes needs pyinstantmeshes, which no lock has (``pip install
pyinstantmeshes``). Both run in a process of their own for each object, which ends after two minutes: QuadriFlow never
ends for some surfaces. What is not there, or makes nothing of an object, is left out, and said.

- *quads*: share of all faces, in percent
- *bend*: how far corners of quads differ from right angles, in degrees, in the mean
- *irregular*: share of vertices that do not have four edges, in percent
- *distance*: from points on either surface to the other one, in ten-thousandths of the cube, the larger mean
- *closed*: how many of the objects are closed surfaces
- *seconds*
- *objects*: how many it made something of
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from PIL import Image, ImageDraw

from backend.evaluation.cases import cases
from backend.mesh import Mesh
from backend.mesh.base.projection import Projector
from backend.mesh.clean.simplify import simplified
from backend.mesh.finish import FINE, FINER, clean
from backend.mesh.paint.camera import Camera, draw
from backend.mesh.quads.quads import remeshed
from backend.pipeline import Pipeline
from backend.protocol import DEFAULT_MODEL, Settings
from backend.weights.folders import ModelFolder
from scripts.contact_sheet import GAP, INK, LABEL, PAPER, write

ROOT = Path(__file__).resolve().parent.parent
SHOWN, TILE, SUPERSAMPLING = 4, 300, 3  # objects on the sheet, pixels of a picture, and how much larger it is drawn
POINTS = 20_000  # on each surface, for distances
LARGE = 100.0  # QuadriFlow refuses meshes with edges shorter than a ten-thousandth
CAMERA = Camera(30.0, 22.0, 36.0)
SPAWN, LIMIT = multiprocessing.get_context("spawn"), 120.0  # seconds that others have for an object
FIGURES = ("quads", "bend", "irregular", "distance", "closed", "seconds")
LINE, CLAY = (40, 60, 90), np.array([222, 212, 200])


class Remeshed(NamedTuple):
    """A mesh of polygons."""

    vertices: np.ndarray  # [V, 3]
    polygons: list[list[int]]

    def triangles(self) -> tuple[np.ndarray, np.ndarray]:
        """The faces cut into triangles [F, 3], and the polygon of each."""
        cut = [(p, [c[0], c[k], c[k + 1]]) for p, c in enumerate(self.polygons) for k in range(1, len(c) - 1)]
        return np.array([corners for _, corners in cut]), np.array([number for number, _ in cut])


def ours(surface: Mesh, faces: int) -> Remeshed:
    """Espalier's quads."""
    made = remeshed(surface.vertices, surface.faces, faces)
    one, other = made.faces[0 : 2 * made.quads : 2], made.faces[1 : 2 * made.quads : 2]
    quads = np.concatenate([one, other[:, 2:]], axis=1)
    return Remeshed(made.vertices, quads.tolist() + made.faces[2 * made.quads :].tolist())


def timed(surface: Mesh, faces: int) -> tuple[Remeshed, float]:
    """Espalier's quads, and the seconds that they took."""
    started = time.perf_counter()
    return ours(surface, faces), time.perf_counter() - started


def instant_meshes(surface: Mesh, faces: int) -> Remeshed:
    """Those of Instant Meshes with extrinsic fields, as its authors advise."""
    import pyinstantmeshes  # type: ignore[import-not-found,unused-ignore]
    import trimesh

    with tempfile.TemporaryDirectory() as folder:
        source, target = (str(Path(folder, name)) for name in ("in.obj", "out.obj"))
        trimesh.Trimesh(surface.vertices, surface.faces, process=False).export(source)
        pyinstantmeshes.remesh_file(source, target, target_face_count=faces // 2, extrinsic=True, deterministic=True)
        lines = [line.split() for line in Path(target).read_text("utf-8").splitlines() if line[:2] in ("v ", "f ")]
    vertices = np.array([[float(word) for word in line[1:4]] for line in lines if line[0] == "v"])
    return Remeshed(vertices, [[int(word.split("/")[0]) - 1 for word in line[1:]] for line in lines if line[0] == "f"])


def quadriflow(surface: Mesh, faces: int) -> Remeshed:
    """Those of Blender's QuadriFlow."""
    import bpy

    mesh = bpy.data.meshes.new("surface")
    mesh.from_pydata((LARGE * surface.vertices).tolist(), [], surface.faces.tolist())
    mesh.update(calc_edges=True)
    thing = bpy.data.objects.new("surface", mesh)
    bpy.context.collection.objects.link(thing)
    bpy.context.view_layer.objects.active = thing
    thing.select_set(True)
    bpy.ops.object.quadriflow_remesh(mode="FACES", target_faces=faces // 2, seed=0, use_mesh_symmetry=False)
    made = Remeshed(
        np.array([vertex.co for vertex in thing.data.vertices]) / LARGE,
        [list(face.vertices) for face in thing.data.polygons],
    )
    bpy.data.objects.remove(thing)
    return made


def apart(method: Callable[[Mesh, int], Remeshed], surface: Mesh, faces: int) -> tuple[Remeshed, float]:
    """What a method makes, in a process of its own, and its seconds. Raises RuntimeError if it makes nothing."""
    receive, send = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=_work, args=(method, surface, faces, send))
    process.start()
    send.close()
    try:
        if not receive.poll(LIMIT):
            raise RuntimeError(f"it does not end within {LIMIT:.0f} s")
        answer = receive.recv()
    except EOFError:
        raise RuntimeError("its process ended without an answer") from None
    finally:
        process.kill()
        process.join()
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return cast(tuple[Remeshed, float], answer)


def _work(method: Callable[[Mesh, int], Remeshed], surface: Mesh, faces: int, send: Connection) -> None:
    for needed in (needed for needed, each in METHODS.values() if each is method):
        importlib.import_module(needed)  # not to be counted
    started = time.perf_counter()
    try:
        made = method(surface, faces)
        send.send((made, time.perf_counter() - started))
    except Exception as error:  # of another's software: it is said, and the object left out
        send.send(f"{type(error).__name__}: {error}")


METHODS: dict[str, tuple[str, Callable[[Mesh, int], Remeshed]]] = {
    "Espalier": ("", ours),
    "Instant Meshes": ("pyinstantmeshes", instant_meshes),
    "QuadriFlow": ("bpy", quadriflow),
}


def main() -> int:
    """Remesh, print the figures, and write the sheet."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.quad_sheet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=24, help="number of objects (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="chooses the objects")
    parser.add_argument("--faces", type=int, default=10_000, help="a quad counts as two (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the sheet")
    parser.add_argument("--json", action="store_true", help="print the figures as one object on the last line")
    options = parser.parse_args()
    methods = {}
    for name, (needed, method) in METHODS.items():
        if needed and importlib.util.find_spec(needed) is None:
            say(f"{name} is left out: there is no {needed} here.")
        else:
            methods[name] = method
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    rows: list[tuple[str, list[Image.Image]]] = []
    for family, surface in surfaces(options.n, options.seed, options.faces):
        is_shown, tiles = bool(options.out) and len(rows) < SHOWN, []
        for name, method in methods.items():
            run = timed if method is ours else partial(apart, method)
            try:
                made, seconds = run(surface, options.faces)
            except RuntimeError as error:
                say(f"{family:9} {name:15} made nothing: {error}")
                tiles.append(Image.new("RGB", (TILE, TILE), PAPER))
                continue
            figures[name].append(judged(made, surface) | {"seconds": seconds})
            say(f"{family:9} {name:15} " + "  ".join(f"{key} {value:.2f}" for key, value in figures[name][-1].items()))
            if is_shown:
                tiles.append(wireframe(made))
        if is_shown:
            rows.append((family, tiles))
    if options.out:
        sheet(list(methods), rows).save(options.out, quality=88)
    found = {name: summary(each) for name, each in figures.items()}
    for name, each in found.items():
        print(f"{name:15} " + "  ".join(f"{key} {value:.2f}" for key, value in each.items()))
    if options.json:
        print(json.dumps({"n": options.n, "seed": options.seed, "faces": options.faces, "methods": found}))
    return 0


def surfaces(count: int, seed: int, faces: int) -> Iterator[tuple[str, Mesh]]:
    """Families and surfaces of held-out objects, as finishing hands them to the remesher."""
    pipeline = Pipeline.load(ModelFolder.find(DEFAULT_MODEL), "cpu")
    for i, case in enumerate(cases(count, seed)):
        surface = clean(pipeline.reconstruct([case.image()], Settings(seed=i)).raw)
        fine = simplified(surface.vertices, surface.faces, max(FINER * faces, FINE))
        yield case.family, Mesh(fine.vertices, fine.faces, None)


def judged(made: Remeshed, surface: Mesh) -> dict[str, float]:
    """The figures of one object, see above."""
    quads = np.array([corners for corners in made.polygons if len(corners) == 4])
    corners = made.vertices[quads]
    back, on = np.roll(corners, 1, axis=1) - corners, np.roll(corners, -1, axis=1) - corners
    lengths = np.maximum(np.linalg.norm(back, axis=2) * np.linalg.norm(on, axis=2), 1e-30)
    bend = np.degrees(np.arccos(np.clip((back * on).sum(axis=2) / lengths, -1, 1))) - 90
    edges = np.array(
        [sorted(pair) for face in made.polygons for pair in zip(face, face[1:] + face[:1], strict=True)], dtype=np.int64
    )
    edges, faces_at = np.unique(edges, axis=0, return_counts=True)
    valence = np.bincount(edges.reshape(-1))
    triangles = made.triangles()[0]
    there, back_again = distance(made.vertices, triangles, surface), distance(surface.vertices, surface.faces, made)
    return {
        "quads": 100 * len(quads) / len(made.polygons),
        "bend": float(np.abs(bend).mean()),
        "irregular": float(100 * (valence[valence > 0] != 4).mean()),
        "distance": max(there, back_again),
        "closed": float((faces_at == 2).all()),
    }


def distance(vertices: np.ndarray, faces: np.ndarray, other: Mesh | Remeshed) -> float:
    """The mean distance of points on a surface from another one, in ten-thousandths."""
    corners = vertices[faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sizes = np.linalg.norm(normals, axis=1)
    rng = np.random.default_rng(0)
    face = rng.choice(len(faces), POINTS, p=sizes / sizes.sum())
    points = (rng.dirichlet((1, 1, 1), POINTS)[:, :, None] * corners[face]).sum(axis=1)
    target = other if isinstance(other, Mesh) else Mesh(other.vertices.astype(np.float32), other.triangles()[0], None)
    nearest = Projector(target).project(points, normals[face]).interpolate(target.faces, target.vertices)
    return float(1e4 * np.linalg.norm(nearest - points, axis=1).mean())


def summary(each: list[dict[str, float]]) -> dict[str, float]:
    """Medians over all objects; of ``closed``, how many."""
    values = {key: [one[key] for one in each] for key in FIGURES if each}
    found = {key: sum(column) if key == "closed" else float(np.median(column)) for key, column in values.items()}
    return found | {"objects": float(len(each))}


def wireframe(made: Remeshed) -> Image.Image:
    """The edges of what a camera sees of a mesh, on clay."""
    size = TILE * SUPERSAMPLING
    triangles, polygon = made.triangles()
    screen = CAMERA.project(made.vertices)
    face, near = np.empty((size, size), np.int32), np.empty((size, size), np.float32)
    draw(screen, triangles, False, face, np.empty((size, size, 2), np.float32), near)
    corners = made.vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    light = 0.55 + 0.45 * np.abs(normals @ -CAMERA.axes()[2])
    pixels = np.where((face >= 0)[..., None], CLAY * light[face][..., None], np.array(PAPER))
    image = Image.fromarray(pixels.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for number in np.unique(polygon[face[face >= 0]]):
        places = [tuple(screen[corner, :2] * size) for corner in made.polygons[number]]
        pen.line([*places, places[0]], fill=LINE, width=SUPERSAMPLING - 1)
    return image.resize((TILE, TILE), Image.Resampling.LANCZOS)


def sheet(names: list[str], rows: list[tuple[str, list[Image.Image]]]) -> Image.Image:
    """A row for each object, a column for each method."""
    made = Image.new("RGB", (GAP + len(names) * (TILE + GAP), LABEL + len(rows) * (TILE + GAP)), PAPER)
    for column, name in enumerate(names):
        write(made, (GAP + column * (TILE + GAP), 6), name, size=16, color=INK)
    for line, (_, tiles) in enumerate(rows):
        for column, tile in enumerate(tiles):
            made.paste(tile, (GAP + column * (TILE + GAP), LABEL + line * (TILE + GAP)))
    return made


def say(words: str) -> None:
    """Progress goes to stderr."""
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
