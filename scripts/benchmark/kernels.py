"""What the Triton kernels need of a GPU, and how fast they are: ``python -m scripts.benchmark.kernels``.

Without options every shape that the full-size networks use is compiled for each generation of GPUs, which needs no GPU
(Linux, ``triton`` installed). Registers and spills are read from the machine code, and docs/benchmarks/kernels.json has
them. With ``--time`` all candidates are timed on the GPU beside plain torch, a JSON line for each.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch

import torch
import torch.nn.functional as F
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget

from backend.files import write_whole
from backend.sparse import convolution, triton_kernels
from backend.sparse.normalization import SparseGroupNorm32
from backend.sparse.tensor import SparseTensor, VoxelSet
from backend.sparse.triton_kernels import Blocks, candidates

from .objects import ellipsoid, nearest_voxels
from .results import current_commit

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "benchmarks" / "kernels.json"
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
ARCHITECTURES = (80, 86, 89, 90, 120)
#: Of these all candidates are compiled, of the others the one in use.
MEASURED = 90
#: Instructions: matrix units of Hopper and of the others, asynchronous copies, and reads and writes of spilled values.
INSTRUCTIONS = ("HGMMA", "HMMA", "LDGSTS", "LDL", "STL")
VOXELS, RESOLUTION, GROUPS = 12_000, 64, 32
WARM_UP, REPEATS = 3, 15


@dataclass(frozen=True)
class Shape:
    """An operation of the full-size networks: which one, its channels, and which voxels it is given."""

    mode: str
    in_channels: int
    out_channels: int
    level: int  # 0: the occupied voxels; 1, 2: their children and those of these; -1: cells of 2 x 2 x 2


SHAPES = (
    Shape("group norm", 768, 768, 0),  # the mesh decoder
    Shape("subdivided", 768, 192, 0),
    Shape("group norm", 192, 192, 1),
    Shape("parents", 192, 192, 1),
    Shape("subdivided", 192, 96, 1),
    Shape("group norm", 96, 96, 2),
    Shape("parents", 96, 96, 2),
    Shape("own", 128, 128, 0),  # the latent flow; its 2048 to 128 is a matrix product and ``_sum_of_neighbours``
    Shape("own", 256, 128, 0),
    Shape("own", 128, 1024, -1),
    Shape("own", 1024, 1024, -1),
    Shape("upsampled", 2048, 128, 0),
)


# --- compiling -------------------------------------------------------------------------------------------------------


class PretendedDriver:
    """Stands in for the driver of a GPU while kernels are compiled as a call would compile them."""

    def __init__(self, architecture: int) -> None:
        self.architecture = architecture

    def get_current_target(self) -> GPUTarget:
        """What to compile for."""
        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self) -> int:
        """Kernels are kept for each device: another number for each architecture."""
        return self.architecture

    def get_current_stream(self, device: int | None = None) -> int:
        """The default one."""
        return 0


@dataclass(frozen=True)
class Task:
    """What to compile: the kernels of an operation; ``blocks`` is None if it has no choice of them."""

    shape: Shape
    blocks: Blocks | None
    architecture: int


def tasks(architectures: tuple[int, ...] = ARCHITECTURES, measured: int = MEASURED) -> list[Task]:
    """What the full-size networks need, and the candidates of the architecture ``measured``."""
    found = []
    for architecture in architectures:
        for shape in SHAPES:
            for blocks in _blocks(shape, divmod(architecture, 10))[: None if architecture == measured else 1]:
                found.append(Task(shape, blocks, architecture))
    return found


def _blocks(shape: Shape, capability: tuple[int, int]) -> Sequence[Any]:
    if shape.mode in ("upsampled", "group norm"):
        return [None]
    return candidates(shape.in_channels, shape.out_channels, capability)


@contextmanager
def compiling(architecture: int) -> Iterator[list[tuple[str, Any]]]:
    """While it lasts, a kernel that is called is compiled for the architecture instead. Lists names and kernels."""
    made: list[tuple[str, Any]] = []

    def launcher(kernel: Any, grid: Any) -> Callable[..., None]:
        def compile_(*arguments: Any, **options: Any) -> None:
            types = [argument.dtype if isinstance(argument, Tensor) else argument for argument in arguments]
            made.append((kernel.__name__, kernel.warmup(*types, grid=grid, **options)))

        return compile_

    triton.runtime.driver.set_active(PretendedDriver(architecture))
    with patch.object(triton.JITFunction, "__getitem__", launcher):
        yield made


def compile_kernels(task: Task) -> list[dict[str, Any]]:
    """Compile what an operation calls, into Triton's cache too. Returns what each kernel needs of the GPU."""
    shape, blocks = task.shape, task.blocks
    in_use = _blocks(shape, divmod(task.architecture, 10))[0]
    _, ((_, run),), _ = _calls(shape, _voxels(0, torch.device("cpu"), 20), torch.device("cpu"), [blocks])
    with torch.no_grad(), compiling(task.architecture) as made:
        run()
    return [
        {
            "kernel": name,
            **asdict(shape),
            "architecture": task.architecture,
            "blocks": asdict(blocks) if blocks else None,
            "in_use": blocks == in_use,
            "shared_bytes": kernel.metadata.shared,
            **_resources(kernel.asm["cubin"]),
        }
        for name, kernel in made
    ]


