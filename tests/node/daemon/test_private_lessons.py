"""Learning for one device alone: nothing of it leaves before `banyan share`, and then all of it does, once."""

import json

import numpy as np
import trio
from safetensors.numpy import load_file

from banyan.node.learning.blobs import read_sum
from banyan.node.learning.export import peft_key
from banyan.node.learning.layout import Layout
from banyan.node.learning.private import find, read
from banyan.node.serving.chosen_release import choose, model_of
from banyan.protocol.learner import CARRY
from banyan.security import canonical


def height(daemon):
    return daemon.member.height() if daemon.member is not None else -1


def published(daemon):
    return daemon.events.after(0, 9_999, "update-published")


def carried(daemon):
    """The blobs whose sum goes into the node's next update."""
    return canonical.decode(daemon.database.state().get(CARRY + "/", canonical.encode([])), max_bytes=1_024)


def choose_at(home, private):
    return lambda: choose(home, private=private)


async def ready(daemon, wait_until):
    await wait_until(lambda: daemon.member is not None and daemon.member.driver.peer is not None)


async def test_a_private_lesson_stays_here_until_it_is_shared_and_then_counts_once(
    garden, banyan, wait_until, brisk_clock, tmp_path
):
    spec, rows = garden.charter.adapter, str(garden.data)
    garden.join(1)
    garden.join(2)
    async with garden.running(0, 1, training__data=rows) as others:
        async with garden.running(2) as (owner,):
            await ready(owner, wait_until)
            await wait_until(lambda: height(owner) >= 1)
            code, out, errors = await banyan(2, "train", "--data", rows, "--private", "--rounds", "2")
            assert code == 0, errors
            assert "Held-out loss" in out
            assert "Nothing left this device" in out
            kept = find(owner.home.private, "/")
            assert kept.lessons == 2
            assert kept.loss_after < kept.loss_before
            assert not published(owner)
            learnt = read(owner.home.private, "/", spec)[0]
            assert np.linalg.norm(learnt) > 0
            for digest in owner.blobs.digests():  # whatever is in the store, others may fetch
                assert learnt.tobytes() not in owner.blobs.read(digest)

            code, out, errors = await banyan(2, "export", "--private", "--to", tmp_path / "mine", "--json")
            assert code == 0, errors
            model = json.loads(out)
            weights = load_file(tmp_path / "mine" / "adapter_model.safetensors")
            b = Layout(spec.rank, spec.tensors).join(
                {tensor.name: weights[peft_key(tensor.name, "B")] for tensor in spec.tensors}
            )
            adapters = [
                owner.member.driver.peer.lineage.find(part["release"]).adapter for part in model["releases"]
            ]
            np.testing.assert_array_equal(b, read_sum(owner.blobs, [a for a in adapters if a], spec) + learnt)

            code, _, errors = await banyan(2, "serve", "@1", "--private")
            assert (code, "name no branch or release" in errors) == (2, True)
            mine, plain = [await trio.to_thread.run_sync(choose_at(owner.home, own)) for own in (True, False)]
            given = read_sum(owner.blobs, mine.adapters, spec)
            np.testing.assert_array_equal(model_of(owner.home, spec, mine)[0], given + learnt)
            assert "has learnt for itself" in mine.name
            assert mine.fingerprint != plain.fingerprint

            code, _, errors = await banyan(2, "share")
            assert (code, "nobody to ask" in errors) == (2, True)

        async with garden.running(2) as (owner,):  # what was learnt outlives the daemon
            await ready(owner, wait_until)
            np.testing.assert_array_equal(read(owner.home.private, "/", spec)[0], learnt)
            assert not published(owner)
            code, out, errors = await banyan(2, "share", "--yes", "--json")
            assert code == 0, errors
            page = json.loads(out)["release"]
            (update,) = published(owner)
            # On a busy machine it may arrive once the round is closed: then it waits for this node's next update.
            is_used = owner.identity.node_id in page["used"]
            await wait_until(lambda: is_used or bytes.fromhex(update.body["blob"]) in carried(owner))
            assert find(owner.home.private, "/") is None
            code, _, errors = await banyan(2, "serve", "--private", "--port", "0")
            assert (code, "Nothing has been learnt privately" in errors) == (1, True)
            assert not list(owner.home.private.iterdir())
            given = read_sum(owner.blobs, [bytes.fromhex(update.body["blob"])], spec)
            assert np.linalg.norm(given - learnt) < 0.02 * np.linalg.norm(learnt)  # int8 on the way
            before = height(owner)
            await wait_until(lambda: height(owner) >= before + 2)
            assert len(published(owner)) == 1  # it has no part in later rounds
            code, _, errors = await banyan(2, "share", "--yes")
            assert (code, "Nothing has been learnt privately" in errors) == (1, True)
        assert all(height(other) >= before for other in others)


async def test_training_asks_before_it_shares(garden, banyan, wait_until, brisk_clock):
    garden.join(1)
    async with garden.running(0), garden.running(1) as (owner,):
        await ready(owner, wait_until)
        code, out, errors = await banyan(1, "train", "--data", garden.data)
        assert code == 2
        assert "Data: 1 file, 4 rows" in out
        assert "4 rows are there" not in out
        assert "3 rows are there more than once" in out
        assert "Say --yes" in errors
        assert owner.settings.training.data is None
        code, out, errors = await banyan(1, "train", "--data", garden.data, "--yes", "--no-wait")
        assert code == 0, errors
        assert owner.settings.training.data == garden.data


async def test_privacy_settings_are_kept_and_checked(garden, banyan, wait_until, brisk_clock):
    garden.join(1)
    async with garden.running(0), garden.running(1) as (owner,):
        await ready(owner, wait_until)
        line = ("train", "--data", garden.data, "--yes", "--no-wait", "--rounds", "3", "--dp")
        code, _, errors = await banyan(1, *line, "epsilon=4,delta=1e-6")
        assert code == 0, errors
        chosen = owner.settings.training
        assert (chosen.dp_epsilon, chosen.dp_delta, chosen.dp_rounds) == (4.0, 1e-6, 3)
        assert owner.member.lessons().settings.dp_epsilon == 4.0
        for bad, complaint in (
            ("much", "none of epsilon="),
            ("delta=1e-5", "Give epsilon"),
            ("epsilon=x", "none of"),
        ):
            code, _, errors = await banyan(1, *line, bad)
            assert (code, complaint in errors) == (2, True), errors
        code, _, errors = await banyan(1, "train", "--dp", "off", "--yes", "--no-wait")
        assert code == 0, errors
        assert owner.settings.training.dp_epsilon == 0


async def test_the_data_alone_is_shown_without_a_running_node(garden, banyan):
    code, out, errors = await banyan(0, "train", "--data", garden.data, "--data-only")
    assert code == 0, errors
    assert "rows.jsonl  JSONL, 4 rows" in out
    bad = garden.folder / "bad.jsonl"
    bad.write_text('{"text": "fine"}\nnot json\n')
    code, _, errors = await banyan(0, "train", "--data", bad, "--data-only")
    assert code == 1
    assert f"{bad}, line 2: this is not a JSON object" in errors
