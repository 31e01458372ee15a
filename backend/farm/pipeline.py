"""The pipeline: rows in, lines out, as soon as each is there. Ray Data brings scheduling, back-pressure and retries."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BackendError
from .cluster import Size, nodes_with
from .report import Line
from .rows import Row
from .stages import Attempts, Finish, Read, Record, Sample, Work, record_of
from .weights import require

#: Shares of a core. Together at most one, so that a machine of one core, perhaps the last one left, runs all three
#: stages: an actor that took the whole core would wait for ever for those that read and finish.
READ, SAMPLE, FINISH = 0.1, 0.1, 0.8
#: Rows in one block of the source. All that the stages hand on are blocks of one row, so that one row is done again
#: when a worker dies. That a block is full is told by its bytes.
TOGETHER, FULL = 16, 1
#: Readers for each actor: more would only fill the memory with images.
READERS = 2


@dataclass(frozen=True)
class Plan:
    """How many actors hold the model, and what each needs of its machine."""

    actors: int
    gpus: float  # of each
    device: str

    @classmethod
    def of(cls, size: Size, *, device: str | None, share: float, actors: int | None) -> Plan:
        """An actor for each share of a GPU; without GPUs one for two cores, since finishing takes as long, and for each
        machine, since a core that only reads and finishes waits for the one that samples.

        Raises BackendError if GPUs are asked for and there are none.
        """
        if device not in (None, "cpu") and not size.gpus:
            raise BackendError("no_gpu", "The cluster has no GPU.", "Leave --device out, or add a machine with one.")
        if device != "cpu" and size.gpus:
            return cls(actors or max(1, int(size.gpus / share)), share, device or "cuda")
        return cls(actors or max(size.machines, int(size.cpus // 2), 1), 0.0, "cpu")


def attempts() -> Any:
    """A new ``Attempts`` beside the driver, begun anew if it dies."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return (
        ray.remote(Attempts)
        .options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
        .remote()
    )


def require_model(work: Work, plan: Plan) -> None:
    """Make sure, before anything is made, that each machine that may hold the model has it. Raises BackendError.

    Ray still lists a machine for some seconds after it has died: such a one is not asked any more.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def problem() -> tuple[str, str, str] | None:
        from backend.errors import describe

        work.enter()
        try:
            require(work.settings["model"], work.model, fetch=work.fetch)
        except Exception as error:  # whatever it is, it is said with the machine's name
            return describe(error)
        return None

    asked, resource = {}, "GPU" if plan.gpus else "CPU"
    for node in nodes_with(resource):
        where = NodeAffinitySchedulingStrategy(node, soft=False)
        asked[node] = ray.remote(problem).options(num_cpus=0, scheduling_strategy=where).remote()
    for node, answer in asked.items():
        try:
            wrong = ray.get(answer)
        except RayError:
            if node in nodes_with(resource):
                raise
            continue
        if wrong is not None:
            code, message, hint = wrong
            raise BackendError(code, f"{message} (On the machine {node[:8]} of the cluster.)", hint)


def lines(
    rows: Sequence[Row], work: Work, plan: Plan, *, stages: tuple[type, type, type] = (Read, Sample, Finish)
) -> Iterator[Line]:
    """Make all rows, and yield the line of each as soon as it is done. Rows may be done in another order.

    ``stages`` are those of the pipeline; simulations have others.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

    reading, sampling, finishing = stages
    context = DataContext.get_current()
    context.target_max_block_size = FULL
    context.execution_options.preserve_order = False
    context.issue_detectors_config.detectors = []  # they warn of actors that hold a model
    context.enable_progress_bars = sys.stdout.isatty()
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    records, readers = [record_of(row) for row in rows], READERS * plan.actors
    blocks = max(-(-len(records) // TOGETHER), min(len(records), readers))
    read, finish = reading(work), finishing(work)

    def reader(record: Record) -> Record:
        return read(record)

    def finisher(record: Record) -> Record:
        return finish(record)

    dataset = (
        ray.data.from_items(records, override_num_blocks=blocks)
        .map(reader, num_cpus=READ, compute=TaskPoolStrategy(readers))
        .map(
            sampling,
            fn_constructor_args=(work, plan.device),
            num_cpus=SAMPLE,
            num_gpus=plan.gpus,
            compute=ActorPoolStrategy(size=plan.actors),
        )
        .map(finisher, num_cpus=FINISH)
    )
    for record in dataset.iter_rows():
        yield Line.read(record["line"])
