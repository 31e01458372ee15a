"""How rough the parts of an object are, judged by the highlights that a picture shows of them.

The picture is divided into regions of like colour. In each, everything that changes slowly with the normal is fitted
freely: nine spherical harmonics hold nearly all of what any light does to a matte surface (Basri and Jacobs 2003,
"Lambertian reflectance and linear subspaces"). What remains is compared with the highlight of a surface that is not
metal, for each roughness: the GGX distribution (Walter et al. 2007, "Microfacet models for refraction through rough
surfaces") with Schlick's Fresnel term, in white, clipped as cameras clip. The result is the mean of all of them by how
likely they are, with "nothing can be told" among them. So a region without a clear highlight has the usual roughness,
and none becomes a mirror for want of evidence. A matte surface shows no highlight, so nothing is ever found to be
rougher than usual.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...asset_facts import ROUGHNESS
from .camera import Camera
from .light import Light
from .shape import Seen

GAMMA = 2.2  # linear light is a picture's value to this power
STEPS = np.linspace(0.1, 0.6, 6)  # the roughnesses that are tried
VALUES = np.append(STEPS, ROUGHNESS)  # the last one stands for "nothing can be told"
USUAL_SPREAD, NOTHING = 0.4, 0.5  # how far from the usual most surfaces are, and the odds of the last one
REFLECTED = 0.04  # of the light that meets a surface squarely, by anything that is not metal
POWERS, POWER_SPREAD = np.array([0.35, 0.6, 1.0, 1.6]), 0.6  # of highlights beside what the shade says of the light
WIDTHS = (0.015, 0.05)  # of lights: what they add to the width of a highlight
TOLERATED = 0.003  # of squared colour differences: larger ones count ever less (Geman and McClure 1987)
DOUBT, DOUBT_SHARE = 6.0, 0.001  # pixels by which an explanation must be better, and for each pixel of a region
CLUTTER, OUTLIER = 0.1, 0.03  # the same for each pixel that is off by such a squared difference, far from highlights
LIKE = 0.1  # how far colours of a region may differ, see ``_hues``
FEWEST, MOST_COLORS = 0.03, 6  # the least share of the pixels with a colour of its own, and how many there may be
SMALLEST = 0.02  # region, as a share of the pixels
FEWEST_PIXELS = 200  # that show the object
RIM = 3  # pixels at the outline that are left out: there the shape is never quite that of the picture
STEP = 0.06  # a difference of depths that is an edge, in sides of the cube
SLANT = 0.2  # cosine between surface and view below which nothing is compared
ZONE = math.cos(math.radians(25))  # around the mirror direction, where a colour may be a highlight's
BLEND = 3.0  # pixels within which neighbours are taken to have the same colour
HIGHLIGHT = 0.004  # what it costs to take a white pixel for a highlight
PEAKS, FAR = 4, math.cos(math.radians(40))  # highlights that are tried, and how far their light may be from the fitted
FAINTEST = 0.02  # highlight
CLOSE = math.cos(math.radians(10))  # to a highlight: these pixels are all compared, as far as ``MOST`` allows
MOST = 3000  # pixels that are compared, near highlights and elsewhere
RIDGE = np.array([1e-6] + [1e-4] * 3 + [1e-3] * 7)  # how reluctant the free part is, so that it follows no grain


class Gloss(NamedTuple):
    """What a picture says about roughness."""

    regions: np.ndarray  # [N, N] int64: the region of each pixel, -1 for none
    colors: np.ndarray  # [K, 3] sRGB in 0..1 of the regions, without shade
    roughness: np.ndarray  # [K] in 0..1, ``ROUGHNESS`` where nothing can be told
    sizes: np.ndarray  # [K] pixels


def estimate(
    picture: np.ndarray, seen: Seen, camera: Camera, light: Light, check: Callable[[], None] = lambda: None
) -> Gloss | None:
    """The roughness of each region of a picture; None if it shows too little.

    Args:
        picture: [N, N, 4] float32 in 0..1, sRGB, straight alpha: the square of the camera.
        seen: what the camera sees of the shape, in as many pixels.
        camera: the picture's.
        light: that of the picture, see ``light.fit``.
        check: called every few milliseconds; it raises to cancel.
    """
    views = _views(camera, len(picture))
    at = np.flatnonzero(_clear(picture, seen, views))
    if len(at) < FEWEST_PIXELS:
        return None
    normals, toward = (values.reshape(-1, 3)[at].astype(np.float64) for values in (seen.normals, views))
    colors = picture.reshape(-1, 4)[at, :3].astype(np.float64)
    shade = light.shade(normals)[:, None]
    check()
    half = _unit(toward + light.direction)
    may_shine = (normals * half).sum(axis=1) > ZONE
    hues = _palette((colors / shade)[~may_shine])
    if not len(hues):
        return None
    nearest = _nearest(at, colors, shade, hues, may_shine, len(picture))
    check()
    regions, kinds = _connected(at, nearest, len(hues), len(picture))
    own = hues[kinds]
    excess = np.where(regions >= 0, (colors - np.minimum(hues[nearest] * shade, 1)).min(axis=1), 0)
    peaks = _peaks(at, excess, len(picture))
    check()
    mirrored = 2 * (normals * toward).sum(axis=1, keepdims=True)[peaks] * normals[peaks] - toward[peaks]
    likely = mirrored @ light.direction > FAR
    peaks, mirrored = peaks[likely], mirrored[likely]
    bright, dark = light.gain**GAMMA, (light.gain * (1 - light.direct)) ** GAMMA
    roughness = np.full(len(own), ROUGHNESS)
    for region in range(len(own)):
        lights = mirrored[regions[peaks] == region][:PEAKS]
        if len(lights):
            mine = regions == region
            pixels = _Pixels.of(normals[mine], toward[mine], colors[mine] ** GAMMA, lights, max(bright - dark, 0.1))
            roughness[region] = _roughness(pixels, lights, check)
    image = np.full(len(picture) ** 2, -1, np.int64)
    image[at] = regions
    sizes = np.bincount(regions[regions >= 0], minlength=len(own))
    return Gloss(image.reshape(picture.shape[:2]), own, roughness, sizes)


def _views(camera: Camera, size: int) -> np.ndarray:
    """Unit vectors [N, N, 3] from what each pixel shows to the eye."""
    right, up, forward = camera.axes()
    spread = math.tan(math.radians(camera.fov) / 2)
    offsets = (2 * (np.arange(size) + 0.5) / size - 1) * camera.half
    across, upward = (camera.u + offsets) * spread, (camera.v - offsets) * spread
    return -_unit(forward + across[None, :, None] * right + upward[:, None, None] * up)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))


def _clear(picture: np.ndarray, seen: Seen, views: np.ndarray) -> np.ndarray:
    """Which pixels [N, N] surely show what the shape has there: none at its outline, at edges, or seen from aside."""
    from scipy import ndimage  # lazily: it takes long to load, and most jobs do without

    inside = ndimage.binary_erosion(seen.shown & (picture[..., 3] > 0.99), iterations=RIM)
    depth = np.where(seen.shown, 1 / np.maximum(seen.near, 1e-6), 0)
    apart = ndimage.maximum_filter(depth, 5) - ndimage.minimum_filter(depth, 5)
    return np.asarray(inside & (apart < STEP) & ((seen.normals * views).sum(axis=-1) > SLANT))


# --- regions ---------------------------------------------------------------------------------------------------------


def _hues(colors: np.ndarray) -> np.ndarray:
    """Colours [P, 3] as they are compared, [P, 3]: hue counts more than brightness, which the light changes."""
    total = colors.sum(axis=-1, keepdims=True)
    return np.concatenate([1.7 * colors[:, :2] / (total + 0.15), 0.4 * (total + 0.15) / 3], axis=1)


def _palette(colors: np.ndarray) -> np.ndarray:
    """The few colours [K, 3] that most pixels [P, 3] have, the most frequent first."""
    places, found = _hues(colors), list[np.ndarray]()
    least = FEWEST * len(colors)
    left = np.ones(len(colors), bool)
    while left.sum() > least and len(found) < MOST_COLORS:
        cells = np.floor(places[left] / (0.6 * LIKE)).astype(np.int64)
        _, cell, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
        middle = places[left][cell.reshape(-1) == counts.argmax()].mean(axis=0)
        near = left & (np.linalg.norm(places - middle, axis=1) < LIKE)
        if not near.any():
            break
        if near.sum() > least:
            found.append(np.median(colors[near], axis=0))
        left &= ~near
    return np.array(found).reshape(-1, 3)


def _nearest(
    at: np.ndarray, colors: np.ndarray, shade: np.ndarray, hues: np.ndarray, may_shine: np.ndarray, size: int
) -> np.ndarray:
    """Which of the hues [K, 3] each pixel has, [P], together with its neighbours. A highlight has that of the surface
    below it: near the mirror direction, white may lie over any hue, at a cost."""
    costs = []
    known = _blurred(at, np.ones(len(at)), size, BLEND)
    for hue in hues:
        body = np.minimum(hue * shade, 1)
        white, rest = 1 - body, colors - body
        share = ((rest * white).sum(axis=1) / np.maximum((white**2).sum(axis=1), 1e-3)).clip(0, 1) * may_shine
        error = ((rest - share[:, None] * white) ** 2).sum(axis=1)
        costs.append(_blurred(at, np.minimum(error, 0.03) + HIGHLIGHT * share, size, BLEND) / known)
    return np.argmin(costs, axis=0)


def _blurred(at: np.ndarray, values: np.ndarray, size: int, radius: float) -> np.ndarray:
    """Values [P] of the pixels ``at`` in an image, blurred there; 0 elsewhere."""
    from scipy import ndimage

    image = np.zeros(size * size)
    image[at] = values
    return np.asarray(ndimage.gaussian_filter(image.reshape(size, size), radius).reshape(-1)[at])


def _connected(at: np.ndarray, nearest: np.ndarray, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The region of each pixel [P], -1 in the smallest ones, and the hue of each region [K]."""
    from scipy import ndimage

    image = np.full(size * size, -1)
    image[at] = nearest
    regions, hues = np.full(size * size, -1), list[int]()
    for hue in range(count):
        parts, _ = ndimage.label(image.reshape(size, size) == hue)
        sizes = np.bincount(parts.reshape(-1))
        for part in 1 + np.flatnonzero(sizes[1:] >= SMALLEST * len(at)):
            regions[parts.reshape(-1) == part] = len(hues)
            hues.append(hue)
    return regions[at], np.array(hues, np.int64)


