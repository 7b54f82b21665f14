"""The owner's program: what it is told, and that it cannot hurt the node."""

import os

import pytest
import trio

from banyan.node.daemon.hooks import WAITING, ReleaseHook
from banyan.node.settings import Settings, SettingsError, load
from banyan.node.store import StoredEvent


def release(height=1, branch="/en", leader="12D3KooW"):
    body = {
        "branch": branch,
        "height": height,
        "release": "ab" * 32,
        "leader": leader,
        "cosigners": [],
        "used": ["a", "b"],
        "left_out": [["c", "missing"]],
    }
    return StoredEvent(height, 1, "release-certified", body)


async def run(command, *releases, timeout=30.0, until=None):
    """Run a hook on these releases; returns what was reported, once ``until`` holds."""
    settings, told = Settings(hooks={"release": tuple(command), "timeout": timeout}), []

    async def happening():
        for event in releases:
            yield event
        await trio.sleep_forever()

    hook = ReleaseHook(
        lambda: settings, happening, lambda: "/en/medical", {"BANYAN_HOME": "/home"}, told.append
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hook.run)
            while not (until(told) if until else told):
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    return told


def shell(script, *arguments):
    return ("/bin/sh", "-c", script, "hook", *map(str, arguments))


def lines(file):
    return file.read_text().splitlines() if file.exists() else []


async def test_a_program_learns_from_its_environment_what_was_released(tmp_path):
    file = tmp_path / "told"
    command = shell('env | grep ^BANYAN_ > "$1.part" && mv "$1.part" "$1"', file)
    await run(command, release(7), until=lambda told: file.exists())
    facts = dict(line.split("=", 1) for line in lines(file))
    assert facts["BANYAN_BRANCH"] == "/en"
    assert facts["BANYAN_HEIGHT"] == "7"
    assert facts["BANYAN_RELEASE"] == "ab" * 32
    assert (facts["BANYAN_USED"], facts["BANYAN_LEFT_OUT"]) == ("2", "1")
    assert (facts["BANYAN_EVENT"], facts["BANYAN_HOME"]) == ("release", "/home")


async def test_the_passphrase_of_the_identity_is_kept_from_it(tmp_path, monkeypatch):
    monkeypatch.setenv("BANYAN_PASSPHRASE", "secret")
    file = tmp_path / "told"
    await run(
        shell('env > "$1.part" && mv "$1.part" "$1"', file), release(), until=lambda told: file.exists()
    )
    assert "secret" not in file.read_text()


async def test_nothing_that_a_peer_chose_is_read_by_a_shell(tmp_path):
    file, trap = tmp_path / "told", tmp_path / "trap"
    evil = f"$(touch {trap}); touch {trap}"
    command = shell('printf %s "$BANYAN_LEADER" > "$1.part" && mv "$1.part" "$1"', file, evil)
    await run(command, release(leader=evil), until=lambda told: file.exists())
    assert file.read_text() == evil
    assert not trap.exists()


async def test_releases_of_its_branch_and_those_above_are_told_and_no_others(tmp_path):
    file = tmp_path / "told"
    paths = ("/", "/fr", "/en", "/en/medical", "/en/medical/skin", "/en/law")
    command = shell('echo "$BANYAN_BRANCH" >> "$1"', file)
    events = [release(number, path) for number, path in enumerate(paths)]
    await run(command, *events, until=lambda told: len(lines(file)) == 3)
    assert sorted(lines(file)) == ["/", "/en", "/en/medical"]


async def test_a_failing_program_is_reported_with_its_last_words():
    (failure,) = await run(shell("echo no such room >&2; exit 3"), release(4))
    assert (failure.hook, failure.branch, failure.height) == ("release", "/en", 4)
    assert "ended with 3: no such room" in failure.reason


async def test_a_hanging_program_is_ended_with_what_it_has_started(tmp_path):
    file = tmp_path / "pids"
    command = shell('sleep 600 & echo $! > "$1.part"; mv "$1.part" "$1"; wait', file)
    (failure,) = await run(command, release(), timeout=1.0)
    assert "was ended after 1 s" in failure.reason
    child = int(file.read_text())
    with trio.fail_after(10):
        while is_running(child):
            await trio.sleep(0.01)


async def test_a_child_that_keeps_the_pipe_open_holds_up_nothing(tmp_path):
    file = tmp_path / "pids"
    command = shell('sleep 5 & echo $! >> "$1"', file)
    await run(command, release(1), release(2), release(3), until=lambda told: len(lines(file)) == 3)
    for child in map(int, lines(file)):
        os.kill(child, 9)


async def test_releases_beyond_those_that_wait_are_dropped_and_counted():
    told = await run(
        shell("sleep 600"), *(release(n) for n in range(WAITING + 10)), until=lambda told: len(told) >= 5
    )
    assert "dropped so far" in told[-1].reason


async def test_a_node_that_stops_ends_its_hooks(tmp_path):
    file = tmp_path / "pids"
    await run(shell('echo $$ > "$1"; exec sleep 600', file), release(), until=lambda told: bool(lines(file)))
    assert not is_running(int(file.read_text()))


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat") as stat:  # dead and not yet buried by whoever adopted it
        return stat.read().rpartition(")")[2].split()[0] != "Z"


def test_a_hook_is_a_list_in_the_file_and_a_line_in_the_environment(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('[hooks]\nrelease = ["notify", "two words"]\n')
    assert load(file, {}, {}).hooks.release == ("notify", "two words")
    line = {
        "BANYAN_HOOKS_RELEASE": "notify 'two words'",
        "BANYAN_BRANCH": "/en",
    }  # the second is a hook's own
    assert load(file.with_name("none"), {}, line).hooks.release == ("notify", "two words")
    file.write_text('[hooks]\nrelease = "rm -rf"\n')
    with pytest.raises(SettingsError, match=r"hooks\.release"):
        load(file, {}, {})
