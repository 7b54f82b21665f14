"""Commands without a running node: what they make, and how they say no."""

import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from banyan.node.cli.app import app
from banyan.node.cli.branches import suggestion_line, tree
from banyan.node.cli.main import run
from banyan.node.home import Home
from banyan.node.membership import load_charter, load_identity
from banyan.node.settings import load
from banyan.security.delegation import CredentialRefused
from banyan.security.invite import Invite

ADDRESS = "/ip4/127.0.0.1/tcp/4701/p2p/12D3KooWNuqjLTFZgZhrRqsRSKzSCt7GcLcg7Pjp7nFEqq3hZPm7"


@pytest.fixture
def banyan(monkeypatch, capsys):
    """Run one command line; gives exit code, output and errors."""
    for name in ("BANYAN_HOME", "BANYAN_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def founded(banyan, tmp_path):
    home = tmp_path / "founder"
    code, _, errors = banyan(
        "found", "garden", "--home", home, "--rank", 2, "--branch", "/health/first_aid", "--preset", "local"
    )
    assert code == 0, errors
    return home


def test_found_says_what_an_open_network_means(banyan, tmp_path):
    code, out, _ = banyan("found", "lab", "--home", tmp_path / "home", "--admission", "open", "--rank", 4)
    assert code == 0
    assert "guest" in out
    assert "at most f = 1 of a round's updates come from guests" in out


@pytest.mark.parametrize(
    "command",
    [
        command.callback.__name__
        for command in app.registered_commands
        if command.callback.__name__ != "simulate"  # passes --help on to what it opens
    ],
)
def test_every_command_has_help_with_examples(command):
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Examples" in result.output
    assert f"banyan {command}" in result.output


@pytest.mark.parametrize("command", ["create", "approve"])
def test_every_command_about_a_branch_has_help_with_examples(command):
    result = CliRunner().invoke(app, ["branch", command, "--help"])
    assert result.exit_code == 0
    assert f"banyan branch {command} /en/medical/dermatology" in result.output


def test_found_makes_a_whole_network(banyan, tmp_path):
    home = Home(tmp_path / "home")
    code, out, _ = banyan(
        "found", "lab", "--home", home.root, "--json", "--rank", 4, "--rule", "median", "--f", 2,
        "--branch", "/en/medical", "--branch", "/de", "--admission", "open", "--deadline", 5, "--preset", "wan",
        "--voters", 9, "--epsilon", 0.1,
    )  # fmt: skip
    facts = json.loads(out)
    charter = load_charter(home)
    assert code == 0
    assert facts["network"] == charter.network_id.hex()
    assert charter.branches == ("/", "/de", "/en", "/en/medical")
    assert (charter.round.rule, charter.round.f, charter.round.min_updates) == ("median", 2, 5)
    assert (charter.validation.voters, charter.validation.epsilon) == (9, 0.1)
    assert (charter.round.deadline, charter.admission, charter.adapter.rank) == (5_000, "open", 4)
    assert load(home.settings, None, {}).preset == "wan"
    assert home.identity.stat().st_mode & 0o777 == 0o600
    assert load_identity(home).node_id == charter.author == facts["node"]


def test_found_makes_a_network_that_mixes_by_gossip(banyan, tmp_path):
    home = Home(tmp_path / "home")
    code, out, _ = banyan(
        "found", "village", "--home", home.root, "--rank", 2, "--coordination", "gossip", "--mixing-rule", "cs+",
        "--f", 3,
    )  # fmt: skip
    charter = load_charter(home)
    assert code == 0
    assert "mixing rule cs+, f = 3, at least 6 neighbours" in out
    assert charter.round.coordination == "gossip"
    assert (charter.mixing.rule, charter.mixing.f, charter.mixing.min_neighbours) == ("cs+", 3, 6)


def test_a_fallback_is_the_founders_choice(banyan, tmp_path):
    home = Home(tmp_path / "home")
    assert banyan("found", "lab", "--home", home.root, "--rank", 2, "--fallback", 90)[0] == 0
    charter = load_charter(home)
    assert (charter.round.coordination, charter.mixing.fallback, charter.mixing.f) == ("committee", 90_000, 1)


def test_status_shows_how_far_mixing_is_and_for_whom_it_waits():
    from banyan.node.cli.status import _reached, waits_for

    mixing = {"step": 4, "phase": "waiting", "have": 1, "need": 2, "missing": ["12D3KooWabcdefghij"]}
    assert _reached({"height": 4, "mixing": mixing}) == "step 4"
    assert _reached({"height": 7, "head": "ab", "mixing": mixing}) == "7, step 4"
    assert _reached({"height": 7, "head": "ab"}) == "7"
    assert waits_for({"waits_for": "", "mixing": mixing}) == "models of …cdefghij"
    assert waits_for({"mixing": mixing | {"missing": []}}) == "more neighbours"
    assert waits_for({"mixing": mixing | {"phase": "training"}}) == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--coordination", "gosip"), "Did you mean gossip?"),
        (("--mixing-rule", "nma"), "nna"),
        (("--coordination", "gossip", "--f", "2", "--min-neighbours", "3"), "min_neighbours"),
        (("--rule", "krumm"), "krum"),
        (("--preset", "lna"), "Did you mean lan?"),
        (("--rank", "100000"), "rank"),
        (("--branch", "Not A Branch"), "branch"),
        (("--base", "/nowhere/at/all"), "no model folder"),
        (("--f", "2", "--min-updates", "3"), "min_updates"),
    ],
)
def test_a_founding_that_cannot_be_is_refused_in_one_line(banyan, tmp_path, arguments, complaint):
    code, _, errors = banyan("found", "x", "--home", tmp_path / "home", *arguments)
    assert code != 0
    assert complaint in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "home" / "charter.bin").exists()


