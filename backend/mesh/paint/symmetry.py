"""Symmetries of an object about its upright axis: where else the same picture would be seen, and how far.

A symmetry is one of the object as it was made, of its shape and of its predicted colours. The picture is not asked: it
shows what is finer, as stripes that the model blurred, and that is to be carried over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from .camera import Camera
from .shape import Seen, Shape

#: What is tried, as (mirrored, turn in degrees): the symmetries of a square seen from above, without the identity.
KINDS = ((True, 0), (True, 180), (True, 90), (True, 270), (False, 180), (False, 90), (False, 270))
SIDE = 64  # of the renders that are compared first, in pixels
MIN_OVERLAP = 0.93  # of the outlines
MOST = 3  # symmetries that are used
FAR = 90.0  # degrees from all cameras that there are already: one that is less far adds less
MIN_SHARE = 0.7  # of what the camera sees that agrees
DEPTH = 0.04  # how much depths may differ, in sides of the cube
COLOR = 0.12  # by how much predicted colours may differ; from half of that on, what they show counts ever less
SPREAD = 5 / 256  # within which predicted colours are averaged, in sides of the picture
RIM = 2 / 256  # how soft the border of what agrees is


@dataclass(frozen=True)
class Twin:
    """A camera from which the object looks as it does from another one."""

    camera: Camera
    seen: Seen  # what it sees
    mirrored: bool  # whether its picture is the other's mirror image
    agreement: np.ndarray  # [N, N] float32 in 0..1: how far each of its pixels is the same

    def turned(self, image: np.ndarray) -> np.ndarray:
        """An image of the other camera as this one would take it."""
        return _turned(image, self.mirrored)


def twins(shape: Shape, camera: Camera, seen: Seen, check: Callable[[], None]) -> Iterator[Twin]:
    """The best twins of a camera: where the shape is most alike, and which show most of what is not seen yet.

    Args:
        shape: the object.
        camera: one that is known.
        seen: what it sees, in N x N pixels.
        check: raises to cancel.
    """
    own = shape.seen(camera, SIDE)
    rated = []
    for mirrored, turn in KINDS:
        check()
        azimuth = turn - camera.azimuth if mirrored else turn + camera.azimuth
        other = replace(camera, azimuth=azimuth, u=-camera.u if mirrored else camera.u)
        seen_there = shape.seen(other, SIDE)
        shown, like = _alike(own, seen_there, mirrored)
        if shown.sum() >= MIN_OVERLAP * (own.shown | _turned(seen_there.shown, mirrored)).sum():
            rated.append((float(like.sum()), mirrored, other))
    taken = [camera]
    while rated and len(taken) <= MOST:
        check()
        best = max(range(len(rated)), key=lambda i: rated[i][0] * min(_nearest(rated[i][2], taken) / FAR, 1.0))
        _, mirrored, other = rated.pop(best)
        taken.append(other)
        seen_there = shape.seen(other, len(seen.near))
        agreement = _agreement(seen, seen_there, mirrored)
        check()
        if agreement.sum() >= MIN_SHARE * seen.shown.sum():
            yield Twin(other, seen_there, mirrored, _turned(agreement, mirrored))


def _nearest(camera: Camera, others: list[Camera]) -> float:
    """Degrees of azimuth between a camera and the nearest of others."""
    return min(abs((camera.azimuth - other.azimuth + 180) % 360 - 180) for other in others)


def _turned(image: np.ndarray, mirrored: bool) -> np.ndarray:
    return np.ascontiguousarray(image[:, ::-1]) if mirrored else image


def _alike(one: Seen, other: Seen, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels [N, N] of the first camera show the object in both, and of these, which in the same depth."""
    shown = one.shown & _turned(other.shown, mirrored)
    depths = [1 / np.maximum(near, 1e-6) for near in (one.near, _turned(other.near, mirrored))]
    return shown, shown & (np.abs(depths[0] - depths[1]) < DEPTH)


def _agreement(one: Seen, other: Seen, mirrored: bool) -> np.ndarray:
    """How far each pixel of the first camera shows the same in both, [N, N] float32 in 0..1."""
    from scipy import ndimage  # lazily: it takes long to load, and most jobs do without

    size = len(one.near)
    like = _alike(one, other, mirrored)[1].astype(np.float32)
    mass = ndimage.gaussian_filter(like, SPREAD * size) + 1e-6
    differences = (one.colors - _turned(other.colors, mirrored)) * like[..., None]
    spread = ndimage.gaussian_filter(differences, (SPREAD * size, SPREAD * size, 0)) / mass[..., None]
    sure = np.clip(2 - 2 * np.linalg.norm(spread, axis=2) / COLOR, 0, 1)
    return np.asarray(sure * like * ndimage.gaussian_filter(like, RIM * size), np.float32)
