"""``banyan log``: the history of a branch, and how it hangs together with those above and below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banyan.node.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from banyan.node.cli.graph import Page
    from banyan.node.home import Home

EXAMPLES = """
Examples:

    banyan log

    banyan log /health/first_aid -n 5

    banyan log --all      every branch that this node follows

    banyan log --json | jq '.releases[-1].left_out'
"""

#: Releases shown where nothing else is asked for.
SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(log)


def log(
    branch: Annotated[str | None, typer.Argument(show_default="the one this node works on")] = None,
    number: Annotated[
        int | None,
        typer.Option("--number", "-n", min=1, help="The newest so many.", show_default="20; with --json all"),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="The releases of every branch that this node follows.")
    ] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Show a branch's certified releases as a graph, newest first: who led and co-signed, whose updates were used,
    which were left out and why, the losses they reported, how votes on it went, and which releases of other branches a
    release counts or is counted in."""
    from banyan.node.cli.client import Client
    from banyan.node.home import Home

    place = Home.find(home)
    limit = number if json_ else number or SHOWN
    answer = Client(place).get(
        "/log", branch=branch, number=None if everything else limit, others="all" if everything else "joined"
    )
    pages = _chosen(answer, limit, everything)
    norms = _norms(place, pages, [page["change"] for page in pages])
    lifts = _norms(place, pages, [page["lifted"]["lift"] if page["lifted"] else "" for page in pages])
    if json_:
        import json

        own = [
            page | {"change_norm": norms.get(page["release"]), "lift_norm": lifts.get(page["release"])}
            for page in pages
            if page["branch"] == answer["branch"]
        ]
        others = [page for page in pages if page["branch"] != answer["branch"]]
        print(json.dumps(answer | {"releases": own, "others": others}, indent=2))
        return
    if not pages:
        if answer["coordination"] == "gossip":
            print(f"{answer['branch']} has no releases: its members mix their models. See `banyan status`.")
        else:
            print(f"{answer['branch']} has no release yet.")
        return
    _show(answer, pages, norms, lifts, everything)


def _chosen(answer: Mapping[str, Any], limit: int | None, everything: bool) -> list[Page]:
    """The releases to show, oldest first: the branch's own and those joined to them, or the newest of all."""
    from banyan.node.cli.graph import newest_first

    pages = [*answer["releases"], *answer["others"]]
    return newest_first(pages)[:limit][::-1] if everything else pages


def _norms(home: Home, pages: Sequence[Page], steps: Sequence[str]) -> dict[str, float]:
    """The norm of each release's step, by its id, where there is one and the blob is still on this node."""
    from banyan.node.learning.blobs import read_any
    from banyan.node.membership import load_charter
    from banyan.node.store import BlobMissing, BlobStore
    from banyan.security.admission import norm

    charter, blobs, norms = load_charter(home), BlobStore(home.blobs), {}
    for page, name in zip(pages, steps, strict=True):
        digest = bytes.fromhex(name)
        if charter is not None and digest and digest in blobs:
            try:
                spec = charter.adapter_at(page["branch"])
                norms[page["release"]] = norm(read_any(blobs, digest, spec).vector)
            except BlobMissing:
                continue  # collected this moment
    return norms


def _show(
    answer: Mapping[str, Any],
    pages: list[Page],
    norms: Mapping[str, float],
    lifts: Mapping[str, float],
    everything: bool,
) -> None:
    import textwrap

    from rich.console import Console
    from rich.text import Text

    from banyan.node.cli.graph import draw
    from banyan.node.cli.wording import age

    console = Console(highlight=False)
    known = [*answer["releases"], *(answer["others"] if everything else [])]
    heads = {page["branch"]: page["release"] for page in sorted(known, key=lambda page: page["height"])}
    marks = dict.fromkeys(heads.values(), "head")
    if answer["pinned"]:
        name = answer["pinned"]["release"]
        marks[name] = f"{marks[name]}, pinned" if name in marks else "pinned"
    for row in draw(pages):
        page = row.page
        line = Text(f"{row.first}  ", "yellow")
        line.append(f"{page['branch']}@{page['height']}", "bold")
        line.append(f"  {page['release'][:8]}", "cyan")
        line.append(f"  {age(page['time'])}", "dim")
        if mark := marks.get(page["release"]):
            line.append(f"  ({mark})", "green")
        console.print(line, soft_wrap=True)
        if everything or page["branch"] == answer["branch"]:
            for style, text in _details(page, norms.get(page["release"]), lifts.get(page["release"])):
                for part in textwrap.wrap(
                    text, max(40, console.width - len(row.rest) - 5), break_long_words=False
                ):
                    console.print(Text.assemble((f"{row.rest}    ", "yellow"), (part, style)), soft_wrap=True)
    total = len(known) if everything else answer["total"]
    if older := total - (len(pages) if everything else len(answer["releases"])):
        print(f"{older} older: see more with -n {total}.")


def _details(page: Page, change: float | None, lift: float | None) -> Iterator[tuple[str, str]]:
    """The lines below a release's first, each with its style."""
    from banyan.node.cli.wording import named, short

    if page["rule"] == "season":
        yield "magenta", f"season {page['season']} begins: what was learned is frozen, with a fresh A for all"
    if page["rule"] == "standing":
        yield "magenta", f"the branch and those below it: {page['standing']}"
    if page["leader"] is None:
        yield "dim", "the opening, by the charter's first root"
        return
    yield "", f"led by {short(page['leader'])}, co-signed by {', '.join(map(short, page['cosigners']))}"
    members = [source for source in page["used"] if not source.startswith("/")]
    if members:
        yield "", f"used {len(members)}: {', '.join(map(short, members))}"
    for item in page["left_out"]:
        yield "red", f"left out {short(item['author'])}: {item['reason']}"
    if narrowed := page["narrowed_to"]:
        yield "yellow", f"only the first {narrowed} columns moved: too few updates had trained the others"
    yield from _votes(page)
    figures = []
    if reported := page["reported"]:
        count = reported["updates"]
        figures.append(
            f"loss {reported['loss_before']:.4g} → {reported['loss_after']:.4g} "
            + (f"(median of {count} updates)" if count > 1 else "(one update)")
        )
    if change is not None:
        figures.append(f"change {change:.4g}")
    if figures:
        yield "", " · ".join(figures)
    if lifted := page["lifted"]:
        children = ", ".join(f"{each['branch']}@{each['height']}" for each in lifted["children"])
        size = "" if lift is None else f" · lift {lift:.4g}"
        yield "magenta", f"lifted what {children} share ({lifted['rule']}, share {lifted['share']:g}){size}"
    if page["counted_in"]:
        yield "magenta", f"lifted into {named(page['counted_in'])}"


def _votes(page: Page) -> Iterator[tuple[str, str]]:
    """What the voters refused before, and what they said of the release."""
    for each in page["refused"]:
        yield "red", f"refused by vote: {each['rule']}{_outcome(each)}"
    if page["rule"] == "unchanged":
        yield "red", "closed unchanged: every rule was refused by vote"
    elif page["trial"]:
        yield "", f"passed by vote{_outcome(page['trial'])}"


def _outcome(trial: Mapping[str, Any]) -> str:
    votes = len(trial["votes"])
    own, public = trial["change"], trial.get("probed")
    if own is None and public is None:
        return f" (not tried: {votes} votes came in time)"
    medians = [] if own is None else [f"loss {own:+.4g}"]
    medians += [] if public is None else [f"{public:+.4g} on the probe set"]
    return f": {', '.join(medians)} (median of {votes} votes)"
