"""Distil a flow of a model folder to one and two steps: one flat loop for every method, both flows, any device.

Every sample of the run has a number. Its object, view, noise and time are drawn from a generator seeded with that
number. Losses are divided by the rows of the whole update. So an update is the same however it is divided among
processes and accumulation steps, and a run that is restarted continues as if it had never stopped.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from ..loop import Schedule, TrainingState, ema_decay, learning_rate
from ..run_folder import Metrics, RunLog, Saving, alone, claim
from .items import Draws, LatentSet, Sample
from .loss import DistillationLoss
from .mdt import loss_by_time
from .methods import DistillPreset, Method, recorded

TIME_BINS = 10

#: The network of the noising velocity learns this many times as fast as the student, whose samples it must keep up
#: with: if it lags, the correction overshoots. DMD2 (Yin et al. 2024, section 4.2) makes five updates of it for each.
NOISING_RATE = 5.0


class AdaptiveClip:
    """Clips gradients to ``max_norm``, and after 1,000 updates also to a percentile of the last 1,000 norms."""

    length = 1000

    def __init__(self, max_norm: float, percentile: float, norms: list[float]) -> None:
        self.max_norm, self.percentile = max_norm, percentile
        self.norms = deque(norms, maxlen=self.length)

    def clip(self, parameters: list[nn.Parameter]) -> tuple[float, float]:
        """Clip in place. Returns the norm before clipping, and the limit."""
        limit = self.max_norm
        if len(self.norms) == self.length:
            seen = torch.tensor(list(self.norms), dtype=torch.float64)
            limit = min(limit, float(torch.quantile(seen, self.percentile / 100)))
        norm = float(nn.utils.clip_grad_norm_(parameters, limit))
        if math.isfinite(norm):
            self.norms.append(norm)
        return norm, limit


class Devices:
    """The processes of a run, as torchrun starts them; otherwise a single one."""

    def __init__(self, device: str) -> None:
        """Raises ValueError if there is no such device."""
        self.rank, self.count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.device = usable_device(device)
        if device == "cuda":
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
            torch.cuda.set_device(self.device)
        if self.count > 1:
            # What is imported while the group exists keeps it for ever, and the optimizers and the parallel module
            # import this one. Then gloo's threads outlive the interpreter, and some of these processes abort.
            importlib.import_module("torch._dynamo")
            dist.init_process_group("nccl" if device == "cuda" else "gloo")

    def share(self, preset: DistillPreset) -> int:
        """Samples of an accumulation step on each device. Raises ValueError if the batch cannot be divided evenly."""
        share, rest = divmod(preset.batch, self.count * preset.split)
        if rest:
            parts = f"{self.count} {'processes' if self.count > 1 else 'process'} of {preset.split} accumulation steps"
            raise ValueError(f"a batch of {preset.batch} cannot be divided by {parts}: change --batch or --split")
        return share

    def total(self, value: float) -> float:
        """The sum over all processes."""
        if self.count == 1:
            return value
        sum_ = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(sum_)
        return float(sum_)

    def close(self) -> None:
        """Leave the group of processes, together, after ``Distillation.close``.

        With gloo, a process that left first aborted now and then as it ended.
        """
        if self.count > 1:
            dist.barrier()
            dist.destroy_process_group()


def usable_device(name: str) -> torch.device:
    """The device with this name. Raises ValueError if torch does not know or find it."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"torch does not know the device {name!r}: use cuda or cpu") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        advice = "use --device cpu, or install an NVIDIA driver and the CUDA build of torch"
        raise ValueError(f"there is no CUDA device that torch can use: {advice}")
    return device


