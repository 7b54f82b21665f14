"""The compiled kernel (``_kernels.c``), where it was built: the arithmetic of the rules in cache-sized strips.

It is optional. Without a compiler the install succeeds and NumPy does the work, slower; so it does with
``BANYAN_KERNELS=off`` in the environment.
"""

from __future__ import annotations

import os
from types import ModuleType

kernels: ModuleType | None
try:
    from . import _kernels as kernels
except ImportError:
    kernels = None
if os.environ.get("BANYAN_KERNELS", "").lower() in ("off", "0", "no"):
    kernels = None
