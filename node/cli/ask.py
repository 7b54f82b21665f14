"""``banyan ask``: say what you need, be offered a model that fits, and have it brought here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from rich.console import Console

    from banyan.node.assistant.phrasing import Phrasing
    from banyan.node.assistant.sessions import AssistantReply
    from banyan.node.assistant.state import Action
    from banyan.node.home import Home

EXAMPLES = """
Examples:

    banyan ask                                       a conversation; /drop NAME takes back what was understood

    banyan ask --text "help with German tax returns, 8 GB" --json

    banyan ask --text "first aid" --edit language=en --yes          and bring the first offer here

    banyan ask --text "my clinic's notes" --yes --data ~/notes      and train it on them
"""

#: Words that end a conversation.
ENDS = frozenset({"/quit", "/exit", "quit", "exit"})

#: Tokens of a wording at most.
WORDING = 400


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(ask)


def ask(
    text: Annotated[
        str | None,
        typer.Option(
            help="Answer this and end; -: what stdin says. In English, German, Spanish or French.",
            show_default=False,
        ),
    ] = None,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            help="With --text: change what was understood, such as language=de or 'drop memory'; repeat it.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --text: bring the first offer here without asking.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True, help="With --yes: also train it on this file or folder.", show_default=False
        ),
    ] = None,
    reworded: Annotated[
        bool,
        typer.Option("--reworded", help="Let this node's own model word the reasons. It decides nothing."),
    ] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Find a model in a conversation: what was understood is shown and can be taken back, what would change nothing is
    not asked, and nothing is brought here, trained or served before you say yes.

    With --text exits with 1 where nothing fits. With --json prints the answer as one line, and after it those of the
    commands that --yes runs.
    """
    import click
    from rich.console import Console

    from banyan.node.assistant.sentences import said
    from banyan.node.home import Home

    if text is None and (edit or yes or data is not None or json_):
        raise click.UsageError("--edit, --yes, --data and --json go with --text.")
    if data is not None and not yes:
        raise click.UsageError("--data goes with --yes.")
    place = Home.find(home)
    with _phrasing(place, reworded) as phrasing:
        counsel = Counsel(place, phrasing)
        if text is None:
            converse(counsel, lambda action: perform(action, place))
            return
        turns = [*(edit or ()), *(["use=train"] if data is not None else [])]
        answer = counsel.text(sys.stdin.read() if text == "-" else text)
        for each in turns:
            answer = counsel.edit(each)
            if refusal := [line for line in answer.lines if line.key.startswith("edit-")]:
                raise click.BadParameter(said(refusal, answer.language), param_hint="--edit")
        todo: list[Action] = []
        if yes and answer.offers:
            for each in ("take 1", *([f"data={data.resolve()}"] if data is not None else [])):
                answer = counsel.edit(each)
                todo += answer.actions
    if json_:
        agreed = {"actions": tuple(todo), "commands": tuple(action.command for action in todo)}
        print(answer.model_copy(update=agreed).model_dump_json(), flush=True)
    else:
        _show(Console(highlight=False), answer)
    for action in todo:
        if code := perform(action, place, json_=json_, sure=True):
            raise typer.Exit(code)
    if not answer.offers:
        raise typer.Exit(1)


class Counsel:
    """One conversation about what the node of ``home`` has in its catalog."""

    def __init__(self, home: Home, phrasing: Phrasing | None = None) -> None:
        from rich.console import Console

        from banyan.node.assistant.on_this_device import OnThisDevice
        from banyan.node.assistant.sessions import Sessions
        from banyan.node.cli.listings import listings
        from banyan.node.settings import load

        found = listings(home)
        with Console(stderr=True).status("Looking at this machine …"):
            self._assistant = OnThisDevice(home.root, load(home.settings).catalog).assistant(found)
        self._sessions = Sessions(phrasing)

    def begin(self) -> AssistantReply:
        """The greeting."""
        return self._turn()

    def text(self, text: str) -> AssistantReply:
        """The answer to what was said."""
        return self._turn(text=text)

    def edit(self, edit: str) -> AssistantReply:
        """The answer to an edit."""
        return self._turn(edit=edit)

    def _turn(self, **turn: str) -> AssistantReply:
        from banyan.node.assistant.sessions import AssistantRequest

        return self._sessions.answer(AssistantRequest(session="terminal", **turn), self._assistant)


