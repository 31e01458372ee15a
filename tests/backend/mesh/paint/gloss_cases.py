"""Lit objects whose roughness and metalness are known, drawn plainly: Lambert, GGX and an ambient that has a sky."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from backend.mesh.paint.camera import Camera
from backend.mesh.paint.shape import Seen, Shape

SIDE = 256
SAMPLES = 48  # of each light
RINGS = 32  # of a part's mesh, from pole to pole


@dataclass(frozen=True)
class Part:
    """A rounded box: a ball of ``radius`` moved through a box with half sides ``half``. Colours are linear."""

    centre: np.ndarray  # [3]
    half: np.ndarray  # [3]: zeros make a sphere, one that is not zero a capsule
    radius: float
    color: np.ndarray  # [3]
    roughness: float
    metal: bool


@dataclass(frozen=True)
class Glossy:
    """A picture, what the painter would see of the object, and the truth at each pixel."""

    picture: np.ndarray  # [N, N, 4] float32 sRGB
    seen: Seen  # from a camera that is a little wrong, with colours as a model would predict them
    camera: Camera  # that wrong one
    part: np.ndarray  # [N, N] int: which part the true camera sees, -1 for none
    parts: tuple[Part, ...]
    shape: Shape  # its faces are in the order of the parts, as many for each


def drawn(seed: int, metals: float = 0.0, roughness: float | None = None) -> Glossy:
    """A random object under one or two random lights. ``metals`` is the share of metal parts."""
    rng = np.random.default_rng(seed)
    parts = _parts(rng, metals, roughness)
    shape, part_of = _shape(parts)
    camera = _framed(Camera(rng.uniform(0, 360), rng.uniform(5, 35), rng.uniform(25, 45)), shape.vertices)
    face = shape.drawn(camera, SIDE)[0]
    true = shape.seen(camera, SIDE)
    part = np.where(face >= 0, part_of[face], -1)
    linear = np.zeros((SIDE, SIDE, 3))
    linear[part >= 0] = _shaded(rng, true, parts, part, camera)
    picture = np.zeros((SIDE, SIDE, 4), np.float32)
    picture[..., :3] = np.clip(encoded(linear) + rng.normal(0, rng.uniform(0.003, 0.02), linear.shape), 0, 1)
    picture[..., 3] = part >= 0
    picture[part < 0] = 0
    picture = np.rint(picture * 255).astype(np.float32) / 255
    turn, rise, shift = rng.normal(0, 1.5), rng.normal(0, 1.5), rng.normal(0, 0.008, 2) * camera.half
    wrong = replace(
        camera,
        azimuth=camera.azimuth + turn,
        elevation=camera.elevation + rise,
        u=camera.u + shift[0],
        v=camera.v + shift[1],
    )
    seen = shape.seen(wrong, SIDE)
    wrong_face = shape.drawn(wrong, SIDE)[0]
    guess = encoded(np.array([p.color for p in parts])) * rng.uniform(0.8, 1.15, (len(parts), 1))
    colors = np.where((wrong_face >= 0)[..., None], guess[part_of[wrong_face]], 0)
    colors = ndimage.gaussian_filter(colors, (4, 4, 0)).astype(np.float32)
    return Glossy(picture, replace(seen, colors=colors), wrong, part, tuple(parts), shape)


def encoded(linear: np.ndarray) -> np.ndarray:
    """Linear light as sRGB, both in 0..1."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear < 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def _parts(rng: np.random.Generator, metals: float, roughness: float | None) -> list[Part]:
    parts = []
    count = int(rng.integers(1, 4))
    for number in range(count):
        radius = rng.uniform(0.12, 0.24)
        half = (
            rng.uniform(0.02, 0.16, 3)
            * (np.array([0, 0, 0]), np.array([0, 0, 1]), np.array([1, 1, 1]))[rng.integers(3)]
        )
        if half.all():
            radius = rng.uniform(0.05, 0.12)
        where = (
            np.array([0, 0, 0.0])
            if count == 1
            else 0.24
            * np.array(
                [math.cos(number * 2 * math.pi / count), math.sin(number * 2 * math.pi / count), rng.uniform(-0.6, 0.6)]
            )
        )
        metal = bool(rng.random() < metals)
        hue = rng.uniform(0, 1, 3)
        color = rng.uniform(0.05, 0.8) * (0.3 + 0.7 * hue) / max(0.3 + 0.7 * hue)
        if metal:
            color = np.array([(0.9, 0.9, 0.88), (1.0, 0.77, 0.34), (0.95, 0.64, 0.54), (0.56, 0.57, 0.58)])[
                rng.integers(4)
            ]
        drawn_roughness = rng.uniform(0.1, 0.9)
        parts.append(Part(where, half, radius, color, drawn_roughness if roughness is None else roughness, metal))
    return parts


