"""``banyan clone`` against whole daemons on wires of memory: a branch's whole model from peers, folders and the hub."""

import contextlib
import json
import os
import shutil

import numpy as np
from safetensors.numpy import load_file

from banyan.node import base_folder
from banyan.node.assets import base_model_path
from banyan.node.daemon.parts import Parts
from banyan.node.learning.blobs import read_sum
from banyan.node.learning.export import peft_key
from banyan.node.learning.layout import Layout
from banyan.node.learning.private import read
from banyan.node.learning.shared_a import from_bytes
from banyan.node.network.memory import MemoryBlobs

from .conftest import Garden


def weights(charter):
    """The one large file of the base model."""
    return next(entry for entry in charter.base.files if entry.name.endswith(".safetensors"))


def height(daemon, branch):
    status = daemon.member.driver.status() if daemon.member is not None else {}
    return status.get("branches", {}).get(branch, {}).get("height", -1)


async def ready(daemon, wait_until):
    await wait_until(lambda: daemon.member is not None and daemon.member.driver.peer is not None)


async def test_a_member_clones_a_branch_it_did_not_work_on_and_trains_it_on(
    grove, banyan, wait_until, brisk_clock, tmp_path
):
    rows = str(grove.data)
    for number in (1, 2):
        grove.join(number)
    async with grove.running(0, 1, training__data=rows, training__branch="/en") as daemons:
        await wait_until(lambda: all(height(daemon, "/en") >= 2 for daemon in daemons))
        async with grove.running(2, training__branch="/") as (third,):
            await ready(third, wait_until)
            code, out, errors = await banyan(2, "clone", "/en", "--into", tmp_path / "model", "--json")
            assert code == 0, errors
            facts = json.loads(out)
            assert facts["bytes"] == facts["total"] > grove.charter.base.size
            assert third.member.branch() == "/en"
            assert sum(facts["sources"].values()) >= facts["total"]

            spec = grove.charter.adapter
            stored = load_file(tmp_path / "model" / "adapter" / "adapter_model.safetensors")
            layout = Layout(spec.rank, spec.tensors)
            b = layout.join({tensor.name: stored[peft_key(tensor.name, "B")] for tensor in spec.tensors})
            expected = read_sum(third.blobs, map(bytes.fromhex, facts["model"]["adapters"]), spec)
            np.testing.assert_array_equal(b, expected)

            file = tmp_path / "model" / "base" / weights(grove.charter).name
            blob = third.blobs.path(weights(grove.charter).digest)
            assert file.samefile(blob)  # on the disk once
            assert not os.stat(file).st_mode & 0o222
            assert (tmp_path / "model" / "base" / "config.json").stat().st_nlink == 1

            code, out, errors = await banyan(2, "clone", "/en")
            assert code == 0, errors
            assert "Next: banyan train" in out
            again = json.loads((await banyan(2, "clone", "/en", "--json"))[1])
            assert again["here_before"] == again["total"]
            assert sum(again["sources"].values()) < again["total"] / 2  # the base did not come a second time


async def test_a_branch_on_a_base_of_its_own_is_cloned_learnt_for_and_exported_on_that(
    tmp_path, banyan, wait_until, brisk_clock
):
    pocket = "/en/pocket"
    garden = Garden(tmp_path, branches=("/", "/en"), bases=((pocket, base_model_path()),))
    ground = garden.charter.foundation_of(pocket)
    spec = ground.adapter
    garden.join(1)
    async with (
        garden.running(0, training__branch=pocket),
        garden.running(1, training__branch="/en") as (member,),
    ):
        await ready(member, wait_until)
        code, out, errors = await banyan(1, "clone", pocket, "--json")
        assert code == 0, errors
        assert json.loads(out)["total"] == sum(entry.size for entry in ground.base.files) + spec.a_size
        assert member.member.branch() == pocket
        code, _, errors = await banyan(1, "train", "--private", "--data", garden.data)
        assert code == 0, errors
        code, _, errors = await banyan(1, "export", "--private", "--to", tmp_path / "mine")
        assert code == 0, errors
        stored = load_file(tmp_path / "mine" / "adapter_model.safetensors")
        own = from_bytes(member.blobs.read(spec.a_digest), spec.rank, spec.tensors)
        for tensor in spec.tensors:
            np.testing.assert_array_equal(stored[peft_key(tensor.name, "A")], own[tensor.name])
        b = {tensor.name: stored[peft_key(tensor.name, "B")] for tensor in spec.tensors}
        learnt = read(member.home.private, pocket, spec)[0]
        np.testing.assert_array_equal(Layout(spec.rank, spec.tensors).join(b), learnt)


