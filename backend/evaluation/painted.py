"""Judge what painting from the picture adds: finished objects as a person gets them, unpainted beside painted.

Each held-out object is made from one picture of it and finished twice, with the model's own colours and painted from
the picture. Both are compared with the true object, unlit, from the input's view, from four other views around it, and
from the *best view*: where the unpainted object looks most like the picture, as an exhaustive search finds it that
shares neither measure nor method with the painter's. All objects count, those that were not painted, too.

A pose is *right* if it is within 10 degrees of the true one or of the best view, or if the unpainted object looks as
much like the picture from there as from the best view (within 0.5 dB): a symmetric twin.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, TypedDict

import numpy as np
from scipy import ndimage

from ..errors import BackendError
from ..mesh.finish import FinishedMesh
from ..mesh.paint.camera import Camera
from ..mesh.paint.shape import Shape
from ..pipeline import Pipeline
from ..protocol import Settings
from ..stages import finish_mesh
from ..training.objects.render import View, Window, frame
from .cases import Case, cases
from .metrics import true_picture
from .viewing import look_up

SIZE = 112  # pixels along a side of the compared pictures
TURNS = (72.0, 144.0, 216.0, 288.0)  # of the other views, in degrees around the object
NEAR, ALIKE = 10.0, 0.5  # degrees and dB within which a pose is right
AZIMUTHS, ELEVATIONS, FOV = range(0, 360, 15), (2.0, 15.0, 30.0, 45.0), 36.0  # of the exhaustive search
STARTS, APART = 4, 20.0  # how many of its poses are refined, and how many degrees they are apart


@dataclass(frozen=True)
class Score:
    """Likeness to the true object, unlit: PSNR in dB over the union of the outlines on grey, and the correlation of
    gradients inside both outlines."""

    psnr: float
    gradients: float
    psnr_best_view: float
    gradients_best_view: float
    psnr_other_views: float
    gradients_other_views: float


class Judged(NamedTuple):
    """One object."""

    family: str
    unpainted: Score
    painted: Score
    trusted: bool
    right: bool  # whether the found pose is right
    off: float  # degrees between the found and the true pose
    seconds: float  # that painting took


class Report(TypedDict):
    """The result of an evaluation: means of ``Score`` over all objects and by family. ``right`` is the share of trusted
    poses that are right, ``worst`` the object that lost most from the best view. ``failed`` counts objects that could
    not be made; they are in no mean."""

    n: int
    seed: int
    steps: int
    unpainted: dict[str, float]
    painted: dict[str, float]
    families: dict[str, dict[str, dict[str, float]]]
    trusted: float
    right: float
    within_10_degrees: float
    worst: dict[str, Any]
    failed: int
    seconds_per_view: float


def evaluate(
    pipeline: Pipeline,
    count: int,
    seed: int,
    steps: int | None,
    guidance: float | None,
    say: Callable[[str], None],
) -> Report:
    """Judge painting on ``count`` held-out objects. Other seeds give other objects. If ``steps`` or ``guidance`` is
    None, the model's own is used."""
    judged: list[Judged] = []
    failed = 0
    for i, case in enumerate(cases(count, seed)):
        settings = Settings(seed=i, steps=steps, guidance=guidance, normal_map=False, texture_source="colors")
        try:
            one = judge(pipeline, case, settings)
        except BackendError as error:
            failed += 1
            say(f"{i + 1}/{count}  {case.family:9} {error}")
            continue
        judged.append(one)
        before, after = one.unpainted, one.painted
        say(
            f"{i + 1}/{count}  {case.family:9} {'painted' if one.trusted else 'left   '} {one.off:4.0f} degrees off  "
            f"input's view {before.psnr:.1f} -> {after.psnr:.1f} dB, "
            f"best {before.psnr_best_view:.1f} -> {after.psnr_best_view:.1f}, "
            f"others {before.psnr_other_views:.1f} -> {after.psnr_other_views:.1f}, {one.seconds:.2f} s"
        )
    trusted = [one for one in judged if one.trusted]
    worst = min(judged, key=lambda one: one.painted.psnr_best_view - one.unpainted.psnr_best_view)
    families = dict.fromkeys(one.family for one in judged)
    return {
        "n": count,
        "seed": seed,
        "steps": steps or pipeline.config.latent_sampler.steps,
        **_means(judged),  # type: ignore[typeddict-item]
        "families": {name: _means([one for one in judged if one.family == name]) for name in families},
        "trusted": round(len(trusted) / max(1, len(judged)), 4),
        "right": round(sum(one.right for one in trusted) / max(1, len(trusted)), 4),
        "within_10_degrees": round(sum(one.off <= NEAR for one in trusted) / max(1, len(trusted)), 4),
        "worst": {"family": worst.family, "unpainted": asdict(worst.unpainted), "painted": asdict(worst.painted)},
        "failed": failed,
        "seconds_per_view": round(float(np.median([one.seconds for one in judged])), 2),
    }


