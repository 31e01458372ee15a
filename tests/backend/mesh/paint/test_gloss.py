"""Roughness judged by highlights, beside pictures that a plain renderer drew with roughness that is known."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import cKDTree

from backend.asset_facts import ROUGHNESS
from backend.mesh.bake.bake import covered
from backend.mesh.bake.texels import Cover
from backend.mesh.paint import gloss, light
from backend.mesh.paint.paint import LIT, Painted, Pictures, paint
from backend.mesh.paint.roughness import note_on_roughness
from backend.mesh.paint.shape import Shape
from backend.mesh.unwrap.unwrap import unwrap
from tests.backend.mesh.paint import gloss_cases
from tests.backend.mesh.paint.gloss_cases import Glossy

HELD_OUT = 7000  # seeds from here on were never looked at while the constants were chosen
OBJECTS = 16
TEXTURE = 256


def fitted(case: Glossy) -> light.Light:
    """The light as the painter fits it."""
    both = np.flatnonzero((case.seen.shown & (case.picture[..., 3] > 0.99)).reshape(-1))[:: LIT * LIT]
    normals, colors, picture = (
        image.reshape(-1, image.shape[2])[both, :3] for image in (case.seen.normals, case.seen.colors, case.picture)
    )
    return light.fit(normals, colors, picture, case.camera.axes())


@lru_cache(maxsize=1)
def judged() -> np.ndarray:
    """True and found roughness of all parts that can be seen, [N, 2]."""
    rows = []
    for seed in range(HELD_OUT, HELD_OUT + OBJECTS):
        case = gloss_cases.drawn(seed)
        found = gloss.estimate(case.picture, case.seen, case.camera, fitted(case))
        assert found is not None
        for number, part in enumerate(case.parts):
            regions = found.regions[(case.part == number) & (found.regions >= 0)]
            if len(regions) > 400:
                rows.append((part.roughness, found.roughness[regions].mean()))
    return np.array(rows)


def test_it_is_nearer_to_the_truth_than_the_constant() -> None:
    true, found = judged().T
    assert len(true) >= 20
    assert np.abs(found - true).mean() < 0.65 * np.abs(ROUGHNESS - true).mean()
    assert np.abs(found - true).mean() < np.abs(0.5 - true).mean()  # the best that any constant can do
    assert np.corrcoef(true, found)[0, 1] > 0.5


def test_nothing_matte_becomes_a_mirror() -> None:
    true, found = judged().T
    assert found[true > 0.6].min() > 0.25
    assert found[true > 0.6].mean() > 0.6
    assert (found < true - 0.2).mean() < 0.06
    assert found.max() <= ROUGHNESS + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_a_matte_object_is_left_at_the_constant(seed: int) -> None:
    case = gloss_cases.drawn(HELD_OUT + 100 + seed, roughness=0.9)
    found = gloss.estimate(case.picture, case.seen, case.camera, fitted(case))
    assert found is not None
    assert np.average(found.roughness, weights=found.sizes) > ROUGHNESS - 0.1


def test_it_is_the_same_each_time_and_can_be_cancelled() -> None:
    case = gloss_cases.drawn(HELD_OUT + 5)
    one, other = (gloss.estimate(case.picture, case.seen, case.camera, fitted(case)) for _ in range(2))
    assert one is not None
    assert other is not None
    assert one.roughness.tobytes() == other.roughness.tobytes()
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gloss.estimate(case.picture, case.seen, case.camera, fitted(case), stop)


def test_too_small_an_object_tells_nothing() -> None:
    case = gloss_cases.drawn(HELD_OUT)
    picture = case.picture.copy()
    picture[..., 3] = 0
    picture[100:110, 100:110, 3] = 1
    assert gloss.estimate(picture, case.seen, case.camera, fitted(case)) is None


# --- as a texture ----------------------------------------------------------------------------------------------------


class Subject(NamedTuple):
    """An object with a matte and a glossy part, before it is painted."""

    case: Glossy
    shape: Shape
    texture: np.ndarray  # [T, T, 3] uint8
    cover: Cover
    part: np.ndarray  # [T, T]: which part each texel is of, -1 for none

    def painted(self, **more: bool) -> Painted:
        image = Image.fromarray(np.rint(self.case.picture * 255).astype(np.uint8), "RGBA")
        return paint(self.shape, self.texture, self.cover, Pictures([image], **more))


@lru_cache(maxsize=1)
def subject() -> Subject:
    case = gloss_cases.drawn(HELD_OUT + 218)
    mesh = unwrap(case.shape.vertices, case.shape.faces, TEXTURE)
    cover = covered(mesh, TEXTURE)
    # The unwrapper may order faces anew, so each face's part is that of the nearest one.
    owner = np.arange(len(case.shape.faces)) * len(case.parts) // len(case.shape.faces)
    old, new = (one.vertices[one.faces].mean(axis=1) for one in (case.shape, mesh))
    owner = owner[cKDTree(old).query(new)[1]]
    part = np.where(cover.face >= 0, owner[cover.face], -1)
    colors = 255 * gloss_cases.encoded(np.array([one.color for one in case.parts]))
    texture = np.where(part[..., None] >= 0, colors[part], 160).astype(np.uint8)
    return Subject(case, Shape.of(mesh.vertices, mesh.faces, mesh.uvs, texture), texture, cover, part)


def test_a_texture_gets_it_where_the_picture_is_and_elsewhere_by_color() -> None:
    made = subject().painted(roughness=True)
    assert made.views[0].trusted
    assert made.roughness is not None
    assert made.roughness.dtype == np.uint8
    assert note_on_roughness(made.roughness) == ""
    for number, part in enumerate(subject().case.parts):
        for where in (made.shares > 0.3, made.shares == 0):
            texels = made.roughness[where & (subject().part == number)]
            assert len(texels) > 100
            assert abs(texels.mean() / 255 - part.roughness) < 0.15


def test_the_colors_stay_as_they_are() -> None:
    with_it, without = subject().painted(roughness=True), subject().painted()
    assert without.roughness is None
    assert with_it.texture.tobytes() == without.texture.tobytes()
    kept = subject().painted(roughness=True, keep_shading=True)
    assert kept.views[0].light is None
    assert kept.texture.tobytes() == subject().painted(keep_shading=True).texture.tobytes()


def test_it_says_why_it_is_constant() -> None:
    assert "painted from the images" in note_on_roughness(None)
    constant = np.full((8, 8), round(255 * ROUGHNESS), np.uint8)
    assert "no clear highlight" in note_on_roughness(constant)
    tiny = Image.new("RGBA", (64, 64))
    tiny.paste((200, 100, 50, 255), (20, 20, 32, 32))
    made = paint(*subject()[1:4], Pictures([tiny], roughness=True))
    assert made.roughness is not None
    np.testing.assert_array_equal(made.roughness, np.full((TEXTURE, TEXTURE), round(255 * ROUGHNESS), np.uint8))
