"""Write the hash locks from ``pyproject.toml``. Run it after changing a dependency: ``python -m scripts.lock``.

``requirements.lock``              everything except torch: for a checkout
``requirements-backend.lock``      the part of it that the backend needs: for the extension
``requirements-torch.lock``        torch from PyPI (for Linux: with CUDA), and what only torch needs
``requirements-torch-cpu.lock``    the same with torch's CPU build, for Linux without an NVIDIA driver
``requirements-torch-*-*.lock``    the same with other builds for Linux and Windows, which PyPI does not have
``requirements-torch.json``        the files of torch's locks and their sizes: the extension is built from it
``requirements-mcp.lock``          what the extra mcp needs besides: the tool server for assistants
``requirements-farm.lock``         what the extra farm needs besides: Ray, for many machines
``requirements-farm-dev.lock``     an imitation of S3, for the farm's tests, and what it needs besides
``requirements-gpu-dev.lock``      Triton, to test the GPU's kernels without a GPU
``requirements-bpy-*.lock``        other versions of pip's bpy, and what the add-on's tests need as well

The hashes of the other builds are those that torch's own index states. If it cannot be reached, or states none, their
locks stay as they are, and a line says so. ``python -m scripts.lock torch`` writes only these locks and the record,
without asking for newer packages. The resolver is uv, installed into a temporary environment. The locks are plain
requirement files for pip. Standard library only.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import venv
import zipfile
from pathlib import Path
from urllib.parse import unquote, urljoin

from backend.files import sha256, write_whole

ROOT = Path(__file__).resolve().parent.parent
PYPI = "https://pypi.org/simple"
TORCH_INDEX = "https://download.pytorch.org/whl"
CPU_INDEX = f"{TORCH_INDEX}/cpu"
#: The builds of torch that PyPI does not have: for older cards and drivers, for Windows, for AMD's and Intel's GPUs.
BUILDS = (
    ("cu126", "linux"),
    ("cu126", "windows"),
    ("cu130", "windows"),
    ("rocm7.2", "linux"),
    ("xpu", "linux"),
    ("xpu", "windows"),
)
#: What uv calls the systems, and how the names of their wheels of torch end.
SYSTEMS = {
    "linux": ("x86_64-manylinux_2_28", "manylinux_2_28_x86_64"),
    "windows": ("x86_64-pc-windows-msvc", "win_amd64"),
}
#: Wheels whose hash is known without torch's index: several independent installers state it. SHA-256, bytes.
STATED = {
    "torch-2.13.0+cu126-cp311-cp311-win_amd64.whl": (
        "8095729db14e7fd5178a39676fdd679208eff4041407ea34e3d898336c90f5c5",
        2_594_548_547,
    )
}
#: How much larger a wheel of torch is when installed, where nobody could look into it.
UNPACKED = 1.8
#: The longest page of an index, and the part of a wheel at its end that has the list of its files, in bytes.
PAGE, TAIL = 32 << 20, 8 << 20
RECORD = ROOT / "requirements-torch.json"
#: Other versions of bpy than the one in pyproject.toml: the other releases that run on Python 3.11.
BPY_VERSIONS = {"4.2": "4.2.23", "5.0": "5.0.1"}
TEST_TOOLS = ("numpy", "pytest", "pytest-xdist")
CPU_PLATFORM = "manylinux_2_28_x86_64"
CUDA_PACKAGES = re.compile(r"(cuda|nvidia)-|triton$")
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
#: A package that all environments of [tool.uv] need has this marker. It says nothing, so it is dropped.
EVERYWHERE = re.compile(r" ; \(.*'darwin'\) or \(.*'linux'\) or \(.*'win32'\)")


def main(arguments: list[str]) -> None:
    """Resolve everything in a temporary folder, then write the locks."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        venv.create(work / "uv", with_pip=True)
        python = next(path for path in work.glob("uv/*/python*") if path.stem == "python")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "uv"], check=True)
        uv = [str(python), "-m", "uv", "--quiet"]
        if arguments != ["torch"]:
            lock_everything(uv, work)
        lock_builds(uv, work)
        write_record(work)