def judge(pipeline: Pipeline, case: Case, settings: Settings) -> Judged:
    """Make one object from its picture, finish it with and without painting, and compare. Raises BackendError."""
    images = [case.image()]
    made = pipeline.reconstruct(images, settings)
    started = time.perf_counter()
    plain = finish_mesh(made.raw, None, images, settings, lambda: None)
    middle = time.perf_counter()
    painted = finish_mesh(made.raw, None, images, replace(settings, texture_source="picture"), lambda: None)
    seconds = (time.perf_counter() - middle) - (middle - started)
    true = as_camera(case.view, case.window)
    truth = true_picture(case.family, case.params, case.view, case.window, SIZE)
    unpainted = Drawn.of(plain)
    best = best_view(unpainted, truth)
    views = [(true, truth), (best, truth), *other_views(case)]
    view = painted.views[0]
    found = view.camera
    if found is None:
        off, right = 180.0, False
    else:
        off = angle(found, true)
        as_good = psnr(unpainted.picture(found), truth) >= psnr(unpainted.picture(best), truth) - ALIKE
        right = off <= NEAR or angle(found, best) <= NEAR or as_good
    return Judged(
        case.family, score(unpainted, views), score(Drawn.of(painted), views), view.trusted, right, off, seconds
    )


def as_camera(view: View, window: Window) -> Camera:
    """The camera of a rendered view."""
    return Camera(view.azimuth, view.elevation, view.fov, window.u, window.v, window.half)


def other_views(case: Case) -> Iterator[tuple[Camera, np.ndarray]]:
    """Cameras around the object, at the input's elevation, and what they see of the true one."""
    for turn in TURNS:
        view = View(case.view.azimuth + turn, case.view.elevation, case.view.fov)
        window = frame(case.family, case.params, [view])[0]
        yield as_camera(view, window), true_picture(case.family, case.params, view, window, SIZE)


@dataclass(frozen=True)
class Drawn:
    """A textured object, to be seen from cameras."""

    shape: Shape
    texture: np.ndarray  # [T, T, 3] uint8

    @classmethod
    def of(cls, mesh: FinishedMesh) -> Drawn:
        """A finished object."""
        return cls(Shape.of(mesh.vertices, mesh.faces, mesh.uvs, mesh.texture), mesh.texture)

    def picture(self, camera: Camera, size: int = SIZE) -> np.ndarray:
        """Its unlit colours, [size, size, 4] float in 0..1, alpha 0 or 1."""
        face, weights = self.shape.drawn(camera, size)[:2]
        shown = face >= 0
        corners = self.shape.uvs[face[shown]]
        s, t = weights[shown].T
        uv = np.stack([1 - s - t, s, t], axis=1)[:, :, None] * corners
        image = np.zeros((size, size, 4))
        image[shown, :3] = look_up(self.texture, uv.sum(axis=1)) / 255
        image[shown, 3] = 1
        return image


def score(made: Drawn, views: list[tuple[Camera, np.ndarray]]) -> Score:
    """Compare an object with the true pictures of views: the input's, the best one, and others."""
    pairs = [(made.picture(camera), truth) for camera, truth in views]
    peaks = [psnr(*pair) for pair in pairs]
    edges = [gradients(*pair) for pair in pairs]
    return Score(peaks[0], edges[0], peaks[1], edges[1], float(np.mean(peaks[2:])), float(np.mean(edges[2:])))


def psnr(made: np.ndarray, truth: np.ndarray) -> float:
    """The PSNR in dB of two pictures [N, N, 4] over the union of their outlines, on middle grey."""
    either = (made[..., 3] > 0) | (truth[..., 3] > 0)
    one, other = (np.where(image[..., 3:] > 0, image[..., :3], 0.5)[either] for image in (made, truth))
    return float(-10 * np.log10(max(1e-9, float(np.square(one - other).mean()))))


