"""Which options does `remuda-node` take?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

EPILOG = """\
examples:
  remuda-node --join remuda1_AJ2Gp...              join the cluster of a line, then run
  remuda-node --home /var/lib/remuda               run, once this host has joined
  remuda-node --check                              only say what stands in the way
  remuda-node --check --join remuda1_AJ2Gp...      the same before joining; the line stays good

The line comes from `remuda key invite --role node`. It holds a secret that is good once: where
other users of this host could read it in a list of processes, give it by REMUDA_JOIN in the
environment or, with `--join -`, on standard input. A host that has joined by a line may be
started with it again: it simply runs. Before it joins for the first time the host, its driver,
clock and disk and all ports of the scheduler are looked at; what is serious stops it, with a
report and exit code 1.
"""


def options_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line of the agent."""
    parser = argparse.ArgumentParser(
        prog="remuda-node",
        description="Run tasks of a remuda cluster on this host.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--home", type=Path, help="the directory of the cluster (REMUDA_HOME)")
    parser.add_argument(
        "--config", type=Path, action="append", default=[], help="one more configuration file"
    )
    parser.add_argument("--profile", help="dev, test, production or your own (REMUDA_PROFILE)")
    parser.add_argument("--name", help="the node's name (default: as it joined, else the host's)")
    parser.add_argument("--join", metavar="LINE", help="join first; -: read the line from stdin")
    parser.add_argument("--probe", action="store_true", help="print what this host can do")
    parser.add_argument(
        "--check", action="store_true", help="print what stands in the way of a good node"
    )
    parser.add_argument("--json", action="store_true", help="with --probe, --check: as JSON")
    return parser.parse_args(argv)