def lock_everything(uv: list[str], work: Path) -> None:
    """Write the locks of what PyPI has, and of torch's CPU build."""
    shutil.copy(ROOT / "pyproject.toml", work)
    subprocess.run([*uv, "lock", "--python", sys.executable], cwd=work, check=True)
    everything = export(uv, work)
    without_torch = export(uv, work, "--prune", "torch")
    only_torch = {name: lines for name, lines in everything.items() if name not in without_torch}
    cpu = {name: lines for name, lines in only_torch.items() if not CUDA_PACKAGES.match(name)}
    cpu["torch"] = cpu_build(only_torch["torch"], work)
    tools = [everything[name].split()[0] for name in TEST_TOOLS]
    write("requirements.lock", without_torch)
    backend = export(uv, work, "--prune", "torch", "--no-dev")
    write("requirements-backend.lock", backend)
    with_tools = export(uv, work, "--prune", "torch", "--no-dev", "--extra", "mcp")
    write("requirements-mcp.lock", {name: lines for name, lines in with_tools.items() if name not in backend})
    with_farm = export(uv, work, "--prune", "torch", "--no-dev", "--extra", "farm")
    write("requirements-farm.lock", {name: lines for name, lines in with_farm.items() if name not in backend})
    farm_tests = export(uv, work, "--only-group", "farm-dev")
    there = {*without_torch, *with_farm}
    write("requirements-farm-dev.lock", {name: lines for name, lines in farm_tests.items() if name not in there})
    write("requirements-gpu-dev.lock", export(uv, work, "--only-group", "gpu-dev"))
    write("requirements-torch.lock", only_torch)
    write("requirements-torch-cpu.lock", cpu)
    for release, version in BPY_VERSIONS.items():
        write(f"requirements-bpy-{release}.lock", compile_lock(uv, work, [f"bpy=={version}", *tools]))


def pure_packages() -> dict[str, str]:
    """The lines of what every build of torch needs, by name. The extension carries these packages."""
    cpu = by_name((ROOT / "requirements-torch-cpu.lock").read_text("utf-8"))
    return {name: lines for name, lines in cpu.items() if name != "torch"}


def lock_builds(uv: list[str], work: Path) -> None:
    """Write the locks of the other builds of torch, as far as their hashes are known."""
    pure = pure_packages()
    torch = by_name((ROOT / "requirements-torch.lock").read_text("utf-8"))["torch"]
    version = torch.split()[0].removeprefix("torch==")
    for build, system in BUILDS:
        name = f"requirements-torch-{build}-{system}.lock"
        try:
            line = torch_line(version, build, system)
            # CUDA's libraries are inside the wheels for Windows. Elsewhere they are packages of their own.
            inside = system == "windows" and build.startswith("cu")
            needs = {} if inside or not line else needs_of(uv, work, version, build, system, pure)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{name} stays as it is: {error}")
            continue
        if line:
            write(name, pure | needs | {"torch": line})


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
    return {block.partition("==")[0]: block for block in blocks if block and not block.startswith("#")}


def cpu_build(torch: str, work: Path) -> str:
    """The line for torch's CPU build of the same version. Its hash is computed from the wheel itself."""
    version = torch.split()[0] + "+cpu"
    return f"{version} \\\n    --hash=sha256:{sha256(fetch_cpu_build(version, work))}\n"


