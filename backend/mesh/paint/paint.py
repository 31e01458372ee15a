"""Paint a texture from the pictures of its object: find each camera, take the light out, carry the colours over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..bake.texels import Cover
from ..base.compiled import compiled, in_strips
from ..unwrap.unwrap import Unwrapped
from . import light, pose, texels
from .camera import Camera
from .picture import Picture
from .pose import Pose
from .roughness import RoughnessMap
from .shape import Seen, Shape
from .symmetry import twins
from .tone import moves

if TYPE_CHECKING:
    from PIL import Image

#: When a pose is trusted. Blurred predictions differ from crisp pictures: colours may differ the more, the better the
#: outlines agree. Of 48 made objects seven had a wrong pose: three are beyond these limits, two gained all the same.
MIN_OVERLAP = 0.85  # of the outlines
MAX_MISMATCH, FROM_OVERLAP = 0.24, 0.9  # of the colours, up to this overlap
BY_OVERLAP = 2.0  # how much more they may differ for each overlap above that
SIZE = 256  # of the render that says what a picture shows
STRIP = 64  # rows that one thread does at a time
LIT = 3  # every how many pixels of it the light is fitted to


@dataclass(frozen=True)
class View:
    """What became of one picture."""

    camera: Camera | None = None  # that of the square around the whole image; None if the object is too small in it
    pose: Pose | None = None  # the same for the square around the object, with its figures
    trusted: bool = False  # whether it was painted from
    light: light.Light | None = None  # None if it was left in


@dataclass(frozen=True)
class Painted:
    """A painted texture."""

    texture: np.ndarray  # [T, T, 3] uint8 sRGB; what no chart covers is as it was
    shares: np.ndarray  # [T, T] float32 in 0..1: how much of each texel pictures show, before ``strength``
    views: tuple[View, ...]  # one for each picture
    roughness: np.ndarray | None = None  # [T, T] uint8, linear; None if not requested


@dataclass(frozen=True)
class Pictures:
    """What to paint from, and how."""

    images: Sequence[Image.Image]  # RGBA, the object cut out
    strength: float = 1.0  # how much of the pictures is taken, 0..1
    keep_shading: bool = False  # leave the pictures' light in
    roughness: bool = False  # also judge how rough the surface is


class Painter:
    """Paints the texture of a mesh while it is baked. ``views`` then says what became of the pictures."""

    def __init__(self, mesh: Unwrapped, pictures: Pictures, check: Callable[[], None]) -> None:
        self.views: tuple[View, ...] = ()
        self._mesh, self._pictures, self._check = mesh, pictures, check

    def __call__(self, texture: np.ndarray, cover: Cover) -> tuple[np.ndarray, np.ndarray | None]:
        """The texture [T, T, 3] uint8, painted, and the roughness [T, T] uint8 if it was requested."""
        shape = Shape.of(self._mesh.vertices, self._mesh.faces, self._mesh.uvs, texture)
        painted = paint(shape, texture, cover, self._pictures, self._check)
        self.views = painted.views
        return painted.texture, painted.roughness


def paint(
    shape: Shape, texture: np.ndarray, cover: Cover, pictures: Pictures, check: Callable[[], None] = lambda: None
) -> Painted:
    """Paint what pictures show of a shape onto its texture.

    Args:
        shape: the mesh in the cube, with its texture.
        texture: [T, T, 3] uint8 sRGB, what the model predicted.
        cover: the texels of the mesh's faces.
        pictures: what to paint from.
        check: called every few milliseconds; it raises to cancel.
    """
    views = []
    direct, mirrored = (_Layer.empty(len(texture)) for _ in range(2))
    rough = RoughnessMap(len(texture)) if pictures.roughness else None
    for image in pictures.images:
        check()
        picture = Picture.of(image, len(texture))
        check()
        found = None if picture is None else pose.find(shape, picture, check)
        if picture is None or found is None:
            views.append(View())
            continue
        camera = picture.whole(found.camera)
        if not is_trusted(found):
            views.append(View(camera, found))
            continue
        seen = shape.seen(found.camera, SIZE)
        check()
        lit = picture.reduced(SIZE)
        fitted = None if pictures.keep_shading and rough is None else _light(seen, lit, found, check)
        pixels = picture.pixels
        if fitted is not None and not pictures.keep_shading:
            pixels = light.albedo(pixels, fitted.shade(seen.normals), seen.shown, check)
            check()
        trust = texels.trusted(seen, lit[..., 3])
        check()
        direct.add(*texels.paint(shape, found.camera, seen, trust, pixels, cover, check))
        if rough is not None and fitted is not None:
            rough.add(shape, found.camera, seen, trust, lit, fitted, cover, check)
        for twin in twins(shape, found.camera, seen, check):
            trust = texels.trusted(twin.seen, twin.turned(lit[..., 3])) * twin.agreement
            check()
            mirrored.fill(*texels.paint(shape, twin.camera, twin.seen, trust, twin.turned(pixels), cover, check))
        views.append(View(camera, found, True, None if pictures.keep_shading else fitted))
    if not direct.weights.any():
        return Painted(texture, direct.shares, tuple(views), rough.image(texture, check) if rough else None)
    check()
    table = moves(texture, direct.colors, direct.shares)
    result = np.empty_like(texture)
    layers = (direct.colors, direct.shares, mirrored.colors, mirrored.shares)
    in_strips(partial(_mix, texture, *layers, table, pictures.strength, result), len(texture), STRIP)
    return Painted(result, direct.shares, tuple(views), rough.image(result, check) if rough else None)


class _Layer(NamedTuple):
    """Several pictures on a texture."""

    colors: np.ndarray  # [T, T, 3] float32
    shares: np.ndarray  # [T, T] float32: the largest of any picture
    weights: np.ndarray  # [T, T] float32: sums of what ``add`` has added

    @classmethod
    def empty(cls, side: int) -> _Layer:
        return cls(np.zeros((side, side, 3), np.float32), *np.zeros((2, side, side), np.float32))

    def add(self, colors: np.ndarray, shares: np.ndarray) -> None:
        """Add a picture's colours with their shares, to the mean of those that are there."""
        in_strips(partial(_add, colors, shares, *self), len(shares), STRIP)

    def fill(self, colors: np.ndarray, shares: np.ndarray) -> None:
        """Add them below those that are there: two that differ would make a double image."""
        in_strips(partial(_fill, colors, shares, self.colors, self.shares), len(shares), STRIP)


