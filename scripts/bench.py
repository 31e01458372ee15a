"""Measure Espalier: times, peak memory, and how close they are to what the machine can do at best.

    python -m scripts.bench --preset large --random-weights  the full-size networks, stage by stage
    python -m scripts.bench --preset large --model FOLDER    the same, read from disk (see make_random_model.py)
    python -m scripts.bench --preset mini                    the bundled model
    python -m scripts.bench --stage flexicubes               the sparse extractor beside the dense method
    python -m scripts.bench --stage start                    from the backend's start until it is ready
    python -m scripts.bench --stage finish                   assets with known truth: how faithful, how fast
    python -m scripts.bench --stage explore                  candidates of the bundled model: the first, and eight
    python -m scripts.bench --stage live                     from a change to its preview, with the bundled model
    python -m scripts.bench --stage queue                    objects a minute, one by one and overlapped
    python -m scripts.bench --stage farm                     the same beside a farm, and on one and two machines

It needs torch and numpy, and no network. Without fast-simplification and scipy the last stages are left out. ``finish``
also needs xatlas, to compare with it.
Each measurement is written to docs/benchmarks as soon as it is made. A run ends after some minutes (``--minutes``). Run
it again, and it continues, as long as commit and device are the same. *Cold* is the first call of its kind, *warm* the
median of later ones, *95 %* the time within which so many of these are done. The *floor* is the time that the
operations would take at the rate of large matrix products, or reading the weights at the rate of a copy, whichever is
longer.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from backend.config import PRETRAINED
from backend.errors import BackendError
from backend.serving.device import choose_device, device_title
from backend.store.catalog import find_model
from scripts.benchmark import extraction, farming, interactive, meter, start, throughput
from scripts.benchmark.networks import LARGE
from scripts.benchmark.results import Results, cpu_title, current_commit, in_words, machine, table
from scripts.benchmark.stages import FINISHING, GROUPS, Case, Setup, Stages

ROOT = Path(__file__).resolve().parent.parent
STAGES = tuple(stage for stages in GROUPS.values() for stage in stages)
#: Stages that belong to no preset, with the grids that they are measured on.
ALONE: dict[str, tuple[int, ...]] = {
    "flexicubes": (64, 128, 256),
    "finish": (128,),
    "start": (),
    "explore": (),
    "live": (),
    "queue": (),
    "farm": (),
}
#: Those of them that ask a backend process, and are measured at once.
SERVED = {
    "start": start.measure,
    "explore": interactive.measure_explore,
    "live": interactive.measure_live,
    "queue": throughput.measure_queue,
    "farm": farming.measure_farm,
}
#: Occupied voxels and steps, by preset and device. A model's own number of steps is measured with guidance.
VOXELS = {
    ("large", "cuda"): (5_000, 12_000, 25_000),
    ("large", "cpu"): (500, 1_000, 2_000),
    ("mini", "cuda"): (200, 400, 800),
    ("mini", "cpu"): (200, 400, 800),
}
STEPS = {
    ("large", "cuda"): (1, 2, 25),
    ("large", "cpu"): (2,),
    ("mini", "cuda"): (1, 2, 25),
    ("mini", "cpu"): (1, 2, 25),
}
#: Calls after the first: for the stages by device, and for the extractors.
REPEATS, EXTRACTION_REPEATS = {"cuda": 5, "cpu": 1}, 3
#: For estimates only: how many times the floor a run takes, and the seconds of a run without a floor.
SLOWNESS, UNKNOWN = 1.5, 5.0


class Chunk:
    """The time that a run may take."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes
        self._begun = False

    def has_room(self, seconds: float) -> bool:
        """Whether that much time is left, or nothing has started yet: a task longer than a chunk gets its own chunk."""
        if self._begun and time.monotonic() + seconds > self._end:
            return False
        self._begun = True
        return True