def _peaks(at: np.ndarray, excess: np.ndarray, size: int) -> np.ndarray:
    """Where the pixels [P] are brightest beside what their colour explains: numbers of pixels, the brightest first."""
    from scipy import ndimage

    image = np.zeros(size * size)
    image[at] = _blurred(at, np.maximum(excess, 0), size, 1.5)
    image = image.reshape(size, size)
    top = (image == ndimage.maximum_filter(image, 9)) & (image > FAINTEST)
    peaks = np.flatnonzero(top.reshape(-1)[at])
    return peaks[np.argsort(-image.reshape(-1)[at][peaks], kind="stable")]


# --- highlights ------------------------------------------------------------------------------------------------------


class _Pixels(NamedTuple):
    """The pixels of a region that are compared."""

    normals: np.ndarray  # [P, 3]
    toward: np.ndarray  # [P, 3] the eye
    linear: np.ndarray  # [P, 3] their light
    weights: np.ndarray  # [P] how many pixels each stands for
    slopes: np.ndarray  # [P, 3] what a difference of light is as one of sRGB, squared
    smooth: np.ndarray  # [P, B] what changes slowly
    solve: np.ndarray  # [B, P] from light to how much of each of these it has
    power: float  # of the light
    doubt: float  # by how many pixels an explanation must be better to be e times as likely

    @classmethod
    def of(
        cls, normals: np.ndarray, toward: np.ndarray, linear: np.ndarray, lights: np.ndarray, power: float
    ) -> _Pixels:
        """From all pixels of a region and the lights [L, 3] whose highlights are tried."""
        halves = _unit(toward[:, None] + lights)
        close = ((normals[:, None] * halves).sum(axis=-1) > CLOSE).any(axis=1)
        weights = np.zeros(len(normals))
        for kind in (np.flatnonzero(close), np.flatnonzero(~close)):
            step = max(1, math.ceil(len(kind) / MOST))
            weights[kind[::step]] = step
        some = weights > 0
        normals, toward, linear, weights, close = (each[some] for each in (normals, toward, linear, weights, close))
        slopes = (np.maximum(linear, 0.1**GAMMA) ** (1 / GAMMA - 1) / GAMMA) ** 2
        smooth, trust = _smooth(normals, toward), weights
        for _ in range(4):  # highlights count ever less
            weighted = (smooth * trust[:, None]).T
            solve = np.linalg.solve(weighted @ smooth + np.diag(RIDGE) * trust.sum(), weighted)
            error = ((smooth @ (solve @ linear) - linear) ** 2 * slopes).sum(axis=1)
            trust = weights / (error + TOLERATED) ** 2
        # Relief and patterns have bright spots, too. Where there are many, none of them tells anything.
        clutter = weights[(error > OUTLIER) & ~close].sum()
        doubt = float(DOUBT + DOUBT_SHARE * weights.sum() + CLUTTER * clutter)
        return cls(normals, toward, linear, weights, slopes, smooth, solve, power, doubt)

    def costs(self, light: np.ndarray) -> np.ndarray:
        """How badly each roughness explains the pixels, and no highlight at all, [W * P, R + 1]: in pixels, for each
        width and power of a light from a direction [3]."""
        found = []
        plain = self.solve @ self.linear
        for width in WIDTHS:
            shine = np.concatenate([_lobes(self.normals, self.toward, light, width), np.zeros((1, len(self.normals)))])
            followed = (shine @ self.solve.T)[..., None]  # by what changes slowly
            for power, odds in zip(self.power * POWERS, (np.log(POWERS) / POWER_SPREAD) ** 2 / 2, strict=True):
                model = self.smooth @ (plain - power * followed) + power * shine[..., None]
                error = ((model.clip(0, 1) - self.linear) ** 2 * self.slopes).sum(axis=-1)
                found.append((error / (error + TOLERATED)) @ self.weights + self.doubt * odds)
        return np.array(found)


