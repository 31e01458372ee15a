"""Pack the extension: one zip for each platform, the same bytes from the same commit.

    python3.11 scripts/dev.py build [PLATFORM...] [--out dist] [--index]

A zip holds the add-on, the backend with the bundled model and the matting network, and in ``wheels/`` uv and everything
that the backend needs except torch. ``packages.json`` names these wheels and those of each build of torch, with the
locks' hashes and the sizes of the locks' record, so that no index of torch's is needed. Builds without a lock are named
by their version. Blender must not install the wheels into its own Python: its version may differ, and numpy and pillow
may clash with other add-ons. So the manifest does not list them, and the add-on makes the backend's environment from
them.

Wheels come from the package index into a cache outside the repository. They are used only if the locks have their hash.
With a Blender in ``ESPALIER_BLENDER`` (default: ``blender``, if there is one), each zip is validated, and ``--index``
makes the folder a repository that Blender can install and update from.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from backend.config import version
from backend.errors import StoreError
from backend.files import sha256, written_whole
from backend.protocol import Unlocked, Wheel
from backend.store import index as store
from backend.store.index import PYPI, Listed, list_files
from backend.store.transfer import complete, copy, download
from backend.store.unlocked import tail
from backend.store.wheels import expected

if TYPE_CHECKING:
    from packaging.tags import Tag

ROOT = Path(__file__).resolve().parent.parent

CARRIED = "requirements-backend.lock"
#: A lock of torch that has, besides torch, only what every build needs: the zip holds that too.
PURE = "requirements-torch-cpu.lock"
#: Files and sizes of the wheels in torch's locks, by SHA-256: written by ``scripts/lock.py``.
RECORD = "requirements-torch.json"
TOOL = "uv"
PYTHON = (3, 11)
INIT = "from .blender_addon import api, register, unregister\n"


@dataclass(frozen=True)
class Platform:
    """A platform: Blender's name, its markers and wheel tags, and the builds of torch for it.

    A build whose lock does not exist is offered without one. For these there are estimates of their size.
    """

    name: str
    markers: dict[str, str]
    tags: tuple[str, ...]
    torch: dict[str, str]  # build -> lock
    estimates: dict[str, tuple[int, int]]  # build -> megabytes to download, and installed


PLATFORMS = (
    Platform(
        "linux-x64",
        {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux", "os_name": "posix"},
        (*(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)), "manylinux2014_x86_64"),
        {
            "cu130": "requirements-torch.lock",
            "cu126": "requirements-torch-cu126-linux.lock",
            "rocm7.2": "requirements-torch-rocm7.2-linux.lock",
            "xpu": "requirements-torch-xpu-linux.lock",
            "cpu": "requirements-torch-cpu.lock",
        },
        {"cu126": (3_500, 6_500), "rocm7.2": (5_000, 16_000), "xpu": (2_000, 5_000)},
    ),
    Platform(
        "windows-x64",
        {"sys_platform": "win32", "platform_machine": "AMD64", "platform_system": "Windows", "os_name": "nt"},
        ("win_amd64",),
        {
            "cu130": "requirements-torch-cu130-windows.lock",
            "cu126": "requirements-torch-cu126-windows.lock",
            "xpu": "requirements-torch-xpu-windows.lock",
            "cpu": "requirements-torch.lock",
        },
        {"cu130": (1_900, 3_600), "xpu": (1_600, 4_000)},
    ),
    Platform(
        "macos-arm64",
        {"sys_platform": "darwin", "platform_machine": "arm64", "platform_system": "Darwin", "os_name": "posix"},
        tuple(f"macosx_{major}_0_{arch}" for major in (14, 13, 12, 11) for arch in ("arm64", "universal2")),
        {"apple": "requirements-torch.lock"},
        {},
    ),
)


@dataclass(frozen=True)
class Pin:
    """A package of a lock, and the hashes that its files may have."""

    name: str
    version: str
    hashes: frozenset[str]


def read_lock(path: Path, platform: Platform) -> list[Pin]:
    """The packages of a lock that a platform needs."""
    from packaging.requirements import Requirement

    pins = []
    for line in path.read_text("utf-8").replace("\\\n", " ").splitlines():
        text, *hashes = line.split(" --hash=sha256:")
        if line.startswith("#"):
            continue
        requirement = Requirement(text.strip())
        if requirement.marker is None or requirement.marker.evaluate({**platform.markers, "extra": ""}):
            (specifier,) = requirement.specifier
            pins.append(Pin(requirement.name, specifier.version, frozenset(word.strip() for word in hashes)))
    return pins


class Wheels:
    """Finds and caches the wheels of a platform."""

    def __init__(self, platform: Platform, index: str, folders: list[Path], cache: Path) -> None:
        self.index, self.cache = index, cache
        self._rank = {tag: rank for rank, tag in enumerate(_tags(platform))}
        self._local = {sha256(path): path for folder in folders for path in folder.glob("*.whl")}
        self._client = store.connect()

    def find(self, pin: Pin) -> tuple[Wheel, str]:
        """The package's best wheel for the platform, and its URL. Raises StoreError."""
        best = min(self._candidates(pin), key=lambda one: one[0], default=None)
        if best is None:
            message = f"{self.index} has no locked wheel of {pin.name} {pin.version}."
            raise StoreError("wheel_missing", message, "Lock a version that has one: scripts/lock.py.")
        listed = best[1]
        assert listed.sha256 is not None
        size, unpacked = self._sizes(listed)
        return Wheel(pin.name, pin.version, listed.file, listed.sha256, size, unpacked), listed.url

    def get(self, wheel: Wheel, url: str) -> Path:
        """The wheel in the cache, verified. Raises StoreError."""
        path = self.cache / wheel.file
        complete(expected(wheel), path, partial(self._bring, wheel, url))
        return path

    def _bring(self, wheel: Wheel, url: str, part: Path) -> None:
        if url.startswith("file:"):
            copy(self._local[wheel.sha256], part)
        else:
            download(store.origin(self._client), lambda: url, expected(wheel), part)

    def _candidates(self, pin: Pin) -> Iterator[tuple[int, Listed]]:
        here = [
            Listed(path.name, path.as_uri(), digest) for digest, path in self._local.items() if digest in pin.hashes
        ]
        for listed in here or self._offered(pin):
            if listed.sha256 not in pin.hashes:
                continue
            rank = _rank(listed.file, self._rank)
            if rank is not None:
                yield rank, listed

    def _offered(self, pin: Pin) -> list[Listed]:
        import httpx2

        try:
            return list_files(self._client, self.index, pin.name)
        except httpx2.HTTPError as error:
            message = f"{self.index} cannot be searched for {pin.name}: {error}."
            raise StoreError("no_network", message, "Check the network, or use another --index-url.") from error

    def _sizes(self, listed: Listed) -> tuple[int, int]:
        """The size of a wheel and of its unpacked content, in bytes. Only the end of the file is needed for that."""
        cached = self._local.get(listed.sha256 or "")
        if cached is not None:
            with zipfile.ZipFile(cached) as archive:
                return cached.stat().st_size, sum(info.file_size for info in archive.infolist())
        end, size = tail(self._client, listed.url)
        with end, zipfile.ZipFile(end) as archive:
            return size, sum(info.file_size for info in archive.infolist())


