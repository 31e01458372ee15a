"""The campaign: faults of many kinds, drawn from a seed, bounded in number and time, and counted.

    python3.11 scripts/dev.py campaign [NAME ...] [--minutes N] [--seed N]

Without --minutes each run ends after as many trials as the table in docs/reliability.md has. With it the runs share the
time. The seed is printed; the same seed draws the same faults. Exit code: 0 if nothing was wrong, else 1.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import traceback

from scripts.batch import load_checkout

load_checkout()

from tests.campaign import files, processes  # noqa: E402  # the add-on is imported as espalier
from tests.campaign.tally import NAMED, Run, Tally  # noqa: E402

#: Each run, and how many trials the whole campaign has of it.
RUNS: dict[str, tuple[Run, int]] = {
    "kills": (processes.kills, 500),
    "images": (files.images, 10_000),
    "protocol": (processes.lines, 20_000),
    "models": (files.models, 1_500),
    "hub": (processes.hubs, 500),
    "downloads": (processes.downloads, 240),
    "batch": (processes.batches, 300),
    "soak": (processes.soak, 1_000),
    "blends": (files.blends, 200),
    "disk": (files.disks, 1_000),
}
HEAD = "| Run | tried | refused in words | wrong | slowest | memory above start | |\n|---|---:|---:|---:|---:|---:|---|"


def main() -> int:
    """Run the campaign, or the runs that are named. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="dev.py campaign", description="Faults of many kinds, counted.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"runs: {', '.join(RUNS)} (default: all)")
    parser.add_argument("--minutes", type=float, help="the time that all runs share (default: as long as they take)")
    parser.add_argument("--seed", type=int, help="draw the same faults as a run with this seed")
    options = parser.parse_args()
    unknown = set(options.names) - RUNS.keys()
    if unknown:
        parser.error(f"there is no run {', '.join(sorted(unknown))}: choose from {', '.join(RUNS)}")
    if sys.platform != "linux":
        parser.error("the campaign runs on Linux, whose limits and counts it uses")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["ESPALIER_MODELS"] = "/nowhere"  # what this machine's user has installed plays no part
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    names = options.names or list(RUNS)
    print(f"seed {seed}", flush=True)
    tallies = []
    share = float("inf") if options.minutes is None else 60 * options.minutes / len(names)
    for name in names:
        run, wanted = RUNS[name]
        tallies.append(tally := Tally(name, seed, wanted, share))
        try:
            run(tally)
        except Exception:  # the others still run
            tally.fault(f"the run itself broke off: {traceback.format_exc()}")
        print(tally.row(), flush=True)
    wrong = [fault for tally in tallies for fault in tally.wrong]
    print(f"\n{HEAD}")
    for tally in tallies:
        print(tally.row())
    for fault in wrong[:NAMED]:
        print(f"\nWRONG: {fault}")
    if len(wrong) > NAMED:
        print(f"\nand {len(wrong) - NAMED} more")
    sys.stdout.flush()
    os._exit(1 if wrong else 0)  # not sys.exit: bpy and threads of libraries may hold it up


if __name__ == "__main__":
    main()