def test_a_founding_that_failed_can_be_repeated(banyan, tmp_path):
    assert banyan("found", "x", "--home", tmp_path / "home", "--rank", "100000")[0] == 1
    assert banyan("found", "x", "--home", tmp_path / "home", "--rank", "2")[0] == 0


def test_one_directory_belongs_to_one_network(banyan, founded):
    code, _, errors = banyan("found", "other", "--home", founded)
    assert code == 1
    assert "belongs to a network already" in errors
    assert "--home" in errors


def test_an_invite_can_be_made_and_joined_without_a_running_node(banyan, founded, tmp_path):
    code, out, _ = banyan(
        "invite",
        "--home",
        founded,
        "--address",
        ADDRESS,
        "--branch",
        "/health",
        "--uses",
        3,
        "--expires",
        "2h",
    )
    assert code == 0
    invite = Invite.parse(out)
    assert invite.addresses == (ADDRESS,)
    assert (invite.chain[-1].scope, invite.chain[-1].uses) == ("/health", 3)
    joiner = tmp_path / "joiner"
    code, out, _ = banyan("join", str(invite), "--home", joiner, "--branch", "/health/first_aid", "--json")
    assert code == 0
    assert json.loads(out)["node"] == load_identity(Home(joiner)).node_id
    settings = load(Home(joiner).settings, None, {})
    assert settings.preset == "local"  # every address of the invite is this machine's
    assert settings.training.branch == "/health/first_aid"
    assert Home(joiner).invite.stat().st_mode & 0o777 == 0o600


def test_an_invite_needs_to_say_where_to_call(banyan, founded):
    code, _, errors = banyan("invite", "--home", founded)
    assert code == 1
    assert "banyan up" in errors


def test_bad_invites_are_refused_each_in_its_own_words(banyan, founded, tmp_path):
    _, out, _ = banyan("invite", "--home", founded, "--address", ADDRESS, "--branch", "/health")
    good = out.strip()
    for text, complaint in (
        ("hello", "not an invite"),
        (good[:-3] + "qqq", "altered or cut off"),
        (good[:200], "altered or cut off"),
    ):
        code, _, errors = banyan("join", text, "--home", tmp_path / "joiner")
        assert code == 1
        assert complaint in errors
    code, _, errors = banyan("join", good, "--home", tmp_path / "joiner", "--branch", "/en")
    assert code == 1
    assert "does not cover /en" in errors
    assert not (tmp_path / "joiner" / "invite.txt").exists()