def _rank(file: str, ranks: Mapping[Tag, int]) -> int | None:
    """How well a file suits a platform, 0 the best; None if it does not, or is no wheel."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        tags = parse_wheel_filename(file)[3]
    except InvalidWheelFilename:  # a source distribution
        return None
    return min((ranks[tag] for tag in tags if tag in ranks), default=None)


def _tags(platform: Platform) -> Iterator[Tag]:
    from packaging.tags import compatible_tags, cpython_tags

    yield from cpython_tags(PYTHON, platforms=platform.tags)
    yield from compatible_tags(PYTHON, "cp311", platforms=platform.tags)


def resolve(platform: Platform, wheels: Wheels) -> tuple[dict[str, object], list[Path]]:
    """The content of packages.json for a platform, and the wheels that the zip holds."""
    locks = {build: ROOT / lock for build, lock in platform.torch.items() if (ROOT / lock).exists()}
    torch = {build: read_lock(lock, platform) for build, lock in locks.items()}
    unlocked = without_lock(platform)
    for build in unlocked:
        print(f"  There is no lock for torch's build {build}: its hash will be the one that torch's index publishes")
    pure = {pin.name: pin for pin in read_lock(ROOT / PURE, platform) if pin.name != "torch"}
    carried = {pin.name: pin for pin in read_lock(ROOT / CARRIED, platform)} | pure
    (tool,) = (pin for pin in read_lock(ROOT / "requirements.lock", platform) if pin.name == TOOL)
    found = [wheels.find(carried[name]) for name in sorted(carried)]
    uv, uv_url = wheels.find(tool)
    packages: dict[str, object] = {
        "platform": platform.name,
        "uv": asdict(uv),
        "carried": [asdict(wheel) for wheel, _ in found],
        "torch": {
            build: [asdict(recorded(pin, platform)) for pin in pins if pin.name not in pure]
            for build, pins in torch.items()
        },
        "unlocked": {build: asdict(estimate) for build, estimate in unlocked.items()},
    }
    return packages, [wheels.get(wheel, url) for wheel, url in [*found, (uv, uv_url)]]


def recorded(pin: Pin, platform: Platform) -> Wheel:
    """A wheel of torch's locks, as the locks' record describes it. Raises StoreError if it does not."""
    record = json.loads((ROOT / RECORD).read_text("utf-8"))
    rank = {tag: number for number, tag in enumerate(_tags(platform))}
    files = [(digest, record[digest]) for digest in sorted(pin.hashes) if digest in record]
    ranked = [(best, digest, values) for digest, values in files if (best := _rank(values["file"], rank)) is not None]
    if not ranked:
        message = f"{RECORD} has no wheel of {pin.name} {pin.version} for {platform.name}."
        raise StoreError("wheel_missing", message, "Run: python -m scripts.lock torch")
    _, digest, values = min(ranked, key=lambda one: one[:2])
    return Wheel(pin.name, pin.version, values["file"], digest, values["size"], values["unpacked"])


def without_lock(platform: Platform) -> dict[str, Unlocked]:
    """The builds of torch for a platform that no lock names, with estimates of their size in bytes."""
    lock = (ROOT / "requirements-torch.lock").read_text("utf-8")
    version = re.search(r"^torch==(\S+)", lock, re.MULTILINE)
    assert version is not None
    return {
        build: Unlocked(f"{version.group(1)}+{build}", *(size * 10**6 for size in platform.estimates[build]))
        for build, name in platform.torch.items()
        if not (ROOT / name).exists()
    }


def bring_matting(platform: Platform, wheels: Wheels) -> None:
    """Make sure that the checkout has the matting network. Raises StoreError."""
    from scripts import matting  # needs Pillow, which a Blender that runs the add-on's tests may lack

    if not matting.is_there():
        (pin,) = read_lock(matting.LOCK, platform)
        matting.take_out(wheels.get(*wheels.find(pin)))


def pack(platform: Platform, packages: dict[str, object], wheels: list[Path], target: Path) -> None:
    """Write the zip: sorted, with the commit's time, and uncompressed, because the result would depend on zlib."""
    from scripts import matting  # needs Pillow, as above

    files: dict[str, bytes | Path] = {name: ROOT / name for name in tracked("blender_addon", "backend", "LICENSE")}
    files[matting.FILE.relative_to(ROOT).as_posix()] = matting.FILE
    files |= {f"wheels/{path.name}": path for path in wheels}
    files["__init__.py"] = INIT.encode()
    files["blender_manifest.toml"] = manifest(platform).encode()
    files["packages.json"] = (json.dumps(packages, indent=1) + "\n").encode()
    moment = commit_time().timetuple()[:6]
    with written_whole(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, moment)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            content = files[name]
            archive.writestr(info, content if isinstance(content, bytes) else content.read_bytes())