async def test_an_unknown_branch_and_one_beyond_the_invite_are_refused_in_words(
    grove, banyan, wait_until, brisk_clock
):
    grove.join(1, grove.invite(scope="/en"))
    async with grove.running(0), grove.running(1) as (member,):
        await ready(member, wait_until)
        code, _, errors = await banyan(1, "clone", "/enn")
        assert (code, "Did you mean /en?" in errors) == (1, True)
        code, _, errors = await banyan(1, "clone", "/")
        assert (code, "does not cover /" in errors) == (1, True)
        code, _, errors = await banyan(1, "clone", "/en", "--from", "/no/such/folder")
        assert (code, "no model folder" in errors) == (1, True)
        assert member.member.branch() == "/en"


async def test_without_a_peer_that_shares_the_base_a_clone_fails_and_a_folder_mends_it(
    garden, banyan, wait_until, brisk_clock
):
    garden.join(1)
    async with garden.running(0, network__share_base=False), garden.running(1) as (member,):
        await ready(member, wait_until)
        code, _, errors = await banyan(1, "clone", "/")
        assert code == 1
        assert "could not be fetched" in errors
        assert "goes on from there" in errors
        assert garden.charter.adapter.a_digest in member.blobs  # what is no base model is still shared

        code, _, errors = await banyan(1, "clone", "/", "--from", base_model_path())
        assert code == 0, errors
        assert not base_folder.missing(member.blobs, garden.charter.base)


async def test_a_folder_with_another_model_is_refused_by_the_file_that_differs(
    garden, banyan, wait_until, brisk_clock, tmp_path
):
    other = tmp_path / "other"
    shutil.copytree(base_model_path(), other)
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    garden.join(1)
    async with garden.running(0), garden.running(1) as (member,):
        await ready(member, wait_until)
        code, _, errors = await banyan(1, "clone", "/", "--from", other)
        assert code == 1
        assert "config.json" in errors
        assert "is not the file this network was founded on" in errors


async def test_a_peer_that_sends_false_bytes_is_named_and_not_asked_again(
    garden, banyan, wait_until, brisk_clock
):
    garden.join(1)
    garden.join(2)
    lies = MemoryBlobs()
    for entry in garden.charter.base.files:
        lies.add(bytes(entry.size), entry.digest)
    honest = garden.parts()

    def lying(daemon):
        return garden.wires.transport(daemon.identity.node_id, network=daemon.network, blobs=lies)

    async with garden.running(0):
        garden.parts = lambda: Parts(transport=lying, workers=honest.workers, clock=honest.clock)
        async with garden.running(1) as (liar,):
            await ready(liar, wait_until)
            garden.parts = lambda: honest
            async with garden.running(2) as (member,):
                await ready(member, wait_until)
                await wait_until(lambda: len(member.transport.peers()) == 2)
                name = liar.identity.node_id
                for entry in garden.charter.base.files:  # whoever is asked first, the liar's turn comes once
                    failure = await member.fetcher.fetch(entry.digest, entry.size, (name,))
                    assert failure is None
                code, out, errors = await banyan(2, "clone", "/")
                assert code == 0, errors
                assert f"{name} sent false bytes" in out
                assert member.fetcher.distrusted() == {name}
                arrived = [event.body for event in member.events.after(0, 999, "blob-arrived")]
                accused = [body for body in arrived if body["liars"]]
                assert len(accused) == 1  # after the first lie it was not asked
                assert not base_folder.missing(member.blobs, garden.charter.base)


async def test_a_model_that_does_not_fit_on_the_disk_is_refused_before_a_byte_is_fetched(
    garden, banyan, wait_until, brisk_clock, monkeypatch
):
    garden.join(1)
    async with garden.running(0), garden.running(1) as (member,):
        await ready(member, wait_until)
        monkeypatch.setattr(base_folder, "SPARE", 1 << 62)
        code, _, errors = await banyan(1, "clone", "/")
        assert (code, "do not fit" in errors) == (1, True)
        assert not os.listdir(member.blobs.root / "incoming")
        assert (await member.cloning())["phase"] == "none"


async def test_a_clone_that_was_cut_goes_on_with_the_bytes_that_are_here(garden, wait_until, brisk_clock):
    garden.join(1)
    entry = weights(garden.charter)
    async with garden.running(0) as (founder,), garden.running(1) as (member,):
        await ready(member, wait_until)
        half = entry.size // 2
        with contextlib.closing(_abandon(member.blobs.partial(entry.digest, entry.size))) as part:
            part.write_at(0, founder.blobs.read(entry.digest, 0, half))
        assert member.blobs.received(entry.digest) == half
        await member.member.cloning.begin("/", None)
        assert (await member.cloning())["here_before"] >= half
        await wait_until(lambda: member.member.cloning.status()["phase"] == "done")


def _abandon(part):
    part.close = part.abort
    return part
