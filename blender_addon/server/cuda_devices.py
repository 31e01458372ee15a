"""Prints, as JSON, the NVIDIA GPUs in the order in which torch sees them. Run by path, in a process of its own.

CUDA's driver is asked itself: only it knows which GPU is the fastest, and it heeds ``CUDA_DEVICE_ORDER`` and
``CUDA_VISIBLE_DEVICES``. A broken driver can crash the process that loads it, so that process must not be Blender.
Standard library only, and no relative imports.

The calls: https://docs.nvidia.com/cuda/cuda-driver-api/ and https://docs.nvidia.com/deploy/nvml-api/.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

CUDA = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
NVML = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"

#: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
MAJOR, MINOR = 75, 76


def query(cuda: Any, nvml: Any) -> dict[str, Any]:
    """The driver's version and the GPUs, from the two libraries. Raises OSError with the number of the failed call."""
    text = ctypes.create_string_buffer(96)
    _call(nvml.nvmlInit_v2)
    _call(nvml.nvmlSystemGetDriverVersion, text, 96)
    driver = text.value.decode()
    _call(cuda.cuInit, 0)
    count = ctypes.c_int()
    _call(cuda.cuDeviceGetCount, ctypes.byref(count))
    return {"driver": driver, "gpus": [_gpu(cuda, index) for index in range(count.value)]}


def _gpu(cuda: Any, index: int) -> dict[str, Any]:
    device, major, minor, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name, uuid = ctypes.create_string_buffer(256), (ctypes.c_ubyte * 16)()
    _call(cuda.cuDeviceGet, ctypes.byref(device), index)
    _call(cuda.cuDeviceGetName, name, 256, device)
    _call(cuda.cuDeviceGetAttribute, ctypes.byref(major), MAJOR, device)
    _call(cuda.cuDeviceGetAttribute, ctypes.byref(minor), MINOR, device)
    _call(cuda.cuDeviceTotalMem_v2, ctypes.byref(memory), device)
    _call(cuda.cuDeviceGetUuid, uuid, device)
    return {
        "name": name.value.decode(errors="replace"),
        "capability": f"{major.value}.{minor.value}",
        "memory": memory.value,
        "uuid": bytes(uuid).hex(),
    }


def _call(function: Any, *arguments: Any) -> None:
    code = function(*arguments)
    if code != 0:
        raise OSError(code, f"{getattr(function, '__name__', 'a call of the driver')} failed with {code}")


if __name__ == "__main__":
    try:
        print(json.dumps(query(ctypes.CDLL(CUDA), ctypes.CDLL(NVML))))
    except (OSError, AttributeError) as error:
        print(json.dumps({"problem": str(error)}))