def manifest(platform: Platform) -> str:
    """The repository's manifest with the platform. ``platforms`` is a top-level key, so it goes before the tables."""
    head, table, rest = (ROOT / "blender_manifest.toml").read_text("utf-8").partition("\n[permissions]")
    return f'{head}platforms = ["{platform.name}"]\n{table}{rest}'


def tracked(*paths: str) -> list[str]:
    """The repository's tracked files below these paths, without stray files."""
    listed = subprocess.run(["git", "ls-files", "-z", *paths], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name]


def commit_time() -> datetime:
    """The time of the last commit. ``SOURCE_DATE_EPOCH`` overrides it."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    if seconds is None:
        log = ["git", "log", "-1", "--format=%ct"]
        seconds = subprocess.run(log, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return datetime.fromtimestamp(int(seconds), UTC)


def blender() -> list[str] | None:
    """The command of a Blender; None if there is none."""
    command = shlex.split(os.environ.get("ESPALIER_BLENDER", "blender"))
    return command if command and shutil.which(command[0]) else None


def run_blender(command: list[str], *arguments: str) -> None:
    """Run one of Blender's commands for extensions. Raises CalledProcessError if it fails."""
    subprocess.run([*command, "--background", "--command", "extension", *arguments], check=True)


def cache_folder() -> Path:
    """The folder where wheels are kept between builds."""
    if sys.platform == "win32":
        return Path(os.environ["LOCALAPPDATA"], "espalier", "wheels")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "espalier", "wheels")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line. Ends the program with 2 for an unknown platform."""
    parser = argparse.ArgumentParser(prog="dev.py build", description="Pack the extension: one zip for each platform.")
    names = [platform.name for platform in PLATFORMS]
    parser.add_argument("platforms", nargs="*", metavar="PLATFORM", help=f"{', '.join(names)} (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="DIR", help="folder for the zips")
    parser.add_argument("--index", action="store_true", help="make DIR a repository for Blender (needs a Blender)")
    parser.add_argument("--index-url", default=PYPI, metavar="URL", help="package index (default: %(default)s)")
    parser.add_argument(
        "--find-links", type=Path, action="append", default=[], metavar="DIR", help="wheels to use without a network"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.platforms) - set(names):
        parser.error(f"unknown platform {', '.join(sorted(unknown))}: choose from {', '.join(names)}")
    return options


def main(arguments: list[str]) -> int:
    """Pack the chosen zips. Exit code: 0 done, 1 a package is not available, 2 wrong usage."""
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    tool = blender()
    if options.index and tool is None:
        print("--index needs a Blender: set ESPALIER_BLENDER to its command", file=sys.stderr)
        return 2
    for platform in PLATFORMS:
        if options.platforms and platform.name not in options.platforms:
            continue
        target = options.out.resolve() / f"espalier-{version()}-{platform.name}.zip"
        print(target.name, flush=True)
        try:
            wheels = Wheels(platform, options.index_url, options.find_links, cache_folder())
            bring_matting(platform, wheels)
            packages, carried = resolve(platform, wheels)
        except StoreError as error:
            print(f"{error} {error.hint}".strip(), file=sys.stderr)
            return 1
        pack(platform, packages, carried, target)
        print(f"  {target.stat().st_size / 1e6:.1f} MB, {len(carried)} wheels, SHA-256 {sha256(target)}", flush=True)
        if tool is not None:
            run_blender(tool, "validate", str(target))
    if tool is None:
        print("Not validated: there is no Blender here (set ESPALIER_BLENDER to its command)")
    if options.index and tool is not None:
        run_blender(tool, "server-generate", "--repo-dir", str(options.out.resolve()), "--html")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
