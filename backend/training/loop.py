"""One training loop for every stage: cosine learning rate, exponential moving average, exact resume, no pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..files import write_whole, written_whole
from .muon import Muon, hidden_matrices
from .run_folder import Metrics, RunLog, Saving, alone


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage learns. ``batch`` counts objects (or views). ``matrix_rate`` is Muon's rate for the
    matrices inside the blocks (0: AdamW trains them too). ``shares``: at how many times these rates parts of the model
    learn, by their names. ``course`` says how rate and average change."""

    steps: int
    batch: int
    rate: float
    warmup: int = 200
    ema: float = 0.999
    clip: float = 1.0
    weight_decay: float = 0.0
    matrix_rate: float = 0.0
    shares: Mapping[str, float] = field(default_factory=dict)
    course: Literal["cosine", "constant"] = "cosine"


class Stage(Protocol):
    """What the loop needs to know of a stage."""

    name: str

    @property
    def schedule(self) -> Schedule:
        """How long and how fast it learns."""

    @property
    def model(self) -> nn.Module:
        """Everything that learns."""

    def loss(self, model: nn.Module, generator: torch.Generator, progress: float) -> tuple[Tensor, Metrics]:
        """Draw a batch with ``generator``; return its loss and the metrics to show. ``progress`` runs from 0 to 1."""

    def evaluate(self, model: nn.Module) -> Metrics:
        """Held-out metrics, without gradients. The same weights always give the same metrics."""


def learning_rate(schedule: Schedule, step: int) -> float:
    """Linear warm-up, then half a cosine down to a twentieth of the rate, or a constant rate."""
    if step < schedule.warmup:
        return schedule.rate * (step + 1) / schedule.warmup
    if schedule.course == "constant":
        return schedule.rate
    phase = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, phase))))


def ema_decay(schedule: Schedule, step: int) -> float:
    """A short memory at the start, so that the average forgets the initial weights; or a constant decay."""
    if schedule.course == "constant":
        return schedule.ema
    return min(schedule.ema, (1 + step) / (10 + step))