def gradients(made: np.ndarray, truth: np.ndarray) -> float:
    """Pearson's correlation of the magnitudes of Sobel gradients of two pictures, inside both outlines. 0 if one of
    them has none."""
    inside = ndimage.binary_erosion((made[..., 3] > 0) & (truth[..., 3] > 0), np.ones((3, 3)))
    sizes = []
    for image in (made, truth):
        parts = [ndimage.sobel(image[..., k].astype(np.float64), axis) for k in range(3) for axis in (0, 1)]
        sizes.append(np.sqrt(np.square(parts).sum(axis=0))[inside])
    one, other = sizes
    if inside.sum() < 16 or min(one.std(), other.std()) < 1e-6:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def best_view(made: Drawn, truth: np.ndarray) -> Camera:
    """The camera from which an object looks most like a picture [N, N, 4]: where the PSNR is highest.

    Every pose of a grid is tried, each with the picture's outline in its frame. The best ones are refined along each of
    the camera's numbers in turn, until steps of a third of a degree find nothing better.
    """

    def cost(values: np.ndarray) -> float:
        return -psnr(made.picture(Camera(*values)), truth)

    grid = [_framed(made, truth, azimuth, elevation) for azimuth in AZIMUTHS for elevation in ELEVATIONS]
    starts: list[np.ndarray] = []
    for values in sorted(grid, key=cost):
        if all(angle(Camera(*values), Camera(*other)) > APART for other in starts):
            starts.append(values)
        if len(starts) == STARTS:
            break
    found = []
    for values in starts:
        value, step = cost(values), np.array([6, 6, 6, 0.03, 0.03, 0.03])
        while step[0] > 0.3:
            moved = False
            for k, sign in [(k, sign) for k in range(6) for sign in (1, -1)]:
                tried = values.copy()
                tried[k] += sign * step[k]
                tried[1], tried[2] = np.clip(tried[1], -10, 80), np.clip(tried[2], 15, 70)
                now = cost(tried)
                if now < value - 1e-9:
                    values, value, moved = tried, now, True
            step = step if moved else step / 2
        found.append((value, values))
    return Camera(*min(found, key=lambda one: one[0])[1].tolist())


def _framed(made: Drawn, truth: np.ndarray, azimuth: float, elevation: float) -> np.ndarray:
    """A camera's numbers [6], with the larger extent and the middle of the object where the picture has them."""
    rows, columns = (np.flatnonzero((truth[..., 3] > 0).any(axis)) for axis in (1, 0))
    ends = np.array([[columns[0], columns[-1] + 1], [rows[0], rows[-1] + 1]]) / len(truth)
    screen = Camera(azimuth, elevation, FOV).project(made.shape.vertices)[:, :2]
    low, high = screen.min(axis=0), screen.max(axis=0)
    half = (high - low).max() / np.ptp(ends, axis=1).max()
    u, v = (low + high - 1) - (ends.sum(axis=1) - 1) * half
    return np.array([azimuth, elevation, FOV, u, -v, half])


def angle(one: Camera, other: Camera) -> float:
    """Degrees between the directions in which two cameras look."""
    return math.degrees(math.acos(float(np.clip(one.axes()[2] @ other.axes()[2], -1, 1))))


def _means(judged: list[Judged]) -> dict[str, dict[str, float]]:
    def means(scores: list[Score]) -> dict[str, float]:
        return {name: round(float(np.mean([asdict(one)[name] for one in scores])), 4) for name in asdict(scores[0])}

    return {"unpainted": means([o.unpainted for o in judged]), "painted": means([o.painted for o in judged])}


def table(report: Report) -> str:
    """The report as text."""
    lines = ["                   input's view      best view         other views"]
    rows = {"all": {"unpainted": report["unpainted"], "painted": report["painted"]}, **report["families"]}
    for name, both in rows.items():
        for way, r in both.items():
            cells = [(r[f"psnr{at}"], r[f"gradients{at}"]) for at in ("", "_best_view", "_other_views")]
            figures = "  ".join(f"{peak:5.1f} dB, {edges:5.2f}" for peak, edges in cells)
            lines.append(f"{name:9} {way:9}  {figures}")
    lines.append(f"trusted: {report['trusted']:.0%}, of these right: {report['right']:.0%}")
    if report["failed"]:
        lines.append(f"not made: {report['failed']}")
    return "\n".join(lines)
