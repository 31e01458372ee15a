"""The three flows of TRELLIS.2, distilled by every method: the teacher as it is sampled, resumption, export."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from backend.errors import CheckpointError
from backend.mesh import MaterialMesh
from backend.models.latent_flow import LatentFlow
from backend.models.structure_flow import StructureFlow
from backend.pipeline import Pipeline
from backend.protocol import Settings
from backend.sampling import State, with_guidance
from backend.sparse.tensor import SparseTensor
from backend.training.distillation.distill import Devices, Distillation
from backend.training.distillation.items import Clean
from backend.training.distillation.mdt import Bounds, Guidance
from backend.training.distillation.methods import DISTILL_PRESETS, METHODS, STAGES, StageName, distill_preset
from backend.training.distillation.teacher import Teacher
from backend.training.export import STUDENT_SAMPLING, export_student
from backend.training.flow_path import Samples
from backend.weights.folders import ModelFolder
from scripts import distill
from tests.backend.images.test_images import disc
from tests.backend.training.distillation.test_distill import TRIED, Dense, Sparse
from tests.backend.training.distillation.test_distill_script import run
from tests.fakes.tiny_model import write_tiny_model
from tests.fakes.tiny_trellis2 import FLOW, write_tiny_trellis2

CPU = torch.device("cpu")
SETTINGS = Settings(seed=3, texture_size=64, faces=300, retry_seconds=0.0, texture_source="colors")

# --- the teacher -----------------------------------------------------------------------------------------------------

TIMES = [0.3, 0.59, 0.6, 0.75, 0.9, 0.91, 1.0]
SIGMA = 1e-5


def plain(x: np.ndarray, v: np.ndarray, v0: np.ndarray, t: float, w: float, share: float, biased: bool) -> np.ndarray:
    """The guided velocity of one sample at a time, between 0.6 and 0.9, as TRELLIS.2's sampler states it."""
    if not 0.6 <= t <= 0.9:
        return v
    g, level = (1 + w) * v - w * v0, SIGMA + (1 - SIGMA) * t
    cond, guided = (((1 - SIGMA) * x - level * each) for each in (v, g))
    rescaled = guided * cond.std(ddof=0 if biased else 1) / guided.std(ddof=0 if biased else 1)
    return ((1 - SIGMA) * x - (share * rescaled + (1 - share) * guided)) / level


@pytest.mark.parametrize("share", [0.0, 0.7])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_teacher_is_guided_as_it_is_sampled(kind: str, share: float) -> None:
    """Each sample by its own time: against plain numpy, and against the function that samples with one time for all."""
    generator, count = torch.Generator().manual_seed(0), len(TIMES)
    owner = torch.arange(count).repeat_interleave(torch.arange(3, 3 + count))
    shape = (count, 2, 3, 3, 3) if kind == "dense" else (len(owner), 4)
    x, v, v0 = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    samples = Samples(count, None if kind == "dense" else owner)
    strengths = torch.rand(count, generator=generator, dtype=torch.float64) * 6.5
    bounds = Bounds(samples, (0.6, 0.9), share)
    guidance = Guidance(lambda x, t: v, lambda x, t: v0, bounds)
    times = torch.tensor(TIMES, dtype=torch.float64)
    found = guidance.velocity(x, times, samples.spread(strengths, x))
    for sample, (t, w) in enumerate(zip(TIMES, strengths.tolist(), strict=True)):
        rows = slice(sample, sample + 1) if kind == "dense" else owner == sample
        own = x[rows], v[rows], v0[rows]
        a, b, c = (each.numpy() for each in own)
        expected = plain(a, b, c, t, w, share, biased=kind == "sparse")
        torch.testing.assert_close(found[rows], torch.from_numpy(expected))
        torch.testing.assert_close(found[rows], of_the_sampler(kind, own, t, w, share))


def of_the_sampler(kind: str, own: tuple[Tensor, Tensor, Tensor], t: float, w: float, share: float) -> Tensor:
    """What ``sampling`` makes of one sample's state and velocities."""
    if kind == "dense":
        return of_states(*own, t, w, share)
    cells = torch.arange(len(own[0]))
    coords = torch.stack([torch.zeros_like(cells), cells, cells, cells], 1).int()
    x, v, v0 = (SparseTensor(each, coords) for each in own)
    return of_states(x, v, v0, t, w, share).feats


def of_states(x: State, v: State, v0: State, t: float, w: float, share: float) -> State:
    return with_guidance(lambda x, t: v, lambda x, t: v0, w, (0.6, 0.9), rescale=share)(x, t)


