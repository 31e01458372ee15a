"""Flow maps and the correction against a closed form: the flow from Gaussian data, whose map is known.

Data N(m, S^2) in every element have the noised deviation a(t) = ((1 - t)^2 S^2 + t^2)^(1/2), and the flow's path is
x_t = (1 - t) m + a(t) z with the same z at all times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from backend.training.distillation.consistency import continuous_consistency
from backend.training.distillation.correction import corrected
from backend.training.distillation.flow_map import (
    MapMatching,
    evened,
    from_the_prior,
    jump,
    lagrangian,
    mean_flow,
    second_times,
    strengths,
    to_data,
)
from backend.training.distillation.mdt import (
    Derivative,
    Guidance,
    Objective,
    OwnSample,
    guided_teacher,
    match_at,
    velocity_distillation,
    velocity_matching,
)
from backend.training.flow_path import Samples, state_at

KINDS = ("dense", "sparse")
DERIVATIVES: tuple[Derivative, ...] = ("discrete", "continuous")
MATCHINGS = {
    f"{make.__name__}, {derivative}": (make(derivative, 0.001), 1e-12 if derivative == "continuous" else 0.01)
    for make in (mean_flow, lagrangian, from_the_prior)
    for derivative in DERIVATIVES
}
COUNT = 64


class Gaussian(nn.Module):
    """The flow map of Gaussian data, with mean and deviation as parameters."""

    def __init__(self, samples: Samples, mean: float | Tensor = 0.7, deviation: float = 0.5) -> None:
        super().__init__()
        self.samples = samples
        self.mean = nn.Parameter(torch.as_tensor(mean, dtype=torch.float64))
        self.log = nn.Parameter(torch.tensor(deviation, dtype=torch.float64).log())

    def width(self, t: Tensor) -> Tensor:
        return ((1 - t) ** 2 * (2 * self.log).exp() + t**2).sqrt()

    def forward(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The mean velocity: (x - X) / (t - s) with the division carried out, so that it holds at t = s too."""
        slope = (2 * self.log).exp() * (t + s - 2) + t + s
        factor = slope / (self.width(t) * (self.width(t) + self.width(s)))
        t, factor = self.samples.spread(t, x), self.samples.spread(factor, x)
        return (x - (1 - t) * self.mean) * factor - self.mean

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        return self(x, t, t)


@dataclass
class Drawn:
    """Random choices of some samples, dense [B, 2, 3] or as rows [N, 2] of 2 to 5 voxels."""

    samples: Samples
    x_0: Tensor
    noise: Tensor
    own_noise: Tensor
    t: Tensor
    s: Tensor

    @classmethod
    def of(cls, kind: str, seed: int = 0, mean: float = 0.7, deviation: float = 0.5) -> Drawn:
        generator = torch.Generator().manual_seed(seed)
        samples, shape = Samples(COUNT), (COUNT, 2, 3)
        if kind == "sparse":
            rows = torch.repeat_interleave(torch.arange(COUNT), 2 + torch.arange(COUNT) % 4)
            samples, shape = Samples(COUNT, rows), (len(rows), 2)  # type: ignore[assignment]
        x_0, noise, own = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
        t, *more = torch.rand(3, COUNT, generator=generator, dtype=torch.float64)
        s = second_times(t, torch.stack(more, 1), 0.25)
        return cls(samples, mean + deviation * x_0, noise, own, t, s)

    def residual(self, matching: MapMatching, student: nn.Module, teacher: Gaussian) -> Tensor:
        given = self.x_0, self.noise, self.t, self.s, self.samples, 0.0
        return matching(student, teacher.velocity, *given).residual


def learned(
    student: nn.Module, loss: Callable[[int], Tensor], steps: int = 400, faster: Gaussian | None = None
) -> None:
    """Minimise a loss, which gets the number of the update. Another network may learn five times as fast. The rates
    fall to nothing."""
    groups = [{"params": student.parameters(), "lr": 0.02}]
    if faster is not None:
        groups.append({"params": faster.parameters(), "lr": 0.1})
    optimizer = torch.optim.Adam(groups)
    course = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for step in range(steps):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
        course.step()


