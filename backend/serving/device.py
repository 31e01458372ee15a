"""Which device the networks run on, and whether it computes what they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..errors import SettingsError

#: How far a result in half precision may be from the processor's in full precision, relative to its largest value.
TOLERANCE = 0.02

Operation = Callable[[Any], Any]  # tensors to a tensor

#: What the networks are made of: the operation, and the shapes of its arguments.
OPERATIONS: dict[str, tuple[Operation, tuple[tuple[int, ...], ...]]] = {
    "a product of matrices": (lambda x: x[0] @ x[1], ((256, 192), (192, 128))),
    "attention": (lambda x: torch.nn.functional.scaled_dot_product_attention(*x), ((1, 4, 96, 64),) * 3),
    "a 3-D convolution": (
        lambda x: torch.nn.functional.conv3d(x[0], x[1], padding=1),
        ((1, 16, 8, 8, 8), (32, 16, 3, 3, 3)),
    ),
}


def choose_device(name: str | None = None) -> torch.device:
    """The named device. Without a name, a GPU if torch has one, else the CPU. Raises SettingsError if it is missing.

    CUDA stands for AMD's GPUs as well, as it does in torch. Apple's (mps) is used only by name: it was never tried.
    """
    if name is not None and name != "cpu" and not _has(name):
        hint = "Install the GPU's driver and the build of torch for it, or use the CPU."
        raise SettingsError("device_missing", f"There is no {name.upper()} device that torch can use.", hint)
    return torch.device(name or next((kind for kind in ("cuda", "xpu") if _has(kind)), "cpu"))


def _has(kind: str) -> bool:
    """Whether torch has a device of this kind; builds without it lack the module."""
    module = getattr(torch, kind, None)
    return module is not None and bool(module.is_available())


def device_title(device: torch.device) -> str:
    """A device's name for people: the GPU's own name, or ``cpu``."""
    return str(getattr(torch, device.type).get_device_name(device)) if device.type in ("cuda", "xpu") else device.type


def device_memory(device: torch.device) -> int | None:
    """A GPU's memory in bytes; None for the CPU."""
    if device.type not in ("cuda", "xpu"):
        return None
    return int(getattr(torch, device.type).get_device_properties(device).total_memory)


def check_device(device: torch.device) -> tuple[str, ...]:
    """What a device computes wrongly or not at all in half precision, a sentence for each; empty if nothing.

    The CPU is what others are compared with, so there is nothing to check.
    """
    if device.type == "cpu":
        return ()
    found = (_difference(name, operation, shapes, device) for name, (operation, shapes) in OPERATIONS.items())
    return tuple(sentence for sentence in found if sentence)


def _difference(name: str, operation: Operation, shapes: Sequence[Sequence[int]], device: torch.device) -> str:
    """Why an operation's result on the device is not that of the CPU; empty if it is."""
    random = torch.Generator().manual_seed(0)
    inputs = [torch.randn(tuple(shape), generator=random).half() for shape in shapes]
    expected = operation([x.float() for x in inputs])
    try:
        result = operation([x.to(device) for x in inputs]).float().cpu()
    except RuntimeError as error:  # no kernel, no memory, a driver that gives up: all of them are torch's RuntimeError
        return f"It cannot compute {name}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason'}."
    worst = float((result - expected).abs().max() / expected.abs().max())
    return "" if worst <= TOLERANCE else f"Its result of {name} is wrong (off by {worst:.1%})."


def warm(device: torch.device) -> None:
    """Do what the first use of a GPU waits for: its context, and the libraries of products, attention and volumes."""
    if device.type == "cpu":
        return
    for operation, shapes in OPERATIONS.values():
        operation([torch.zeros(tuple(shape), dtype=torch.half, device=device) for shape in shapes])


def is_lost(device: torch.device) -> bool:
    """Whether this process can no longer use the device: after some errors of CUDA every later call fails, too."""
    if device.type != "cuda":
        return False
    try:
        torch.cuda.synchronize(device)
    except torch.OutOfMemoryError:
        return False
    except RuntimeError:
        return True
    return False
