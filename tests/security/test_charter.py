from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from banyan.security.canonical import decode, encode
from banyan.security.charter import (
    DOMAIN,
    PROBE_BYTES,
    AdapterSpec,
    BaseModel,
    Charter,
    CharterRefused,
    FileEntry,
    Foundation,
    Probe,
    TensorSpec,
    found,
    preset,
)
from banyan.security.errors import BanyanError
from banyan.security.identity import Identity, public_key
from banyan.security.policy import CommitteePolicy, GossipPolicy, MixingPolicy, RoundPolicy, SeasonPolicy
from banyan.security.schema import SchemaError, to_plain

Who = Callable[[str], Identity]


def rewritten(charter: Charter, signer: Identity, change: Callable[[dict[str, object]], object]) -> bytes:
    """The charter with its plain body changed and signed again by ``signer``."""
    document = decode(charter.encode(), max_bytes=1 << 20)
    assert isinstance(document, dict)
    body = decode(document["body"], max_bytes=1 << 20, floats=True)  # type: ignore[arg-type]
    change(body)  # type: ignore[arg-type]
    data = encode(body)
    signature = signer.sign(DOMAIN + public_key(signer.node_id) + data)
    return encode({"author": signer.node_id, "body": data, "signature": signature})


def refuses(data: bytes, **context: bytes) -> CharterRefused:
    with pytest.raises(CharterRefused) as caught:
        Charter.decode(data, **context)
    return caught.value


def test_a_charter_survives_the_wire_and_its_hash_is_the_network(charter: Charter) -> None:
    data = charter.encode()
    decoded = Charter.decode(data, network=charter.network_id)
    assert decoded == charter
    assert decoded.encode() == data
    assert charter.network_id == hashlib.sha256(data).digest()


def test_a_charter_from_before_seasons_could_begin_by_themselves_leaves_them_to_the_roots(
    who: Who, charter: Charter
) -> None:
    def old(body: dict[str, object]) -> None:
        del body["season"]

    def said(body: dict[str, object]) -> None:
        body["season"] = to_plain(SeasonPolicy(policy="manual"))

    older = Charter.decode(rewritten(charter, who("founder"), old))
    assert older.season == SeasonPolicy(policy="manual")
    assert Charter.decode(older.encode()) == older and b"patience" not in older.encode()
    refusal = refuses(rewritten(charter, who("founder"), said))
    assert refusal.reason == "malformed" and "season" in str(refusal)


@pytest.mark.parametrize("name", ["local", "lan", "wan"])
def test_every_preset_makes_a_valid_charter(who: Who, charter: Charter, name: str) -> None:
    made = found(
        who("founder"), name=name, created=1, admission="open", base=charter.base, adapter=charter.adapter,
        policies=preset(name),
    )  # fmt: skip
    assert Charter.decode(made.encode()) == made


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(BanyanError, match="local, lan or wan"):
        preset("moon")