class TrainingState:
    """What a run must not lose: the parameters, their running average, the optimizers' moments, and the step.

    With ``offload``, moments and average lie in the host's memory, and ``CHUNK`` parameters at a time get theirs back
    for an update. It computes the same.
    """

    CHUNK = 1 << 26

    _moments = ("exp_avg", "exp_avg_sq", "momentum")  # AdamW's, then Muon's

    def __init__(
        self,
        model: nn.Module,
        rate: float,
        weight_decay: float,
        betas: tuple[float, float],
        matrix_rate: float = 0.0,
        half: bool = False,
        offload: bool = False,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        """``shares``: parts of the model by their names, and at how many times the rates they learn."""
        self.parameters = dict(model.named_parameters())
        self._names = {p: name for name, p in self.parameters.items()}
        self.device = next(iter(self.parameters.values())).device
        self.kept = torch.device("cpu") if offload else self.device  # where moments and average lie
        self.ema = {name: p.detach().to(self.kept, copy=True) for name, p in self.parameters.items()}
        self.rate, self.step, self.shares = rate, 0, shares or {}
        matrices = hidden_matrices(model) if matrix_rate else set()
        others = [p for name, p in self.parameters.items() if name not in matrices]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(self._by_share(chunk, rate), lr=rate, weight_decay=weight_decay, betas=betas)
            for chunk in (_chunks(others, self.CHUNK) if offload else [others])
        ]
        if matrices:
            chosen = [self.parameters[name] for name in self.parameters if name in matrices]
            groups = self._by_share(chosen, matrix_rate)
            self.optimizers.append(Muon(groups, matrix_rate, weight_decay=weight_decay, half=half))
        for group in self._groups():
            group["full_lr"] = group["lr"]

    @classmethod
    def of(cls, model: nn.Module, schedule: Schedule, half: bool) -> TrainingState:
        """The state at the start of a schedule."""
        decay, betas = schedule.weight_decay, (0.9, 0.99)
        return cls(model, schedule.rate, decay, betas, schedule.matrix_rate, half, shares=schedule.shares)

    def _by_share(self, parameters: list[nn.Parameter], rate: float) -> list[dict[str, Any]]:
        """The parameters in groups of the same rate."""
        groups: dict[float, list[nn.Parameter]] = {}
        for p in parameters:
            name = self._names[p]
            share = next((s for part, s in self.shares.items() if name.startswith(f"{part}.")), 1.0)
            groups.setdefault(share, []).append(p)
        return [{"params": mine, "lr": rate * share} for share, mine in groups.items()]

    def _groups(self) -> Iterator[dict[str, Any]]:
        for optimizer in self.optimizers:
            yield from optimizer.param_groups

    def update(self, rate: float, decay: float, scaler: torch.amp.GradScaler | None = None) -> None:
        """Take one optimizer step at this rate (Muon's is in proportion), and update the average with this decay.

        If half-precision gradients overflowed, a ``scaler`` skips the step and lowers its scale.
        """
        for group in self._groups():
            group["lr"] = group["full_lr"] * rate / self.rate
        for optimizer in self.optimizers:
            with self._brought(optimizer) as averages:
                if scaler is None:
                    optimizer.step()
                else:
                    scaler.step(optimizer)
                values = [self.parameters[name].detach() for name in averages]
                torch._foreach_lerp_(list(averages.values()), values, 1 - decay)
        if scaler is not None:
            scaler.update()
        self.step += 1

    @contextmanager
    def _brought(self, optimizer: torch.optim.Optimizer) -> Iterator[dict[str, Tensor]]:
        """The averages of an optimizer's parameters, by name, beside these and with its moments, to be changed until
        the block ends."""
        mine = {self._names[p]: p for group in optimizer.param_groups for p in group["params"]}
        averages = {name: self.ema[name].to(self.device) for name in mine}
        self._move(optimizer, self.device)
        yield averages
        self._move(optimizer, self.kept)
        self.ema |= {name: average.to(self.kept) for name, average in averages.items()}

    def _move(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        for moments in optimizer.state.values():
            moments.update({key: moments[key].to(device) for key in self._moments if key in moments})

    @property
    def updates(self) -> int:
        """Steps that AdamW has taken. With fp16 some are skipped."""
        return max((int(moments["step"]) for moments in self.optimizers[0].state.values()), default=0)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Set the parameters to these values, by name."""
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(values[name])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights instead of the live ones until the block ends."""
        live = {name: p.detach().to(self.kept, copy=True) for name, p in self.parameters.items()}
        self.load(self.ema)
        try:
            yield
        finally:
            self.load(live)

    def save(self, path: Path, **notes: str) -> None:
        """Write the whole state, with ``notes``. A kill leaves the previous state or this one, never a part."""
        tensors = {f"model/{n}": p.detach() for n, p in self.parameters.items()}
        tensors |= {f"ema/{n}": p for n, p in self.ema.items()}
        for name, p in self.parameters.items():
            for optimizer in self.optimizers:
                moments = optimizer.state.get(p, {})
                tensors |= {f"{key}/{name}": moments[key] for key in self._moments if key in moments}
        notes |= {"step": str(self.step), "updates": str(self.updates)}
        with written_whole(path) as part:
            save_file({n: t.contiguous().cpu() for n, t in tensors.items()}, part, notes)

    def restore(self, path: Path) -> dict[str, str]:
        """Read what ``save`` wrote. Returns its notes."""
        with safe_open(path, "pt", device=str(self.kept)) as file:
            notes: dict[str, str] = file.metadata()
            self.step = int(notes["step"])
            updates = float(notes.get("updates", self.step))  # older files lack it: they skipped no update
            kept = set(file.keys())
            self.load({name: file.get_tensor(f"model/{name}") for name in self.parameters})
            for name, p in self.parameters.items():
                self.ema[name].copy_(file.get_tensor(f"ema/{name}"))
                moments = {key: file.get_tensor(f"{key}/{name}") for key in self._moments if f"{key}/{name}" in kept}
                if moments:
                    moments["step"] = torch.tensor(updates)  # AdamW keeps its own count
                    self._optimizer_of(p).state[p] = moments
        return notes

    def _optimizer_of(self, parameter: Tensor) -> torch.optim.Optimizer:
        return next(o for o in self.optimizers for g in o.param_groups if any(p is parameter for p in g["params"]))


def _chunks(parameters: list[nn.Parameter], most: int) -> list[list[nn.Parameter]]:
    """The parameters in order, in lists of at most ``most`` numbers, or of one that has more."""
    chunks: list[list[nn.Parameter]] = [[]]
    for p in parameters:
        if chunks[-1] and sum(other.numel() for other in chunks[-1]) + p.numel() > most:
            chunks.append([])
        chunks[-1].append(p)
    return chunks


@contextmanager
def half_products(device: torch.device) -> Iterator[None]:
    """Matrix products in bfloat16, weights and sums in fp32.

    On a CPU attention in torch's own layers is also split into products, because the backward pass of its fused
    attention is five times slower in bfloat16 than in fp32. Ours is (``sparse.attention.attend``).
    """
    plain = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, torch.bfloat16), plain:
        yield


