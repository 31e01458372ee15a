"""The distillation loop: the same update however it is divided, exact resumption, no mixing of runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from backend.errors import BackendError
from backend.models.latent_flow import LatentFlow
from backend.models.structure_flow import StructureFlow
from backend.training.distillation.distill import AdaptiveClip, Devices, Distillation
from backend.training.distillation.items import Clean, Draws
from backend.training.distillation.loss import DistillationLoss
from backend.training.distillation.methods import CHANGES, DISTILL_PRESETS, METHODS, DistillPreset
from backend.training.loop import TrainingState

ROOT = Path(__file__).resolve().parents[4]
PRESET = replace(DISTILL_PRESETS["smoke"]["structure"], batch=4, steps=6, rate=1e-3)
WIDTHS: dict[str, Any] = {
    "model_channels": 16,
    "cond_channels": 8,
    "num_blocks": 2,
    "num_heads": 2,
    "mlp_ratio": 2,
    "patch_size": 2,
}
STRUCTURE: dict[str, Any] = {"resolution": 4, "in_channels": 2, "out_channels": 2, "qk_rms_norm": True, **WIDTHS}
LATENT: dict[str, Any] = {**STRUCTURE, "resolution": 8, "num_io_res_blocks": 1, "io_block_channels": [8]}


def flow(kind: str, flow_map: bool = False) -> nn.Module:
    """A tiny flow whose output layer is not zero; as a flow map its second time and guidance have an effect, too."""
    torch.manual_seed(1)
    network = StructureFlow(**STRUCTURE) if kind == "dense" else LatentFlow(**LATENT)
    if flow_map:
        network.become_flow_map()
    for p in network.parameters():
        nn.init.normal_(p, std=0.2)
    return network


class Dense:
    """Items are seeds of random latents."""

    def draw(self, generator: torch.Generator) -> int:
        return int(torch.randint(1000, (1,), generator=generator))

    def shape(self, item: int) -> tuple[int, ...]:
        return 2, 4, 4, 4

    def load(self, items: list[int], device: torch.device) -> Clean:
        drawn = [torch.Generator().manual_seed(i) for i in items]
        return Clean(
            torch.stack([torch.randn(2, 4, 4, 4, generator=g) for g in drawn]),
            None,
            torch.stack([torch.randn(3, 8, generator=g) for g in drawn]),
        )


class Sparse(Dense):
    """As many voxels as the item's number says, 5 to 14."""

    def shape(self, item: int) -> tuple[int, ...]:
        return 5 + item % 10, 2

    def load(self, items: list[int], device: torch.device) -> Clean:
        voxels, coords, cond = [], [], []
        for row, item in enumerate(items):
            generator, count = torch.Generator().manual_seed(item), self.shape(item)[0]
            cells = torch.randperm(512, generator=generator)[:count]
            place = torch.stack([torch.full_like(cells, row), cells // 64, cells // 8 % 8, cells % 8], 1)
            voxels.append(torch.randn(count, 2, generator=generator))
            coords.append(place.int())
            cond.append(torch.randn(3, 8, generator=generator))
        return Clean(torch.cat(voxels), torch.cat(coords), torch.stack(cond))


SETS = {"dense": Dense, "sparse": Sparse}


#: What is tried with every kind of samples: the methods, and Velocity Matching with the long-skip regulariser.
TRIED: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, CHANGES.get(name, {})) for name in METHODS},
    "vm, long skip": ("vm", {"correction": 0.01}),
}
#: Those that need more than the first methods did: a second time, a second network.
NEW = [name for name, (method, changes) in TRIED.items() if METHODS[method].matching or changes]


def distillation(folder: Path, kind: str, tried: str = "vm-vd", preset: DistillPreset = PRESET) -> Distillation:
    name, changes = TRIED[tried]
    method, preset = METHODS[name], replace(preset, **changes)
    student, teacher = flow(kind, flow_map=method.matching is not None), flow(kind)
    noising = flow(kind) if preset.correction else None
    return Distillation(student, teacher, SETS[kind](), method, preset, folder, Devices("cpu"), noising=noising)