def _resources(cubin: bytes) -> dict[str, Any]:
    """Registers of a thread, bytes of its stack and local memory, and counted instructions, from the machine code."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        usage = _output("cuobjdump", "-res-usage", str(file))
        code = _output("nvdisasm", "-c", str(file))
    found = re.search(r"REG:(\d+) STACK:(\d+) .*?LOCAL:(\d+)", usage)
    if not found:
        raise ValueError(f"cuobjdump has other words now: {usage}")
    registers, stack, local = map(int, found.groups())
    counts = {name: len(re.findall(rf"\b{name}\b", code)) for name in INSTRUCTIONS}
    return {"registers": registers, "stack_bytes": stack, "local_bytes": local, "instructions": counts}


def _output(tool: str, *arguments: str) -> str:
    return subprocess.run([str(TOOLS / tool), *arguments], check=True, capture_output=True, text=True).stdout


def compiled(of: list[Task], workers: int) -> Iterator[dict[str, Any]]:
    """Compile kernels in several processes. Triton's cache then has them for every process of this user."""
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for rows in pool.map(compile_kernels, of):
            yield from rows


# --- timing ----------------------------------------------------------------------------------------------------------


def time_candidates(shape: Shape, device: torch.device, voxels: int = VOXELS) -> Iterator[dict[str, Any]]:
    """The milliseconds of a convolution in plain torch and with each candidate, and how far these are from torch's.

    What fails, say for want of shared memory, is said in its row.
    """
    given = _voxels(shape.level, device, voxels)
    choices = _blocks(shape, triton_kernels.capability_of(device))
    plain, kernels, products = _calls(shape, given, device, choices)
    with torch.no_grad():
        expected = plain().float()
        for blocks, run in [("torch", plain), *kernels]:
            row = {
                **asdict(shape),
                "voxels": len(given),
                "blocks": asdict(blocks) if isinstance(blocks, Blocks) else blocks,
            }
            try:
                error = float((run().float() - expected).norm() / expected.norm())
                milliseconds = median_ms(run, device)
            except Exception as failed:
                yield row | {"failed": f"{type(failed).__name__}: {failed}"}
                continue
            yield row | {"ms": milliseconds, "tflops": 2 * products / milliseconds / 1e9, "error": error}


Run: TypeAlias = Callable[[], Tensor]