def test_a_directory_does_not_join_a_second_network(banyan, founded, tmp_path):
    banyan("found", "other", "--home", tmp_path / "other", "--rank", 1)
    _, out, _ = banyan("invite", "--home", founded, "--address", ADDRESS)
    code, _, errors = banyan("join", out.strip(), "--home", tmp_path / "other")
    assert code == 1
    assert "belongs to the network other already" in errors


def test_status_shows_what_the_node_is_pinned_to_and_what_it_lacks():
    from banyan.node.cli.status import pin_line

    pin = {"branch": "/en", "height": 3, "release": "9ab3f1c2" * 8, "missing": []}
    assert pin_line(pin).startswith("to /en@3 (9ab3f1c2): served and exported")
    assert "the adapter of /@2 is lost" in pin_line(pin | {"missing": ["/@2"]})


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "log",
        "train",
        "status --json",
        "diff @1 @",
        "checkout @1",
        "checkout --latest",
    ],
)
def test_commands_that_need_a_running_node_say_how_to_start_it(banyan, founded, command):
    code, _, errors = banyan(*command.split(), "--home", founded)
    assert code == 1
    assert f"No node is running on {founded}" in errors
    assert "banyan up" in errors


def test_up_without_a_network_says_what_to_do_first(banyan, tmp_path):
    code, _, errors = banyan("up", "--home", tmp_path / "empty")
    assert code == 1
    assert "banyan found NAME" in errors
    assert "banyan join INVITE" in errors


def test_the_home_is_taken_from_the_environment(banyan, founded, monkeypatch):
    monkeypatch.setenv("BANYAN_HOME", str(founded))
    code, _, errors = banyan("status")
    assert code == 1
    assert str(founded) in errors


def test_an_identity_behind_a_passphrase_opens_only_with_it(banyan, tmp_path, monkeypatch):
    home = tmp_path / "locked"
    monkeypatch.setenv("BANYAN_PASSPHRASE", "correct horse")
    assert banyan("found", "locked", "--home", home, "--rank", 1, "--passphrase")[0] == 0
    assert b"ENCRYPTED" in (home / "identity.pem").read_bytes()
    assert banyan("invite", "--home", home, "--address", ADDRESS)[0] == 0
    monkeypatch.setenv("BANYAN_PASSPHRASE", "wrong")
    code, _, errors = banyan("invite", "--home", home, "--address", ADDRESS)
    assert code == 1
    assert "passphrase" in errors


def test_settings_are_shown_changed_and_checked(banyan, founded):
    assert banyan("settings", "--home", founded, "training.steps=77", "network.port=4701")[0] == 0
    _, out, _ = banyan("settings", "--home", founded, "--json")
    shown = json.loads(out)
    assert (shown["training.steps"], shown["network.port"], shown["preset"]) == (77, 4701, "local")
    code, _, errors = banyan("settings", "--home", founded, "training.stesp=1")
    assert code == 1
    assert "Did you mean training.steps" in errors


def test_doctor_names_cause_and_cure(banyan, founded, tmp_path):
    code, out, _ = banyan("doctor", "--home", founded, "--json")
    findings = {finding["subject"]: finding for finding in json.loads(out)}
    assert code == 0
    assert findings["base model"]["state"] == "ok"
    assert findings["node"]["cure"] == "Start it with `banyan up`"
    code, out, _ = banyan("doctor", "--home", tmp_path / "nowhere")
    assert code == 1
    assert "✗ state directory" in out
    assert "banyan found NAME" in out
    (founded / "settings.toml").write_text("[training]\ndata = '/gone.jsonl'\n")
    code, out, _ = banyan("doctor", "--home", founded)
    assert code == 1
    assert "✗ data: /gone.jsonl is gone" in out


def test_doctor_finds_a_port_that_is_taken_and_a_damaged_model(banyan, founded):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        banyan("settings", "--home", founded, f"network.port={taken.getsockname()[1]}")
        charter = load_charter(Home(founded))
        weights = max(charter.base.files, key=lambda entry: entry.size)
        name = weights.digest.hex()
        blob = founded / "blobs" / name[:2] / name[2:]
        data = blob.read_bytes()
        blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        code, out, _ = banyan("doctor", "--home", founded, "--deep")
    assert code == 1
    assert "✗ port" in out
    assert f"✗ base model: {weights.name} is damaged" in out


