"""Foundings and consents: what a hostile node may say of them, and that all nodes with equal records see one tree."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.protocol.effects import MessageReceived
from banyan.protocol.messages import Accusation, BranchFounding, Consent, Update, body_of
from banyan.protocol.peer import Peer
from banyan.protocol.records import Record
from banyan.protocol.release import ChildHead, Seat
from banyan.protocol.round import Candidate, Round, Status
from banyan.protocol.transfer import Transfer
from banyan.protocol.tree import Tree
from banyan.security.charter import PROBE_BYTES, Charter, GrowthPolicy, Preset, Probe
from banyan.security.credential import Credential, root_credential, self_credential
from banyan.security.envelope import seal
from banyan.security.schema import SchemaError
from banyan.simulations.signatures import FastSigner
from banyan.simulations.world import World, fast_preset


def policies(**growth: object) -> Preset:
    preset = fast_preset(rule="mean", f=0, min_updates=2)
    return replace(preset, growth=replace(preset.growth, **{"branches": "members", **growth}))  # type: ignore[arg-type]


class Listening:
    """A member of an open network with branches ``/`` and ``/en``, and what others say to it."""

    def __init__(self, **growth: object) -> None:
        self.world = World(1, {"/": 3, "/en": 2}, policies(**growth), admission="open", fast_signatures=True)
        self.world.start()
        self.devices = list(self.world.devices.values())
        assert self.world.run(until=lambda: all(device.height("/") >= 0 for device in self.devices))
        self._seq = 0

    @property
    def peer(self) -> Peer:
        peer = self.devices[0].peer
        assert peer is not None
        return peer

    def member(self, number: int, scope: str = "/") -> tuple[FastSigner, Credential]:
        """Somebody for whom the root vouches."""
        signer = FastSigner(hashlib.sha256(f"member {number}".encode()).digest())
        root = self.world.devices[self.world.charter.roots[0]].signer
        credential = root_credential(root, self.world.charter, self.world.clock.now, signer.node_id)
        unsigned = replace(credential, scope=scope)
        return signer, replace(unsigned, signature=root.sign(unsigned.signed))

    def hear(self, signer: FastSigner, message: object, **instead: object) -> str:
        """What becomes of a record, with other fields ``instead``: ``kept``, or the reason why it was refused."""
        kind, body = body_of(message)
        body |= instead
        self._seq += 1
        charter, now = self.world.charter, self.world.clock.now
        data = seal(signer, network=charter.network_id, kind=kind, seq=self._seq, time=now, body=body).data
        before = self.peer.refusals.copy()
        self.peer.handle(MessageReceived("somebody", data), now)
        refused = self.peer.refusals - before
        return next(iter(refused), "kept" if self.peer._holds(data) else "ignored")


@pytest.fixture
def listening() -> Listening:
    return Listening(each=3, depth=3)


def test_a_member_founds_a_branch_and_everybody_who_hears_it_has_it(listening: Listening) -> None:
    signer, credential = listening.member(1)
    assert listening.hear(signer, BranchFounding("/en/law", "Law", 0, credential)) == "kept"
    assert listening.peer.tree.paths == ("/", "/en", "/en/law")
    assert listening.peer.tree.founded["/en/law"].description == "Law"


@pytest.mark.parametrize(
    ("path", "number", "reason"),
    [
        ("/en", 0, "branch-exists"),
        ("/", 0, "branch-exists"),
        ("/a/b/c/d", 0, "too-deep"),
        ("/fr", 3, "founding-limit"),
        ("/fr", 4_095, "founding-limit"),
    ],
)
def test_what_the_charter_does_not_allow_is_refused(
    listening: Listening, path: str, number: int, reason: str
) -> None:
    signer, credential = listening.member(1)
    assert listening.hear(signer, BranchFounding(path, "", number, credential)) == reason
    assert listening.peer.tree.paths == ("/", "/en")


def test_a_founding_names_the_probe_set_by_hash_and_size_or_not_at_all(listening: Listening) -> None:
    signer, credential = listening.member(1)
    for probe, size in ((b"p" * 32, 0), (b"", 9), (b"short", 9)):
        founding = BranchFounding("/fr", "", 0, credential, probe, size)
        assert listening.hear(signer, founding) == "bad-probe"
    assert listening.hear(signer, BranchFounding("/fr", "", 0, credential, b"p" * 32, 9)) == "kept"
    assert listening.peer.tree.probe_of("/fr") == Probe("/fr", b"p" * 32, 9)
    assert listening.peer.tree.probe_of("/en") is None
    too_long = BranchFounding("/es", "", 1, credential, b"q" * 32, 9)
    assert listening.hear(signer, too_long, probe_size=PROBE_BYTES + 1) == "malformed"


def test_who_is_no_member_of_the_branch_above_founds_nothing_below_it(listening: Listening) -> None:
    signer, narrow = listening.member(1, "/en")
    assert listening.hear(signer, BranchFounding("/fr", "", 0, narrow)) == "scope"
    assert listening.hear(signer, BranchFounding("/en/law", "", 0, narrow)) == "kept"
    stranger = FastSigner(hashlib.sha256(b"guest").digest())
    own = self_credential(stranger, listening.world.charter, listening.world.clock.now)
    assert listening.hear(stranger, BranchFounding("/fr", "", 0, own)) == "guest"
    assert listening.hear(stranger, BranchFounding("/fr", "", 0, narrow)) == "altered", "another's credential"


def test_members_found_nothing_where_only_founders_may() -> None:
    listening = Listening(branches="founders")
    signer, credential = listening.member(1)
    assert listening.hear(signer, BranchFounding("/fr", "", 0, credential)) == "not-a-founder"


def test_two_foundings_under_one_number_prove_a_cheat_and_no_further_ones_count(listening: Listening) -> None:
    signer, credential = listening.member(1)
    listening.peer.members.shown.add(signer.node_id)
    assert listening.hear(signer, BranchFounding("/fr", "", 0, credential)) == "kept"
    listening.hear(signer, BranchFounding("/de", "", 0, credential))
    assert signer.node_id in listening.peer.quarantined
    assert [each for each in listening.peer.records.all() if isinstance(each.body, Accusation)]
    assert listening.hear(signer, BranchFounding("/it", "", 1, credential)) == "quarantined"
    assert listening.peer.tree.paths == ("/", "/en", "/fr")


def test_a_branch_waits_for_the_one_above_it_whatever_comes_first(listening: Listening) -> None:
    signer, credential = listening.member(1)
    assert listening.hear(signer, BranchFounding("/fr/law", "", 1, credential)) == "kept"
    assert listening.peer.tree.paths == ("/", "/en")
    assert listening.hear(signer, BranchFounding("/fr", "", 0, credential)) == "kept"
    assert listening.peer.tree.paths == ("/", "/en", "/fr", "/fr/law")


def test_a_branch_stays_when_its_founder_s_membership_is_revoked_and_it_founds_no_more(
    listening: Listening,
) -> None:
    signer, credential = listening.member(1)
    assert listening.hear(signer, BranchFounding("/fr", "", 0, credential)) == "kept"
    listening.peer.members.revoked.add(signer.node_id)
    assert listening.hear(signer, BranchFounding("/de", "", 1, credential)) == "revoked"
    assert "/fr" in listening.peer.tree


def test_a_description_that_would_drive_a_terminal_is_no_founding(listening: Listening) -> None:
    signer, credential = listening.member(1)
    founding = BranchFounding("/fr", "", 0, credential)
    assert listening.hear(signer, founding, description="\x1b[2J") == "malformed"
    assert listening.hear(signer, founding, description="x" * 201) == "malformed"
    assert listening.hear(signer, founding, branch="/Fr") == "malformed"
    assert listening.hear(signer, founding, number=4_096) == "malformed"
    assert listening.hear(signer, founding, owner="me") == "malformed"
    assert listening.hear(signer, founding) == "kept"


def test_consents_count_where_they_are_asked_for_and_are_kept_only_of_what_is_proposed() -> None:
    signer, credential = (listening := Listening()).member(1)
    assert listening.hear(signer, Consent("/fr", 0, credential)) == "no-votes"
    listening = Listening(branches="votes", votes=2)
    signer, credential = listening.member(1)
    assert listening.hear(signer, Consent("/fr", 0, credential)) == "no-such-branch"
    assert listening.hear(signer, BranchFounding("/fr", "", 0, credential)) == "kept"
    for number in (1, 2, 3):  # members of the network, and none of them on the committee
        signer, credential = listening.member(number)
        assert listening.hear(signer, Consent("/fr", 0, credential)) == "kept"
    assert listening.peer.tree.agreed("/fr") == ()
    assert "/fr" not in listening.peer.tree


def test_the_charter_s_first_root_is_a_stranger_to_nobody() -> None:
    world = World(1, {"/": 2, "/en": 3}, fast_signatures=True)
    last = list(world.devices.values())[-1]
    last.start()
    assert last.peer is not None
    assert last.peer.is_member(world.charter.roots[0])
    assert not last.peer.is_member(list(world.devices)[2])


def test_votes_need_a_committee_with_as_many_seats() -> None:
    with pytest.raises(SchemaError, match="no committee leads"):
        World(
            1,
            {"/": 3},
            replace(policies(branches="votes"), round=replace(fast_preset().round, coordination="gossip")),
        )
    with pytest.raises(SchemaError, match="must not exceed the 7 seats"):
        World(1, {"/": 3}, policies(branches="votes", votes=8))


def test_no_round_waits_for_a_child_that_nobody_works_on(listening: Listening) -> None:
    base = listening.peer.branches["/"].chain.head
    assert base is not None
    child = ChildHead("/en", 3, bytes(32))
    known = replace(base, roster=(Seat("m", 0, "/"),), children=(child,))
    round_ = Round(known, need=1, transfer=Transfer(listening.peer.charter.transfer), deadline=1_000)
    update = Update("/", 1, base.digest, bytes(32), 1, listening.member(1)[1], None, None)
    candidate = Candidate(record("m", "/x", 0, 0), update, Status.ADMITTED)
    round_.take(candidate)
    round_.opened = 0
    assert round_.missing({}, 1) == ("/en",)
    assert not round_.ready(1, {})
    round_.asleep = frozenset({"/en"})
    assert round_.missing({}, 1) == ()
    assert round_.ready(1, {})


# ------------------------------------------------------------------------------------ one tree


def record(author: str, path: str, time: int, number: int) -> Record:
    class Said:
        def __init__(self) -> None:
            self.author, self.time = author, time
            self.id = hashlib.sha256(f"{author}|{path}|{number}".encode()).digest()

    body = BranchFounding(path, f"{path} by {author}", number, None)  # type: ignore[arg-type]
    return Record(Said(), body, "net", ("founding", author, number), b"")  # type: ignore[arg-type]


@cache
def charter_with(most: int) -> Charter:
    return World(1, {"/": 1}, policies(most=most), fast_signatures=True).charter


paths = st.sampled_from(["/a", "/a/b", "/a/b/c", "/d", "/d/e", "/f", "/f/g/h"])
claims = st.lists(st.tuples(st.sampled_from("xyz"), paths, st.integers(0, 20)), max_size=20)


@given(claims, st.integers(0, 5), st.randoms(use_true_random=False))
def test_nodes_with_equal_records_see_equal_trees(
    said: list[tuple[str, str, int]], most: int, rng: random.Random
) -> None:
    charter = charter_with(most)
    records = [record(author, path, time, number) for number, (author, path, time) in enumerate(said)]
    tree, other = (Tree(charter, lambda *_: False) for _ in range(2))
    for each in records:
        tree.add(each)
        tree.grow()
    for each in rng.sample(records, len(records)):
        other.add(each)
    other.grow()
    assert (tree.paths, tree.founded) == (other.paths, other.founded)
    assert len(tree.founded) <= most
    for path in tree.founded:
        assert (path.rpartition("/")[0] or "/") in tree
        assert tree.founded[path].time == min(time for _, name, time in said if name == path)


def test_the_presets_say_when_a_branch_sleeps() -> None:
    assert GrowthPolicy().dormancy == 600_000
    assert GrowthPolicy().branches == "founders"
