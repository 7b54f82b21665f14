"""``python -m banyan.node.worker``: started by the daemon, never by hand."""

import sys

from banyan.node.worker.main import main

sys.exit(main())
