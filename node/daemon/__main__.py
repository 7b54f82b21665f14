"""``python -m banyan.node.daemon``: what ``banyan up`` starts in the background."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from banyan.node.daemon.process import serve
from banyan.node.home import Home


def main() -> int:
    """Run one node until it is told to stop. One line on standard error says why, where it cannot start."""
    parser = argparse.ArgumentParser(prog="banyan-daemon", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--flags", type=json.loads, default={}, help="settings as a JSON map of dotted names")
    parser.add_argument("--passphrase-from-stdin", action="store_true")
    parser.add_argument("--foreground", action="store_true", help="also log to standard error")
    chosen = parser.parse_args()
    passphrase = sys.stdin.readline().rstrip("\n") if chosen.passphrase_from_stdin else None
    ask = None if passphrase is None else lambda: passphrase or ""
    return serve(Home(chosen.home), chosen.flags, ask, to_stderr=chosen.foreground)


if __name__ == "__main__":
    sys.exit(main())
