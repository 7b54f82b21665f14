"""Entry point: parse, run, and say what went wrong in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 failed (one line says why), 2 misused, 130 interrupted.

    ``--debug`` anywhere on the line, or ``BANYAN_DEBUG=1``, shows the traceback of a failure as well.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or os.environ.get("BANYAN_DEBUG", "") not in ("", "0")
    sys.exit(run([argument for argument in given if argument != "--debug"], debug))


def run(arguments: list[str], debug: bool = False) -> int:
    """Run one command; return its exit code."""
    import click

    from banyan.node.cli.app import app
    from banyan.security.errors import BanyanError

    try:
        code = app(args=arguments, prog_name="banyan", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
        return 130
    except BanyanError as error:
        return _failed(str(error), debug)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone, as `| head` does
        return 0
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _failed(f"{error.strerror or error}{where}.", debug)
    except Exception as error:  # noqa: BLE001 - a bug: still one line, and how to see more
        bug = f"Something went wrong inside Banyan ({type(error).__name__}: {error})."
        return _failed(f"{bug} Run it again with --debug to see where, and please report it.", debug)
    return code if isinstance(code, int) else 0


def _failed(line: str, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    print(f"banyan: {line}", file=sys.stderr)
    return 1
