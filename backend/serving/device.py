"""Which device the networks run on."""

from __future__ import annotations

import torch

from ..errors import SettingsError


def choose_device(name: str | None = None) -> torch.device:
    """The named device. Without a name, CUDA if there is one, else the CPU. Raises SettingsError if it is missing."""
    if name == "cuda" and not torch.cuda.is_available():
        hint = "Install an NVIDIA driver and the CUDA build of torch, or use the CPU."
        raise SettingsError("device_missing", "There is no CUDA device that torch can use.", hint)
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def device_title(device: torch.device) -> str:
    """A device's name for people: the GPU's own name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def device_memory(device: torch.device) -> int | None:
    """A GPU's memory in bytes; None for the CPU."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def warm(device: torch.device) -> None:
    """Do what the first use of a GPU waits for: its context, and the libraries of products, attention and volumes."""
    if device.type != "cuda":
        return
    x = torch.zeros(1, 8, 16, 64, dtype=torch.half, device=device)
    torch.nn.functional.scaled_dot_product_attention(x @ x.transpose(2, 3) @ x, x, x)
    volume = torch.zeros(1, 32, 16, 16, 16, dtype=torch.half, device=device)
    torch.nn.functional.conv3d(volume, torch.zeros(32, 32, 3, 3, 3, dtype=torch.half, device=device), padding=1)
    torch.cuda.synchronize(device)


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
