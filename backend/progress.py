"""How a job tells how far it is, and how it is interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

OnProgress = Callable[[str, int, int], None]  # stage, steps done, steps in all
Check = Callable[[], None]


class Clock:
    """Times the stages of a job and reports its progress. ``seconds`` holds the time of each finished stage."""

    def __init__(
        self,
        device: torch.device,
        on_progress: OnProgress = lambda stage, step, steps: None,
        check: Check = lambda: None,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self.check = check
        self._device, self._on_progress = device, on_progress

    def without_device(self) -> Clock:
        """The same clock for what runs on the processor. It waits for no device, where others may be at work."""
        clock = Clock(torch.device("cpu"), self._on_progress, self.check)
        clock.seconds = self.seconds
        return clock

    @contextmanager
    def stage(self, name: str, steps: int = 1) -> Iterator[Callable[[int, int], None]]:
        """Run a stage of ``steps`` steps; yields a function to call after each."""
        self.check()
        self._on_progress(name, 0, steps)
        started = time.perf_counter()
        yield lambda done, total: self._on_progress(name, done, total)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # else the next stage would be charged for this one
        self.seconds[name] = time.perf_counter() - started


@contextmanager
def interruptible(networks: Sequence[nn.Module], check: Check) -> Iterator[None]:
    """Call ``check`` before every block (member of a ModuleList) of the networks, so that it can interrupt a step."""

    def before(module: nn.Module, arguments: object) -> None:
        check()

    with ExitStack() as hooks:
        for network in networks:
            for blocks in (module for module in network.modules() if isinstance(module, nn.ModuleList)):
                for block in blocks:
                    hooks.callback(block.register_forward_pre_hook(before).remove)
        yield
