"""Split a mesh into convex parts, in a process of its own: ``python decompose.py``, as ``hulls.py`` starts it.

CoACD cannot be interrupted, brings an OpenMP of its own beside torch's, and says what it does on stdout. So it gets a
process: one that can be ended, and whose stdout carries the answer alone. It is run by its path and needs only numpy
and CoACD, because importing this package would load torch.

It reads two arrays in numpy's format from stdin, vertices [V, 3] float64 and faces [F, 3] int32, and writes two: how
many vertices each part has [P] int64, and all of these [N, 3] float64.
"""

from __future__ import annotations

import io
import os
import sys

import numpy as np

#: The exit code if CoACD cannot be loaded.
MISSING = 3
MOST_HULLS = 16
#: How concave a part may be, in CoACD's measure: the lower, the more hulls. 0.15 and few steps of its search take a
#: second for 500 faces; its own defaults take twenty, for hulls that fit hardly better.
OPTIONS = {
    "threshold": 0.15,
    "max_convex_hull": MOST_HULLS,
    "preprocess_mode": "off",  # it would make ten times the faces of a surface that is open; ``hulls.py`` closes it
    "resolution": 500,  # points on a surface at which it is measured
    "mcts_nodes": 5,
    "mcts_iterations": 20,
    "mcts_max_depth": 2,
    "seed": 0,
}


def main() -> int:
    """Read a mesh from stdin and write its parts to stdout. Returns the exit code."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the library prints goes to the log
    try:
        import coacd
    except (ImportError, OSError) as error:
        print(f"CoACD cannot be loaded: {error}", file=sys.stderr)
        return MISSING
    coacd.set_log_level("off")
    given = io.BytesIO(sys.stdin.buffer.read())  # numpy cannot read from a pipe, nor write to one
    vertices, faces = np.load(given), np.load(given)
    parts = [points for points, _ in coacd.run_coacd(coacd.Mesh(vertices, faces), **OPTIONS)]
    found = io.BytesIO()
    np.save(found, np.array([len(points) for points in parts], np.int64))
    np.save(found, np.concatenate([np.zeros((0, 3)), *parts]))
    with answer:
        answer.write(found.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main())