def gradients(run: Distillation) -> dict[str, Tensor]:
    """Of the run's first update, before they are clipped."""
    seen: dict[str, Tensor] = {}

    def remember(parameters: Any) -> tuple[float, float]:
        seen.update({n: p.grad.clone() for n, p in run.loss.named_parameters() if p.grad is not None})
        return 0.0, 0.0

    run.clip.clip = remember  # type: ignore[method-assign]  # the one call that sees the gradients
    run.step()
    return seen


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("tried", ["vm-vd", "scm", *NEW])
@pytest.mark.parametrize("change", [{"split": 2}, {"split": 4}, {"checkpoint_blocks": True}])
def test_an_update_is_the_same_however_it_is_computed(
    tmp_path: Path, kind: str, tried: str, change: dict[str, Any]
) -> None:
    late = replace(PRESET, distill_from=0.0)
    whole = gradients(distillation(tmp_path / "whole", kind, tried, late))
    parts = gradients(distillation(tmp_path / "parts", kind, tried, replace(late, **change)))
    assert whole.keys() == parts.keys()
    assert sum(float(g.abs().sum()) for g in whole.values()) > 0
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "tried"), [("dense", "vm-vd"), ("sparse", "vm-vd"), *(("sparse", tried) for tried in NEW)]
)
def test_two_processes_give_the_gradients_of_one(tmp_path: Path, kind: str, tried: str) -> None:
    expected = gradients(distillation(tmp_path / "one", kind, tried, replace(PRESET, distill_from=0.0)))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", __file__]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, kind, tried, str(tmp_path)], env=environment, check=True, timeout=240)
    # A thread of the group that outlives the interpreter makes the process abort, now and then.
    assert not [rank for rank in (0, 1) if "gloo" in (tmp_path / f"threads {rank}").read_text()]
    found = torch.load(tmp_path / "gradients.pt", weights_only=True)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tried", TRIED)
@pytest.mark.parametrize("kind", SETS)
def test_every_method_learns_something(tmp_path: Path, kind: str, tried: str) -> None:
    found = gradients(distillation(tmp_path, kind, tried, replace(PRESET, batch=2)))
    assert all(torch.isfinite(g).all() for g in found.values())
    assert any(float(g.abs().max()) > 0 for g in found.values())


@pytest.mark.parametrize("kind", SETS)
def test_what_is_free_of_data_never_looks_at_it(tmp_path: Path, kind: str) -> None:
    """The latents are not numbers; with another method, neither is the loss."""
    for name, free in (("data-free", True), ("vd", True), ("lagrangian", False)):
        run = distillation(tmp_path / name, kind, name, replace(PRESET, distill_from=0.0))
        load = run.data.load
        run.data.load = lambda *given, load=load: nothing_known(load(*given))  # type: ignore[method-assign]
        if free:
            assert all(torch.isfinite(g).all() for g in gradients(run).values())
        else:
            with pytest.raises(FloatingPointError):
                run.step()


def nothing_known(clean: Clean) -> Clean:
    return replace(clean, x_0=torch.full_like(clean.x_0, torch.nan))


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("tried", ["vm-vd", "scm", *NEW])
def test_a_stopped_run_goes_on_exactly(tmp_path: Path, kind: str, tried: str) -> None:
    whole, first = (distillation(tmp_path / name, kind, tried) for name in ("whole", "parts"))
    whole.run(lambda words: None)
    for _ in range(3):
        first.step()
    first.save()
    first.close()
    second = distillation(tmp_path / "parts", kind, tried)
    assert second.state.step == 3
    second.run(lambda words: None)
    for name, p in whole.state.parameters.items():
        assert torch.isfinite(p).all()
        assert torch.equal(p, second.state.parameters[name])
        assert torch.equal(whole.state.ema[name], second.state.ema[name])


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    distillation(tmp_path, "dense", "vm").close()
    with pytest.raises(ValueError, match=r"other settings \(method:"):
        distillation(tmp_path, "dense", "cm")


def test_a_folder_that_was_begun_before_a_setting_came_goes_on(tmp_path: Path) -> None:
    distillation(tmp_path, "dense", "vm").close()
    kept = json.loads((tmp_path / "config.json").read_text())["preset"]
    assert "match_guidance" in kept
    assert "guidance_until" not in kept
    with pytest.raises(ValueError, match=r"other settings \(guidance_until:"):
        distillation(tmp_path, "dense", "vm", replace(PRESET, guidance_until=0.9))