def assert_found(student: Gaussian) -> None:
    assert student.mean.item() == pytest.approx(0.7, abs=0.02)
    assert student.log.exp().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_the_closed_form_is_a_flow_map(kind: str) -> None:
    drawn = Drawn.of(kind)
    flow, half = Gaussian(drawn.samples), (drawn.t + drawn.s) / 2
    x_t = state_at(drawn.x_0, drawn.noise, drawn.t, drawn.samples, 0.0)
    between = jump(flow, x_t, drawn.t, half, drawn.samples)
    at_once = jump(flow, x_t, drawn.t, drawn.s, drawn.samples)
    torch.testing.assert_close(jump(flow, between, half, drawn.s, drawn.samples), at_once)
    sample = jump(flow, drawn.noise, torch.ones(COUNT), torch.zeros(COUNT), drawn.samples)
    torch.testing.assert_close(sample, 0.7 + 0.5 * drawn.noise)


@pytest.mark.parametrize("name", MATCHINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_true_flow_map_has_nothing_to_learn(kind: str, name: str) -> None:
    """Except for what a difference over an interval of 0.001 is off."""
    drawn, (matching, exact) = Drawn.of(kind), MATCHINGS[name]
    teacher = Gaussian(drawn.samples)
    assert float(drawn.residual(matching, teacher, teacher).detach().abs().max()) < exact
    for other in (Gaussian(drawn.samples, mean=0.8), Gaussian(drawn.samples, deviation=0.6)):
        assert drawn.residual(matching, other, teacher).detach().abs().max() > 0.03


@pytest.mark.parametrize("name", MATCHINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_map_is_learned(kind: str, name: str) -> None:
    matching = MATCHINGS[name][0]
    teacher, student = (Gaussian(Drawn.of(kind).samples, *start) for start in ((), (-0.3, 1.2)))

    def loss(step: int) -> Tensor:
        drawn = Drawn.of(kind, step)
        return evened(drawn.residual(matching, student, teacher), drawn.samples).square().mean()

    learned(student, loss)
    assert_found(student)


@pytest.mark.parametrize("matching", [mean_flow("continuous"), from_the_prior("continuous")])
@pytest.mark.parametrize("kind", KINDS)
def test_guidance_is_an_input(kind: str, matching: MapMatching) -> None:
    """A guided Gaussian is one with the mean (1 + w) m - w m_0: a student that knows w for each sample can follow."""
    drawn = Drawn.of(kind)
    strength = drawn.samples.spread(strengths(torch.linspace(0, 1, COUNT, dtype=torch.float64), 4.0), drawn.x_0)
    guidance = Guidance(Gaussian(drawn.samples).velocity, Gaussian(drawn.samples, 0.2).velocity)
    given = drawn.x_0, drawn.noise, drawn.t, drawn.s, drawn.samples, 0.0
    teacher = partial(guidance.velocity, strength=strength)
    for known, right in (((1 + strength) * 0.7 - strength * 0.2, True), (torch.tensor(0.7), False)):
        residual = matching(Gaussian(drawn.samples, known), teacher, *given).residual
        assert (float(residual.abs().max()) < 1e-12) == right


@pytest.mark.parametrize("objective", [velocity_matching("continuous", "none"), continuous_consistency()])
@pytest.mark.parametrize("kind", KINDS)
def test_a_map_to_the_data_is_what_other_objectives_want(kind: str, objective: Objective) -> None:
    drawn = Drawn.of(kind)
    flow = Gaussian(drawn.samples)
    teacher = guided_teacher(Guidance(flow.velocity, flow.velocity), None)
    given = drawn.x_0, drawn.noise, drawn.t, drawn.samples, 0.0
    assert float(match_at(objective, to_data(flow), teacher, *given).residual.abs().max()) < 1e-12
    wrong = to_data(Gaussian(drawn.samples, deviation=0.6))
    assert match_at(objective, wrong, teacher, *given).residual.detach().abs().max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_the_noising_velocity_corrects_the_samples(kind: str) -> None:
    """From one-step samples alone: student and noising velocity begin apart, and both find the teacher's Gaussian."""
    samples = Drawn.of(kind).samples
    flow, student, noising = Gaussian(samples), Gaussian(samples, -0.3, 1.2), Gaussian(samples, 0.0, 1.0)
    teacher = guided_teacher(Guidance(flow.velocity, flow.velocity), None)

    def loss(step: int) -> Tensor:
        drawn = Drawn.of(kind, step)
        own = own_sample(student, drawn)
        found = corrected(noising.velocity, teacher, own, drawn.noise, drawn.t, samples, 0.0)
        return found.student.square().mean() + found.noising.square().mean()

    learned(student, loss, steps=800, faster=noising)
    assert student.mean.item() == pytest.approx(0.7, abs=0.05)
    assert student.log.exp().item() == pytest.approx(0.5, abs=0.05)
    assert noising.log.exp().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_velocity_distillation_alone_finds_the_samples(kind: str) -> None:
    """Unguided and without normalisation. It sees the student's own samples, and no data."""
    samples = Drawn.of(kind).samples
    flow, student = Gaussian(samples), Gaussian(samples, 0.4, 0.8)
    teacher = guided_teacher(Guidance(flow.velocity, flow.velocity), None)

    def loss(step: int) -> Tensor:
        drawn, objective = Drawn.of(kind, step), velocity_matching("continuous", "none")
        own = own_sample(student, drawn)
        given = drawn.noise, own, drawn.t, samples, 0.0
        return velocity_distillation(objective, to_data(student), teacher, *given).residual.square().mean()

    learned(student, loss)
    assert_found(student)


def own_sample(student: Gaussian, drawn: Drawn) -> OwnSample:
    u_f = student(drawn.own_noise, torch.ones_like(drawn.t), torch.zeros_like(drawn.t))
    return OwnSample((drawn.own_noise - u_f).detach(), u_f)


@pytest.mark.parametrize("kind", KINDS)
def test_a_true_student_is_not_moved(kind: str) -> None:
    drawn = Drawn.of(kind)
    flow = Gaussian(drawn.samples)
    teacher = guided_teacher(Guidance(flow.velocity, flow.velocity), None)
    own = own_sample(flow, drawn)
    found = corrected(flow.velocity, teacher, own, drawn.noise, drawn.t, drawn.samples, 0.0)
    assert float(found.student.abs().max()) < 1e-12
    assert found.noising.detach().abs().max() > 0.1  # a single sample's path is not the mean of all


def test_evened_samples_weigh_the_same() -> None:
    small, large = (torch.full((1, 4), size, requires_grad=True) for size in (0.01, 100.0))
    residual = evened(torch.cat([small, large]), Samples(2))
    residual.square().sum().backward()
    assert small.grad is not None
    assert large.grad is not None
    torch.testing.assert_close(small.grad, torch.full((1, 4), 2 * 0.01 / (1e-4 + 0.1)))
    torch.testing.assert_close(large.grad, torch.full((1, 4), 2 * 100 / (1e4 + 0.1)))


def test_second_times_and_strengths_keep_to_their_ranges() -> None:
    t, uniform = torch.rand(10_000), torch.rand(10_000, 2)
    s = second_times(t, uniform, 0.25)
    assert (s <= t).all()
    assert float((s == t).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert float((s / t)[s < t].mean()) == pytest.approx(0.5, abs=0.02)
    w = strengths(torch.rand(10_000), 3.0)
    assert 0 <= float(w.min()) < float(w.max()) <= 3
    assert float(w.median()) == pytest.approx(1.0, abs=0.05)  # 1 + w is log-uniform in 1..4
    assert not strengths(torch.rand(10), 0.0).any()
