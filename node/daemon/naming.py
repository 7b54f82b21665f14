"""What an owner is told who names a branch that this node knows nothing of."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from banyan.node.daemon.control import BadRequest
from banyan.security.scope import is_path

__all__ = ["check_known"]


def check_known(path: str, tree: Sequence[str], network: str) -> None:
    """Raise :class:`BadRequest` where ``path`` is none of ``tree``, the branches that this node knows of in the network
    called ``network``."""
    if path in tree:
        return
    near = difflib.get_close_matches(path, tree, n=3, cutoff=0.5)
    cure = f"Did you mean {' or '.join(near)}?" if near else f"Choose one of {', '.join(tree[:20])}."
    if is_path(path):
        cure += f" To found it: `banyan branch create {path}`"
    raise BadRequest(f"The network {network} has no branch {path}, as far as this node knows", cure)
