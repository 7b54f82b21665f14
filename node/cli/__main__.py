"""``python -m banyan.node.cli``: the command ``banyan`` of this very Python."""

from banyan.node.cli.main import main

main()
