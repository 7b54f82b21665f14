"""The plan of a transfer: every chunk is asked for, nothing is written twice, and liars can be told."""

from hypothesis import given
from hypothesis import strategies as st

from banyan.node.network.fetch_plan import FetchPlan


def run(plan, peer, chunk, digest=b"true"):
    assert plan.claim(chunk)
    plan.written(chunk, peer, digest)


@given(st.integers(0, 1000), st.integers(1, 100))
def test_the_chunks_cover_the_blob_exactly_once(size, chunk_bytes):
    plan = FetchPlan(size, chunk_bytes)
    at = 0
    while not plan.done:
        chunk = plan.take("p")
        assert chunk.offset == at
        at += chunk.length
        run(plan, "p", chunk)
    assert at == size
    assert plan.complete
    assert sum(plan.received.values()) == size


def test_what_is_present_is_not_asked_for_again():
    plan = FetchPlan(100, 10, present=[(0, 25), (30, 60)])
    offsets = []
    while (chunk := plan.take("p")) is not None:
        offsets.append(chunk.offset)
        run(plan, "p", chunk)
    assert offsets == [20, 60, 70, 80, 90]
    assert plan.done
    assert not plan.complete


def test_what_a_failed_peer_owed_is_asked_of_another():
    plan = FetchPlan(30, 10)
    first, second = plan.take("slow"), plan.take("slow")
    run(plan, "slow", first)
    plan.give_back("slow")
    assert {plan.take("other").offset for _ in range(2)} == {second.offset, 20}


def test_at_the_end_an_idle_peer_doubles_the_chunk_of_a_busy_one_and_one_copy_counts():
    plan = FetchPlan(10, 10)
    slow, quick = plan.take("slow"), plan.take("quick")
    assert slow == quick
    assert plan.take("slow") is None
    assert plan.take("third") is None
    run(plan, "quick", quick)
    assert plan.done
    assert not plan.claim(slow)
    assert plan.received == {"quick": 10}


def test_liars_are_those_whose_chunks_differ_from_the_truth():
    mixed, truth = FetchPlan(30, 10), FetchPlan(30, 10)
    for peer, digest in (("honest", b"0"), ("liar", b"x"), ("honest", b"2")):
        run(mixed, peer, mixed.take(peer), digest)
    for digest in (b"0", b"1", b"2"):
        run(truth, "other", truth.take("other"), digest)
    assert mixed.suppliers() == {"honest", "liar"}
    assert mixed.liars(truth) == {"liar"}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["take", "serve", "fail"])), max_size=60))
def test_whatever_peers_do_an_honest_one_can_always_finish(steps):
    plan, asked = FetchPlan(70, 10), {peer: [] for peer in "abc"}
    for peer, step in steps:
        if step == "take" and (chunk := plan.take(peer)) is not None:
            asked[peer].append(chunk)
        elif step == "serve" and asked[peer]:
            chunk = asked[peer].pop(0)
            if plan.claim(chunk):
                plan.written(chunk, peer, b"")
        elif step == "fail":
            asked[peer].clear()
            plan.give_back(peer)
    for peer in "abc":
        plan.give_back(peer)
    while not plan.done:
        chunk = plan.take("honest")
        assert chunk is not None
        run(plan, "honest", chunk)