def fetch_cpu_build(requirement: str, work: Path) -> Path:
    """The wheel of torch's CPU build for Linux, downloaded."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    download += ["--platform", CPU_PLATFORM, "--python-version", "3.11", "--dest", str(work / "wheels"), requirement]
    if subprocess.run(download).returncode != 0:  # pip's own index does not have it: use torch's
        subprocess.run([*download, "--extra-index-url", CPU_INDEX], check=True)
    (wheel,) = (work / "wheels").glob("torch-*.whl")
    return wheel


def torch_line(version: str, build: str, system: str) -> str:
    """The line of torch for a build, with the hash that torch's index states; empty if none is known.

    Raises OSError if the index cannot be reached and nobody else states the hash.
    """
    file = f"torch-{version}+{build}-cp311-cp311-{SYSTEMS[system][1]}.whl"
    stated = STATED[file][0] if file in STATED else None
    try:
        link = links(f"{TORCH_INDEX}/{build}", "torch").get(file)
    except OSError as error:
        if stated is None:
            raise
        print(f"The index cannot be reached ({error}): {file} has the hash that others state")
        link = None
    digest = link[1] if link else stated
    if digest is None:
        print(f"torch's index does not have {file}, or no hash of it")
        return ""
    if stated not in (None, digest):
        raise SystemExit(f"{file}: torch's index states {digest}, others {stated}. Find out why before locking it.")
    return f"torch=={version}+{build} \\\n    --hash=sha256:{digest}\n"


def needs_of(uv: list[str], work: Path, version: str, build: str, system: str, pure: dict[str, str]) -> dict[str, str]:
    """What a build needs besides the packages that every build needs, by name."""
    source = work / "requirements.in"
    source.write_text("\n".join([f"torch=={version}+{build}", *(pin.split()[0] for pin in pure.values())]), "utf-8")
    options = ["--python-platform", SYSTEMS[system][0], "--python-version", "3.11", "--generate-hashes", "--no-header"]
    options += ["--no-annotate", "--index", f"{TORCH_INDEX}/{build}", "--index-strategy", "unsafe-best-match"]
    done = subprocess.run([*uv, "pip", "compile", *options, str(source)], check=True, capture_output=True, text=True)
    known = {*pure, "torch", *by_name((ROOT / "requirements-backend.lock").read_text("utf-8"))}
    return {name: lines for name, lines in by_name(done.stdout).items() if name not in known}


def links(index: str, package: str) -> dict[str, tuple[str, str, int | None]]:
    """The files that an index has of a package and states hashes for: file -> (address, SHA-256, bytes if stated).

    Raises OSError if the index cannot be reached.
    """
    request = urllib.request.Request(f"{index}/{package}/", headers={"Accept": ACCEPT})
    with urllib.request.urlopen(request, timeout=60) as page:
        base, content = page.url, page.read(PAGE + 1)
        is_json = "json" in page.headers.get("Content-Type", "")
    if len(content) > PAGE:
        raise OSError(f"{base} is longer than {PAGE} bytes")
    if is_json:
        files = json.loads(content)["files"]
        hashed = [file for file in files if "sha256" in file["hashes"]]
        return {f["filename"]: (urljoin(base, f["url"]), f["hashes"]["sha256"], f.get("size")) for f in hashed}
    found = re.findall(r'href="([^"#]+)#sha256=([0-9a-f]{64})"', content.decode("utf-8"))
    return {unquote(url).rpartition("/")[2]: (urljoin(base, url), digest, None) for url, digest in found}


def write_record(work: Path) -> None:
    """Record the files of torch's locks and their sizes, by SHA-256."""
    old = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    record: dict[str, dict[str, object]] = {}
    for name, version, digests in torch_pins():
        if version.endswith("+cpu") and not digests <= old.keys() and not (work / "wheels").exists():
            fetch_cpu_build(f"{name}=={version}", work)
        here = {sha256(path): path for path in (work / "wheels").glob("*.whl")}
        unknown = {digest for digest in digests if digest not in old or "estimated" in old[digest]}
        record |= {digest: old[digest] for digest in digests & old.keys()}
        record |= {digest: from_file(here[digest]) for digest in unknown & here.keys()}
        if unknown - here.keys():
            record |= from_index(name, version, unknown - here.keys())
    stated = {digest: (file, size) for file, (digest, size) in STATED.items()}
    for digest in {digest for *_, digests in torch_pins() for digest in digests} - record.keys():
        if digest not in stated:
            print(f"{RECORD.name} lacks sha256:{digest}: its index cannot be reached, or does not have it")
            continue
        file, size = stated[digest]
        record[digest] = {"file": file, "size": size, "unpacked": int(size * UNPACKED), "estimated": True}
    write_whole(RECORD, json.dumps(dict(sorted(record.items())), indent=1) + "\n")
    print(f"{RECORD.name}: {len(record)} files")


def torch_pins() -> list[tuple[str, str, set[str]]]:
    """Name, version and hashes of the packages that the installation fetches, from all locks of torch."""
    pins, pure = [], pure_packages()
    for lock in sorted(ROOT.glob("requirements-torch*.lock")):
        for lines in by_name(lock.read_text("utf-8")).values():
            name, _, version = lines.split()[0].partition("==")
            if name not in pure:
                pins.append((name, version, set(re.findall(r"--hash=sha256:([0-9a-f]{64})", lines))))
    return pins


def from_index(name: str, version: str, digests: set[str]) -> dict[str, dict[str, object]]:
    """The record of these files, from the index that has them; empty if it cannot be reached."""
    local = version.partition("+")[2]
    try:
        offered = links(f"{TORCH_INDEX}/{local}" if local else PYPI, name)
        there = {digest: (file, url) for file, (url, digest, _) in offered.items() if digest in digests}
        return {digest: from_tail(file, url) for digest, (file, url) in there.items()}
    except OSError as error:
        print(f"The index of {name} {version} cannot be reached: {error}")
        return {}


def from_tail(file: str, url: str) -> dict[str, object]:
    """The record of a wheel on a server, from its end. Raises OSError."""
    request = urllib.request.Request(url, headers={"Range": f"bytes=-{TAIL}"})
    with urllib.request.urlopen(request, timeout=60) as response:
        size = int(response.headers["Content-Range"].rpartition("/")[2])
        end = io.BytesIO(response.read(TAIL))
    with zipfile.ZipFile(end) as archive:
        return {"file": file, "size": size, "unpacked": sum(info.file_size for info in archive.infolist())}


def from_file(path: Path) -> dict[str, object]:
    """The record of a wheel that is here."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
    return {"file": path.name, "size": path.stat().st_size, "unpacked": unpacked}


def write(name: str, packages: dict[str, str]) -> None:
    """Write a lock into the repository's root."""
    head = "# Written by scripts/lock.py: change pyproject.toml and run that.\n"
    write_whole(ROOT / name, head + "".join(packages.values()))
    print(f"{name}: {len(packages)} packages")


if __name__ == "__main__":
    main(sys.argv[1:])
