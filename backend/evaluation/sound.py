"""Judge whether finished meshes are sound: closed, manifold, outward, without faces that cross, needles, or crumbs.

Held-out objects are generated with a model. Analytic ones are extracted as a perfect decoder would, on grids of 128^3
and 208^3: the procedural families, and shapes that are hard on purpose, with thin parts, nested shells, parts that
touch and narrow gaps. All are finished as a job does it, with the numbers of faces of ``FACES`` in turn, and inspected
as the files hold them (``backend/mesh/sound/inspect.py``).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..asset_facts import standing
from ..errors import BackendError
from ..mesh import RawMesh
from ..mesh.extract.case_tables import CORNERS
from ..mesh.extract.corners import COLOR, SDF
from ..mesh.extract.flexicubes import extract_mesh
from ..mesh.finish import FinishedMesh, finish
from ..mesh.sound.inspect import inspect
from ..pipeline import Pipeline
from ..protocol import Settings
from ..training.objects.families import FAMILIES
from ..training.objects.lattice import MESH_CELLS
from ..training.objects.shapes import HELD_OUT, draw
from .cases import Case, cases
from .metrics import raw_surface

FACES = (10_000, 2_000, 50_000, 500)  # asked for in turn
TEXTURE_SIZE = 512
GRIDS = (128, 208)
CHUNK = 1 << 14  # cubes whose corners' distances are computed at a time

Distance = Callable[[Tensor], Tensor]
"""Points [..., 3] to signed distances [...], or a bound of them."""


def evaluate(
    pipeline: Pipeline | None,
    count: int,
    analytic: int,
    seed: int,
    steps: int | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Judge ``count`` generated objects, and ``analytic`` ones on each grid. Other seeds give other objects."""
    rows = []
    for kind, name, faces, make in _all(pipeline, count, analytic, seed, steps):
        started = time.monotonic()
        try:
            raw = make()
        except BackendError as error:
            say(f"{name}: {error}")
            continue
        made = finish(raw, faces=faces, texture_size=TEXTURE_SIZE)
        rows.append(judged(kind, name, faces, made))
        words = ", ".join(rows[-1]["problems"]) or "sound"
        say(f"{name:28} {faces:6} asked, {len(made.faces):6} made, {time.monotonic() - started:5.1f} s: {words}")
    kinds = sorted({row["kind"] for row in rows})
    return {
        "seed": seed,
        "all": summary(rows),
        "kinds": {kind: summary([row for row in rows if row["kind"] == kind]) for kind in kinds},
        "unsound": [row for row in rows if row["problems"]],
    }


