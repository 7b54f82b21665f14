"""Whole daemons whose releases are tried on public rows besides the voters' own."""

from banyan.node.daemon.control import BranchRequest, LogRequest


async def test_every_voter_tries_releases_on_the_probe_set_and_private_ones_on_nothing_else(
    forum, wait_until, fast_clock
):
    forum.join(1)
    forum.join(2)
    (probe,) = forum.charter.probes
    async with (
        forum.running(0, 1, training__data=str(forum.data)) as (founder, member),
        forum.running(2, training__data=str(forum.data), training__dp_epsilon=8.0) as (shy,),
    ):
        node = shy.identity.node_id
        pages = []

        def votes():
            return {vote["voter"]: vote for page in pages for vote in (page["trial"] or {}).get("votes", ())}

        async def told():
            pages[:] = (await member.history(LogRequest(branch="/")))["releases"]
            return node in votes() and any((page["trial"] or {}).get("probed") is not None for page in pages)

        await wait_until(lambda: all(probe.digest in each.blobs for each in (founder, member, shy)))
        while not await told():
            height = member.member.height()
            await wait_until(lambda height=height: member.member.height() > height)
        said = votes()
        assert said[node]["change"] is None and said[node]["probed"] is not None
        assert all(vote["change"] is not None for voter, vote in said.items() if voter != node)

        file = forum.folder / "herbs.txt"
        file.write_text("Parsley likes shade.\n\nSage likes sun.\n")
        await founder.found_branch(BranchRequest(branch="/herbs", probe=str(file)))
        await wait_until(lambda: member.member.driver.peer.tree.probe_of("/herbs") is not None)
        named = member.member.driver.peer.tree.probe_of("/herbs")
        assert founder.blobs.size(named.digest) == named.size
