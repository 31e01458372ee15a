"""Sets up a real Blender with a screen that nobody sees, and runs it: Debian's package in a folder of its own.

    sudo python3.11 tests/real_blender/rig.py setup trixie     Blender 4.3 (sid: the newest, 5.2); about 1.2 GB
    sudo python3.11 tests/real_blender/rig.py run trixie ARGS  that Blender with these arguments

For a Debian or Ubuntu machine that has no Blender, or another one. The system itself is left alone: everything lies in
the cache folder (``ESPALIER_RIGS`` names another). Inside, the checkout and the folder of BLENDER_USER_RESOURCES are
seen at the same paths as outside, the Python that runs this too, and nothing else of the machine. A Python below /usr
stays out: Debian has its own there. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "tests/real_blender/rig.py"
SUITES = ("trixie", "sid")
MIRROR = "http://deb.debian.org/debian"
#: Blender, the screen, mouse and pictures. cattrs: what Blender 5.2's own extensions add-on needs and Debian forgot.
PACKAGES = (
    "blender",
    "python3-numpy",
    "python3-requests",
    "xvfb",
    "xauth",
    "xdotool",
    "imagemagick",
    "libgl1-mesa-dri",
    "libegl1",
)
#: No abstract socket: it would be seen by another rig, whose display has the same number.
XVFB = ("xvfb-run", "--auto-servernum", "--server-args=-screen 0 1280x800x24 -nolisten local")
#: What Blender is told from outside.
PASSED_ON = ("BLENDER_USER_RESOURCES", "ESPALIER_PYTHON", "ESPALIER_PICTURES")
MARKER = "espalier-rig"


def folder() -> Path:
    chosen = os.environ.get("ESPALIER_RIGS")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base, "espalier", "blenders")


def ready() -> list[str]:
    """The suites that are set up and can be run."""
    if missing_here():
        return []
    return [suite for suite in SUITES if (folder() / suite / MARKER).is_file()]


def missing_here() -> str:
    """Why this machine cannot have a rig; empty if it can."""
    if sys.platform != "linux":
        return "a rig needs Linux"
    if os.geteuid() != 0:
        return "a rig needs root"
    return "" if shutil.which("unshare") and shutil.which("chroot") else "a rig needs unshare and chroot"


def missing() -> str:
    """What to do to have one."""
    return missing_here() or f"no rig is set up in {folder()} (python3.11 {SCRIPT} setup trixie)"


def setup(suite: str) -> int:
    """Unpack a minimal Debian and install Blender into it. What was begun and not finished is made anew."""
    target = folder() / suite
    problem = missing_here() or ("" if shutil.which("debootstrap") or shutil.which("dpkg-deb") else "it needs Debian")
    if problem:
        print(problem, file=sys.stderr)
        return 1
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    mirror = os.environ.get("ESPALIER_MIRROR", MIRROR)
    with tempfile.TemporaryDirectory() as borrowed:
        command, environment = debootstrap(Path(borrowed))
        subprocess.run([command, "--variant=minbase", suite, str(target), mirror], env=environment, check=True)
    for path in proxy_settings():
        shutil.copy(path, target / "etc" / "apt" / "apt.conf.d")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
    # cattr: Blender 5.2's own add-on for extensions imports it, and the package does not ask for it.
    more = ["python3-cattr"] if suite == "sid" else []
    inside(target, [], [["apt-get", "update"], [*install, *more], ["apt-get", "clean"], ["blender", "--version"]])
    (target / MARKER).touch()
    return 0


def debootstrap(folder: Path) -> tuple[str, dict[str, str]]:
    """The command and its environment; unpacked into a folder where it is not installed."""
    if shutil.which("debootstrap"):
        return "debootstrap", dict(os.environ)
    subprocess.run(["apt-get", "download", "--quiet", "debootstrap"], cwd=folder, check=True)
    (package,) = folder.glob("debootstrap_*.deb")
    subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)
    scripts = {"DEBOOTSTRAP_DIR": str(folder / "usr" / "share" / "debootstrap")}
    return str(folder / "usr" / "sbin" / "debootstrap"), {**os.environ, **scripts}


def proxy_settings() -> list[Path]:
    """How this machine's apt reaches its archive."""
    settings = Path("/etc/apt/apt.conf.d")
    return [path for path in settings.glob("*") if path.is_file() and "Acquire::" in path.read_text("utf-8", "replace")]


def run(suite: str, arguments: list[str]) -> int:
    target = folder() / suite
    if not (target / MARKER).is_file():
        print(f"{suite} is not set up: python3.11 {SCRIPT} setup {suite}", file=sys.stderr)
        return 1
    shown = {ROOT, Path.cwd()}
    if not Path(sys.base_prefix).is_relative_to("/usr"):  # what the checkout's environment was made from
        shown.add(Path(sys.base_prefix))
    shown |= {Path(os.environ[name]).parent for name in PASSED_ON[:1] if os.environ.get(name)}
    told = [f"{name}={os.environ[name]}" for name in PASSED_ON if name in os.environ]
    command = ["env", "--chdir", str(Path.cwd()), *told, *XVFB, "blender", *arguments]
    return inside(target, sorted(shown), [command], check=False)


def inside(target: Path, shown: list[Path], commands: list[list[str]], check: bool = True) -> int:
    """Run commands in the folder as in a machine of its own, in mount and process namespaces that end with them."""
    mounts = ['mount -t proc proc "$0/proc"', 'mount --rbind /dev "$0/dev"', 'mount -t tmpfs tmpfs "$0/tmp"']
    for path in shown:
        mounts.append(f'mkdir -p "$0{path}" && mount --rbind "{path}" "$0{path}"')
    # Not exec: to a parent that is the first process of all, as it would be then, Xvfb does not tell that it is ready.
    enter = " && ".join([*mounts, 'chroot "$0" "$@"; exit $?'])
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "LIBGL_ALWAYS_SOFTWARE": "1",
    }
    code = 0
    for command in commands:
        whole = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", enter, str(target), *command]
        code = subprocess.run(whole, env=environment, check=check).returncode
    return code


def main(arguments: list[str]) -> int:
    match arguments:
        case ["setup", suite] if suite in SUITES:
            return setup(suite)
        case ["run", suite, *rest] if suite in SUITES:
            return run(suite, rest)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