def test_outside_the_interval_the_teacher_is_called_once() -> None:
    asked: list[str] = []

    def velocity(name: str) -> Callable[[Tensor, Tensor], Tensor]:
        def answer(x: Tensor, t: Tensor) -> Tensor:
            asked.append(name)
            return x

        return answer

    guidance = Guidance(velocity("picture"), velocity("nothing"), Bounds(Samples(2), (0.6, 1.0), 0.5))
    guidance.velocity(torch.randn(2, 3), torch.tensor([0.1, 0.59]), 6.5)
    assert asked == ["picture"]
    guidance.velocity(torch.randn(2, 3), torch.tensor([0.1, 1.0 + 1e-7]), 6.5)  # rounded
    assert asked == ["picture", "picture", "nothing"]


@pytest.mark.parametrize("stage", STAGES)
def test_the_preset_is_what_the_model_is_sampled_with(stage: StageName) -> None:
    teacher, preset = Teacher.published(stage, "trellis2-4b"), DISTILL_PRESETS["trellis2"][stage]
    settings = teacher.sampling
    assert preset.match_guidance == preset.distill_guidance == settings.guidance
    assert preset.guidance_rescale == settings.rescale
    assert (preset.guidance_from, preset.guidance_until) == settings.interval
    assert preset.time_mean == math.log(settings.rescale_t)
    assert preset.sigma_min == settings.sigma_min
    assert teacher.context() == 1029
    assert teacher.most_voxels == 8192


def test_only_this_family_has_textures(tmp_path: Path) -> None:
    assert get_args(StageName) == STAGES
    with pytest.raises(CheckpointError, match="has no flow of textures"):
        Teacher.of(ModelFolder.read(write_tiny_model(tmp_path / "first")), "textures")


# --- the methods -----------------------------------------------------------------------------------------------------


class Textured(Sparse):
    """Voxels whose latents of the shape are known."""

    def load(self, items: list[int], device: torch.device) -> Clean:
        clean = super().load(items, device)
        drawn = [torch.randn(self.shape(i), generator=torch.Generator().manual_seed(i + 5000)) for i in items]
        return replace(clean, fixed=torch.cat(drawn))


SETS: dict[StageName, Dense] = {"structure": Dense(), "latents": Sparse(), "textures": Textured()}


def flow(stage: StageName, flow_map: bool = False) -> nn.Module:
    """A tiny flow whose output layer is not zero; as a flow map its second time and guidance have an effect, too."""
    torch.manual_seed(1)
    options: dict[str, Any] = {**FLOW, "model_channels": 16, "cond_channels": 8, "dtype": None, "out_channels": 2}
    network: StructureFlow | LatentFlow
    if stage == "structure":
        network = StructureFlow(resolution=4, in_channels=2, **options)
    else:
        network = LatentFlow(resolution=8, in_channels=4 if stage == "textures" else 2, **options)
    if flow_map:
        network.become_flow_map()
    for p in network.parameters():
        nn.init.normal_(p, std=0.2)
    return network


def distillation(folder: Path, stage: StageName, tried: str) -> Distillation:
    """With the preset of the full size, blocks computed again included."""
    name, changes = TRIED[tried]
    preset = distill_preset("trellis2", stage, name)
    preset = replace(preset, steps=4, batch=4, split=1, rate=1e-3, warmup=1, **changes)
    student, teacher = flow(stage, METHODS[name].matching is not None), flow(stage)
    noising = flow(stage) if preset.correction else None
    return Distillation(student, teacher, SETS[stage], METHODS[name], preset, folder, Devices("cpu"), noising=noising)


@pytest.mark.parametrize("tried", TRIED)
@pytest.mark.parametrize("stage", STAGES)
def test_a_stopped_run_goes_on_exactly(tmp_path: Path, stage: StageName, tried: str) -> None:
    whole, first = (distillation(tmp_path / name, stage, tried) for name in ("whole", "parts"))
    curve = [whole.step() for _ in range(4)]
    for values in curve:
        assert all(math.isfinite(value) for name, value in values.items() if not name.startswith("time_"))
    parts = [first.step() for _ in range(2)]
    first.save()
    first.close()
    second = distillation(tmp_path / "parts", stage, tried)
    parts += [second.step() for _ in range(2)]
    assert repr(parts) == repr(curve)  # some are NaN
    for name, p in whole.state.parameters.items():
        assert torch.equal(p, second.state.parameters[name])


#: What the first update's losses add up to: structure, latents and textures.
FIRST: dict[str, tuple[float, float, float]] = {
    "vm": (0.95621, 1.6651, 0.644761),
    "vd": (0.920868, 1.51905, 0.6447),
    "vm-vd": (1.87708, 3.18415, 1.28946),
    "cm": (0.178711, 0.035375, 0.466319),
    "pcm": (0.00545606, 0.00189675, 0.0108289),
    "scm": (0.997624, 0.996616, 0.998219),
    "flow-map": (47.2952, 52.5381, 69.3416),
    "lagrangian": (1.881, 4.16947, 1.03867),
    "data-free": (5.43519, 7.50056, 3.94822),
    "vm, long skip": (3.25492, 4.53882, 3.11375),
}


