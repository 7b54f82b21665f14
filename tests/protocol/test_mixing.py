"""The mixer in one core: what it says and when, what it refuses, and what it is after a restart."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from banyan.protocol.effects import (
    BlobFetched,
    DropRecords,
    Effect,
    Emit,
    FetchBlob,
    Inspected,
    JobFailed,
    MessageReceived,
    Mix,
    Mixed,
    PutRecord,
    PutState,
    Send,
    SetTimer,
    Started,
    TimerFired,
    Train,
    Trained,
)
from banyan.protocol.events import MixingWaiting, ModelMixed, StateLeftOut
from banyan.protocol.messages import Presence, State, body_of, read_body
from banyan.protocol.peer import Peer
from banyan.security.credential import self_credential
from banyan.security.envelope import seal
from banyan.simulations.device import Device
from banyan.simulations.world import World, fast_preset


class Node:
    """One core under test, and the others' signatures."""

    def __init__(self, **mixing: object) -> None:
        policies = fast_preset(coordination="gossip")
        policies = replace(policies, mixing=replace(policies.mixing, **mixing))  # type: ignore[arg-type]
        self.world = World(1, {"/": 5, "/en": 1, "/en/law": 1}, policies)
        self.device, *self.others = self.world.devices.values()
        self.others = [other for other in self.others if other.settings.branch == "/"]
        self.now = self.world.clock.now
        self.seq = self.now
        self.disk: dict[bytes, bytes] = {}
        self.state: dict[str, bytes] = {}
        self.peer = self.woken()

    def woken(self) -> Peer:
        """A core from the disk."""
        world, device = self.world, self.device
        self.peer = Peer(world.charter, device.signer, device.settings, random.Random(1), world.verifier)
        self.peer.restore(list(self.disk.values()), dict(self.state))
        return self.peer

    def do(self, event: object) -> list[Effect]:
        effects = self.peer.handle(event, self.now)  # type: ignore[arg-type]
        for effect in effects:
            if isinstance(effect, PutRecord):
                self.disk[effect.record] = effect.data
            elif isinstance(effect, DropRecords):
                for record in effect.records:
                    del self.disk[record]
            elif isinstance(effect, PutState):
                self.state[effect.key] = effect.value
        return effects

    def say(self, other: Device, message: object, **changes: object) -> list[Effect]:
        """What the core does about ``message`` of ``other``."""
        kind, body = body_of(message)
        self.seq += 1
        network = self.world.charter.network_id
        sealed = seal(other.signer, network=network, kind=kind, seq=self.seq, time=self.now, body=body)
        return self.do(MessageReceived(other.name, sealed.data))

    def state_of(self, other: Device, step: int = 1, **changes: object) -> State:
        name = f"{other.name}|{step}".encode()
        blob = (name * 2)[:32]
        state = State("/", 0, step, blob, 500, other.settings.credential, None, None)
        return replace(state, **changes)  # type: ignore[arg-type]

    def meet(self, count: int = 3) -> None:
        """Let ``count`` others show themselves."""
        for other in self.others[:count]:
            self.say(other, Presence("/", other.settings.credential, ()))

    def trained(self, step: int = 1) -> list[Effect]:
        return self.do(Trained("/", step, b"", bytes([step] * 32), 400, bytes([step + 100] * 32), {}))

    def bring(self, effects: list[Effect], refusal: str | None = None) -> list[Effect]:
        """Fetch and inspect what ``effects`` ask for."""
        found: list[Effect] = []
        for effect in effects:
            if isinstance(effect, FetchBlob):
                assert effect.inspect is None or effect.inspect.digest == effect.digest
                found += self.do(Inspected(effect.digest, refusal, 1.0))
        return found

    def admit(self, other: Device, step: int = 1) -> list[Effect]:
        return self.bring(self.say(other, self.state_of(other, step)))


def of(effects: list[Effect], kind: type[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, kind)]


def told(effects: list[Effect], kind: type) -> list[object]:
    return [effect.event for effect in effects if isinstance(effect, Emit) and isinstance(effect.event, kind)]


def started(**mixing: object) -> Node:
    """A node that knows three others and has trained its first step."""
    node = Node(**mixing)
    (train,) = of(node.do(Started()), Train)
    assert (train.height, train.base, train.adapters, train.carry) == (1, b"", (), ())  # type: ignore[attr-defined]
    node.meet()
    return node


