"""Procedural objects: deterministic, voxelised without loss, and hiding what they promise to hide."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from backend.evaluation import metrics
from backend.training.objects.families import FAMILIES
from backend.training.objects.lattice import corner_table
from backend.training.objects.params import LONGEST_SIDE
from backend.training.objects.render import UNLIT, View, frame, random_view, render, surface_map
from backend.training.objects.shapes import (
    corner_distances,
    draw,
    evaluate,
    evaluate_in_chunks,
    fused_fields,
    surface_voxels,
)

ALL = tuple(FAMILIES)


def test_there_are_enough_families_with_enough_to_vary_and_to_hide() -> None:
    assert len(FAMILIES) >= 12
    for family in FAMILIES.values():
        hidden = len(family.hidden) + len(family.modes)
        assert len(family.visible) >= 5, family.name
        assert hidden / (hidden + len(family.visible)) >= 1 / 3, family.name
        assert all(sum(p) == pytest.approx(1) and 2 <= len(p) <= 4 for p in family.modes.values())


def test_an_object_is_its_number() -> None:
    alone, among = draw("car", [7]), draw("car", [3, 7])
    points = torch.rand(1, 50, 3) - 0.5
    assert torch.equal(evaluate("car", alone, points)[0], evaluate("car", among.select(slice(1, 2)), points)[0])
    assert not torch.equal(draw("car", [8]).colors, alone.colors)


def test_redrawing_hidden_parameters_leaves_the_visible_ones() -> None:
    family = FAMILIES["robot"]
    first, second = draw("robot", [5, 5], [0, 1]).select(slice(0, 1)), draw("robot", [5], [1])
    assert all(torch.equal(getattr(first, n), getattr(second, n)) for n in family.visible)
    assert all(not torch.equal(getattr(first, n), getattr(second, n)) for n in family.hidden)


@pytest.mark.parametrize("name", ALL)
def test_objects_stay_in_the_cube_and_distances_are_lower_bounds(name: str) -> None:
    params = draw(name, range(4))
    distance = corner_distances(name, params, 16)
    border = torch.ones(17, 17, 17, dtype=torch.bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert (distance[:, border] > 0).all()
    # A distance that grows faster than 1 per unit of length would let rays and voxels miss the surface.
    step = torch.diff(distance, dim=3).abs().max().item() * 16
    assert step <= 1 + 1e-4


@pytest.mark.parametrize("name", ALL)
def test_objects_fill_the_cube_as_their_family_says(name: str) -> None:
    resolution = 48
    half = 0.5 / resolution
    solid = corner_distances(name, draw(name, range(12)), resolution) <= half
    reach = []
    for axis in range(3):
        others = [a for a in (1, 2, 3) if a != axis + 1]
        seen = solid.any(others[1]).any(others[0]).float()
        low, high = seen.argmax(1), resolution - seen.flip(1).argmax(1)
        reach.append(torch.stack([low, high], 1) / resolution - 0.5)
    box = torch.stack(reach, 1)
    # In the middle, and as long as all others, to the lattice's step.
    assert (box.sum(2).abs() <= 2.5 / resolution).all()
    longest = (box[..., 1] - box[..., 0]).amax(1)
    assert ((longest - LONGEST_SIDE).abs() <= 2.5 / resolution).all()


@pytest.mark.parametrize("name", ["chair", "mug", "tree"])
def test_surface_voxels_are_those_that_a_full_lattice_finds(name: str) -> None:
    params = draw(name, [2])
    voxels = surface_voxels(name, params, 8, with_corner_color=True)
    inside = corner_distances(name, params, 32)[0] < 0
    expected = [
        (x, y, z)
        for x, y, z in np.ndindex(8, 8, 8)
        if 0 < int((block := inside[4 * x : 4 * x + 5, 4 * y : 4 * y + 5, 4 * z : 4 * z + 5]).sum()) < block.numel()
    ]
    assert sorted(map(tuple, voxels.coords.tolist())) == expected
    assert voxels.color is not None
    assert voxels.color.shape == (len(expected), 125, 3)


def test_corner_table_names_the_corners_of_the_decoded_cells() -> None:
    table = corner_table()
    points = torch.stack([table // 25, table // 5 % 5, table % 5], -1)
    # The first cell's corners, x fastest; then the last cell's far corner.
    assert points[0].tolist() == [[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    assert points[63, 7].tolist() == [4, 4, 4]
    assert (points[:, 7] - points[:, 0] == 1).all()


@pytest.mark.parametrize("name", ALL)
def test_hidden_choices_are_hidden_in_at_least_half_of_the_views(name: str) -> None:
    rng = np.random.default_rng(0)
    views = [random_view(rng) for _ in range(12)]
    params = draw(name, [11])
    for choice in FAMILIES[name].modes:
        hidden = [
            metrics.is_hidden(name, params, choice, v, frame(name, params, [v], probe=32)[0], size=32) for v in views
        ]
        assert np.mean(hidden) >= 0.5, choice


def test_a_perfect_decoder_scores_perfectly() -> None:
    params = draw("house", [4])
    surface = metrics.true_surface("house", params, 16)
    points = [cKDTree(metrics.sample_surface(surface, 2000, seed)) for seed in (0, 1)]
    assert metrics.iou(metrics.filled(surface), metrics.true_occupancy("house", params, 64)[0]) > 0.99
    assert metrics.Gaps.between(*points).f_score() > 0.99
    view = View(-30, 20, 35)
    window = frame("house", params, [view])[0]
    truth = metrics.true_picture("house", params, view, window, 64)
    likeness = metrics.likeness(surface, truth, view, window)
    assert likeness.psnr > 18
    assert likeness.silhouette > 0.95
    choice = metrics.chosen_mode(metrics.filled(surface)[::2, ::2, ::2], "house", 4, "under")
    assert choice == int(params.under)
    moved = metrics.sample_surface(metrics.true_surface("rocket", draw("rocket", [4]), 16), 2000, 0)
    assert metrics.Gaps.between(points[0], cKDTree(moved)).f_score() < 0.7


def test_a_picture_shows_front_colours_on_a_transparent_ground() -> None:
    params = draw("mushroom", [1])
    view = View(0, 10, 35)
    window = frame("mushroom", params, [view])
    picture = render("mushroom", params, [view], [UNLIT], 64, window)[0]
    alpha = picture[..., 3]
    assert set(alpha.unique().tolist()) == {0, 255}
    rows, columns = alpha.any(1).nonzero(), alpha.any(0).nonzero()
    extent = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + 1
    assert 64 / 1.2 - 4 <= extent <= 64 / 1.2 + 4
    shown = picture[alpha > 0][:, :3].float() / 255
    palette = params.colors[0]
    assert (torch.cdist(shown, palette).amin(1) < 0.02).all()


def test_a_surface_map_says_what_the_picture_shows() -> None:
    params, view = draw("mug", [3]), [View(30.0, 20.0, 40.0)]
    window = frame("mug", params, view)
    shown = surface_map("mug", params, view, 32, window)[0].reshape(-1, 7).float() / 255
    picture = render("mug", params, view, [UNLIT], 32, window)[0].reshape(-1, 4).float() / 255
    there = shown[:, 0] > 0
    assert torch.equal(there, picture[:, 3] > 0)
    assert 0.1 < there.float().mean() < 0.9
    assert (shown[there, 4:] - picture[there, :3]).abs().max() < 0.01
    distance = evaluate("mug", params, shown[None, there, 1:4] - 0.5)[0]
    assert distance.abs().max() < 0.01
    assert not shown[~there].any()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("cl") is None, reason="needs a C++ compiler")
def test_compiled_fields_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    params = draw("tree", range(3))
    points = torch.rand(3, 5000, 3) - 0.5  # a whole chunk, and a part of one
    plain_distance, plain_color = evaluate_in_chunks("tree", params, points, with_color=True)
    compiled = []

    def compile_field(field: Callable[..., object], **options: Any) -> Callable[..., object]:
        compiled.append(options)
        return torch_compile(field, **options)

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile_field)
    with fused_fields():
        distance, color = evaluate_in_chunks("tree", params, points, with_color=True)
    assert compiled == [{"dynamic": True, "fullgraph": True}]
    assert torch.allclose(distance, plain_distance, atol=1e-6)
    assert color is not None
    assert plain_color is not None
    assert (color - plain_color).abs().amax(-1).gt(0).float().mean() < 1e-3


@pytest.mark.parametrize("name", ALL)
def test_only_one_sided_families_change_when_they_are_mirrored(name: str) -> None:
    inside = (corner_distances(name, draw(name, range(12)), 16) < 0).float()
    moved = (inside - inside.flip(1)).abs().sum() / inside.sum()
    assert (moved > 0.5) if FAMILIES[name].one_sided else (moved < 0.05)
