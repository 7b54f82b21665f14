"""Cards of whole daemons: signed, spread, listed, renewed, read offline, and the commands on them."""

import json

import pytest

from banyan.node.catalog.offline import read


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A measurement of this machine that is there already, so that no test of commands waits for one."""
    from banyan.node.catalog import hardware

    speed = hardware.Throughput(
        accelerators=(),
        device="cpu",
        precision="float32",
        flops=5e10,
        bytes_per_second=1e10,
        threads=2,
        torch="2",
    )
    monkeypatch.setattr(hardware, "_cache", lambda: tmp_path / "hardware.json")
    hardware._remember(tmp_path / "hardware.json", speed, 10**15)
    monkeypatch.setattr(hardware, "_remembered", lambda file: (speed, 10**12))


def cards(daemon):
    return daemon.member.cards.entries() if daemon.member is not None and daemon.member.driver.peer else []


async def test_an_owner_describes_a_branch_and_everyone_can_choose_it(
    grove, banyan, wait_until, fast_clock, tmp_path
):
    rows = str(grove.data)
    grove.join(1)
    grove.join(2)
    async with (
        grove.running(0, training__data=rows, training__branch="/en", catalog__renew=20.0),
        grove.running(1, training__data=rows, training__branch="/en", catalog__renew=20.0),
        grove.running(2, training__branch="/") as (reader,),
    ):
        code, out, errors = await banyan(
            0, "card", "--title", "Gardening", "--language", "en", "--domain", "garden", "--task", "chat"
        )
        assert (code, errors) == (0, "")
        assert "Signed a card of /en" in out
        await wait_until(lambda: [card["title"] for card in cards(reader)] == ["Gardening"])

        # its leader renews it by itself, and keeps the words
        await wait_until(lambda: any(card["height"] >= 1 for card in cards(reader)))
        (card,) = cards(reader)
        assert (card["title"], card["languages"], card["tasks"]) == ("Gardening", ["en"], ["chat"])
        assert card["contributors"] >= 2

        listed = json.loads((await banyan(2, "catalog", "--json"))[1])
        assert [each["path"] for each in listed] == ["/en"]
        assert "Gardening" in (await banyan(2, "catalog"))[1]
        assert "No card matches" in (await banyan(2, "catalog", "--search", "quantum physics"))[1]
        assert "/en" in (await banyan(2, "catalog", "--search", "compost and roses"))[1]
        _, text, _ = await banyan(2, "card", "/en")
        assert "Gardening" in text
        assert "in float32" in text
        code, _, errors = await banyan(2, "card", "/em")
        assert code == 1
        assert "Did you mean /en?" in errors
        code, _, errors = await banyan(2, "card", "/en", "--title", "Mine")
        assert code == 2
        assert "describes no other branch" in errors
        code, _, errors = await banyan(0, "card", "--task", "mind-reading")
        assert code == 1
        assert "tasks" in errors

        code, out, _ = await banyan(2, "recommend", "help with my rose garden", "--json")
        assert code == 0
        assert json.loads(out)["offers"][0]["listing"]["path"] == "/en"
        code, out, _ = await banyan(2, "recommend", "ein deutsches Modell für den Garten")
        assert code == 1
        assert "Nothing fits" in out
        assert "would fit if" in out
        code, out, _ = await banyan(2, "recommend", "my rose garden", "--memory", "10MB")
        assert code == 1
        assert "of memory (now 10 MB) /en would fit" in out
        assert (await banyan(2, "recommend", "x", "--memory", "much"))[0] == 2
        assert (await banyan(2, "recommend", "x", "--use", "tran"))[0] == 2
        code, out, _ = await banyan(2, "hardware", "--json")
        assert code == 0
        assert json.loads(out)["memory"] > 0
        assert "GFLOP/s" in (await banyan(2, "hardware"))[1]

    # the node is down, and its catalog answers from the store
    (offline,) = read(grove.home(2))
    assert (offline.path, offline.title) == ("/en", "Gardening")
    code, out, _ = await banyan(2, "recommend", "roses", "--top", 1)
    assert code == 0
    assert "1. /en" in out


async def test_a_node_without_a_network_says_so(banyan, tmp_path):
    code, _, errors = await banyan(7, "catalog")
    assert code == 1
    assert "banyan found" in errors
