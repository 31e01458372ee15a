"""An installed extension in small: the real backend and uv, and wheels that take no time to install.

Its environment sees this Python's packages by a path file, so that ``fetch`` finds what it needs; its torch
is a few lines and some noise, large enough for a connection to break in it.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import site
import sys
import zipfile
from pathlib import Path

from tests.fakes.package_index import make_wheel

ROOT = Path(__file__).parents[2]
NOISE = random.Random(0).randbytes(400_000)
TORCH = b"""
import types
__version__ = "1.0+cpu"
class device:
    def __init__(self, type): self.type = type
cuda = types.SimpleNamespace(is_available=lambda: False)
"""
#: A torch that has a GPU. BROKEN is the operation that the GPU cannot do, WRONG the one whose result is wrong.
GPU_TORCH = """
import os, sys, types
__version__ = "1.0+cu126"
BROKEN, WRONG = {broken!r}, {wrong!r}
class device:
    def __init__(self, type): self.type = type
class Tensor:
    def __init__(self, values, gpu=False): self.values, self.gpu = values, gpu
    def half(self): return self
    float = cpu = abs = half
    def to(self, device): return Tensor(self.values, True)
    def max(self): return max(self.values)
    def __sub__(self, other): return Tensor([abs(a - b) for a, b in zip(self.values, other.values)])
    def __matmul__(self, other): return computed("product", self)
def computed(name, x, *others, **options):
    if x.gpu and name == BROKEN == "crash": os._exit(139)
    if x.gpu and name == BROKEN:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")
    return Tensor([value * (2 if x.gpu and name == WRONG else 1) for value in x.values])
class Generator:
    def manual_seed(self, seed): return self
def randn(shape, generator): return Tensor([1.0, 2.0, 3.0])
functional = types.SimpleNamespace(
    scaled_dot_product_attention=lambda *x: computed("crash" if BROKEN == "crash" else "attention", *x),
    conv3d=lambda *x, **options: computed("convolution", *x),
)
nn = types.SimpleNamespace(functional=functional)
cuda = types.SimpleNamespace(
    is_available=lambda: BROKEN != "cuda",
    get_device_name=lambda device: "RTX Fake",
    get_device_properties=lambda device: types.SimpleNamespace(total_memory=8 << 30),
)
"""
#: In place of what takes half a minute and needs the real torch.
COMPILING = """
import pathlib, sys
def warm(**how): pathlib.Path(sys.prefix, "compiled").mkdir(exist_ok=True)
"""
#: Fast enough for a test: seconds that ``fetch`` waits between its tries.
WAITS = ("WAITS = (1.0, 2.0, 4.0, 8.0)", "WAITS = (0.02, 0.02, 0.02, 0.02)")


def torch_wheel(version: str = "1.0+cpu", code: bytes = TORCH, requires: tuple[str, ...] = ()) -> tuple[str, bytes]:
    return make_wheel("torch", version, {"torch/__init__.py": code, "torch/noise.bin": NOISE}, requires)


def gpu_wheel(broken: str = "", wrong: str = "", requires: tuple[str, ...] = ()) -> tuple[str, bytes]:
    """A wheel of a torch with a GPU that cannot do an operation, or does it wrongly."""
    return torch_wheel("1.0+cu126", GPU_TORCH.format(broken=broken, wrong=wrong).encode(), requires)


def make_extension(folder: Path, torch: tuple[str, bytes], **builds: tuple[str, bytes] | str) -> Path:
    """Lay the extension out in ``folder``, with locks of this torch.

    ``builds`` are more of them: a wheel, which is locked, or only the version of one without a lock.
    """
    ignored = shutil.ignore_patterns("__pycache__", "pretrained", "training", "goldens")
    shutil.copytree(ROOT / "backend", folder / "backend", ignore=ignored)
    transfer = folder / "backend" / "store" / "transfer.py"
    text = transfer.read_text("utf-8")
    assert WAITS[0] in text
    transfer.write_text(text.replace(*WAITS), "utf-8")
    for module in ("mesh/finish.py", "mesh/printing.py", "images/refine.py"):
        (folder / "backend" / module).write_text(COMPILING, "utf-8")
    shutil.copy(ROOT / "blender_manifest.toml", folder)
    (folder / "wheels").mkdir()
    path_file = "\n".join(path for path in sys.path if path.endswith(("site-packages", "dist-packages"))).encode()
    bridge = make_wheel("bridge", "1.0", {"bridge.pth": path_file or site.getsitepackages()[0].encode()})
    (folder / "wheels" / bridge[0]).write_bytes(bridge[1])
    more = {name: [locked(wheel)] for name, wheel in builds.items() if isinstance(wheel, tuple)}
    unlocked = {
        name: {"version": version, "size": len(NOISE), "unpacked": len(NOISE)}
        for name, version in builds.items()
        if isinstance(version, str)
    }
    packed = {
        "uv": locked(uv_wheel(folder / "wheels")),
        "carried": [locked(bridge)],
        "torch": {"cpu": [locked(torch)], **more},
        "unlocked": unlocked,
    }
    (folder / "packages.json").write_text(json.dumps(packed))
    return folder


def uv_wheel(folder: Path) -> tuple[str, bytes]:
    """A wheel with the uv that is installed here."""
    from uv import find_uv_bin

    binary = Path(find_uv_bin())
    path = folder / "uv-0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(binary, f"uv-0.data/scripts/{binary.name}")
    return path.name, path.read_bytes()


def locked(wheel: tuple[str, bytes]) -> dict[str, object]:
    """An entry of packages.json."""
    file, content = wheel
    name, version = file.split("-")[:2]
    return {
        "name": name,
        "version": version,
        "file": file,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "unpacked": len(content),
    }
