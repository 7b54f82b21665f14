"""The command line stays light: no torch where nothing is computed, and help at once."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "flwr", "libp2p", "peft", "scipy", "sklearn", "matplotlib")

PROBE = """
import sys
{statement}
heavy = [name for name in {heavy!r} if name in sys.modules]
print(",".join(heavy), file=sys.stderr)
sys.exit(9 if heavy else 0)
"""


def probe(statement, *extra, home):
    code = PROBE.format(statement=statement, heavy=(*HEAVY, *extra))
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"BANYAN_HOME": str(home), "PATH": ""},
    )


def run(*arguments):
    return f"from banyan.node.cli.main import run\nrun({list(arguments)!r})"


@pytest.mark.parametrize(
    "statement",
    [
        "import banyan.protocol.peer",
        "import banyan.security.credential",
        "import banyan.node.cli",
        "import banyan.node.daemon.service",
        "import banyan.node.daemon.standard; import banyan.node.network.libp2p_host",
        run("found", "--help"),
        run("log"),
        "import banyan.node.learning.comparison, banyan.node.learning.export, banyan.node.learning.shared_a",
        "import banyan.node.catalog.recommender, banyan.node.catalog.hardware, banyan.node.catalog.offline",
        "import banyan.node.learning.blobs, banyan.node.membership, banyan.node.store, banyan.node.base_folder",
        "import banyan.node.serving.chosen_release, banyan.node.serving.conversation",
    ],
)
def test_nothing_heavy_is_imported(statement, tmp_path):
    result = probe(statement, home=tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("status",), ("status", "--json"), ("down",)])
def test_help_and_status_do_not_even_import_the_daemon(arguments, tmp_path):
    result = probe(run(*arguments), "pydantic", "numpy", "trio", "starlette", "hypercorn", home=tmp_path)
    assert result.returncode == 0, result.stderr


def test_help_imports_few_modules(tmp_path):
    """What makes it answer at once: about 360 modules, most of them of typer and rich; the daemon has 840."""
    count = (
        "import sys\nfrom banyan.node.cli.main import run\nrun(['--help'])\nsys.exit(len(sys.modules) > 400)"
    )
    result = subprocess.run(
        [sys.executable, "-c", count], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