@pytest.mark.parametrize("tried", TRIED)
def test_the_first_losses_are_what_they_were(tmp_path: Path, tried: str) -> None:
    found = []
    for stage in STAGES:
        values = distillation(tmp_path / stage, stage, tried).step()
        found.append(sum(values.get(part, 0.0) for part in ("match", "distill", "correct", "noising")))
    assert found == pytest.approx(FIRST[tried], rel=1e-3)


def test_a_texture_is_distilled_for_its_shape(tmp_path: Path) -> None:
    """The shape reaches the student and the teacher under both conditions."""
    one, other = (distillation(tmp_path / name, "textures", "vm-vd") for name in ("one", "other"))
    load = other.data.load

    def moved(items: list[Any], device: torch.device) -> Clean:
        clean = load(items, device)
        assert clean.fixed is not None
        assert clean.unconditional().fixed is clean.fixed
        return replace(clean, fixed=clean.fixed + 1)

    other.data = type("Moved", (), {"draw": other.data.draw, "shape": other.data.shape, "load": staticmethod(moved)})()
    assert one.step()["match"] != other.step()["match"]


# --- from pictures to a student --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_trellis2(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(distill, "CACHE", tmp_path / "cache")
    (tmp_path / "pictures").mkdir()
    for number in range(2):
        disc().rotate(90 * number).save(tmp_path / "pictures" / f"{number}.png")
    return tmp_path / "pictures"


def generated(student: Path) -> tuple[Pipeline, MaterialMesh]:
    pipeline = Pipeline.load(ModelFolder.read(student), CPU)
    raw = pipeline.reconstruct([disc()], SETTINGS).raw
    assert isinstance(raw, MaterialMesh)
    return pipeline, raw


@pytest.mark.parametrize("method", ["data-free", "vd"])
def test_a_student_from_pictures_alone(
    model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    """Structure, then latents on its voxels, then textures on its shapes; then the student makes an object."""
    student = pictures.parent / "student"
    options = ["--preset", "trellis2", "--teacher", str(model), "--data-free", str(pictures), "--export", str(student)]
    options += ["--steps", "2", "--batch", "2", "--split", "1"]
    assert run(monkeypatch, method, "textures", *options) == 1
    assert "need students of the structure and of the latents" in capsys.readouterr().err
    for stage in STAGES:
        assert run(monkeypatch, method, stage, *options) == 0, capsys.readouterr().err
    pipeline, raw = generated(student)
    assert len(raw.faces) > 0
    assert pipeline.structure_flow.flow_map == pipeline.latent_flow.flow_map == (method == "data-free")
    config = pipeline.config
    assert config.materials is not None
    samplers = config.structure_sampler, config.latent_sampler, config.materials.texture_sampler
    assert [sampler.steps for sampler in samplers] == [2, 2, 2]
    guided = [6.5, 6.5, 0.0] if method == "data-free" else [0.0, 0.0, 0.0]
    assert [sampler.guidance for sampler in samplers] == guided


@pytest.mark.parametrize("stage", STAGES)
def test_runs_draw_pictures(model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, stage: StageName) -> None:
    preset = replace(DISTILL_PRESETS["trellis2"][stage], steps=1, batch=1, split=1, picture_every=1)
    monkeypatch.setitem(DISTILL_PRESETS["trellis2"], stage, preset)
    folder = pictures.parent / "run"
    command = ["vd", stage, "--preset", "trellis2", "--teacher", str(model), "--data-free", str(pictures)]
    command += ["--folder", str(folder), *([] if stage == "structure" else ["--structure", str(model)])]
    assert run(monkeypatch, *command) == 0
    assert (folder / "samples" / "0000001.png").is_file()


def test_students_make_coarse_shapes(model: Path, tmp_path: Path) -> None:
    """A sampler is for coarse and for finer flows: with students of the coarse ones, the teacher's finer ones are left
    out. A student of the structure alone leaves everything else as it is."""
    teacher, student = ModelFolder.read(model), tmp_path / "student"
    assert teacher.config.materials is not None
    assert teacher.config.materials.fine_latent_flow is not None
    flows = {stage: Teacher.of(teacher, stage).begin() for stage in STAGES}
    export_student(flows["structure"], "structure", teacher, student)
    config = ModelFolder.read(student).config
    assert config.materials == teacher.config.materials
    assert config.structure_sampler == STUDENT_SAMPLING
    assert config.latent_sampler == teacher.config.latent_sampler
    for stage in STAGES[1:]:
        export_student(flows[stage], stage, teacher, student)
        config = ModelFolder.read(student).config
        assert config.materials is not None
        assert (config.materials.fine_latent_flow, config.materials.fine_texture_flow) == (None, None)
        assert config.materials.mode == "512"
    assert config.materials is not None
    assert config.materials.texture_sampler == config.latent_sampler == STUDENT_SAMPLING
    assert config.family == "TRELLIS.2"
    pipeline, raw = generated(student)
    assert len(raw.faces) > 0
    assert pipeline.materials is not None
    assert pipeline.materials.fine is None
