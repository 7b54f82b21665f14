"""``banyan log``, ``diff``, ``checkout`` and ``export`` against whole daemons on wires of memory, two branches deep."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from banyan.node.learning.blobs import read_sum
from banyan.node.learning.export import peft_key
from banyan.node.learning.layout import Layout


def height(daemon, branch):
    status = daemon.member.driver.status() if daemon.member is not None else {}
    return status["branches"][branch]["height"] if status else -1


def exported(folder, spec):
    """B of an exported folder, as one vector."""
    weights = load_file(folder / "adapter_model.safetensors")
    layout = Layout(spec.rank, spec.tensors)
    return layout.join({tensor.name: weights[peft_key(tensor.name, "B")] for tensor in spec.tensors})


async def test_an_owner_reads_compares_exports_and_pins_releases(
    grove, banyan, wait_until, fast_clock, tmp_path
):
    spec, rows = grove.charter.adapter, str(grove.data)
    grove.join(1)
    grove.join(2)
    async with (
        grove.running(0, training__data=rows, training__branch="/"),
        grove.running(1, training__data=rows, training__branch="/en"),
    ):
        async with grove.running(2, training__data=rows, training__branch="/en") as (third,):
            await wait_until(lambda: height(third, "/en") >= 3 and height(third, "/") >= 3)

            log = json.loads((await banyan(2, "log", "--json"))[1])
            newest = log["releases"][-1]
            assert newest["reported"]["loss_after"] < newest["reported"]["loss_before"]
            assert newest["change_norm"] > 0
            assert {page["branch"] for page in log["others"]} == {"/"}
            joined = {each["release"] for page in log["others"] for each in page["counted"]}
            assert joined <= {page["release"] for page in log["releases"]}
            _, text, _ = await banyan(2, "log", "-n", "2")
            assert "●" in text
            assert "led by …" in text
            assert "loss" in text
            assert "older: see more with -n" in text
            assert (await banyan(2, "log", "--all"))[1].count("the opening") == 2

            code, out, _ = await banyan(2, "diff", "@1", "@2", "--json")
            found = json.loads(out)
            peer = third.member.driver.peer
            one, other = (peer.lineage.find(f"/en@{number}") for number in (1, 2))
            b1, b2 = (read_sum(third.blobs, [each.adapter], spec) for each in (one, other))
            assert found["difference"] == pytest.approx(float(np.linalg.norm(b2 - b1)), rel=1e-6)
            assert (code, len(found["stayed"]), found["came"]) == (0, 2, [])
            assert "cosine" in (await banyan(2, "diff", "@1", one.digest.hex()[:10], "--whole"))[1]

            code, out, errors = await banyan(2, "checkout", "@1")
            assert code == 0, errors
            assert f"Pinned to /en@1 ({one.digest.hex()[:8]})" in out
            path = peer.lineage.path_of(one)
            assert [each.branch for each in path] == ["/", "/en"][-len(path) :]
            code, _, errors = await banyan(2, "export", "--to", tmp_path / "pinned")
            assert code == 0, errors
            whole = read_sum(third.blobs, [each.adapter for each in path if each.adapter], spec)
            np.testing.assert_array_equal(exported(tmp_path / "pinned", spec), whole)
            lineage = json.loads((tmp_path / "pinned" / "banyan.json").read_text())
            assert [(each["branch"], each["height"]) for each in lineage["releases"]][-1] == ("/en", 1)
            before = height(third, "/en")
            await wait_until(lambda: height(third, "/en") >= before + 3)  # it learns on with the others

        async with grove.running(2, training__data=rows, training__branch="/en") as (third,):
            await wait_until(lambda: third.member is not None and height(third, "/en") >= 0)
            assert third.member.driver.peer.pin.status()["height"] == 1
            assert "pinned to /en@1" in (await banyan(2, "status"))[1]
            assert "(pinned)" in (await banyan(2, "log", "-n", "99"))[1]
            assert one.adapter in third.member.driver.peer.keep()
            code, _, errors = await banyan(2, "export", "--to", tmp_path / "pinned")
            assert code == 1
            assert "is there already" in errors
            code, _, errors = await banyan(
                2, "export", "--to", tmp_path / "pinned", "--branch", "/", "--force"
            )
            assert code == 0, errors
            assert sorted(file.name for file in (tmp_path / "pinned").iterdir()) == [
                "adapter_config.json",
                "adapter_model.safetensors",
                "banyan.json",
            ]
            assert "No longer pinned to /en@1" in (await banyan(2, "checkout", "--latest"))[1]
            assert "is not pinned" in (await banyan(2, "checkout", "--latest"))[1]

            for arguments, complaint in (
                (("checkout", "/@1"), "release of another branch than /en"),
                (("checkout", "ffffffffff"), "No release here has an id"),
                (("checkout",), "Give a release, or --latest"),
                (("diff", "/de", "/en"), "does not follow /de"),
                (("export", "--to", tmp_path / "x", "--branch", "en"), "this node knows. Did you mean /en?"),
                (("export", "--to", tmp_path / "x", "--branch", "/", "--release", "@1"), "not both"),
            ):
                code, _, errors = await banyan(2, *arguments)
                assert code != 0
                assert complaint in errors


async def test_an_adapter_that_nobody_has_any_more_is_neither_pinned_nor_exported(
    grove, banyan, wait_until, fast_clock, tmp_path
):
    grove.join(1)
    rows = str(grove.data)
    async with grove.running(0, 1, training__data=rows, training__branch="/en") as daemons:
        await wait_until(lambda: all(height(daemon, "/en") >= 6 for daemon in daemons))
        release = daemons[1].member.driver.peer.lineage.find("/en@1")
        for daemon in daemons:
            daemon.blobs.path(release.adapter).unlink()
        for arguments in (("checkout", "@1"), ("export", "--release", "@1", "--to", tmp_path / "x")):
            code, _, errors = await banyan(1, *arguments)
            assert code == 1
            assert "The adapter of /en@1 is not here and cannot be fetched" in errors
            assert "newest" in errors
        assert daemons[1].member.driver.peer.pin.status() is None
        assert not (tmp_path / "x").exists()


async def test_a_node_that_mixes_exports_its_own_model_and_has_nothing_to_go_back_to(
    village, banyan, wait_until, fast_clock, tmp_path
):
    village.join(1)
    async with village.running(0, 1, training__data=str(village.data)) as daemons:
        await wait_until(lambda: all(daemon.events.after(0, 999, "model-mixed") for daemon in daemons))
        code, out, errors = await banyan(1, "export", "--to", tmp_path / "own")
        assert code == 0, errors
        assert "this node's own model, which it mixes" in out
        away = np.linalg.norm(exported(tmp_path / "own", village.charter.adapter) - village.goal)
        assert away < 0.8 * np.linalg.norm(village.goal)
        for arguments in (("checkout", "@"), ("export", "--branch", "/", "--to", tmp_path / "x")):
            code, _, errors = await banyan(1, *arguments)
            assert code == 1
            assert "/ has no release" in errors
        assert "its members mix their models" in (await banyan(1, "log"))[1]