def test_a_state_is_on_disk_before_it_is_said() -> None:
    node = started()
    effects = node.trained()
    kinds = [type(effect) for effect in effects if isinstance(effect, PutRecord | PutState | Send)]
    assert kinds == [PutState, PutRecord, Send]
    (put,) = of(effects, PutRecord)
    state = read_body(node.peer.open_envelope(put.data), State)  # type: ignore[attr-defined]
    assert (state.step, state.blob, state.size) == (1, bytes([1] * 32), 400)


def test_a_step_is_mixed_once_enough_are_here_and_nobody_is_missing() -> None:
    node = started()
    node.trained()
    assert not of(node.admit(node.others[0]), Mix)
    node.say(node.others[2], node.state_of(node.others[2]))  # announced, not yet here
    assert not of(node.admit(node.others[1]), Mix)
    (mix,) = of(node.bring([FetchBlob(node.state_of(node.others[2]).blob, 500, ())]), Mix)
    assert isinstance(mix, Mix)
    assert mix.own == (bytes([1] * 32), bytes([101] * 32))
    assert {each.blob for each in mix.neighbours} == {node.state_of(o).blob for o in node.others[:3]}
    assert [each.key for each in mix.neighbours] == sorted(each.key for each in mix.neighbours)
    assert (mix.rule, mix.f, mix.step) == ("nna", 1, 1)
    weights = {each.key: 0.25 for each in mix.neighbours}
    out = mix.neighbours[0].key
    effects = node.do(Mixed("/", 0, 1, bytes([9] * 32), 400, weights, (out,)))
    (event,) = told(effects, ModelMixed)
    assert len(event.used) == 2  # type: ignore[attr-defined]
    assert len(event.left_out) == 1  # type: ignore[attr-defined]
    (train,) = of(effects, Train)
    assert (train.height, train.carry) == (2, (bytes([9] * 32),))  # type: ignore[attr-defined]
    assert node.peer.model == (bytes([9] * 32),)


def test_past_the_deadline_the_missing_are_not_waited_for() -> None:
    node = started()
    node.trained()
    node.admit(node.others[0])
    node.say(node.others[2], node.state_of(node.others[2]))
    node.admit(node.others[1])
    node.now += 20_000
    node.meet()
    (mix,) = of(node.do(TimerFired("mix|1")), Mix)
    assert len(mix.neighbours) == 2  # type: ignore[attr-defined]


def test_with_too_few_neighbours_nothing_is_mixed_and_the_node_says_so_and_learns_on() -> None:
    node = started(f=2, min_neighbours=4)
    node.trained()
    for other in node.others[:3]:
        assert not of(node.admit(other), Mix)
    node.now += 20_000
    node.meet()
    effects = node.do(TimerFired("mix|1"))
    assert not of(effects, Mix)
    (event,) = told(effects, MixingWaiting)
    assert (event.have, event.need, event.missing) == (3, 4, ())  # type: ignore[attr-defined]
    (train,) = of(effects, Train)
    assert (train.height, train.carry) == (2, (bytes([1] * 32), bytes([101] * 32)))  # type: ignore[attr-defined]


def test_the_rules_own_minimum_counts_beside_the_charters() -> None:
    assert Node(rule="multi-krum", f=1, min_neighbours=2).peer.mixer.need == 4
    assert Node(rule="nna", f=3, min_neighbours=8).peer.mixer.need == 8


def test_a_slow_node_leaps_to_the_median_which_one_liar_cannot_move() -> None:
    node = started()
    node.trained()
    for other, step in zip(node.others, (7, 2**40, 6), strict=False):
        node.say(other, node.state_of(other, step))
    for other, step in zip(node.others, (7, 2**40, 6), strict=False):
        effects = node.bring([FetchBlob(node.state_of(other, step).blob, 500, ())])
    assert of(effects, Mix)
    (train,) = of(node.do(Mixed("/", 0, 1, bytes(32), 400, None)), Train)
    assert train.height == 8  # type: ignore[attr-defined]


