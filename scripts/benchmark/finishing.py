"""Finishing measured on objects with known truth: how faithful an asset is, and how long each step takes.

The raw surface is extracted from an object's own distances and colours. Gaussians are scattered over its surface. The
baseline is the obvious solution: quadric simplification, xatlas, and the colour of the nearest raw vertex.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from backend.evaluation.metrics import sample_surface
from backend.evaluation.viewing import look, look_up
from backend.mesh import Mesh, RawMesh
from backend.mesh.bake.bake import Source, Textures, bake, covered
from backend.mesh.bake.gaussian_color import SH_DC, GaussianColors
from backend.mesh.bake.gutter import Gutter
from backend.mesh.bake.tangents import tangent_space, vertex_normals
from backend.mesh.bake.texels import rasterize
from backend.mesh.base.projection import Projector
from backend.mesh.clean.simplify import simplify
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import clean, finish, warm
from backend.mesh.paint.paint import Painter, Pictures
from backend.mesh.unwrap.unwrap import GUTTER, Unwrapped, unwrap
from backend.models.gaussians import Gaussians
from backend.training.objects.families import FAMILIES
from backend.training.objects.render import UNLIT, Light, View, render
from backend.training.objects.shapes import HELD_OUT, draw

from .layouts import layout_quality, layout_table
from .objects import SUBDIVISION, Object, crossed_voxels, cube_features, procedural

FACES, TEXTURE_SIZE = 20_000, 1024
VIEWS = tuple(View(azimuth, elevation, 40) for elevation in (15, -20) for azimuth in (30, 120, 210, 300))
PICTURE = 128  # pixels
PAINTED = 1024  # pixels of a picture that is painted from
POINTS = 10_000  # on a surface
GAUSSIANS_PER_VOXEL = 32
BACKGROUND = 0.5


def objects(count: int) -> list[tuple[str, int]]:
    """Held-out objects, family after family: pairs of family and number."""
    return [(family, HELD_OUT + turn) for turn in range(-(-count // len(FAMILIES))) for family in FAMILIES][:count]


def raw_surface(field: Object, resolution: int) -> RawMesh:
    """The surface of an object from a perfect decoder, on a grid of ``resolution``^3 cubes."""
    voxels = crossed_voxels(field, resolution // SUBDIVISION)
    return extract_mesh(*cube_features(field, voxels, resolution // SUBDIVISION), resolution)


def measure(family: str, number: int, resolution: int) -> dict[str, Any]:
    """Finish one object and compare it with the truth and with the baseline."""
    warm()  # like the backend: compiling happens once, and should not count for an object
    field = procedural(family, number)
    raw = raw_surface(field, resolution)
    gaussians = scattered(field, raw, (resolution // SUBDIVISION) ** 3)
    steps = Steps()
    surface = steps.run("clean", lambda: clean(raw))
    vertices, faces = steps.run("simplify", lambda: simplify(surface.vertices, surface.faces, FACES))
    mesh = steps.run("unwrap", lambda: unwrap(vertices, faces, TEXTURE_SIZE))
    textures = steps.run("bake", lambda: bake(mesh, Source(surface), TEXTURE_SIZE))
    from_gaussians = steps.run(
        "bake_gaussians",
        lambda: bake(mesh, Source(surface), TEXTURE_SIZE, normal_map=False, gaussians=GaussianColors(gaussians)),
    )
    whole = steps.run("finish", lambda: finish(raw, faces=FACES, texture_size=TEXTURE_SIZE))
    picture, cover = lit_picture(family, number), covered(mesh, TEXTURE_SIZE)
    painter = Painter(mesh, Pictures([picture]), lambda: None)
    steps.run("paint", lambda: painter(textures.color, cover))
    other = steps.run("xatlas", lambda: xatlas_unwrap(vertices, faces))
    baseline = steps.run("nearest", lambda: nearest_bake(other, surface))
    plain = steps.run("plain_simplify", lambda: plain_simplify(surface))
    unwrapped = steps.run("plain_xatlas", lambda: xatlas_unwrap(*plain))
    steps.run("plain_nearest", lambda: nearest_bake(unwrapped, surface))
    truth = [_truth(family, number, view) for view in VIEWS]
    pictures = {"vertex": (mesh, textures), "gaussian": (mesh, from_gaussians), "baseline": (other, baseline)}
    values = {f"psnr_{name}": psnr(*pair, truth) for name, pair in pictures.items()}
    values |= surface_distance(field, mesh, surface) | normal_error(field, mesh, textures)
    for prefix, layout in (("unwrap", mesh), ("xatlas", other)):
        values |= {f"{prefix}_{name}": value for name, value in layout_quality(layout).items()}
    values["unwrap_bake_s"] = whole.seconds["unwrap"] + whole.seconds["bake"]
    for name in ("", "plain_"):
        baseline_s = steps.seconds[f"{name}xatlas_s"] + steps.seconds[f"{name}nearest_s"]
        values[f"{name}times"] = baseline_s / values["unwrap_bake_s"]
    counts = {"raw_faces": len(raw.faces), "clean_faces": len(surface.faces), "faces": len(mesh.faces)}
    return counts | {name: round(float(value), 5) for name, value in (steps.seconds | values).items()}


def lit_picture(family: str, number: int) -> Image.Image:
    """A picture of an object to paint from, RGBA, ``PAINTED`` pixels along each side."""
    light = Light(0.6, (0.4, 0.6, 0.7))
    return Image.fromarray(render(family, draw(family, [number]), [VIEWS[0]], [light], PAINTED)[0].numpy(), "RGBA")


class Steps:
    """The seconds of steps, in wall time and (``_cpu``) in CPU time."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, name: str, call: Callable[[], Any]) -> Any:
        """Run a call and return its result. Its seconds are stored as ``NAME_s`` and ``NAME_cpu_s``."""
        clock, cpu = time.perf_counter(), time.process_time()
        result = call()
        self.seconds |= {f"{name}_s": time.perf_counter() - clock, f"{name}_cpu_s": time.process_time() - cpu}
        return result


