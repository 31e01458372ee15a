"""Judge how well a picture is painted on a shape: each held-out object's own surface is painted from one picture of it.

The shape is given, simplified like a person's mesh, and processed like one (``backend.retexture``). So only colours are
judged: the PSNR of the unlit ones from the input's view, and from three other views around the object, which show what
the picture does not. Two other ways of painting give the figures a scale: the mean colour of the true picture
everywhere, and the true colours baked onto the same mesh.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

import numpy as np

from ..errors import BackendError
from ..mesh.bake.bake import Source, bake
from ..mesh.clean.simplify import simplify
from ..mesh.given import GivenMesh
from ..pipeline import Pipeline
from ..protocol import Settings
from ..retexture import retexture
from ..training.objects.render import View, Window, frame
from . import metrics
from .cases import Case, cases
from .viewing import look, look_up

FACES, TEXTURE_SIZE = 4000, 512
VOXELS = 32  # along a side, for true surfaces: twice as fine as the bundled model's, for sharp borders of true colours
TURNS = (90.0, 180.0, 270.0)  # of the other views, in degrees around the object
WAYS = ("painted", "one_color", "true_colors")


class Textured(NamedTuple):
    """A mesh with its texture, in the cube of its object."""

    vertices: np.ndarray  # [V, 3]
    faces: np.ndarray  # [F, 3]
    uvs: np.ndarray  # [F, 3, 2], v up
    texture: np.ndarray  # [T, T, 3] uint8 sRGB


@dataclass(frozen=True)
class Score:
    """The PSNR of the unlit colours in dB: from the input's view, and the mean over the other views."""

    psnr: float
    psnr_other_views: float


class Report(TypedDict):
    """The result of an evaluation: the means of ``Score``, overall and by family, and overall for the other ways of
    painting. ``failed`` counts shapes that could not be painted; they are scored as middle grey."""

    n: int
    seed: int
    steps: int
    all: dict[str, float]
    one_color: dict[str, float]
    true_colors: dict[str, float]
    families: dict[str, dict[str, float]]
    failed: int
    seconds_per_object: float


def evaluate(
    pipeline: Pipeline,
    count: int,
    seed: int,
    steps: int | None,
    guidance: float | None,
    say: Callable[[str], None],
) -> Report:
    """Judge what a model paints on ``count`` held-out objects. Other seeds give other objects. If ``steps`` or
    ``guidance`` is None, the model's own is used."""
    scores: dict[str, list[Score]] = {way: [] for way in WAYS}
    families: list[str] = []
    failed, seconds = 0, 0.0
    for i, case in enumerate(cases(count, seed)):
        settings = Settings(seed=i, steps=steps, guidance=guidance, texture_size=TEXTURE_SIZE, normal_map=False)
        shape = surface_of(case)
        started = time.monotonic()
        painted = paint(pipeline, case, shape, settings, say)
        seconds += time.monotonic() - started
        failed += painted is None
        others = bounds(case, shape)
        made = {**others, "painted": painted or _with_color(others["one_color"], np.full(3, 0.5))}
        for way in WAYS:
            scores[way].append(score(case, made[way]))
        families.append(case.family)
        one = scores["painted"][-1]
        say(f"{i + 1}/{count}  {case.family:9} {one.psnr:.1f} dB, other views {one.psnr_other_views:.1f}")
    return {
        "n": count,
        "seed": seed,
        "steps": steps or pipeline.config.latent_sampler.steps,
        "all": _means(scores["painted"]),
        "one_color": _means(scores["one_color"]),
        "true_colors": _means(scores["true_colors"]),
        "families": {
            name: _means([s for s, family in zip(scores["painted"], families, strict=True) if family == name])
            for name in dict.fromkeys(families)
        },
        "failed": failed,
        "seconds_per_object": round(seconds / count, 2),
    }


class Shape(NamedTuple):
    """The mesh to paint, and the true surface that it was made from, which has the true colours."""

    given: GivenMesh
    true: metrics.Surface


def surface_of(case: Case) -> Shape:
    """The true surface of an object, and a simplified one as a person's mesh."""
    true = metrics.true_surface(case.family, case.params, VOXELS)
    return Shape(GivenMesh(*simplify(true.vertices, true.faces, FACES)), true)


def paint(
    pipeline: Pipeline, case: Case, shape: Shape, settings: Settings, say: Callable[[str], None]
) -> Textured | None:
    """The shape, painted by a model from the case's image; None if that fails."""
    try:
        made = retexture(pipeline, shape.given, [case.image()], settings).mesh
    except BackendError as error:
        say(f"{case.family} {case.number}: {error}")
        return None
    return Textured(shape.given.vertices, made.faces, made.uvs, made.texture)  # vertices: as before they were moved


def bounds(case: Case, shape: Shape) -> dict[str, Textured]:
    """The shape in one colour and in its true colours, by name in ``WAYS``."""
    target, _ = shape.given.unwrapped(TEXTURE_SIZE)
    texture = bake(target, Source(shape.true), TEXTURE_SIZE, normal_map=False).color
    own = Textured(target.vertices, target.faces, target.uvs, texture)
    picture = metrics.true_picture(case.family, case.params, case.view, case.window)
    return {"true_colors": own, "one_color": _with_color(own, picture[picture[..., 3] > 0, :3].mean(axis=0))}


def _with_color(mesh: Textured, color: np.ndarray) -> Textured:
    """The same mesh in one colour, [3] in 0..1."""
    return mesh._replace(texture=np.broadcast_to(np.rint(color * 255).astype(np.uint8), mesh.texture.shape))


def score(case: Case, mesh: Textured) -> Score:
    """How close a painted shape is to the true colours."""
    return Score(
        psnr(case, mesh, case.view, case.window),
        float(np.mean([psnr(case, mesh, *seen) for seen in other_views(case)])),
    )


def other_views(case: Case) -> Iterator[tuple[View, Window]]:
    """Views around the object, at the input's elevation and distance."""
    for turn in TURNS:
        view = View(case.view.azimuth + turn, case.view.elevation, case.view.fov)
        yield view, frame(case.family, case.params, [view])[0]


def psnr(case: Case, mesh: Textured, view: View, window: Window) -> float:
    """The PSNR of the unlit colours from a view, in dB, over the pixels that show both the painted shape and the true
    object: what simplification changes at the outline is not the paint's fault."""
    truth = metrics.true_picture(case.family, case.params, view, window)
    size = len(truth)
    seen = look(mesh.vertices, mesh.faces, view, size, window)
    expected = truth.reshape(-1, 4)[seen.pixel]
    made = look_up(mesh.texture, seen.interpolate(mesh.uvs)) / 255
    error = np.square(made - expected[:, :3])[expected[:, 3] > 0].mean()
    return float(-10 * np.log10(max(1e-9, error)))


def _means(scores: list[Score]) -> dict[str, float]:
    names = ("psnr", "psnr_other_views")
    return {name: round(float(np.mean([getattr(s, name) for s in scores])), 4) for name in names}


def table(report: Report) -> str:
    """The report as text."""
    rows = {"all": report["all"], **report["families"]}
    rows |= {"(one colour)": report["one_color"], "(true colours)": report["true_colors"]}
    lines = ["                input's view   other views"]
    lines += [f"{name:14}  {r['psnr']:9.1f} dB   {r['psnr_other_views']:8.1f} dB" for name, r in rows.items()]
    return "\n".join([*lines, *([f"not painted: {report['failed']}"] if report["failed"] else [])])