def test_a_bug_is_one_line_and_a_traceback_only_with_debug(capsys, founded, monkeypatch):
    (founded / "charter.bin").unlink()
    (founded / "charter.bin").mkdir()
    assert run(["doctor", "--home", str(founded)]) == 1
    assert run(["invite", "--home", str(founded)]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert run(["invite", "--home", str(founded)], debug=True) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_network_has_no_address_for_guests(banyan, founded):
    code, _, errors = banyan("invite", "--guests", "--home", founded, "--address", ADDRESS)
    assert code == 1
    assert "by invitation only" in errors


def test_an_open_network_s_address_survives_wrapping_and_is_no_invite(banyan, tmp_path):
    banyan("found", "lab", "--home", tmp_path / "lab", "--admission", "open", "--rank", 2)
    code, out, _ = banyan("invite", "--guests", "--home", tmp_path / "lab", "--address", ADDRESS)
    assert code == 0
    text = out.strip()
    wrapped = "\n ".join(text[at : at + 20] for at in range(0, len(text), 20)).upper()
    code, out, _ = banyan("join", wrapped, "--home", tmp_path / "guest", "--json")
    assert code == 0
    assert json.loads(out)["guest"] is True
    code, _, errors = banyan(
        "join", text[:-1] + ("q" if text[-1] != "q" else "p"), "--home", tmp_path / "other"
    )
    assert code == 1
    assert "altered or cut off" in errors
    with pytest.raises(CredentialRefused, match="not an invite"):
        Invite.parse(text)


def test_the_growth_of_a_network_is_its_founders_choice(banyan, tmp_path):
    banyan(
        "found",
        "lab",
        "--home",
        tmp_path,
        "--rank",
        2,
        "--growth",
        "votes",
        "--votes",
        2,
        "--dormancy",
        90,
        "--seasons",
        "manual",
    )
    charter = load_charter(Home(tmp_path))
    growth = charter.growth
    assert (growth.branches, growth.votes, growth.dormancy) == ("votes", 2, 90_000)
    assert charter.season.policy == "manual"


def test_branches_are_drawn_with_who_is_there_what_sleeps_and_what_is_proposed():
    def page(branch, state, members=None, height=None, **more):
        head = None if height is None else "ab" * 32
        plain = {
            "branch": branch,
            "state": state,
            "description": "",
            "members": members,
            "guests": 0 if members else None,
        }
        return {**plain, "height": height, "head": head, "agreed": [], "votes": None, **more}

    answer = {
        "network": "garden",
        "own": "/en",
        "branches": [
            page("/", "open", 3, 12),
            page("/en", "open", 1, 4, guests=2, description="[English]"),
            page("/en/law", "dormant", 0, 7),
            page("/en/tax", "proposed", agreed=["a"], votes=3),
            page("/fr", "elsewhere"),
        ],
    }
    console = Console(width=120, highlight=False)
    with console.capture() as capture:
        console.print(tree(answer))
    lines = capture.get().splitlines()
    assert lines[0].startswith("/  3 members, release 12 (abababab)")
    assert "/en  1 member and 2 guests, release 4 (abababab) [English]" in lines[1]
    assert "dormant" in lines[2]
    assert "proposed: 1 of 3 votes" in lines[3]
    assert "not followed here" in lines[4]


def test_suggestions_are_sentences():
    split = {
        "kind": "split",
        "branch": "/en",
        "rounds": 3,
        "groups": [["a"], ["b"]],
        "within": 0.8,
        "across": -0.5,
    }
    assert "pulled two ways for 3 rounds (cosine 0.80 within, -0.50 across): a; b" in suggestion_line(split)
    merge = {"kind": "merge", "branches": ["/en/a", "/en/b"], "rounds": 4, "cosine": 0.99}
    assert "/en/a and /en/b have become nearly the same model" in suggestion_line(merge)
