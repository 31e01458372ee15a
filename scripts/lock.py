"""Write the hash locks from ``pyproject.toml``. Run it after changing a dependency: ``python -m scripts.lock``.

``requirements.lock``              everything except torch: for a checkout
``requirements-backend.lock``      the part of it that the backend needs: for the extension
``requirements-torch.lock``        torch from PyPI (for Linux: with CUDA), and what only torch needs
``requirements-torch-cpu.lock``    the same with torch's CPU build, for Linux without an NVIDIA driver
``requirements-torch-cu*.lock``    the same with CUDA builds for Windows, which PyPI does not have
``requirements-gpu-dev.lock``      Triton, to test the GPU's kernels without a GPU
``requirements-bpy-*.lock``        other versions of pip's bpy, and what the add-on's tests need as well

The hashes of the CUDA builds are those that torch's own index states. If it cannot be reached, their locks stay as they
are, and a line says so. The resolver is uv, installed into a temporary environment. The locks are plain requirement
files for pip. Standard library only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path
from urllib.parse import unquote

from backend.files import sha256, write_whole

ROOT = Path(__file__).resolve().parent.parent
TORCH_INDEX = "https://download.pytorch.org/whl"
CPU_INDEX = f"{TORCH_INDEX}/cpu"
#: Builds of torch for Windows, with CUDA's libraries inside the wheel: for older and for current drivers.
CUDA_BUILDS = ("cu126", "cu130")
#: Other versions of bpy than the one in pyproject.toml: the other releases that run on Python 3.11.
BPY_VERSIONS = {"4.2": "4.2.23", "5.0": "5.0.1"}
TEST_TOOLS = ("numpy", "pytest", "pytest-xdist")
CPU_PLATFORM = "manylinux_2_28_x86_64"
CUDA_PACKAGES = re.compile(r"(cuda|nvidia)-|triton$")
#: A package that all environments of [tool.uv] need has this marker. It says nothing, so it is dropped.
EVERYWHERE = re.compile(r" ; \(.*'darwin'\) or \(.*'linux'\) or \(.*'win32'\)")


def main() -> None:
    """Resolve everything in a temporary folder, then write the locks."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        venv.create(work / "uv", with_pip=True)
        python = next(path for path in work.glob("uv/*/python*") if path.stem == "python")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "uv"], check=True)
        shutil.copy(ROOT / "pyproject.toml", work)
        uv = [str(python), "-m", "uv", "--quiet"]
        subprocess.run([*uv, "lock", "--python", sys.executable], cwd=work, check=True)
        everything = export(uv, work)
        without_torch = export(uv, work, "--prune", "torch")
        only_torch = {name: lines for name, lines in everything.items() if name not in without_torch}
        cpu = {name: lines for name, lines in only_torch.items() if not CUDA_PACKAGES.match(name)}
        backend = export(uv, work, "--prune", "torch", "--no-dev")
        kernels = export(uv, work, "--only-group", "gpu-dev")
        pure = dict(cpu)
        tools = [everything[name].split()[0] for name in TEST_TOOLS]
        other_bpys = {release: compile_lock(uv, work, [f"bpy=={v}", *tools]) for release, v in BPY_VERSIONS.items()}
        cpu["torch"] = cpu_build(only_torch["torch"], work)
    write("requirements.lock", without_torch)
    write("requirements-backend.lock", backend)
    write("requirements-torch.lock", only_torch)
    write("requirements-torch-cpu.lock", cpu)
    write("requirements-gpu-dev.lock", kernels)
    for release, packages in other_bpys.items():
        write(f"requirements-bpy-{release}.lock", packages)
    version = only_torch["torch"].split()[0].removeprefix("torch==")
    for build in CUDA_BUILDS:
        try:
            torch = cuda_build(version, build)
        except OSError as error:
            print(f"requirements-torch-{build}.lock stays as it is: {error}")
            continue
        if torch:
            write(f"requirements-torch-{build}.lock", pure | {"torch": torch})


def export(uv: list[str], work: Path, *options: str) -> dict[str, str]:
    """Each package's lines in uv's lock, by name."""
    command = [*uv, "export", "--frozen", "--no-emit-project", "--no-header", "--no-annotate", *options]
    return by_name(subprocess.run(command, cwd=work, check=True, capture_output=True, text=True).stdout)


def compile_lock(uv: list[str], work: Path, requirements: list[str]) -> dict[str, str]:
    """Each package's lines in a lock of these requirements and what they need in turn, by name."""
    source = work / "requirements.in"
    source.write_text("\n".join(requirements), encoding="utf-8")
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
    command = [*uv, "pip", "compile", *options, str(source)]
    return by_name(subprocess.run(command, cwd=work, check=True, capture_output=True, text=True).stdout)


def by_name(text: str) -> dict[str, str]:
    """The lines of a requirement file, by package."""
    blocks = re.split(r"^(?=\S)", EVERYWHERE.sub("", text), flags=re.MULTILINE)
    return {block.partition("==")[0]: block for block in blocks if block}


def cpu_build(torch: str, work: Path) -> str:
    """The line for torch's CPU build of the same version. Its hash is computed from the wheel itself."""
    version = torch.split()[0] + "+cpu"
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    download += ["--platform", CPU_PLATFORM, "--python-version", "3.11", "--dest", str(work / "wheels"), version]
    if subprocess.run(download).returncode != 0:  # pip's own index does not have it: use torch's
        subprocess.run([*download, "--extra-index-url", CPU_INDEX], check=True)
    (wheel,) = (work / "wheels").glob("torch-*.whl")
    return f"{version} \\\n    --hash=sha256:{sha256(wheel)}\n"


def cuda_build(version: str, build: str) -> str:
    """The line for a CUDA build for Windows, with the hash that torch's index states; empty if it has none.

    Raises OSError if the index cannot be reached.
    """
    with urllib.request.urlopen(f"{TORCH_INDEX}/{build}/torch/", timeout=60) as page:
        links = re.findall(r'href="([^"#]+)#sha256=([0-9a-f]{64})', page.read().decode("utf-8"))
    wheel = f"torch-{version}+{build}-cp311-cp311-win_amd64.whl"
    digest = next((digest for url, digest in links if unquote(url).rpartition("/")[2] == wheel), None)
    if digest is None:
        print(f"torch's index does not have {wheel}")
        return ""
    return f"torch=={version}+{build} \\\n    --hash=sha256:{digest}\n"


def write(name: str, packages: dict[str, str]) -> None:
    """Write a lock into the repository's root."""
    head = "# Written by scripts/lock.py: change pyproject.toml and run that.\n"
    write_whole(ROOT / name, head + "".join(packages.values()))
    print(f"{name}: {len(packages)} packages")


if __name__ == "__main__":
    main()