def _smooth(normals: np.ndarray, toward: np.ndarray) -> np.ndarray:
    """What changes slowly with normals [P, 3]: spherical harmonics, and the brighter rim of all surfaces, [P, 11]."""
    x, y, z = normals.T
    aside = 1 - (normals * toward).sum(axis=1)
    harmonics = [np.ones(len(x)), x, y, z, x * y, y * z, z * x, x * x - y * y, 3 * z * z - 1]
    return np.stack([*harmonics, aside**2, aside**5], axis=1)


def _lobes(normals: np.ndarray, toward: np.ndarray, light: np.ndarray, width: float) -> np.ndarray:
    """The highlights [R, P] of a light from one direction on surfaces of each roughness, beside white that it meets
    squarely."""
    half = _unit(toward + light)
    facing, lit, seen = ((normals * way).sum(axis=1) for way in (half, light, toward))
    alpha = STEPS[:, None] ** 2 + width
    density = alpha**2 / (facing.clip(0, 1) ** 2 * (alpha**2 - 1) + 1) ** 2
    masked = [angle / (angle * (1 - alpha / 2) + alpha / 2) for angle in (lit.clip(0, 1), seen.clip(1e-3, 1))]
    fresnel = REFLECTED + (1 - REFLECTED) * (1 - (toward * half).sum(axis=1).clip(0, 1)) ** 5
    return np.asarray(density * masked[0] * masked[1] * fresnel / (4 * seen.clip(1e-3, 1)))