def digest_of(network: nn.Module) -> str:
    """A short hash of a network's weights, as 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, p in network.named_parameters():
        digest.update(name.encode())
        digest.update(p.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:12]


class Distillation:
    """A student in training. ``folder`` receives checkpoint, config, ``metrics.jsonl`` and pictures."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        data: LatentSet,
        method: Method,
        preset: DistillPreset,
        folder: Path,
        devices: Devices,
        seed: int = 0,
        about: dict[str, str] | None = None,
        noising: nn.Module | None = None,
    ) -> None:
        """``student`` starts with the teacher's weights, and so does ``noising``, the network of the noising velocity
        that a preset with a ``correction`` needs. ``about`` is what else identifies the run.

        Raises ValueError if the batch cannot be divided evenly, ``folder`` holds another run, or the preset cannot be
        carried out; BackendError if another process is using the folder. ``close`` lets other processes in.
        """
        devices.share(preset)
        require_possible(preset, noising)
        self.data, self.preset, self.folder, self.devices, self.seed = data, preset, folder, devices, seed
        config = {"method": method.title, **(about or {}), "teacher": digest_of(student), "seed": seed}
        self._alone = ExitStack()
        if devices.rank == 0:
            self._alone.enter_context(alone(folder))
        claim(folder, {**config, "preset": recorded(preset)}, write=devices.rank == 0)
        self.student = student.to(devices.device).requires_grad_(True).train()
        if noising is not None:
            noising = noising.to(devices.device).requires_grad_(True).train()
        self.loss = DistillationLoss(self.student, teacher.requires_grad_(False).eval(), method, preset, noising)
        self.parallel: nn.Module = DistributedDataParallel(self.loss) if devices.count > 1 else self.loss
        if preset.checkpoint_blocks:
            recompute_blocks(self.student)
            if noising is not None:
                recompute_blocks(noising)
        learns = self.student if noising is None else self.loss
        self.state = TrainingState(
            learns, preset.rate, 0.0, (0.9, 0.999), offload=preset.offload, shares={"noising": NOISING_RATE}
        )
        self.schedule = Schedule(
            preset.steps, preset.batch, preset.rate, preset.warmup, preset.ema, course=preset.schedule
        )
        half = preset.precision == "fp16" and devices.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(devices.device.type, enabled=half)
        self.clip = AdaptiveClip(preset.max_norm, preset.clip_percentile, self._restore())

    @property
    def checkpoint_path(self) -> Path:
        """The file of the state. It does not exist before the first save."""
        return self.folder / "checkpoint.safetensors"

    def _restore(self) -> list[float]:
        """Read the checkpoint, if there is one. Returns the gradients' norms that it recorded."""
        if not self.checkpoint_path.exists():
            return []
        notes = self.state.restore(self.checkpoint_path)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(json.loads(notes["scaler"]))
        norms: list[float] = json.loads(notes["norms"])
        return norms

    def close(self) -> None:
        """Let other processes into the folder. The run cannot go on."""
        self._alone.close()
        self.parallel = self.loss  # the parallel module holds the group of processes

    def run(
        self,
        say: Callable[[str], None],
        picture: Callable[[nn.Module, Path], None] | None = None,
        save_every: float = 60.0,
    ) -> None:
        """Train to the end of the preset. ``picture`` draws samples of the averaged student into a file."""
        preset, speaks = self.preset, self.devices.rank == 0
        log = RunLog(self.folder, self.state.step, preset.steps, preset.batch, say) if speaks else None
        saving = Saving(self.save, save_every)
        while self.state.step < preset.steps:
            values = self.step()
            step = self.state.step
            if log is not None and log.add(step, values):
                saving.if_due()
            if speaks and picture is not None and step % preset.picture_every == 0:
                with self.state.averaged():
                    picture(self.student.eval(), self.folder / "samples" / f"{step:07}.png")
                self.student.train()
        self.save()

    def averaged(self) -> nn.Module:
        """The student with its averaged weights."""
        self.state.load(self.state.ema)
        return self.student.eval()

    def save(self) -> None:
        """Write the checkpoint. Only the first process does."""
        if self.devices.rank == 0:
            notes = {"norms": json.dumps(list(self.clip.norms)), "scaler": json.dumps(self.scaler.state_dict())}
            self.state.save(self.checkpoint_path, **notes)

    def step(self) -> Metrics:
        """Make one update. Raises FloatingPointError if the student diverges."""
        preset, devices = self.preset, self.devices
        first = self.state.step * preset.batch
        numbers = range(first, first + preset.batch)[devices.rank :: devices.count]
        drawn = [Sample.draw(self.data, self.seed, number) for number in numbers]
        rows = devices.total(sum(1 if s.noise.ndim > 2 else len(s.noise) for s in drawn))
        size = len(drawn) // preset.split
        sums: dict[str, float] = {}
        by_sample: list[Tensor] = []
        times: list[Tensor] = []
        self.loss.zero_grad(set_to_none=True)
        for part in range(preset.split):
            chosen = drawn[part * size : (part + 1) * size]
            shown = self._backward(chosen, rows, last=part == preset.split - 1)
            times.append(shown.pop("t").cpu())
            by_sample.append(shown.pop("by_sample").cpu())
            for name, value in shown.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        for optimizer in self.state.optimizers:
            self.scaler.unscale_(optimizer)
        norm, limit = self.clip.clip(list(self.student.parameters()))
        values = {name: devices.total(value) for name, value in sums.items()}
        self._require_finite(values, norm + self._clip_noising())
        self._update()
        bins = loss_by_time(torch.cat(by_sample), torch.cat(times), TIME_BINS)
        return {**values, "grad": norm, "limit": limit} | {f"time_{k}": v for k, v in enumerate(bins)}

    def _clip_noising(self) -> float:
        """Clip the gradients of the network of the noising velocity, if there is one. Returns their norm."""
        if self.loss.noising is None:
            return 0.0
        return float(nn.utils.clip_grad_norm_(self.loss.noising.parameters(), self.preset.max_norm))

    def _backward(self, chosen: list[Sample], rows: float, last: bool) -> dict[str, Tensor]:
        devices, preset = self.devices, self.preset
        clean = self.data.load([s.item for s in chosen], devices.device)
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(preset.precision)
        on_cuda = devices.device.type == "cuda" and dtype is not None
        precision = torch.autocast("cuda", dtype) if on_cuda else nullcontext()
        alone = self.parallel.no_sync() if isinstance(self.parallel, DistributedDataParallel) and not last else None
        with alone or nullcontext(), precision:
            progress = self.state.step / preset.steps
            loss, shown = self.parallel(clean, Draws.of(chosen, clean), progress, rows)
            # Data parallelism averages the processes' gradients, but the losses are parts of a sum.
            self.scaler.scale(loss * devices.count).backward()
        return shown

    def _require_finite(self, values: Metrics, norm: float) -> None:
        """Raise FloatingPointError before a value that is not finite changes a weight.

        A gradient that overflowed in fp16 is no error while the scaler can lower its scale: the update is skipped.
        """
        overflowed = self.scaler.get_scale() > 1  # 1 if nothing is scaled
        if not all(map(math.isfinite, values.values())) or not (math.isfinite(norm) or overflowed):
            raise FloatingPointError(
                f"the student diverged at step {self.state.step}: choose a lower --rate, --guidance or "
                "--distill-guidance, and another --folder"
            )

    def _update(self) -> None:
        """Take the optimizer's step. If fp16 gradients overflowed, it is skipped and the scale lowered."""
        rate, decay = learning_rate(self.schedule, self.state.step), ema_decay(self.schedule, self.state.step)
        self.state.update(rate, decay, self.scaler)


def require_possible(preset: DistillPreset, noising: nn.Module | None) -> None:
    """Raise ValueError if a preset asks for what does not go together."""
    if (preset.correction > 0) != (noising is not None):
        raise ValueError("a correction needs a network of the noising velocity, and only a correction does")
    if preset.offload and preset.precision == "fp16":
        raise ValueError("--offload does not go with fp16, whose gradients are scaled: use --precision bf16")


def recompute_blocks(network: nn.Module) -> None:
    """Activation checkpointing: keep only the input of each block of a flow."""
    for block in cast(nn.ModuleList, network.blocks):
        block.forward = partial(_recomputed, block.forward)


def _recomputed(forward: Callable[..., Any], *inputs: Any) -> Any:
    # Without gradients there is nothing to keep, and forward-mode derivatives do not work through a checkpoint.
    return checkpoint(forward, *inputs, use_reentrant=False) if torch.is_grad_enabled() else forward(*inputs)