def _calls(
    shape: Shape, given: VoxelSet, device: torch.device, choices: Sequence[Blocks | None]
) -> tuple[Run, list[tuple[Blocks | str, Run]], int]:
    """A call in plain torch, one for each choice of blocks, and the products in one that no method can do without."""
    generator = torch.Generator().manual_seed(0)
    rows = len(given.coarse(2).voxels) if shape.mode == "upsampled" else len(given)
    x = torch.randn(rows, shape.in_channels, generator=generator).to(device, torch.float16)
    if shape.mode == "group norm":
        norm = SparseGroupNorm32(GROUPS, shape.in_channels).to(device)
        sparse = SparseTensor(x, given)
        fused = partial(triton_kernels.group_norm_silu, x, norm.weight, norm.bias, GROUPS, norm.eps)
        return lambda: F.silu(norm(sparse).feats), [("kernel", fused)], 0
    weight = torch.randn(shape.out_channels, 3, 3, 3, shape.in_channels, generator=generator)
    weight = (weight / (27 * shape.in_channels) ** 0.5).to(device, torch.float16)
    plain, kernel, derived, products = _functions(shape.mode)
    arguments = (x, derived(weight), weight.new_ones(shape.out_channels), given)
    runs: list[tuple[Blocks | str, Run]] = []
    for blocks in choices:
        runs.append((blocks or "kernel", partial(kernel, *arguments, **({"blocks": blocks} if blocks else {}))))
    return partial(plain, *arguments), runs, products * rows * shape.in_channels * shape.out_channels


def _functions(mode: str) -> tuple[Callable[..., Tensor], Callable[..., Tensor], Callable[[Tensor], Tensor], int]:
    """A convolution in plain torch and as a kernel, what weights it wants, and its products for each row given."""
    if mode == "upsampled":
        return convolution.upsampled_conv, triton_kernels.upsampled_conv, convolution.by_tap, 27
    if mode == "subdivided":
        return convolution.subdivided_conv, triton_kernels.subdivided_conv, convolution.merged_taps, 64
    return convolution.submanifold_conv, triton_kernels.submanifold_conv, torch.Tensor.contiguous, 27


def _voxels(level: int, device: torch.device, count: int) -> VoxelSet:
    """The voxels nearest to an ellipsoid, their children, or their cells."""
    voxels = VoxelSet(F.pad(nearest_voxels(ellipsoid, count, RESOLUTION), (1, 0)).to(device))
    for _ in range(level):
        voxels = voxels.children()
    return voxels.coarse(2).voxels if level < 0 else voxels


def median_ms(run: Callable[[], Any], device: torch.device) -> float:
    """The median of several calls after some that do not count, by the device's own clock if it has one."""
    for _ in range(WARM_UP):
        run()
    if device.type != "cuda":
        return 1000 * statistics.median(_seconds(run) for _ in range(REPEATS))
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(REPEATS)]
    for start, end in events:
        start.record()
        run()
        end.record()
    torch.cuda.synchronize(device)
    return statistics.median(start.elapsed_time(end) for start, end in events)


def _seconds(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


# --- the command -----------------------------------------------------------------------------------------------------


def main() -> int:
    """Run the command. Exit code: 0 done, 1 a kernel in use spills registers."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmark.kernels", description=__doc__)
    parser.add_argument("--time", action="store_true", help="time all candidates on this machine's GPU instead")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that compile")
    options = parser.parse_args()
    return time_all(options.workers) if options.time else compile_all(options.workers)


def compile_all(workers: int) -> int:
    """Compile for all architectures and write the results."""
    rows = []
    for row in compiled(tasks(), workers):
        rows.append(row)
        print(json.dumps(row), flush=True)
    header = {
        "commit": current_commit(),
        "triton": triton.__version__,
        "command": "python -m scripts.benchmark.kernels",
    }
    write_whole(RESULTS, json.dumps(header | {"kernels": rows}, indent=1) + "\n")
    spilled = [row for row in rows if row["in_use"] and (row["local_bytes"] or row["stack_bytes"])]
    print(f"{len(rows)} kernels; spilled registers in {len(spilled)} of those in use; written to {RESULTS}")
    return 1 if spilled else 0


def time_all(workers: int) -> int:
    """Time every candidate of every shape on the first GPU."""
    device = torch.device("cuda", 0)
    major, minor = torch.cuda.get_device_capability(device)
    architecture = 10 * major + minor
    try:  # compiled one by one, they would take a minute or two; if it fails, they do
        for _ in compiled(tasks((architecture,), architecture), workers):
            pass
    except Exception as error:
        print(json.dumps({"compiled ahead": f"failed: {type(error).__name__}: {error}"}), flush=True)
    for shape in SHAPES:
        for row in time_candidates(shape, device):
            print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
