"""One training loop for every stage: cosine rate, exponential moving average, exact resume, no pickle."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

Metrics = dict[str, float]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage learns. ``batch`` counts objects (or views)."""

    steps: int
    batch: int
    rate: float
    warmup: int = 200
    ema: float = 0.999
    clip: float = 1.0
    weight_decay: float = 0.0


class Stage(Protocol):
    """What the loop needs to know of a stage."""

    name: str

    @property
    def schedule(self) -> Schedule:
        """How it learns."""

    @property
    def model(self) -> nn.Module:
        """Everything that learns."""

    def loss(self, model: nn.Module, generator: torch.Generator, progress: float) -> tuple[Tensor, Metrics]:
        """Draw a batch with ``generator`` and return the loss and what to show of it. ``progress`` runs from 0 to 1."""

    def evaluate(self, model: nn.Module) -> Metrics:
        """Held-out metrics, without gradients, the same at every call for the same weights."""


def learning_rate(schedule: Schedule, step: int) -> float:
    """Linear warm-up, then half a cosine down to a twentieth."""
    if step < schedule.warmup:
        return schedule.rate * (step + 1) / schedule.warmup
    phase = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, phase))))


def ema_decay(schedule: Schedule, step: int) -> float:
    """Short memory at the start, so that the average is not made of initial weights."""
    return min(schedule.ema, (1 + step) / (10 + step))


class Trainer:
    """A stage on its way. ``folder`` receives ``checkpoint.safetensors``, ``config.json`` and ``metrics.jsonl``."""

    def __init__(self, stage: Stage, folder: Path, device: torch.device) -> None:
        self.stage, self.folder, self.device = stage, folder, device
        self.model = stage.model.to(device)
        self.parameters = dict(self.model.named_parameters())
        self.ema = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=stage.schedule.rate,
            weight_decay=stage.schedule.weight_decay,
            betas=(0.9, 0.99),
        )
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint_path.exists():
            self._restore()

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def run(self, say: Callable[[str], None], every: float = 60.0) -> Metrics:
        """Train to the end of the schedule, saving every ``every`` seconds; returns the held-out metrics."""
        schedule = self.stage.schedule
        self._write_config()
        started, first, saved, shown = time.monotonic(), self.step, time.monotonic(), 0.0
        sums: Metrics = {}
        since = 0
        while self.step < schedule.steps:
            for name, value in self._one_step().items():
                sums[name] = sums.get(name, 0.0) + value
            since += 1
            now = time.monotonic()
            if now - shown > 10 or self.step == schedule.steps:
                means = {name: value / since for name, value in sums.items()}
                pace = (now - started) / (self.step - first)
                left = pace * (schedule.steps - self.step)
                words = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
                rate = f"{schedule.batch / pace:.1f}/s"
                say(f"{self.stage.name}  {self.step}/{schedule.steps}  {words}  {rate}  {_clock(left)} left")
                self._log({"step": self.step, **means})
                sums, since, shown = {}, 0, now
            if now - saved > every:
                self.save()
                saved = now
        self.save()
        metrics = self.evaluate()
        (self.folder / "held_out.json").write_text(json.dumps(metrics, indent=1) + "\n")
        say(f"{self.stage.name}  held out:  " + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        return metrics

    def _one_step(self) -> Metrics:
        schedule = self.stage.schedule
        # The step's number alone decides its random numbers: a resumed run repeats the uninterrupted one.
        generator = torch.Generator().manual_seed(self.step * 2654435761 % 2**63)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(schedule, self.step)
        loss, metrics = self.stage.loss(self.model, generator, self.step / schedule.steps)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{self.stage.name}: the loss is {loss.item()} at step {self.step}")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), schedule.clip)
        self.optimizer.step()
        decay = ema_decay(schedule, self.step)
        torch._foreach_lerp_(list(self.ema.values()), [p.detach() for p in self.parameters.values()], 1 - decay)
        self.step += 1
        return {"loss": loss.item(), **metrics, "grad": float(norm)}

    def evaluate(self) -> Metrics:
        """Held-out metrics of the averaged weights."""
        live = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._assign(self.ema)
        self.model.eval()
        with torch.no_grad():
            metrics = self.stage.evaluate(self.model)
        self.model.train()
        self._assign(live)
        return metrics

    def averaged(self) -> nn.Module:
        """The model with its averaged weights (for the stages after this one)."""
        self._assign(self.ema)
        return self.model.eval().requires_grad_(False)

    def _assign(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(values[name])

    def save(self) -> None:
        """Write the whole state, then put it in the place of the last one: a kill leaves the one or the other."""
        tensors = {f"model/{n}": p.detach() for n, p in self.parameters.items()}
        tensors |= {f"ema/{n}": p for n, p in self.ema.items()}
        for name, p in self.parameters.items():
            state = self.optimizer.state.get(p)
            if state:
                tensors |= {f"{key}/{name}": state[key] for key in ("exp_avg", "exp_avg_sq")}
        part = self.checkpoint_path.with_suffix(".part")
        save_file({n: t.contiguous().cpu() for n, t in tensors.items()}, part, {"step": str(self.step)})
        part.replace(self.checkpoint_path)

    def _restore(self) -> None:
        with safe_open(self.checkpoint_path, "pt", device=str(self.device)) as file:
            self.step = int(file.metadata()["step"])
            names = set(file.keys())
            with torch.no_grad():
                for name, p in self.parameters.items():
                    p.copy_(file.get_tensor(f"model/{name}"))
                    self.ema[name].copy_(file.get_tensor(f"ema/{name}"))
                    if f"exp_avg/{name}" in names:
                        state = {key: file.get_tensor(f"{key}/{name}") for key in ("exp_avg", "exp_avg_sq")}
                        self.optimizer.state[p] = {"step": torch.tensor(float(self.step)), **state}

    def _write_config(self) -> None:
        config = {
            "stage": self.stage.name,
            "schedule": asdict(self.stage.schedule),
            "torch": torch.__version__,
            "device": str(self.device),
            "parameters": sum(p.numel() for p in self.parameters.values()),
        }
        (self.folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    def _log(self, values: Metrics) -> None:
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(values) + "\n")


def _clock(seconds: float) -> str:
    minutes = int(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes} min"