@contextmanager
def _phrasing(home: Home, reworded: bool) -> Iterator[Phrasing | None]:
    """How answers are worded: by the model that this node uses, or (None) as they are."""
    if not reworded:
        yield None
        return
    from banyan.node.assistant.phrasing import Reworded
    from banyan.node.serving.sampling import Sampling
    from banyan.node.serving.talk import Talk

    with closing(Talk(home)) as talk:

        def word(prompt: str) -> str:
            talk.conversation.begin_anew()
            return "".join(piece.text for piece in talk.say(prompt, Sampling(0.0, 1.0, None), WORDING))

        yield Reworded(word)


def perform(
    action: Action,
    home: Home,
    *,
    json_: bool = False,
    sure: bool = False,
    run: Callable[[list[str]], int] | None = None,
) -> int:
    """Run what was agreed to as its own command, with that command's progress and questions; ``sure`` answers them.

    Returns its exit code.
    """
    if run is None:
        from banyan.node.cli.main import run
    flags = ["--json"] if json_ else []
    if action.do == "train" and sure:
        flags.append("--yes")
    return run([*action.arguments, "--home", str(home.root), *flags])


def converse(counsel: Counsel, do: Callable[[Action], int]) -> None:
    """Speak with somebody at the terminal until they end it; ``do`` what they agree to."""
    from rich.console import Console

    console = Console(highlight=False)
    answer = counsel.begin()
    while True:
        _show(console, answer)
        for action in answer.actions:
            console.print(f"[dim]$ {_plain(action.command)}[/dim]", soft_wrap=True)
            if do(action):
                again = _plain(action.command)
                console.print(f"That did not work out. To try it again: {again}", soft_wrap=True)
        try:
            line = input("> ")
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return
        if line.strip().casefold() in ENDS:
            return
        answer = counsel.text(line)


def _show(console: Console, answer: AssistantReply) -> None:
    """Chips, the best three as a table where they are explained, the reply, and numbered answers."""
    if answer.chips:
        chips = "  ".join(
            f"[reverse] {_plain(chip.label)} [/reverse] [dim]{_plain(chip.id)}[/dim]" for chip in answer.chips
        )
        console.print(chips, soft_wrap=True)
    question = answer.question
    if any(line.key == "offer" for line in answer.lines):
        console.print(_table(answer))
    console.print(_plain(answer.reply), soft_wrap=True)
    if question is not None and question.topic not in ("confirm", "data", "serve"):
        numbered = (f"[bold]{n}[/bold] {_plain(c.label)}" for n, c in enumerate(question.choices, 1))
        console.print("   ".join(numbered), soft_wrap=True)


def _table(answer: AssistantReply) -> object:
    from rich.table import Table

    from banyan.node.cli.wording import size

    table = Table(box=None, pad_edge=False)
    for name in ("", "branch", "title", "fits", "memory", "tokens/s"):
        table.add_column(name, justify="right" if name in ("fits", "memory", "tokens/s") else "left")
    for number, offer in enumerate(answer.offers, 1):
        rate = "?" if offer.tokens_per_second is None else f"{offer.tokens_per_second:.3g}"
        facts = (f"{offer.score:.0%}", size(offer.memory), rate)
        table.add_row(str(number), _plain(offer.path), _plain(offer.title), *facts)
    return table


def _plain(text: str) -> str:
    """Text that is shown as it is, whatever it looks like to rich."""
    from rich.markup import escape

    return escape(text)