def test_a_state_too_far_behind_is_left_out_by_name_at_the_deadline() -> None:
    node = started()
    for other in node.others[:2]:
        node.say(other, node.state_of(other, 9))
    node.say(node.others[2], node.state_of(node.others[2], 1))
    node.trained()
    for other, step in zip(node.others[:3], (9, 9, 1), strict=True):
        node.bring([FetchBlob(node.state_of(other, step).blob, 500, ())])
    (train,) = of(node.do(Mixed("/", 0, 1, bytes(32), 400, None)), Train)
    assert train.height == 10  # type: ignore[attr-defined]
    assert not of(node.trained(10), Mix)
    node.now += 20_000
    node.meet()
    effects = node.do(TimerFired("mix|10"))
    (event,) = told(effects, StateLeftOut)
    assert (event.author, event.reason) == (node.others[2].name, "stale-state")  # type: ignore[attr-defined]
    assert node.peer.refusals["stale-state"] == 1
    (mix,) = of(effects, Mix)
    assert len(mix.neighbours) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("reason", ["non-finite", "wrong-spec", "malformed", "zero-norm", "too-large"])
def test_an_inadmissible_model_is_refused_with_its_reason_and_not_waited_for(reason: str) -> None:
    node = started()
    node.trained()
    node.admit(node.others[0])
    node.say(node.others[2], node.state_of(node.others[2]))
    node.admit(node.others[1])
    effects = node.bring([FetchBlob(node.state_of(node.others[2]).blob, 500, ())], refusal=reason)
    (event,) = told(effects, StateLeftOut)
    assert (event.author, event.reason) == (node.others[2].name, reason)  # type: ignore[attr-defined]
    assert node.peer.refusals == Counter({reason: 1})
    (mix,) = of(effects, Mix)
    assert len(mix.neighbours) == 2  # type: ignore[attr-defined]


def test_a_model_measured_from_a_release_is_no_whole_model() -> None:
    node = started()
    node.trained()
    effects = node.say(node.others[0], node.state_of(node.others[0]))
    (fetch,) = of(effects, FetchBlob)
    effects = node.do(Inspected(fetch.digest, None, 1.0, base=bytes(32)))  # type: ignore[attr-defined]
    (event,) = told(effects, StateLeftOut)
    assert event.reason == "wrong-base"  # type: ignore[attr-defined]


def test_a_model_that_cannot_be_had_is_asked_for_again() -> None:
    node = started()
    node.trained()
    (fetch,) = of(node.say(node.others[0], node.state_of(node.others[0])), FetchBlob)
    assert fetch.sources[0] == node.others[0].name  # type: ignore[attr-defined]
    node.do(BlobFetched(fetch.digest, "unavailable"))  # type: ignore[attr-defined]
    assert of(node.do(TimerFired("sync")), FetchBlob) == [fetch]


def _of_another(node: Node) -> tuple[Device, State]:
    return node.others[0], node.state_of(node.others[1])


def _too_large(node: Node) -> tuple[Device, State]:
    return node.others[0], node.state_of(node.others[0], size=10_000)


def _self_made(node: Node) -> tuple[Device, State]:
    other = node.others[0]
    credential = self_credential(other.signer, node.world.charter, node.now)
    return other, node.state_of(other, credential=credential)


@pytest.mark.parametrize(
    ("make", "reason"), [(_of_another, "altered"), (_too_large, "too-large"), (_self_made, "untrusted-root")]
)
def test_an_inadmissible_state_is_refused_before_anything_is_fetched(
    make: Callable[[Node], tuple[Device, State]], reason: str
) -> None:
    node = started()
    node.trained()
    effects = node.say(*make(node))
    assert not of(effects, FetchBlob)
    assert node.peer.refusals == Counter({reason: 1})


@pytest.mark.parametrize(
    "field",
    [{"step": 0}, {"step": 2**41}, {"blob": b"short"}, {"size": 0}, {"height": -1}, {"loss_after": "low"}],
)
def test_a_state_out_of_bounds_is_refused_and_counted(field: dict[str, object]) -> None:
    node = started()
    node.trained()
    other = node.others[0]
    kind, body = body_of(node.state_of(other))
    network = node.world.charter.network_id
    sealed = seal(other.signer, network=network, kind=kind, seq=1, time=node.now, body=body | field)
    assert not of(node.do(MessageReceived(other.name, sealed.data)), FetchBlob)
    assert node.peer.refusals == Counter({"malformed": 1})


