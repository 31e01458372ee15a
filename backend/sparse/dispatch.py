"""Whether the sparse operations compute with our Triton kernels or in plain torch.

The kernels are for inference on NVIDIA GPUs of compute capability 8.0 and up, in half precision. Triton compiles them
at their first use, which takes a C compiler on the machine besides. Where something is missing, plain torch computes
the same, only with more traffic to memory.
"""

from __future__ import annotations

import functools
import logging
from types import ModuleType
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.autograd import forward_ad

Path: TypeAlias = Literal["auto", "triton", "torch"]

CAPABILITY = (8, 0)
HALF = (torch.float16, torch.bfloat16)

log = logging.getLogger(__name__)
_path: Path = "auto"


def use(path: Path) -> Path:
    """Choose the path of all later calls in this process, for comparisons. Returns the previous choice.

    "auto" takes the kernels where they work. "triton" skips the trial: what fails raises. "torch" never takes them. The
    kernels compute no gradients, so where one is wanted, or in single precision, all three mean plain torch.
    """
    global _path
    previous, _path = _path, path
    return previous


def kernels_for(x: Tensor, *parameters: Tensor) -> ModuleType | None:
    """The module with the kernels if they can and should compute with these tensors, else None."""
    if _path == "torch" or not inference(x, *parameters):
        return None
    if _path == "auto" and not (x.device.type == "cuda" and works(x.device)):
        return None
    from . import triton_kernels

    return triton_kernels


def inference(x: Tensor, *parameters: Tensor) -> bool:
    """Whether the features have half precision and no derivative is wanted, neither backward nor forward."""
    if x.dtype not in HALF:
        return False
    tensors = (x, *parameters)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return False
    return all(forward_ad.unpack_dual(tensor).tangent is None for tensor in tensors)


@functools.lru_cache
def works(device: torch.device) -> bool:
    """Whether the kernels work on a CUDA device, found out once by trying one. If not, the log says why."""
    try:
        if torch.version.hip is not None or torch.cuda.get_device_capability(device) < CAPABILITY:
            return False
        from . import triton_kernels

        triton_kernels.trial(device)
    except Exception as error:  # no Triton, no C compiler, no space for what it compiles, an unknown device, ...
        reason = " ".join(str(error).split())[:200]
        log.warning(
            "sparse operations run in plain torch: Triton does not work here: %s: %s", type(error).__name__, reason
        )
        return False
    return True
