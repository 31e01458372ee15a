"""The judges of distributions, on sets whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from backend.evaluation import judge, metrics
from backend.evaluation.cases import cases
from backend.evaluation.choices import Choices
from backend.mesh import Surface
from backend.training.objects.families import FAMILIES


def sets(shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(400, 3)), rng.normal(size=(400, 3)) + shift


def test_like_sets_cannot_be_told_apart() -> None:
    a, b = sets(0.0)
    assert judge.nearest_neighbour_accuracy(a, b) == pytest.approx(0.5, abs=0.06)
    assert judge.energy_distance(a, b) == pytest.approx(0.0, abs=0.02)
    assert judge.frechet_distance(a, b) == pytest.approx(0.0, abs=0.1)


def test_unlike_sets_can() -> None:
    a, b = sets(3.0)
    assert judge.nearest_neighbour_accuracy(a, b) > 0.95
    assert judge.frechet_distance(a, b) == pytest.approx(27.0, rel=0.1)  # three times the squared shift
    assert judge.energy_distance(*sets(3.0)) > judge.energy_distance(*sets(1.0)) > 0.1


def test_the_mean_of_all_answers_is_found_out() -> None:
    answers, _ = sets(0.0)
    average = np.zeros((400, 3)) + 1e-3 * np.random.default_rng(1).normal(size=(400, 3))
    assert judge.nearest_neighbour_accuracy(answers, average) > 0.9


def test_one_answer_many_times_counts_half_for_itself() -> None:
    a = np.zeros((4, 2))
    assert judge.nearest_neighbour_accuracy(a, a) == pytest.approx(3 / 7)  # 3 of the 7 others are its own


def test_axes_keep_distances_along_the_spread() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 2)) @ np.array([[3.0, 0, 0, 0], [0, 1.0, 0, 0]]) + 7
    axes = judge.Axes.fit(rows, 2)
    assert axes(rows).std(0) == pytest.approx([1.0, 1 / 3], rel=0.1)
    assert axes(rows).mean(0) == pytest.approx([0, 0], abs=1e-9)


def test_only_what_true_answers_differ_in_counts_as_hidden() -> None:
    rng = np.random.default_rng(0)

    def answers(count: int, share: float, off: float) -> np.ndarray:
        """In 50 dimensions of which 2 vary, ``off`` in the others."""
        rows = np.full((count, 50), off)
        rows[:, :2] = share * rng.normal(size=(count, 2)) * [3, 1]
        return rows

    hidden = judge.HiddenVariation.of(answers(200, 1.0, 0.0), 2)
    true = answers(200, 1.0, 0.0)
    biased, narrow = answers(200, 1.0, 0.3), answers(200, 0.2, 0.0)
    assert judge.nearest_neighbour_accuracy(true, biased) > 0.95  # told apart by what is off in all of them
    assert judge.nearest_neighbour_accuracy(hidden(true), hidden(biased)) == pytest.approx(0.5, abs=0.1)
    assert hidden.spread(biased) == pytest.approx(1.0, abs=0.15)
    assert hidden.spread(narrow) == pytest.approx(0.2, abs=0.05)
    assert judge.energy_distance(hidden(true), hidden(narrow)) > 0.2


def test_shape_features_are_volumes() -> None:
    solid = np.zeros((65, 65, 65), bool)
    solid[:4, :4, :2] = True
    features = judge.shape_features(solid)
    assert features.shape == (4096,)
    assert features[0] == pytest.approx(0.5)
    assert features[1:].max() == 0


def tetrahedra(sizes: list[float]) -> Surface:
    """Separate tetrahedra of these sizes."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    return Surface(
        vertices=np.concatenate([s * corners + 2 * i for i, s in enumerate(sizes)]).astype(np.float32),
        faces=np.concatenate([faces + 4 * i for i in range(len(sizes))]),
        colors=None,
        resolution=8,
        inside_corners=np.zeros(0, np.int64),
        face_corners=np.zeros((0, 2), np.int64),
    )


def test_parts_and_dust_are_told_apart() -> None:
    solid = np.zeros((9, 9, 9), bool)
    solid[2:7, 2:7, 2:7] = True
    whole = judge.structure_of(tetrahedra([1.0, 0.8]), solid)
    assert (whole.parts, whole.dust, whole.leaks) == (2, 0.0, False)
    assert whole.valid(2)
    assert not whole.valid(1)
    dusty = judge.structure_of(tetrahedra([1.0, *[0.05] * 8]), solid)
    assert dusty.parts == 1
    assert not dusty.valid(1)


def test_an_open_shell_leaks() -> None:
    shell = np.zeros((17, 17, 17), bool)
    shell[3:14, 3:14, 3:14] = True
    shell[4:13, 4:13, 4:13] = False
    shell[7:10, 7:10, 3] = False  # a hole of three cells
    assert judge.structure_of(tetrahedra([1.0]), shell).leaks


def test_hidden_choices_are_recognised_and_counted() -> None:
    case = next(case for case in cases(48) if case.hidden_choices())
    choices = Choices()
    for params in case.completions(4):
        modes = Choices.of(case, metrics.true_occupancy(case.family, params, 64)[0])
        assert modes == {choice: int(getattr(params, choice)[0]) for choice in case.hidden_choices()}
        choices.add(case.family, modes)
    for choice, entry in choices.report().items():
        assert entry["true"] == pytest.approx(FAMILIES[case.family].modes[choice], abs=1e-3)
        assert entry["images"] == 4
    assert 0 <= choices.total_variation() <= 1


def test_choices_that_come_as_they_should_differ_by_nothing() -> None:
    family, (choice, probabilities) = "house", next(iter(FAMILIES["house"].modes.items()))
    choices = Choices()
    for mode, probability in enumerate(probabilities):
        for _ in range(round(100 * probability)):
            choices.add(family, {choice: mode})
    assert choices.total_variation() == pytest.approx(0, abs=0.011)
    always = Choices()
    always.add(family, {choice: 0})
    assert always.total_variation() == pytest.approx(1 - probabilities[0], abs=1e-3)