def test_states_of_branches_that_are_no_kin_are_no_concern() -> None:
    node = started()
    node.trained()
    far = next(d for d in node.world.devices.values() if d.settings.branch == "/en/law")
    assert node.say(far, node.state_of(far, branch="/en/law")) == []


def test_two_models_for_one_step_are_proof_and_a_newer_step_is_not() -> None:
    node = started()
    liar, honest = node.others[:2]
    for step in (1, 2, 3):
        node.say(honest, node.state_of(honest, step))
    node.say(honest, node.state_of(honest, 2))
    assert not node.peer.quarantined
    node.say(liar, node.state_of(liar))
    node.say(liar, node.state_of(liar, blob=bytes(32)))
    assert set(node.peer.quarantined) == {liar.name}
    assert node.peer.records.at("accusation", liar.name) is not None


def test_an_older_state_never_takes_the_place_of_a_newer() -> None:
    node = started()
    other = node.others[0]
    node.say(other, node.state_of(other, 5))
    node.say(other, node.state_of(other, 4))
    held = node.peer.records.at("state", "/", other.name)
    assert held is not None
    assert isinstance(held.body, State)
    assert held.body.step == 5


def test_a_member_that_tells_steps_without_end_does_not_flood_the_network() -> None:
    node = started()
    other = node.others[0]
    passed_on = [bool(of(node.say(other, node.state_of(other, step)), Send)) for step in range(1, 60)]
    assert 1 <= sum(passed_on) <= 4


def test_only_ones_own_newest_state_is_kept_on_disk() -> None:
    node = started()
    node.trained()
    for step in (1, 2, 3):
        for other in node.others[:2]:
            node.admit(other, step)
        node.do(Mixed("/", 0, step, bytes([step + 50] * 32), 400, None))
        node.trained(step + 1)
    states = [read_body(envelope, State) for envelope in map(node.peer.open_envelope, node.disk.values())]
    assert [state.step for state in states] == [4]


def test_a_node_that_comes_back_after_it_told_a_step_waits_for_its_neighbours_and_trains_no_more() -> None:
    node = started()
    node.trained()
    model = node.peer.model
    node.woken()
    effects = node.do(Started())
    assert not of(effects, Train)
    assert of(effects, SetTimer)
    assert node.peer.model == model
    assert set(model) <= node.peer.keep()
    node.meet()
    node.admit(node.others[0])
    (mix,) = of(node.admit(node.others[1]), Mix)
    assert mix.own == model  # type: ignore[attr-defined]


def test_a_node_that_comes_back_after_it_mixed_trains_from_the_mixture() -> None:
    node = started()
    node.trained()
    for other in node.others[:2]:
        node.admit(other)
    node.do(Mixed("/", 0, 1, bytes([9] * 32), 400, None))
    node.woken()
    (train,) = of(node.do(Started()), Train)
    assert (train.height, train.carry) == (2, (bytes([9] * 32),))  # type: ignore[attr-defined]


def test_the_end_of_a_job_of_another_step_changes_nothing() -> None:
    node = started()
    node.trained()
    model = node.peer.model
    assert node.do(Mixed("/", 0, 1, bytes([9] * 32), 400, None)) == []
    assert node.trained(3) == []
    assert node.peer.model == model


@pytest.mark.parametrize("kind", ["train", "mix"])
def test_a_job_that_failed_is_tried_again_after_a_rest(kind: str) -> None:
    node = started()
    if kind == "mix":
        node.trained()
        for other in node.others[:2]:
            node.admit(other)
    effects = node.do(JobFailed(kind, "/", 1 if kind == "train" else 0, "out of memory"))
    (timer,) = of(effects, SetTimer)
    assert timer.key == "train"  # type: ignore[attr-defined]
    assert not of(node.do(TimerFired("sync")), Train)
    assert of(node.do(TimerFired("train")), Train if kind == "train" else Mix)


def test_a_node_that_knows_of_a_cheat_learns_on_after_a_restart() -> None:
    """Taking the accusation up again once began a training of which nobody heard."""
    node = started()
    liar = node.others[0]
    node.say(liar, node.state_of(liar))
    node.say(liar, node.state_of(liar, blob=bytes(32)))
    node.woken()
    assert set(node.peer.quarantined) == {liar.name}
    assert of(node.do(Started()), Train)