def _shape(parts: list[Part]) -> tuple[Shape, np.ndarray]:
    """All parts as one mesh, and the part of each face [F]."""
    vertices, faces, owner, base = [], [], [], 0
    around = 2 * RINGS
    theta = (np.arange(RINGS) + 0.5) * math.pi / RINGS
    phi = (np.arange(around) + 0.5) * 2 * math.pi / around
    ring = np.stack(
        [
            np.sin(theta)[:, None] * np.cos(phi),
            np.sin(theta)[:, None] * np.sin(phi),
            np.repeat(np.cos(theta)[:, None], around, 1),
        ],
        axis=-1,
    ).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(RINGS - 1), np.arange(around), indexing="ij")
    a, b = (i * around + j).ravel(), (i * around + (j + 1) % around).ravel()
    quads = np.stack([a, a + around, b + around, b], 1)
    fan = np.arange(1, around - 1)
    last = (RINGS - 1) * around
    local = np.concatenate(
        [
            quads[:, [0, 1, 2]],
            quads[:, [0, 2, 3]],
            np.stack([np.zeros_like(fan), fan, fan + 1], 1),
            np.stack([np.zeros_like(fan) + last, last + fan + 1, last + fan], 1),
        ]
    )
    for number, part in enumerate(parts):
        vertices.append(part.centre + part.half * np.sign(ring) + part.radius * ring)
        faces.append(local + base)
        owner.append(np.full(len(local), number))
        base += len(ring)
    points, triangles = np.concatenate(vertices), np.concatenate(faces)
    uvs = np.zeros((len(triangles), 3, 2), np.float32)
    return Shape.of(points, triangles, uvs, np.full((16, 16, 3), 128, np.uint8)), np.concatenate(owner)


def _framed(camera: Camera, vertices: np.ndarray) -> Camera:
    """The camera with the square around the object, with some margin."""
    screen = 2 * camera.project(vertices)[:, :2] - 1
    low, high = screen.min(axis=0), screen.max(axis=0)
    u, v = (low + high) / 2
    return replace(camera, u=float(u), v=float(-v), half=float((high - low).max() / 2 * 1.15))