def _all(
    pipeline: Pipeline | None, count: int, analytic: int, seed: int, steps: int | None
) -> Iterator[tuple[str, str, int, Callable[[], RawMesh]]]:
    """Each object: its kind and name, the faces asked for, and what makes its raw surface."""
    if pipeline is not None:
        for i, case in enumerate(cases(count, seed)):
            make = partial(_generated, pipeline, case, i, steps)
            yield "generated", f"{case.family} {case.number}", FACES[i % len(FACES)], make
    families, shapes = list(FAMILIES), list(HARD)
    for grid in GRIDS if analytic else ():
        rng = np.random.default_rng([seed, grid])
        for i in range(analytic):
            if i % 2:
                name, number = families[i // 2 % len(families)], HELD_OUT + 10_000 * seed + 7_000 + i
                kind, make = "analytic", partial(_analytic, name, number, grid)
            else:
                name, number = shapes[i // 2 % len(shapes)], i
                kind, make = "hard", partial(surface_of, HARD[name](rng), grid)
            yield f"{kind} {grid}", f"{name} {number} {grid}^3", FACES[i % len(FACES)], make


def _generated(pipeline: Pipeline, case: Case, seed: int, steps: int | None) -> RawMesh:
    return pipeline.reconstruct([case.image()], Settings(seed=seed, steps=steps)).lattice


def _analytic(family: str, number: int, grid: int) -> RawMesh:
    return raw_surface(family, draw(family, [number]), grid // MESH_CELLS)


def judged(kind: str, name: str, faces: int, made: FinishedMesh) -> dict[str, Any]:
    """What is found about a mesh, as the files of its asset hold it."""
    factor, shift = standing(made.vertices.min(axis=0), made.vertices.max(axis=0))
    stood = (made.vertices * np.float32(factor) + np.array(shift, np.float32)).astype(np.float32)
    certificate = inspect(stood, made.faces, made.uvs)
    problems = list(certificate.problems())
    if certificate.problems() != made.certificate.problems():
        problems.append("the certificate that goes with it says otherwise")
    return {
        "kind": kind,
        "name": name,
        "faces": certificate.faces,
        "asked": faces,
        "raw": made.counts["raw_faces"],
        "shells": certificate.shells,
        "seconds": round(sum(made.seconds.values()), 3),
        "problems": problems,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many objects are sound, the problems of the others, and how well the numbers of faces are kept.

    ``budget`` counts the objects with 0.98 to 1 times the faces asked for, ``short`` those whose surface has no more,
    ``over`` those with more.
    """
    kept = [0.98 * row["asked"] <= row["faces"] <= row["asked"] for row in rows]
    return {
        "count": len(rows),
        "sound": sum(not row["problems"] for row in rows),
        "problems": dict(Counter(problem for row in rows for problem in row["problems"])),
        "budget": sum(kept),
        "short": sum(row["faces"] < 0.98 * row["asked"] for row in rows),
        "over": sum(row["faces"] > row["asked"] for row in rows),
        "finish_s_median": float(np.median([row["seconds"] for row in rows])) if rows else 0.0,
        "finish_s_max": max((row["seconds"] for row in rows), default=0.0),
    }


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    lines = [f"{'':16}{'objects':>8}{'sound':>8}{'budget':>8}{'short':>8}{'over':>8}{'median s':>10}{'max s':>8}"]
    for name, found in {**report["kinds"], "all": report["all"]}.items():
        counts = "".join(f"{found[key]:8}" for key in ("count", "sound", "budget", "short", "over"))
        lines.append(f"{name:16}{counts}{found['finish_s_median']:10.2f}{found['finish_s_max']:8.2f}")
    lines += [f"{row['name']}: {', '.join(row['problems'])}" for row in report["unsound"]]
    return "\n".join(lines)


# --- hard shapes -----------------------------------------------------------------------------------------------------


def _ball(points: Tensor, centre: tuple[float, float, float], radius: float) -> Tensor:
    return (points - points.new_tensor(centre)).norm(dim=-1) - radius


def _box(points: Tensor, centre: tuple[float, float, float], half: tuple[float, float, float]) -> Tensor:
    q = (points - points.new_tensor(centre)).abs() - points.new_tensor(half)
    return q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)


def _any(*parts: Tensor) -> Tensor:
    return torch.stack(parts).amin(0)


def _plate(rng: np.random.Generator) -> Distance:
    """A plate about a cell thick, askew."""
    turn = torch.linalg.qr(torch.from_numpy(rng.normal(size=(3, 3))).float())[0]
    half = (0.35, 0.3, float(rng.uniform(0.004, 0.008)))
    return lambda points: _box(points @ turn, (0, 0, 0), half)


def _rods(rng: np.random.Generator) -> Distance:
    """A lattice of thin rods."""
    thin = float(rng.uniform(0.008, 0.014))
    places = (-0.3, 0.0, 0.3)
    bars = [(x, y, 0.0) for x in places for y in places]
    turned = [(lambda c, k: (*c[-k:], *c[:-k]) if k else c)(centre, k) for centre in bars for k in range(3)]
    halves = [tuple(0.34 if axis == (2 + k) % 3 else thin for axis in range(3)) for _ in bars for k in range(3)]
    return lambda points: _any(*(_box(points, c, h) for c, h in zip(turned, halves, strict=True)))  # type: ignore[arg-type]


def _nested(rng: np.random.Generator) -> Distance:
    """Three closed shells in one another."""
    radii = sorted(rng.uniform(0.1, 0.42, 3))
    return lambda points: _any(*(_ball(points, (0, 0, 0), float(r)).abs() - 0.012 for r in radii))


def _kissing(rng: np.random.Generator) -> Distance:
    """Two balls that touch in a point, or nearly."""
    gap, radius = float(rng.uniform(-0.004, 0.004)), 0.2
    return lambda points: _any(
        _ball(points, (-radius - gap / 2, 0.01, 0.02), radius), _ball(points, (radius + gap / 2, 0.01, 0.02), radius)
    )


def _edges(rng: np.random.Generator) -> Distance:
    """Two boxes that share an edge, and two that share a corner."""
    shift = float(rng.uniform(-0.002, 0.002))
    return lambda points: _any(
        _box(points, (-0.15, -0.15, -0.2), (0.1, 0.1, 0.1)),
        _box(points, (0.05 + shift, 0.05 + shift, -0.2), (0.1, 0.1, 0.1)),
        _box(points, (0.25 + shift, 0.25, 0.0), (0.1, 0.1, 0.1)),
    )


def _comb(rng: np.random.Generator) -> Distance:
    """Thin blades with narrow gaps on a base."""
    thin = float(rng.uniform(0.007, 0.012))
    return lambda points: _any(
        _box(points, (0, 0, -0.3), (0.4, 0.2, 0.05)),
        *(_box(points, (x * 0.04, 0, 0.05), (thin, 0.18, 0.32)) for x in range(-9, 10)),
    )


def _cage(rng: np.random.Generator) -> Distance:
    """A shell with holes, and a ball inside."""
    period, wall = float(rng.uniform(18, 30)), 0.02

    def distance(points: Tensor) -> Tensor:
        shell = _ball(points, (0, 0, 0), 0.38).abs() - wall
        holes = 0.35 - torch.cos(points * period).mean(dim=-1)
        return _any(torch.maximum(shell, -holes / period), _ball(points, (0, 0, 0), 0.15))

    return distance


def _spikes(rng: np.random.Generator) -> Distance:
    """Thin cones on a ball, and a groove as sharp."""
    turns = torch.linalg.qr(torch.from_numpy(rng.normal(size=(3, 3))).float())[0]

    def distance(points: Tensor) -> Tensor:
        parts = [_ball(points, (0, 0, 0), 0.2)]
        for axis in turns:
            along = points @ axis
            across = (points - along[..., None] * axis).norm(dim=-1)
            parts.append(torch.maximum(across - 0.12 * (0.45 - along), -along) * 0.99)
        body = _any(*parts)
        return torch.maximum(body, -(torch.maximum(points[..., 0].abs() * 8 - 0.5 - points[..., 2], body) * 0.1))

    return distance


def _torus(rng: np.random.Generator) -> Distance:
    """Two thin rings in each other that do not touch, and one that crosses them."""
    thin = float(rng.uniform(0.012, 0.03))

    def ring(points: Tensor, x: float, axis: int) -> Tensor:
        moved = points - points.new_tensor([x, 0.0, 0.0])
        flat = torch.stack([moved[..., i] for i in range(3) if i != axis], dim=-1).norm(dim=-1) - 0.2
        return torch.stack([flat, moved[..., axis]], dim=-1).norm(dim=-1) - thin

    return lambda points: _any(ring(points, -0.1, 2), ring(points, 0.1, 1), ring(points, 0.13, 2))


HARD: dict[str, Callable[[np.random.Generator], Distance]] = {
    "plate": _plate,
    "rods": _rods,
    "nested": _nested,
    "kissing": _kissing,
    "edges": _edges,
    "comb": _comb,
    "cage": _cage,
    "spikes": _spikes,
    "torus": _torus,
}


def surface_of(distance: Distance, resolution: int) -> RawMesh:
    """The surface of a shape as a perfect decoder would make it, coloured by place."""
    side = resolution // MESH_CELLS
    voxels = torch.cartesian_prod(*[torch.arange(side)] * 3)
    near = distance((voxels + 0.5) / side - 0.5).abs() < 1.0 / side
    cells = torch.cartesian_prod(*[torch.arange(MESH_CELLS)] * 3)
    coords = (voxels[near][:, None] * MESH_CELLS + cells).reshape(-1, 3)
    features = torch.zeros(len(coords), COLOR.stop)
    for part in range(0, len(coords), CHUNK):
        points = (coords[part : part + CHUNK, None] + torch.tensor(CORNERS)) / resolution - 0.5
        features[part : part + CHUNK, SDF] = distance(points) * resolution + 1 / resolution
        shades = torch.cat([(points + 0.5).clamp(0.02, 0.98), torch.full_like(points, 0.5)], dim=-1)
        features[part : part + CHUNK, COLOR] = torch.logit(shades).flatten(1)
    return extract_mesh(coords.int(), features, resolution)
