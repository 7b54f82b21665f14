"""``banyan chat``: speak with a model of the tree in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from banyan.node.cli.options import (
    BaseOption,
    DeviceOption,
    HomeOption,
    JsonOption,
    PrivateOption,
    ReleaseOption,
    check_own,
)

if TYPE_CHECKING:
    from banyan.node.serving.sampling import Sampling
    from banyan.node.serving.talk import Talk

EXAMPLES = """
Examples:

    banyan chat                                      with the model that this node uses

    banyan chat /health/first_aid --temperature 0

    banyan chat --private                            with what this device has learnt for itself

    banyan chat --text "How do I treat a burn?"      one answer, for scripts

    echo "How do I treat a burn?" | banyan chat --text - --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(chat)


def chat(
    branch: Annotated[
        str | None, typer.Argument(metavar="[PATH]", help="The branch.", show_default="what this node uses")
    ] = None,
    release: ReleaseOption = None,
    text: Annotated[
        str | None,
        typer.Option(help="Ask this, print the answer and end; -: ask what stdin says.", show_default=False),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="What the model is told before anything else.", show_default=False)
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of an answer at most.", show_default="what the context holds"),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="0: always the likeliest token; more: more varied.")
    ] = 0.7,
    top_p: Annotated[
        float,
        typer.Option(min=0.01, max=1.0, help="Draw from the likeliest tokens that reach this probability."),
    ] = 0.95,
    seed: Annotated[
        int | None, typer.Option(help="Makes the answers repeatable.", show_default=False)
    ] = None,
    private: PrivateOption = False,
    base: BaseOption = None,
    device: DeviceOption = "auto",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Speak with a model of the tree. Ctrl-C stops an answer, Ctrl-D ends, /new begins anew.

    What is said stays in this process. When the conversation outgrows the model's context, its oldest exchanges are
    forgotten.
    """
    import click

    from banyan.node.home import Home

    if branch is not None and release is not None:
        raise click.UsageError("Give PATH or --release, not both.")
    check_own(private, branch, release)
    question = sys.stdin.read().strip() if text == "-" else text
    if question is not None and not question.strip():
        raise click.UsageError("There is nothing to ask: --text is empty.")
    from banyan.node.serving.sampling import Sampling
    from banyan.node.serving.talk import Talk

    talk = Talk(Home.find(home), branch, release, base=base, device=device, system=system, private=private)
    sampling = Sampling(temperature, top_p, seed)
    try:
        if question is not None:
            answer(talk, question, sampling, max_tokens, json_)
        else:
            _converse(talk, sampling, max_tokens, json_)
    finally:
        talk.close()


def _converse(talk: Talk, sampling: Sampling, max_tokens: int | None, json_: bool) -> None:
    from banyan.security.errors import BanyanError

    told = 0
    if not json_:
        print(f"{talk.chosen.name}. Ctrl-C stops an answer, Ctrl-D ends, /new begins anew.")
    while True:
        try:
            line = input("" if json_ else "> ").strip()
        except (EOFError, KeyboardInterrupt):
            print("", file=sys.stderr)
            return
        if line == "/new":
            talk.conversation.begin_anew()
            told = 0
        elif line:
            try:
                answer(talk, line, sampling, max_tokens, json_)
            except BanyanError as error:
                print(f"banyan: {error}", file=sys.stderr)
            if talk.conversation.forgotten > told and not json_:
                print(
                    "(The beginning of this conversation no longer fits and is forgotten.)", file=sys.stderr
                )
            told = talk.conversation.forgotten


def answer(talk: Talk, text: str, sampling: Sampling, max_tokens: int | None, json_: bool) -> None:
    """Ask and print what comes, as it comes; with ``json_`` one line at the end. Ctrl-C ends it early."""
    from contextlib import closing

    said, tokens, finish = "", 0, "interrupted"
    try:
        with closing(talk.say(text, sampling, max_tokens)) as pieces:
            for piece in pieces:
                said, tokens, finish = said + piece.text, piece.tokens, piece.finish or finish
                if not json_:
                    print(piece.text, end="", flush=True)
    except KeyboardInterrupt:
        pass
    if not json_:
        print()
        return
    import json

    usage = {"prompt_tokens": talk.prompt_tokens, "completion_tokens": tokens}
    print(
        json.dumps({"text": said, "finish_reason": finish, "usage": usage, **talk.chosen.plain()}), flush=True
    )