def _shaded(rng: np.random.Generator, true: Seen, parts: list[Part], part: np.ndarray, camera: Camera) -> np.ndarray:
    """The linear colours [P, 3] of the pixels that show a part."""
    normals, views = true.normals.astype(np.float64), view_directions(camera)
    right, up, forward = camera.axes()
    lights = []
    for number in range(int(rng.integers(1, 3))):
        towards = np.array([rng.uniform(-1, 1), rng.uniform(-0.2, 1), rng.uniform(0.35, 1)])
        towards = towards @ np.array([right, up, -forward])
        lights.append((towards / np.linalg.norm(towards), 1.0 if number == 0 else rng.uniform(0.1, 0.5)))
    ambient, spread = rng.uniform(0.15, 0.6), rng.uniform(0.02, 0.15)
    shown = part >= 0
    normals, views = normals[shown], views[shown]
    spots = _spots(rng, part)[shown]
    grain = ndimage.gaussian_filter(rng.normal(0, 1, part.shape), 2)[shown]
    part = part[shown]
    color = np.array([p.color for p in parts])[part]
    color = color * (1 + rng.uniform(0, 0.06) * (grain / grain.std())[..., None])
    color = np.where(spots[:, None] >= 0, spots[:, None], color)
    metal = np.array([p.metal for p in parts])[part][..., None]
    alpha = np.array([p.roughness for p in parts])[part] ** 2
    facing = np.maximum((normals * views).sum(-1), 1e-3)
    fresnel = np.where(metal, color, 0.04)

    def sky(directions: np.ndarray, blur: np.ndarray) -> np.ndarray:
        return ambient * (1 + (1 - blur) * 0.8 * directions[..., 2])

    mirrored = 2 * facing[..., None] * normals - views
    grazing = (1 - facing)[..., None] ** 5 * (1 - alpha[..., None])
    linear = np.where(metal, 0, color) * sky(normals, np.full(alpha.shape, 0.4))[..., None]
    linear = linear + (fresnel + (1 - fresnel) * grazing * 0.7) * sky(mirrored, alpha)[..., None]
    for towards, power in lights:
        side = np.cross(towards, [0.3, 0.5, 0.8])
        side /= np.linalg.norm(side)
        for k in range(SAMPLES):  # evenly over a disc
            reach, turn = spread * math.sqrt((k + 0.5) / SAMPLES), k * math.pi * (3 - math.sqrt(5))
            some = towards + reach * (math.cos(turn) * side + math.sin(turn) * np.cross(towards, side))
            some /= np.linalg.norm(some)
            lit = np.maximum(normals @ some, 0)[..., None]
            shine = ggx(normals, views, some, alpha)[..., None]
            half = views + some
            half /= np.linalg.norm(half, axis=-1, keepdims=True)
            schlick = fresnel + (1 - fresnel) * (1 - (views * half).sum(-1, keepdims=True)) ** 5
            linear = linear + power / SAMPLES * lit * (np.where(metal, 0, color) * (1 - schlick) + schlick * shine)
    exposure = rng.uniform(0.75, 1.05) / (ambient + 1.0)
    return linear * max(exposure, 0.08 / float(np.median(linear.max(-1))))


def _spots(rng: np.random.Generator, part: np.ndarray) -> np.ndarray:
    """Painted spots, as bright or as dark as [N, N] says; -1 where there are none. Every fourth part has some."""
    rows, columns = np.indices(part.shape)
    spots = np.full(part.shape, -1.0)
    for number in range(part.max() + 1):
        at = np.argwhere(part == number)
        count = int(rng.integers(1, 10)) if rng.random() < 0.25 and len(at) else 0
        for row, column in at[rng.integers(0, max(len(at), 1), count)]:
            disc = (rows - row) ** 2 + (columns - column) ** 2 < rng.uniform(1.5, 6) ** 2
            spots[disc & (part == number)] = rng.uniform(0.6, 0.9) if rng.random() < 0.7 else 0.03
    return spots


def ggx(normals: np.ndarray, views: np.ndarray, towards: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """pi D G / (4 nl nv) of Walter et al. 2007 with Smith's exact G, [P]."""
    half = views + towards
    half = half / np.linalg.norm(half, axis=-1, keepdims=True)
    nh, nl, nv = ((normals * v).sum(-1).clip(1e-4, 1) for v in (half, towards, views))
    square = alpha**2
    density = square / (nh**2 * (square - 1) + 1) ** 2
    smith = [2 * n / (n + np.sqrt(square + (1 - square) * n**2)) for n in (nl, nv)]
    return density * smith[0] * smith[1] / (4 * nl * nv)


def view_directions(camera: Camera, side: int = SIDE) -> np.ndarray:
    """Unit vectors [N, N, 3] from each pixel's point toward the eye."""
    right, up, forward = camera.axes()
    at = (2 * (np.arange(side) + 0.5) / side - 1) * camera.half
    spread = math.tan(math.radians(camera.fov) / 2)
    across = ((at + camera.u) * spread)[None, :, None] * right
    rise = ((-at + camera.v) * spread)[:, None, None] * up
    away = -(forward + across + rise)
    return away / np.linalg.norm(away, axis=-1, keepdims=True)