def test_a_folder_of_another_teacher_or_other_data_is_refused(tmp_path: Path) -> None:
    def begin(student: nn.Module, **about: str) -> None:
        parts = student, flow("dense"), Dense(), METHODS["vm"], PRESET
        Distillation(*parts, tmp_path, Devices("cpu"), about=about).close()

    other = flow("dense")
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    begin(flow("dense"), stage="structure", data="chairs")
    begin(flow("dense"), stage="structure", data="chairs")
    with pytest.raises(ValueError, match=r"other settings \(data:"):
        begin(flow("dense"), stage="structure", data="mugs")
    with pytest.raises(ValueError, match=r"other settings \(stage:"):
        begin(flow("dense"), stage="latents", data="chairs")
    with pytest.raises(ValueError, match=r"other settings \(teacher:"):
        begin(other, stage="structure", data="chairs")


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    run = distillation(tmp_path, "dense")
    with pytest.raises(BackendError, match="another process is using"):
        distillation(tmp_path, "dense")
    run.close()
    distillation(tmp_path, "dense").close()


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be divided"):
        distillation(tmp_path, "dense", preset=replace(PRESET, split=3))


def test_velocity_distillation_joins_later(tmp_path: Path) -> None:
    run = distillation(tmp_path, "dense", preset=replace(PRESET, distill_from=0.5))
    shown = [run.step() for _ in range(4)]
    assert ["distill" in values for values in shown] == [False, False, False, True]


def test_a_constant_rate_stays(tmp_path: Path) -> None:
    run = distillation(tmp_path, "dense", preset=replace(PRESET, schedule="constant", warmup=0))
    for _ in range(3):
        run.step()
        assert run.state.optimizers[0].param_groups[0]["lr"] == PRESET.rate


def test_divergence_is_said(tmp_path: Path) -> None:
    run = distillation(tmp_path, "dense")
    with torch.no_grad():
        next(run.student.parameters()).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="diverged at step 0"):
        run.step()


def overflowing(folder: Path, scale: float | None = None) -> Distillation:
    """A run with a gradient that is infinite, though its loss is not; scaled as on CUDA if ``scale`` is given."""
    run = distillation(folder, "dense", preset=replace(PRESET, distill_from=0.0))
    next(run.student.parameters()).register_hook(lambda gradient: gradient * torch.inf)
    if scale is not None:
        run.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return run


@pytest.mark.parametrize("scale", [None, 1.0])  # a scaler that has come down to 1 is at its end
def test_a_gradient_that_is_not_a_number_reaches_no_weight(tmp_path: Path, scale: float | None) -> None:
    run = overflowing(tmp_path, scale)
    before = [p.detach().clone() for p in run.student.parameters()]
    with pytest.raises(FloatingPointError, match="diverged at step 0: choose a lower --rate"):
        run.run(lambda words: None, save_every=0.0)
    assert all(torch.equal(p, old) for p, old in zip(run.student.parameters(), before, strict=True))
    assert not run.checkpoint_path.exists()


def test_an_overflow_in_half_precision_leaves_the_update_out(tmp_path: Path) -> None:
    run = overflowing(tmp_path, scale=1024.0)
    before = [p.detach().clone() for p in run.student.parameters()]
    run.step()
    assert all(torch.equal(p, old) for p, old in zip(run.student.parameters(), before, strict=True))
    assert run.scaler.get_scale() == 512
    assert (run.state.step, run.state.updates) == (1, 0)


@pytest.mark.parametrize("tried", ["vm-vd", "data-free"])
def test_moments_in_the_hosts_memory_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: str
) -> None:
    monkeypatch.setattr(TrainingState, "CHUNK", 500)
    here, there = (
        distillation(tmp_path / name, "dense", tried, replace(PRESET, offload=name == "there"))
        for name in ("here", "there")
    )
    assert (len(here.state.optimizers), len(there.state.optimizers) > 5) == (1, True)
    for run in (here, there):
        run.run(lambda words: None)
    for name, p in here.state.parameters.items():
        assert torch.equal(p, there.state.parameters[name])
        assert torch.equal(here.state.ema[name], there.state.ema[name])
    kept = [load_file(run.checkpoint_path) for run in (here, there)]
    assert kept[0].keys() == kept[1].keys()
    assert all(torch.equal(tensor, kept[1][name]) for name, tensor in kept[0].items())


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    parts = flow("dense"), flow("dense"), Dense(), METHODS["vm"]
    with pytest.raises(ValueError, match="needs a network of the noising velocity"):
        Distillation(*parts, replace(PRESET, correction=0.01), tmp_path, Devices("cpu"))
    with pytest.raises(ValueError, match="does not go with fp16"):
        Distillation(*parts, replace(PRESET, offload=True, precision="fp16"), tmp_path, Devices("cpu"))


