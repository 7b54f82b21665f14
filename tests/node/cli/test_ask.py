"""``banyan ask``: for scripts and in conversation, against a node that only has cards."""

import json
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

import pytest
import typer
from tests.node.catalog.conftest import garden

from banyan.node.assistant.state import Action
from banyan.node.catalog import hardware
from banyan.node.catalog.hardware import Throughput
from banyan.node.cli.app import app
from banyan.node.cli.ask import Counsel, converse, perform
from banyan.node.cli.main import run
from banyan.node.home import Home

__all__ = ["garden"]


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine that has been measured already."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BANYAN_HOME", raising=False)
    speed = Throughput(
        accelerators=(),
        device="cpu",
        precision="float32",
        flops=1e11,
        bytes_per_second=1e10,
        threads=2,
        torch="2",
    )
    hardware._remember(hardware._cache(), speed, time.time_ns() // 1_000_000)


@pytest.fixture
def home(garden, tmp_path):
    """The home of a node that answers ``GET /cards`` and nothing else."""
    place = Home(tmp_path / "home")
    place.create()
    small = [card.model_copy(update={"base": garden[6].base}) for card in garden]
    cards = json.dumps({"cards": [card.model_dump(mode="json") for card in small]}).encode()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/cards" else 404)
            self.end_headers()
            self.wfile.write(cards if self.path == "/cards" else b'{"error": "Not here"}')

        def address_string(self):
            return "test"

        def log_message(self, *arguments):
            pass

    server = socketserver.ThreadingUnixStreamServer(str(place.socket), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield place
    server.shutdown()
    thread.join()
    server.server_close()


def ask(home, capsys, *arguments):
    code = run(["ask", "--home", str(home.root), *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_one_answer_for_scripts_is_one_line_of_json(home, capsys):
    code, out, _ = ask(home, capsys, "--text", "cooking recipes in English", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["offers"][0]["path"] == "/en/cooking"
    assert answer["question"]["topic"] == "confirm"
    assert answer["actions"] == answer["commands"] == []
    assert [chip["id"] for chip in answer["chips"]] == ["subject:cooking", "language:en"]


def test_edits_change_what_was_understood_and_a_wrong_one_ends_it(home, capsys):
    request = ("--text", "cooking recipes in English", "--json")
    code, out, _ = ask(home, capsys, *request, "--edit", "language=es", "--edit", "use=run")
    assert (code, json.loads(out)["offers"][0]["path"]) == (0, "/es/cocina")
    code, out, errors = ask(home, capsys, *request, "--edit", "langage=es")
    assert (code, out) == (2, "")
    assert "Did you mean language" in errors


def test_where_nothing_fits_it_says_so_and_fails(home, capsys):
    code, out, _ = ask(home, capsys, "--text", "cooking in English, at most 1 MB")
    assert code == 1
    assert "Nothing in this network fits." in out


def test_what_is_shown_is_text_and_no_markup(home, capsys):
    code, out, _ = ask(home, capsys, "--text", "cooking in English [red]quizzically[/red] [/] \x1b[31m")
    assert code == 0
    assert "\x1b[31m" not in out
    assert "/en/cooking" in out


@pytest.mark.parametrize(
    "arguments", [("--yes",), ("--json",), ("--edit", "use=run"), ("--text", "tax", "--data", ".")]
)
def test_options_that_go_with_others_are_refused_without_them(home, capsys, arguments):
    code, _, errors = ask(home, capsys, *arguments)
    assert code == 2
    assert "go" in errors


def test_a_conversation_shows_chips_offers_and_numbers_and_does_what_was_agreed_to(home, capsys, monkeypatch):
    import io

    said = [
        *("help with German tax returns", "2", "/subject=cooking", "/language=es"),
        *("yes", "~/recipes", "no", "quit", "never read"),
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(said)))
    monkeypatch.setenv("COLUMNS", "200")
    done = []
    converse(Counsel(home), lambda action: done.append(action.do) or 0)
    out = capsys.readouterr().out
    assert done == ["clone", "train"]
    assert "language:es" in out
    assert "1 German" in out
    assert "tokens/s" in out
    assert "banyan clone /es/cocina" in out
    assert sys.stdin.readline() == "never read"


def test_a_conversation_ends_with_its_input(home, capsys, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    converse(Counsel(home), lambda action: pytest.fail("nothing was agreed to"))
    assert "I find a model" in capsys.readouterr().out


COMMANDS = typer.main.get_command(app)


@pytest.mark.parametrize(
    ("action", "sure"),
    [
        (Action(do="clone", branch="/en"), True),
        (Action(do="train", branch="/en", data="."), False),
        (Action(do="train", branch="/en", data=".", private=True), True),
        (Action(do="serve", branch="/en"), False),
    ],
    ids=["clone", "train", "train privately", "serve"],
)
@pytest.mark.parametrize("json_", [False, True])
def test_what_was_agreed_to_is_a_command_line_that_the_commands_understand(action, sure, json_, tmp_path):
    def parse(arguments):
        with COMMANDS.make_context("banyan", list(arguments)) as context:
            name, command, rest = COMMANDS.resolve_command(context, arguments)
            with command.make_context(name, rest, parent=context) as parsed:
                assert parsed.params["branch"] == "/en"
                assert str(parsed.params["home"]) == str(tmp_path)
                assert parsed.params["json_"] is json_
        return 0

    assert perform(action, Home(tmp_path), json_=json_, sure=sure, run=parse) == 0


def test_what_was_agreed_to_runs_and_its_failure_is_told(tmp_path, capsys):
    action = Action(do="train", branch="/en", data=str(tmp_path))
    assert perform(action, Home(tmp_path / "nowhere")) == 1
    assert "No node is running" in capsys.readouterr().err


def test_a_private_lesson_and_one_that_was_agreed_to_are_told_to_train_so(tmp_path):
    told = []
    action = Action(do="train", branch="/en", data="-odd", private=True)
    perform(action, Home(tmp_path), sure=True, run=lambda arguments: told.extend(arguments) or 0)
    assert told == [
        *("train", "--branch", "/en", "--data=-odd", "--private"),
        *("--home", str(tmp_path), "--yes"),
    ]