# --- the baseline ----------------------------------------------------------------------------------------------------


def plain_simplify(surface: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Simplify with fast-simplification's defaults. Returns vertices and faces."""
    import fast_simplification

    points, faces = fast_simplification.simplify(surface.vertices, surface.faces.astype(np.int32), target_count=FACES)
    return points.astype(np.float32), faces.astype(np.int64)


def xatlas_unwrap(vertices: np.ndarray, faces: np.ndarray) -> Unwrapped:
    """Unwrap with xatlas: the padding is ours, everything else its default."""
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(np.ascontiguousarray(vertices, dtype=np.float32), faces.astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding = TEXTURE_SIZE, TEXTURE_SIZE // GUTTER
    atlas.generate(pack_options=packing)
    _, corners, uvs = atlas[0]
    size = np.array([atlas.width, atlas.height], dtype=np.float32)
    placed = (uvs * (size / size.max()))[corners].clip(0, 1).astype(np.float32)
    return Unwrapped(vertices, faces, placed, np.zeros(len(faces), dtype=np.int64), int(atlas.chart_count))


def nearest_bake(mesh: Unwrapped, raw: Mesh) -> Textures:
    """Bake the colour of the nearest raw vertex."""
    from scipy.spatial import cKDTree

    assert raw.colors is not None
    texels = rasterize(mesh.uvs, TEXTURE_SIZE)
    _, nearest = cKDTree(raw.vertices).query(texels.interpolate(mesh.vertices[mesh.faces]), workers=-1)
    image = np.zeros((TEXTURE_SIZE, TEXTURE_SIZE, 3), dtype=np.uint8)
    image[texels.row, texels.column] = np.rint(raw.colors[nearest].clip(0, 1) * 255)
    covered = np.zeros(image.shape[:2], dtype=bool)
    covered[texels.row, texels.column] = True
    return Textures(Gutter(covered).fill(image), None, None)


# --- the truth -------------------------------------------------------------------------------------------------------


def gradient(field: Object, points: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Unit normals [P, 3] of an object near its surface, by differences over the corners of a tetrahedron."""
    total = np.zeros_like(points)
    for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        distance = field(torch.from_numpy(points + step * np.array(corner)).float())[0].numpy()
        total += np.array(corner) * distance[:, None]
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))


def to_surface(field: Object, points: np.ndarray, steps: int = 6) -> np.ndarray:
    """Move points [P, 3] onto an object's surface, along its normals."""
    points = points.astype(np.float64)
    for _ in range(steps):
        distance = field(torch.from_numpy(points).float())[0].numpy()
        points = points - distance[:, None] * gradient(field, points)
    return points


def scattered(field: Object, raw: RawMesh, voxels: int) -> Gaussians:
    """Flat, opaque Gaussians all over an object's surface, as many as a decoder makes for its voxels."""
    surface = raw.numpy()
    count = GAUSSIANS_PER_VOXEL * len(np.unique(np.floor((surface.vertices + 0.5) * round(voxels ** (1 / 3))), axis=0))
    points = to_surface(field, sample_surface(surface, count, seed=0), steps=2)
    color = field(torch.from_numpy(points).float())[1]
    normals = torch.from_numpy(gradient(field, points)).float()
    area = np.linalg.norm(np.cross(*_edges(surface)), axis=1).sum() / 2
    spacing = float(np.sqrt(area / count))
    half = torch.nn.functional.normalize(normals + torch.tensor([0.0, 0.0, 1.0 + 1e-6]), dim=1)  # turns z to the normal
    turn = torch.stack([half[:, 2], -half[:, 1], half[:, 0], torch.zeros(count)], dim=1)
    return Gaussians(
        raw_xyz=torch.from_numpy(points).float() + 0.5,
        raw_features_dc=((color - 0.5) / SH_DC)[:, None],
        raw_scaling=torch.tensor([0.6, 0.6, 0.2]).mul(spacing).log().expand(count, 3),
        raw_rotation=turn - torch.tensor([1.0, 0.0, 0.0, 0.0]),
        raw_opacity=torch.full((count, 1), 0.95).logit(),
        scaling_bias=1.0,
        opacity_bias=0.5,
        minimum_size=0.0,
        scaling_activation="exp",
    )


def _edges(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    a, b, c = (mesh.vertices[mesh.faces[:, corner]].astype(np.float64) for corner in range(3))
    return b - a, c - a


def _truth(family: str, number: int, view: View) -> np.ndarray:
    """The true picture of a view, [PICTURE^2, 3] in 0..1, on the background."""
    picture = render(family, draw(family, [number]), [view], [UNLIT], PICTURE)[0].numpy().reshape(-1, 4) / 255
    return np.where(picture[:, 3:] > 0, picture[:, :3], BACKGROUND)


# --- how close --------------------------------------------------------------------------------------------------------


def psnr(mesh: Unwrapped, textures: Textures, truth: list[np.ndarray]) -> float:
    """The PSNR of the unlit pictures from all views, in dB."""
    errors = []
    for view, expected in zip(VIEWS, truth, strict=True):
        seen = look(mesh.vertices, mesh.faces, view, PICTURE)
        picture = np.full((PICTURE * PICTURE, 3), BACKGROUND)
        picture[seen.pixel] = look_up(textures.color, seen.interpolate(mesh.uvs)) / 255
        errors.append(np.square(picture - expected).mean())
    return float(-10 * np.log10(max(np.mean(errors), 1e-9)))


def surface_distance(field: Object, mesh: Unwrapped, surface: Mesh) -> dict[str, float]:
    """The distance between the mesh and the true surface, both ways: mean, 99th percentile and maximum, in units of the
    cube's side."""
    finished = Mesh(mesh.vertices, mesh.faces, None)
    points = sample_surface(finished, POINTS, seed=1)
    there = np.linalg.norm(to_surface(field, points) - points, axis=1)
    true = to_surface(field, sample_surface(surface, POINTS, seed=2))
    nearest = Projector(finished).project(true, np.zeros_like(true))
    back = np.linalg.norm(nearest.interpolate(mesh.faces, mesh.vertices) - true, axis=1)
    both = np.concatenate([there, back])
    return {"distance_mean": both.mean(), "distance_p99": np.quantile(both, 0.99), "distance_max": both.max()}


def normal_error(field: Object, mesh: Unwrapped, textures: Textures) -> dict[str, float]:
    """The mean angle in degrees between the pictures' normals and the true ones: with the normal map, and without."""
    assert textures.normal is not None
    frame = tangent_space(mesh.vertices, mesh.faces, mesh.uvs)
    smooth = vertex_normals(mesh.vertices, mesh.faces)[mesh.faces]
    mapped, plain = [], []
    for view in VIEWS:
        seen = look(mesh.vertices, mesh.faces, view, PICTURE)
        truth = gradient(field, to_surface(field, seen.interpolate(mesh.vertices[mesh.faces])))
        local = look_up(textures.normal, seen.interpolate(mesh.uvs)) / 127.5 - 1
        mapped.append(_degrees(frame.decode(seen.face, seen.weights, local), truth))
        plain.append(_degrees(seen.interpolate(smooth), truth))
    return {"normal_mapped": np.concatenate(mapped).mean(), "normal_smooth": np.concatenate(plain).mean()}


def _degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cosine = (a * b).sum(axis=1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


# --- as text ----------------------------------------------------------------------------------------------------------

COLUMNS = {
    "distance_mean": "mean",
    "distance_p99": "p99",
    "distance_max": "max",
    "psnr_vertex": "PSNR vertex",
    "psnr_gaussian": "Gaussian",
    "psnr_baseline": "baseline",
    "normal_mapped": "normal",
    "normal_smooth": "smooth",
    "clean_cpu_s": "clean",
    "simplify_cpu_s": "simplify",
    "unwrap_cpu_s": "unwrap",
    "bake_cpu_s": "bake",
    "bake_gaussians_cpu_s": "Gaussians",
    "xatlas_cpu_s": "xatlas",
    "nearest_cpu_s": "nearest",
    "finish_s": "finish",
    "paint_s": "paint",
    "times": "times",
    "plain_times": "plain times",
}
#: Columns in which a greater value is better.
RISING = ("psnr_vertex", "psnr_gaussian", "psnr_baseline", "times", "plain_times")


def summary(measurements: list[dict[str, Any]]) -> str:
    """The results as text, grid by grid: how faithful the assets are, and their layouts."""
    parts = []
    for resolution in sorted({m["resolution"] for m in measurements}):
        chosen = [m for m in measurements if m["resolution"] == resolution]
        parts.append(f"grid {resolution}^3\n{fidelity_table(chosen)}\n\n{layout_table(chosen)}")
    return "\n\n".join(parts)


def fidelity_table(measurements: list[dict[str, Any]]) -> str:
    """Distances in units of the cube's side, PSNR in dB, normals in degrees, and CPU seconds. In wall time: the whole
    (``finish``), painting from one picture, which is not part of it (``paint``), and how many times as fast unwrapping
    and baking are as the baseline, on the same simplified mesh and (``plain``) on one that the baseline has simplified
    itself. The last rows are mean and worst over all objects."""
    columns = {name: [m[name] for m in measurements] for name in COLUMNS}
    rows = [[m["stage"].removeprefix("finish "), *(m[name] for name in COLUMNS)] for m in measurements]
    rows.append(["mean", *(float(np.mean(values)) for values in columns.values())])
    rows.append(["worst", *((min if n in RISING else max)(values) for n, values in columns.items())])
    width = max(len(str(row[0])) for row in rows)
    lines = [" " * width + "".join(f"{title:>12}" for title in COLUMNS.values())]
    lines += [f"{row[0]:<{width}}" + "".join(f"{value:12.4f}" for value in row[1:]) for row in rows]
    return "\n".join(lines)