@pytest.mark.parametrize(
    ("method", "derivative", "earliest"),
    [
        ("vm", "discrete", 0.01),
        ("vm", "continuous", 0.0),
        ("vd", "continuous", 0.0),
        ("cm", "continuous", 0.01),
        ("pcm", "continuous", 0.01),
        ("scm", "discrete", 0.0),
        ("flow-map", "continuous", 0.0),
        ("lagrangian", "discrete", 0.01),
        ("data-free", "discrete", 0.01),
    ],
)
def test_times_begin_where_the_objective_allows(method: str, derivative: Any, earliest: float) -> None:
    preset = replace(PRESET, derivative=derivative, interval=0.01)
    student = flow("dense", flow_map=METHODS[method].matching is not None)
    loss = DistillationLoss(student, flow("dense"), METHODS[method], preset)
    clean, noise = Dense().load([1, 2], torch.device("cpu")), torch.randn(2, 2, 4, 4, 4)
    _, shown = loss(clean, Draws(noise, noise, torch.tensor([-50.0, 50.0]), torch.full((2, 4), 0.9)), 0.0, 2)
    assert shown["t"].tolist() == pytest.approx([earliest + preset.sigma_min, 1.0], abs=1e-9)


def test_gradients_are_clipped_to_what_is_usual() -> None:
    clip = AdaptiveClip(10.0, 95.0, [1.0] * 999)
    p = nn.Parameter(torch.zeros(1))
    p.grad = torch.tensor([8.0])
    assert clip.clip([p]) == (8.0, 10.0)  # until a thousand norms are known
    p.grad = torch.tensor([8.0])
    norm, limit = clip.clip([p])
    assert (norm, limit) == (8.0, 1.0)
    assert float(p.grad) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("tried", ["vm-vd", *NEW])
def test_a_killed_process_goes_on(tmp_path: Path, tried: str) -> None:
    """Kill a run at ten moments; it ends with the weights and the curve of one that was left alone."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "run", tried, str(tmp_path / "killed")]
    torch.manual_seed(0)
    for delay in torch.rand(10) * 2:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()  # it trains now
        time.sleep(float(delay))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=environment, check=True, timeout=300)
    subprocess.run([*command[:-1], str(tmp_path / "whole")], env=environment, check=True, timeout=300)
    killed, whole = (safe_open(tmp_path / n / "checkpoint.safetensors", "pt") for n in ("killed", "whole"))
    assert killed.metadata() == whole.metadata()
    assert all(torch.equal(killed.get_tensor(name), whole.get_tensor(name)) for name in whole.keys())  # noqa: SIM118
    curves = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("killed", "whole")]
    assert curves[0] == curves[1]
    assert len(curves[0].splitlines()) == 40


def _in_a_process(kind: str, tried: str, folder: Path) -> None:
    """What the tests above start."""
    if kind == "run":
        run = distillation(folder, "dense", tried, replace(PRESET, steps=400))
        print("training", flush=True)
        run.run(lambda words: None, save_every=0.2)
        return
    run = distillation(folder / "two", kind, tried, replace(PRESET, distill_from=0.0))
    found = gradients(run)
    if run.devices.rank == 0:
        torch.save(found, folder / "gradients.pt")
    run.close()
    run.devices.close()
    (folder / f"threads {run.devices.rank}").write_text(" ".join(_threads()))


def _threads() -> list[str]:
    """The names of this process's threads; none where there is no /proc."""
    return [(thread / "comm").read_text().strip() for thread in Path("/proc/self/task").glob("*")]


if __name__ == "__main__":
    _in_a_process(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