@compiled
def _add(
    own: np.ndarray,
    share: np.ndarray,
    colors: np.ndarray,
    shares: np.ndarray,
    weights: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Add some rows of a picture to a layer. Where several show a texel, the best one counts most."""
    for row in range(first, last):
        for column in range(len(share)):
            weight = share[row, column] ** 3
            if weight > 0:
                weights[row, column] += weight
                part = weight / weights[row, column]
                for k in range(3):
                    colors[row, column, k] += part * (own[row, column, k] - colors[row, column, k])
                shares[row, column] = max(shares[row, column], share[row, column])


@compiled
def _fill(own: np.ndarray, share: np.ndarray, colors: np.ndarray, shares: np.ndarray, first: int, last: int) -> None:
    """Add some rows of a picture below a layer: as far as it shows more than is there."""
    for row in range(first, last):
        for column in range(len(share)):
            free = share[row, column] - shares[row, column]
            if free > 0:
                shares[row, column] += free
                part = free / shares[row, column]
                for k in range(3):
                    colors[row, column, k] += part * (own[row, column, k] - colors[row, column, k])


@compiled
def _mix(
    texture: np.ndarray,
    colors: np.ndarray,
    shares: np.ndarray,
    mirrored: np.ndarray,
    mirrored_shares: np.ndarray,
    table: np.ndarray,
    strength: float,
    result: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fill in some rows of the painted texture: predicted colours as ``tone.moves`` says, over them what symmetries
    say, and over these the pictures' shares."""
    cells = len(table)
    for row in range(first, last):
        for column in range(len(texture)):
            x = min(max(texture[row, column, 0] / 255.0 * cells - 0.5, 0.0), cells - 1.001)
            y = min(max(texture[row, column, 1] / 255.0 * cells - 0.5, 0.0), cells - 1.001)
            z = min(max(texture[row, column, 2] / 255.0 * cells - 0.5, 0.0), cells - 1.001)
            a, b, c = int(x), int(y), int(z)
            share, below = strength * shares[row, column], strength * mirrored_shares[row, column]
            for k in range(3):
                move = 0.0
                for corner in range(8):
                    da, db, dc = corner & 1, corner >> 1 & 1, corner >> 2
                    weight = abs(1 - da - x + a) * abs(1 - db - y + b) * abs(1 - dc - z + c)
                    move += weight * table[a + da, b + db, c + dc, k]
                under = min(max(texture[row, column, k] / 255.0 + strength * move, 0.0), 1.0)
                under += below * (mirrored[row, column, k] - under)
                result[row, column, k] = int(255.0 * (under + share * (colors[row, column, k] - under)) + 0.5)


def is_trusted(found: Pose) -> bool:
    """Whether a pose is likely enough to be the picture's, so that the picture may be painted from it."""
    allowed = MAX_MISMATCH + BY_OVERLAP * max(found.overlap - FROM_OVERLAP, 0.0)
    return found.overlap >= MIN_OVERLAP and found.mismatch <= allowed


def note_on_views(views: Sequence[View], *, guided: bool = False) -> str:
    """What to tell the user about pictures that were not painted from; empty if all were.

    An object that is ``guided`` may look less like them because of its guide.
    """
    small = sum(view.pose is None for view in views)
    doubtful = sum(not view.trusted for view in views) - small
    notes = []
    if small:
        notes.append(f"{_these(small, len(views))} too small to paint the texture from.")
    if doubtful:
        notes.append(f"{_these(doubtful, len(views))} not painted onto the texture: the object does not look like it.")
        if guided:
            notes.append("A lower shape strength may help.")
    return " ".join(notes)


def _these(count: int, total: int) -> str:
    if total == 1:
        return "The image is"
    return f"{count} of {total} images {'is' if count == 1 else 'are'}"


def _light(seen: Seen, picture: np.ndarray, found: Pose, check: Callable[[], None]) -> light.Light:
    both = np.flatnonzero((seen.shown & (picture[..., 3] > 0.99)).reshape(-1))[:: LIT * LIT]
    normals, colors, lit = (maps.reshape(-1, maps.shape[2])[both, :3] for maps in (seen.normals, seen.colors, picture))
    return light.fit(normals, colors, lit, found.camera.axes(), check)