def _roughness(pixels: _Pixels, lights: np.ndarray, check: Callable[[], None]) -> float:
    """The likely roughness of a region, whose highlight comes from one of the lights [L, 3], or from near it."""
    prior = np.exp(-(((STEPS - ROUGHNESS) / USUAL_SPREAD) ** 2) / 2)
    prior = np.append(prior / prior.sum(), NOTHING)
    least, best, chances = np.inf, lights[0], prior
    for some in (lights, None):
        for light in _around(best) if some is None else some:
            check()
            costs = pixels.costs(light)
            low = costs.min(axis=1, keepdims=True)
            odds = prior * np.exp((low - costs) / pixels.doubt)
            totals = low[:, 0] - pixels.doubt * np.log(odds.sum(axis=1))
            way = int(totals.argmin())
            if totals[way] < least:
                least, best, chances = totals[way], light, odds[way]
    return float((chances * VALUES).sum() / chances.sum())


def _around(direction: np.ndarray) -> np.ndarray:
    """Directions [D, 3] a few degrees from one."""
    one = _unit(np.cross(direction, np.eye(3)[int(np.abs(direction).argmin())]))
    other = np.cross(direction, one)
    turns = np.arange(6) * math.pi / 3
    ring = np.cos(turns)[:, None] * one + np.sin(turns)[:, None] * other
    return _unit(np.concatenate([direction + math.tan(math.radians(degrees)) * ring for degrees in (2, 4)]))