def test_the_founder_is_a_root_and_missing_branches_are_planted(who: Who, charter: Charter) -> None:
    made = found(
        who("founder"), name="n", created=1, admission="invite", base=charter.base, adapter=charter.adapter,
        branches=("/sv/law",), roots=(who("ada").node_id,),
    )  # fmt: skip
    assert made.roots == (who("founder").node_id, who("ada").node_id)
    assert made.branches == ("/", "/sv", "/sv/law")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_flipping_any_bit_of_a_charter_is_refused(charter: Charter, data: st.DataObject) -> None:
    flipped = bytearray(charter.encode())
    bit = data.draw(st.integers(0, len(flipped) * 8 - 1))
    flipped[bit // 8] ^= 1 << bit % 8
    refuses(bytes(flipped))
    assert refuses(bytes(flipped), network=charter.network_id).reason == "wrong-network"


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_charter(data: bytes) -> None:
    refuses(data)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda body: body.update(extra=1), "extra"),
        (lambda body: body.pop("name"), "name"),
        (lambda body: body.update(author="me"), "body"),
        (lambda body: body.update(name=""), "name"),
        (lambda body: body.update(name="n" * 65), "name"),
        (lambda body: body.update(name="\x1b[2J"), "name"),
        (lambda body: body.update(name="orchard\u202e"), "name"),
        (lambda body: body.update(admission="closed"), "admission"),
        (lambda body: body.update(roots=[]), "roots"),
        (lambda body: body.update(roots=body["roots"] * 2), "roots"),
        (lambda body: body.update(roots=["ada"]), "roots[0]"),
        (lambda body: body.update(branches=["/en"]), "branches"),
        (lambda body: body.update(branches=["/", "/sv", "/en"]), "branches"),
        (lambda body: body.update(branches=["/", "/en", "/en"]), "branches"),
        (lambda body: body.update(branches=["/", "/x/y"]), "branches"),
        (lambda body: body.update(branches=["/", "/../etc"]), "branches[1]"),
        (lambda body: body["round"].update(f=3), "round.min_updates"),
        (lambda body: body["round"].update(deadline=1), "round.deadline"),
        (lambda body: body["round"].update(clip=0.5), "round.clip"),
        (lambda body: body["round"].update(clip=3), "round.clip"),
        (lambda body: body["round"].update(codec="zip"), "round.codec"),
        (lambda body: body["round"].update(rule="rm -rf"), "round.rule"),
        (lambda body: body["round"].update(f=True), "round.f"),
        (lambda body: body["round"].update(coordination="anarchy"), "round.coordination"),
        (lambda body: body["round"].pop("coordination"), "round.coordination"),
        (lambda body: body["committee"].update(size=0), "committee.size"),
        (lambda body: body["mixing"].update(f=2), "mixing.min_neighbours"),
        (lambda body: body["mixing"].update(rule="cs++"), "mixing.rule"),
        (lambda body: body["mixing"].update(siblings=0), "mixing.siblings"),
        (lambda body: body["mixing"].update(fallback=-1), "mixing.fallback"),
        (lambda body: body.pop("mixing"), "mixing"),
        (lambda body: body["committee"].update(size=1, pinned=body["roots"] * 2), "committee.pinned"),
        (lambda body: body["gossip"].update(presence_lifetime=2_001), "gossip.presence_lifetime"),
        (lambda body: body["limits"].update(message_bytes=2**30), "limits.message_bytes"),
        (lambda body: body["limits"].update(blob_bytes=65_600), "limits.blob_bytes"),
        (lambda body: body["limits"].pop("clock_skew"), "limits.clock_skew"),
        (lambda body: body["adapter"].update(a_size=2**40), "limits.blob_bytes"),
        (lambda body: body["base"].update(size=1), "base.size"),
        (lambda body: body["base"].update(digest=bytes(32)), "base.digest"),
        (lambda body: body["base"]["files"].reverse(), "base.files"),
        (lambda body: body["base"]["files"][0].update(name="../../etc/passwd"), "base.files[0].name"),
        (lambda body: body["base"]["files"][0].update(name="/etc/passwd"), "base.files[0].name"),
        (lambda body: body["base"]["files"][0].update(name=".ssh"), "base.files[0].name"),
        (lambda body: body["adapter"].update(rank=17), "adapter.rank"),
        (lambda body: body["adapter"].update(scale=0.0), "adapter.scale"),
        (lambda body: body["adapter"]["tensors"].reverse(), "adapter.tensors"),
        (lambda body: body["adapter"]["tensors"][0].update(rows_out=0), "adapter.tensors[0].rows_out"),
    ],
)
def test_a_field_out_of_bounds_is_refused_by_name(
    who: Who, charter: Charter, change: Callable[[dict[str, object]], object], field: str
) -> None:
    refusal = refuses(rewritten(charter, who("founder"), change))
    assert refusal.reason == "malformed"
    assert f": {field} " in refusal.what


def test_only_a_root_can_sign_the_charter(who: Who, charter: Charter) -> None:
    assert refuses(rewritten(charter, who("mallory"), lambda body: None)).reason == "bad-author"


def test_a_charter_signed_for_another_purpose_is_refused(who: Who, charter: Charter) -> None:
    document = decode(charter.encode(), max_bytes=1 << 20)
    assert isinstance(document, dict)
    body = document["body"]
    assert isinstance(body, bytes)
    assert refuses(encode({**document, "signature": who("founder").sign(body)})).reason == "bad-signature"


def test_an_oversized_document_is_refused_unread() -> None:
    assert refuses(bytes(2**20 + 1)).reason == "too-long"


def test_founding_with_a_field_out_of_bounds_names_it(who: Who, charter: Charter) -> None:
    with pytest.raises(SchemaError, match="name must have 1 to 64 bytes"):
        found(
            who("founder"), name="", created=1, admission="open", base=charter.base, adapter=charter.adapter
        )


def test_the_model_fingerprint_does_not_hang_on_the_order_of_files() -> None:
    files = [FileEntry(name, 5, bytes(32)) for name in ("b.json", "a.json")]
    facts = {"parameters": 1, "architecture": "llama", "license": "MIT"}
    assert BaseModel.of("m", files, **facts) == BaseModel.of("m", files[::-1], **facts)  # type: ignore[arg-type]
    renamed = [replace(files[0], name="c.json"), files[1]]
    assert BaseModel.of("m", files, **facts).digest != BaseModel.of("m", renamed, **facts).digest  # type: ignore[arg-type]