def checkpoint_in(folder: Path) -> Path:
    """The file of the state of the training in a folder."""
    return folder / "checkpoint.safetensors"


class Trainer:
    """A stage in training. ``folder`` receives ``checkpoint.safetensors``, ``config.json`` and ``metrics.jsonl``."""

    def __init__(self, stage: Stage, folder: Path, device: torch.device, half: bool = False) -> None:
        """``half``: matrix products in bfloat16, for devices that have instructions for them."""
        self.stage, self.folder, self.device, self.half = stage, folder, device, half
        self.model = stage.model.to(device)
        schedule = stage.schedule
        self.state = TrainingState.of(self.model, schedule, half)
        folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint_path.exists():
            self.state.restore(self.checkpoint_path)

    @property
    def checkpoint_path(self) -> Path:
        """The file of the state. It does not exist before the first save."""
        return checkpoint_in(self.folder)

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self.state.step

    def run(self, say: Callable[[str], None], every: float = 60.0) -> Metrics:
        """Train to the end of the schedule and save every ``every`` seconds. Returns the held-out metrics.

        Raises BackendError if another process is using the folder.
        """
        with alone(self.folder):
            return self._run(lambda words: say(f"{self.stage.name}  {words}"), every)

    def _run(self, say: Callable[[str], None], every: float) -> Metrics:
        schedule = self.stage.schedule
        self._write_config()
        log = RunLog(self.folder, self.step, schedule.steps, schedule.batch, say)
        saving = Saving(lambda: self.state.save(self.checkpoint_path), every)
        while self.step < schedule.steps:
            values = self._one_step()
            if log.add(self.step, values):
                saving.if_due()
        self.state.save(self.checkpoint_path)
        metrics = self.evaluate()
        write_whole(self.folder / "held_out.json", json.dumps(metrics, indent=1) + "\n")
        say("held out:  " + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        return metrics

    def _one_step(self) -> Metrics:
        schedule = self.stage.schedule
        # A step's random numbers depend only on its number, so a resumed run repeats the uninterrupted one.
        generator = torch.Generator().manual_seed(self.step * 2654435761 % 2**63)
        with half_products(self.device) if self.half else nullcontext():
            loss, metrics = self.stage.loss(self.model, generator, self.step / schedule.steps)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{self.stage.name}: the loss is {loss.item()} at step {self.step}")
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), schedule.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"{self.stage.name}: the gradient's norm is {norm.item()} at step {self.step}")
        self.state.update(learning_rate(schedule, self.step), ema_decay(schedule, self.step))
        return {"loss": loss.item(), **metrics, "grad": float(norm)}

    def evaluate(self) -> Metrics:
        """The held-out metrics of the averaged weights."""
        self.model.eval()
        with self.state.averaged(), torch.no_grad():
            metrics = self.stage.evaluate(self.model)
        self.model.train()
        return metrics

    def averaged(self) -> nn.Module:
        """The model with its averaged weights, for the stages after this one."""
        self.state.load(self.state.ema)
        return self.model.eval().requires_grad_(False)

    def _write_config(self) -> None:
        config = {
            "stage": self.stage.name,
            "schedule": asdict(self.stage.schedule),
            "torch": torch.__version__,
            "device": str(self.device),
            "precision": "bf16" if self.half else "fp32",
            "parameters": sum(p.numel() for p in self.model.parameters()),
        }
        write_whole(self.folder / "config.json", json.dumps(config, indent=1) + "\n")
