"""One student to distil: what its run would need, and the run itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

from torch import nn

from ...config import SamplerSettings
from ...errors import CheckpointError
from ...models.layers import FlowNetwork
from ..export import STUDENT_SAMPLING, export_student
from . import pictures
from .distill import Devices, Distillation
from .estimate import Estimate, Hardware, on_cards
from .methods import METHODS, DistillPreset, Method, StageName
from .object_source import ObjectSource
from .teacher import Teacher


@dataclass(frozen=True)
class Task:
    """Which flow of which teacher becomes a student, how, from which objects, and in which folder."""

    method: str
    stage: StageName
    preset: DistillPreset
    teacher: str  # a model's name or folder
    objects: ObjectSource
    folder: Path
    device: str
    seed: int = 0
    export: Path | None = None  # the model folder that the finished student is added to
    export_only: bool = False  # export the student of the last checkpoint as it is

    @property
    def name(self) -> str:
        """The task's name, METHOD-STAGE-SEED."""
        return task_name(self.method, self.stage, self.seed)


def task_name(method: str, stage: str, seed: int) -> str:
    """The name of a student, and by default of its folder: METHOD-STAGE-SEED."""
    return f"{method}-{stage}-{seed}"


def student_sampling(method: Method, preset: DistillPreset) -> SamplerSettings:
    """How a method's students are sampled. A flow map takes the guidance that it learned at the most as an input; what
    others are guided by was distilled into them."""
    return STUDENT_SAMPLING if method.matching is None else replace(STUDENT_SAMPLING, guidance=preset.match_guidance)


def plan(task: Task) -> Iterator[str]:
    """Lines about what a run would do and need, and what is still missing. Neither teacher nor data must be there.

    First comes the preset as JSON. The published networks' sizes stand in for a teacher that is not installed. A
    preset in half precision is planned for usual cards, too, with the options with which it fits.
    Raises CheckpointError for an invalid teacher, ValueError for a missing device or a batch that cannot be divided
    evenly.
    """
    method = METHODS[task.method]
    about = {"method": method.title, "stage": task.stage, "teacher": task.teacher}
    yield json.dumps({**about, **asdict(task.preset)}, indent=1)
    try:
        teacher = Teacher.find(task.teacher, task.stage)
        missing = teacher.missing()
    except CheckpointError as error:
        if error.code != "model_missing":
            raise
        teacher, missing = Teacher.published(task.stage, task.teacher), f"{error} {error.hint}"
    flow, devices = teacher.described(), Devices(task.device)
    if method.matching is not None:
        cast(FlowNetwork, flow).become_flow_map()
    devices.share(task.preset)
    context = teacher.context()
    yield Estimate.of(flow, context, method, task.preset, Hardware.here(devices, task.preset)).words()
    if task.preset.precision != "fp32":  # a preset for GPUs
        yield from on_cards(flow, context, method, task.preset)
    if missing:
        yield f"missing teacher: {missing}"
    try:
        task.objects.require()
    except ValueError as error:
        yield f"missing data: {error}"


def distil(task: Task, say: Callable[[str], None]) -> None:
    """Run a task to its end, from its last checkpoint if there is one. Export the student if ``task.export`` is set.

    Raises CheckpointError for a missing teacher, ValueError for missing data, devices or checkpoint, BackendError if
    another process is using the folder, FloatingPointError if the student diverges.
    """
    task.objects.require()
    devices = Devices(task.device)
    teacher = Teacher.find(task.teacher, task.stage)
    method, network = METHODS[task.method], teacher.load(devices.device)
    student = teacher.begin(flow_map=method.matching is not None)
    noising = teacher.begin() if task.preset.correction else None
    data, pictured, named = task.objects.open(teacher, devices.device)
    about = {"stage": task.stage, "data": named}
    run = Distillation(student, network, data, method, task.preset, task.folder, devices, task.seed, about, noising)
    sampling = student_sampling(method, task.preset)
    draw = pictures.drawer_of(teacher, devices.device)
    objects = [data.load([item], devices.device) for item in pictured]

    def picture(averaged: nn.Module, path: Path) -> None:
        pictures.picture(path, objects, (network, teacher.sampling), (averaged, sampling), draw)

    if not task.export_only:
        run.run(lambda words: say(f"{task.name}  {words}"), picture)
    elif not run.checkpoint_path.exists():
        raise ValueError(f"{task.folder} has no checkpoint yet that could be exported")
    if task.export and devices.rank == 0:
        export_student(run.averaged(), task.stage, teacher.model, task.export, sampling)
        say(f"{task.name}  exported to {task.export}")
    run.close()
    devices.close()
