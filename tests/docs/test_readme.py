"""The example in the README runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def test_the_python_example_runs() -> None:
    blocks = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    assert len(blocks) == 1
    imports, lines = _parted(blocks[0])
    assert len(lines) <= 6, f"six lines besides the {len(imports)} imports"
    done = subprocess.run([sys.executable, "-c", blocks[0]], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def _parted(block: str) -> tuple[list[str], list[str]]:
    """Its imports, and its other lines that hold something."""
    lines = [line for line in block.splitlines() if line.strip()]
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    return imports, [line for line in lines if line not in imports]