@contextmanager
def process(target: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """Start a fresh process that answers requests, so that no measurement inherits another's memory."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    worker = context.Process(target=target, args=(there, *arguments))
    worker.start()
    there.close()
    try:
        yield here
        here.send(None)
    except (EOFError, BrokenPipeError):
        worker.join()
        raise SystemExit(f"The measuring process ended with exit code {worker.exitcode}.") from None
    finally:
        here.close()
        worker.join()


def answer_rates(connection: Connection, device: str) -> None:
    """In a separate process: send the device's rates, and wait for the request to end."""
    connection.send(meter.rates(torch.device(device)))
    connection.recv()


def answer_cases(connection: Connection, setup: Setup) -> None:
    """In a separate process: measure each case that arrives and send the result, until None arrives."""
    stages = Stages(setup)
    for case in iter(connection.recv, None):
        connection.send(stages.measure(case))


def measure_stages(results: Results, setup: Setup, cases: Sequence[Case], chunk: Chunk) -> int:
    """Measure the cases that have no result yet. Returns how many are left for the next run."""
    if not results.rates:
        with process(answer_rates, setup.device) as connection:
            results.rates.update(connection.recv())
        results.write()
    pending = [case for case in cases if not results.has(case)]
    counted = Stages(setup, loads=False)
    expected = {case: estimate(counted, case, results.rates) for case in pending}
    print(f"{len(pending)} measurements to make, in about {sum(expected.values()) / 60:.0f} minutes", flush=True)
    left = len(pending)
    for _, group in groupby(pending, key=group_of):
        with process(answer_cases, setup) as connection:
            for case in group:
                if not chunk.has_room(expected[case]):
                    return left
                connection.send(case)
                keep(results, case, connection.recv())
                left -= 1
    return left


def group_of(case: Case) -> str:
    """The group in ``GROUPS`` that a case belongs to. One process measures a group."""
    return next(name for name, stages in GROUPS.items() if case.stage in stages)


def estimate(counted: Stages, case: Case, rates: dict[str, float]) -> float:
    """Roughly how many seconds the measurement of a case will take."""
    calls = 1 + counted.setup.repeats
    if group_of(case) == "finish":
        return calls * UNKNOWN
    prepared = counted.prepare(case)
    return calls * SLOWNESS * prepared.work.seconds(rates[prepared.dtype], rates["copy"]) + UNKNOWN


def stage_cases(stages: Sequence[str], voxels: Sequence[int], steps: Sequence[int]) -> list[Case]:
    """All combinations. Those that one process measures are adjacent."""
    cases = [Case("encode"), *(Case("structure", steps=n) for n in steps)]
    cases += [Case("latents", voxels=v, steps=n) for v in voxels for n in steps]
    cases += [Case("decode", voxels=v) for v in voxels]
    cases += [Case(stage, voxels=v) for v in voxels for stage in GROUPS["finish"]]
    return [case for case in cases if case.stage in stages]


def without_missing(stages: Sequence[str]) -> list[str]:
    """The stages whose packages are installed. Prints a line if packages are missing."""
    needed = {package for stage in stages for package in FINISHING.get(stage, ())}
    missing = sorted(package for package in needed if importlib.util.find_spec(package) is None)
    if not missing:
        return list(stages)
    print(f"not measured without {', '.join(missing)}: {', '.join(FINISHING)}")
    return [stage for stage in stages if stage not in FINISHING]


def measure_extraction(results: Results, device: str, repeats: int, grids: Sequence[int], chunk: Chunk) -> int:
    """Measure both extractors on each grid. Returns how many measurements are left."""
    cases = [Case(name, resolution=grid) for grid in grids for name in extraction.METHODS]
    pending = [case for case in cases if not results.has(case)]
    left = len(pending)
    with tempfile.TemporaryDirectory() as folder:
        for case in pending:
            if not chunk.has_room(1e-5 * case.resolution**3):
                return left
            file = Path(folder) / f"{case.resolution}.pt"
            if not file.exists():
                extraction.write_features(file, case.resolution)
            with process(extraction.worker, file, device, repeats) as connection:
                connection.send(case)
                keep(results, case, connection.recv())
            left -= 1
    return left


def measure_finishing(results: Results, count: int, grids: Sequence[int], chunk: Chunk) -> int:
    """Finish ``count`` objects on each grid. Returns how many are left."""
    from scripts.benchmark import finishing  # needs scipy

    cases = {
        Case(f"finish {family} {number - finishing.HELD_OUT}", resolution=grid): (family, number)
        for grid in grids
        for family, number in finishing.objects(count)
    }
    pending = [case for case in cases if not results.has(case)]
    for done, case in enumerate(pending):
        if not chunk.has_room(UNKNOWN * (case.resolution / 64) ** 2):
            return len(pending) - done
        measured = finishing.measure(*cases[case], case.resolution)
        results.add({"stage": case.stage, "resolution": case.resolution} | measured)
        print(case.stage, flush=True)
    return 0


def finishing_table(results: Results) -> str:
    """The results of ``measure_finishing`` as text."""
    from scripts.benchmark import finishing

    return finishing.summary(results.measurements)


def keep(results: Results, case: Case, measurement: dict[str, Any]) -> None:
    """Store a measurement, and print how long the first call took."""
    results.add(measurement)
    print(f"{case}: {in_words(measurement['cold_s'])}", flush=True)


def chosen_cases(options: argparse.Namespace, device: str) -> list[Case]:
    """The cases that the options choose from a preset's stages."""
    kind = options.preset, device
    stages = without_missing(options.stage or STAGES)
    return stage_cases(stages, options.voxels or VOXELS[kind], options.steps or STEPS[kind])


def repeats(options: argparse.Namespace, usual: int) -> int:
    """How many calls to make after the first: from the options, else ``usual``."""
    return 0 if options.once else usual if options.repeats is None else options.repeats


def main() -> int:
    """Run the command. Exit code: 0 done, 1 failed, 75 (EX_TEMPFAIL) if another run has more to measure."""
    options = parse()
    try:
        return measure(options)
    except BackendError as error:
        print(f"{error} {error.hint}".strip(), file=sys.stderr)
        return 1


def measure(options: argparse.Namespace) -> int:
    """Measure what the options choose, print a table of all results, and return the exit code."""
    device = choose_device(options.device)
    title = device_title(device) if device.type == "cuda" else cpu_title()
    header = {"commit": options.commit or current_commit(), **machine(device.type, title)}
    chunk = Chunk(options.minutes)
    if options.preset:
        by_rule = options.random_weights and not options.model
        setup = Setup(model_folder(options), by_rule, device.type, repeats(options, REPEATS[device.type]))
        run = f"{options.preset}-random-weights" if by_rule else options.preset
        results = Results(options.out, run, header | {"weights": "by rule" if by_rule else setup.folder.name})
        left = measure_stages(results, setup, chosen_cases(options, device.type), chunk)
    elif options.stage == ["flexicubes"]:
        results, grids = Results(options.out, "flexicubes", header), options.grids or ALONE["flexicubes"]
        left = measure_extraction(results, device.type, repeats(options, EXTRACTION_REPEATS), grids, chunk)
    elif options.stage == ["finish"]:
        results = Results(options.out, "finish", header)
        left = measure_finishing(results, options.objects, options.grids or ALONE["finish"], chunk)
    else:
        (stage,) = options.stage
        results, left = Results(options.out, stage, header), 0
        results.values["measurements"] = SERVED[stage]()
        results.write()
    print(f"\n{title}, torch {header['torch']}, commit {header['commit']}\n")
    print(finishing_table(results) if options.stage == ["finish"] else table(results.measurements))
    print(f"\nwritten to {results.file}")
    if left:
        print(f"{left} measurements are left: run the same command again")
    return 75 if left else 0


def model_folder(options: argparse.Namespace) -> Path:
    """The folder of the model to measure. Raises CheckpointError if it is missing."""
    if options.model:
        return find_model(str(options.model))
    if options.preset == "mini":
        return PRETRAINED / "mini"
    return LARGE if options.random_weights else find_model("trellis-image-large")


def parse() -> argparse.Namespace:
    """The command line. Ends the program with 2 unless it chooses a preset's stages or one outside all presets."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [options]",
    )
    parser.add_argument("--preset", choices=("mini", "large"), help="the model whose stages to measure")
    parser.add_argument("--random-weights", action="store_true", help="use weights made by rule, which need no files")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="read the weights from here")
    parser.add_argument("--stage", nargs="+", choices=(*ALONE, *STAGES), help="measure only these")
    parser.add_argument("--voxels", nargs="+", type=int, metavar="N", help="how many voxels are occupied")
    parser.add_argument("--steps", nargs="+", type=int, metavar="N", help="the model's own number runs with guidance")
    parser.add_argument("--grids", nargs="+", type=int, metavar="N", help="flexicubes, finish: cubes along a side")
    parser.add_argument("--objects", type=int, default=24, metavar="N", help="finish: objects (default: %(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one, else cpu")
    parser.add_argument("--repeats", type=int, metavar="N", help="calls after the first")
    parser.add_argument("--once", action="store_true", help="only the first call of each")
    parser.add_argument("--minutes", type=float, default=9.0, help="how long one run may take (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks", metavar="FOLDER")
    parser.add_argument("--commit", help="the measured commit, if git is not available")
    options = parser.parse_args()
    alone = len(options.stage or ()) == 1 and options.stage[0] in ALONE
    if alone == bool(options.preset) or (not alone and ALONE.keys() & set(options.stage or ())):
        parser.error(f"give either --preset, with or without its stages, or one of --stage {', '.join(ALONE)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