def test_the_adapter_knows_its_length_and_its_digest() -> None:
    spec = AdapterSpec(2, 1.0, 0, bytes(32), 0, (TensorSpec("k", 3, 4), TensorSpec("v", 5, 4)))
    assert spec.dimension == 2 * (3 + 5)
    assert spec.digest == hashlib.sha256(encode(to_plain(spec))).digest()
    assert replace(spec, scale=2.0).digest != spec.digest


def test_policies_that_contradict_themselves_cannot_be_made() -> None:
    with pytest.raises(SchemaError, match="min_updates must be at least 2 f"):
        RoundPolicy(f=3, min_updates=6)
    with pytest.raises(SchemaError, match="min_neighbours must be at least 2 f"):
        MixingPolicy(f=3, min_neighbours=5)
    with pytest.raises(SchemaError, match="must not exceed the 1 seats"):
        CommitteePolicy(size=1, pinned=("a", "b"))
    with pytest.raises(SchemaError, match="twice presence_interval"):
        GossipPolicy(presence_interval=1_000, presence_lifetime=1_500)


# ------------------------------------------------------------------------------------------ base models


def with_pocket(who: Who, charter: Charter, path: str = "/en/pocket") -> Charter:
    small = BaseModel.of(
        "pocket", [FileEntry("w", 3, bytes(32))], parameters=3, architecture="Llama", license=""
    )
    return found(
        who("founder"), name="n", created=1, admission="open", base=charter.base, adapter=charter.adapter,
        bases=(Foundation(path, small, replace(charter.adapter, seed=9)),),
    )  # fmt: skip


def test_a_branch_may_name_its_own_base_and_all_below_inherit_it(who: Who, charter: Charter) -> None:
    made = with_pocket(who, charter)
    assert Charter.decode(made.encode()) == made
    assert made.branches == ("/", "/en", "/en/pocket")
    assert made.base_at("/en").name == charter.base.name
    assert made.base_at("/en/pocket/tiny").name == "pocket"
    assert made.adapter_at("/en/pocket/tiny").seed == 9
    assert made.model_path("/en/pocket/tiny") == ("/en/pocket", "/en/pocket/tiny")
    assert made.model_path("/en") == ("/", "/en")
    assert made.branches_like("/", made.branches) == ("/", "/en")


def test_a_charter_names_its_probe_sets_or_none(who: Who, charter: Charter) -> None:
    assert b"probes" not in charter.encode()
    probe = Probe("/en/law", b"p" * 32, 100)
    made = found(
        who("founder"), name="n", created=1, admission="invite", base=charter.base, adapter=charter.adapter,
        probes=(probe, Probe("/", b"q" * 32, PROBE_BYTES)),
    )  # fmt: skip
    assert Charter.decode(made.encode()) == made
    assert made.branches == ("/", "/en", "/en/law") and [each.path for each in made.probes] == [
        "/",
        "/en/law",
    ]

    def broken(change: Callable[[dict[str, object]], object]) -> str:
        refusal = refuses(rewritten(made, who("founder"), change))
        assert refusal.reason == "malformed"
        return str(refusal)

    assert "probes" in broken(lambda body: body.update(probes=[]))
    assert "probes" in broken(lambda body: body["probes"].reverse())  # type: ignore[attr-defined]
    assert "probes" in broken(lambda body: body["probes"][0].update(path="/nowhere"))  # type: ignore[index]
    assert "size" in broken(lambda body: body["probes"][0].update(size=PROBE_BYTES + 1))  # type: ignore[index]
    assert "digest" in broken(lambda body: body["probes"][0].update(digest=b"short"))  # type: ignore[index]


def test_a_charter_without_other_bases_does_not_name_them(who: Who, charter: Charter) -> None:
    assert b"bases" not in charter.encode()
    assert charter.branches_like("/", charter.branches) == charter.branches
    named = rewritten(charter, who("founder"), lambda body: body.update(bases=[]))
    assert "must not be named" in str(refuses(named))


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["bases"][0].update(path="/"),
        lambda body: body["bases"][0].update(path="/nowhere"),
        lambda body: body["bases"].append(body["bases"][0]),
        lambda body: body.update(bases={}),
    ],
)
def test_a_base_of_no_branch_or_of_one_twice_is_refused(
    who: Who, charter: Charter, change: Callable[[dict[str, object]], object]
) -> None:
    refusal = refuses(rewritten(with_pocket(who, charter), who("founder"), change))
    assert refusal.reason == "malformed"
    assert "bases" in str(refusal)


def test_an_adapter_of_another_base_must_fit_the_blob_limit_too(who: Who, charter: Charter) -> None:
    def grow(body: dict[str, object]) -> None:
        body["bases"][0]["adapter"].update(a_size=2**40)  # type: ignore[index]

    assert "limits.blob_bytes" in str(refuses(rewritten(with_pocket(who, charter), who("founder"), grow)))
