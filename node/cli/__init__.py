"""The command ``banyan``. Importing this imports nothing heavy: each command brings what it needs."""

from banyan.node.cli.main import main

__all__ = ["main"]
