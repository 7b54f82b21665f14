from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from banyan.security.identity import (
    BadNodeId,
    Identity,
    IdentityError,
    is_node_id,
    node_id_of,
    public_key,
    verify,
)

Who = Callable[[str], Identity]
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493  # L of RFC 8032


def test_the_node_id_is_the_one_libp2p_derives() -> None:
    # Seed 00 01 … 1f; the id was computed with libp2p 0.8.1.
    identity = Identity.from_seed(bytes(range(32)))
    assert identity.node_id == "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"


@given(st.binary(min_size=32, max_size=32).filter(lambda key: key[1:31] not in (bytes(30), b"\xff" * 30)))
def test_a_node_id_holds_its_public_key(key: bytes) -> None:
    node_id = node_id_of(key)
    assert len(node_id) == 52
    assert public_key(node_id) == key
    assert is_node_id(node_id)


@given(st.text(alphabet="12D3KooWabcXYZ0OIl", min_size=0, max_size=60))
def test_text_is_a_node_id_only_in_its_one_spelling(text: str) -> None:
    if is_node_id(text):
        assert node_id_of(public_key(text)) == text


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: "",
        lambda good: good[:-1],
        lambda good: good + "1",
        lambda good: "1" + good,
        lambda good: "1" + good[:-1],
        lambda good: good[:-1] + "0",
        lambda good: good[:-1] + "é",
        lambda good: "z" * 52,
        lambda good: "1" * 52,
        lambda good: " " + good[1:],
        lambda good: (
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
        ),  # the id of an RSA key: a hash, not a key
    ],
)
def test_any_other_text_is_no_node_id(who: Who, spoil: Callable[[str], str]) -> None:
    text = spoil(who("ada").node_id)
    assert not is_node_id(text)
    assert not verify(text, bytes(64), b"")
    with pytest.raises(BadNodeId):
        public_key(text)


def test_a_signature_is_its_authors_and_its_messages_alone(who: Who) -> None:
    signature = who("ada").sign(b"hello")
    assert verify(who("ada").node_id, signature, b"hello")
    assert not verify(who("ada").node_id, signature, b"hellO")
    assert not verify(who("bob").node_id, signature, b"hello")
    assert not verify(who("ada").node_id, signature[:-1], b"hello")
    assert not verify(who("ada").node_id, signature + b"\0", b"hello")


@pytest.mark.parametrize("times", range(1, 9))
def test_adding_the_group_order_does_not_make_a_second_signature(who: Who, times: int) -> None:
    signature = who("ada").sign(b"hello")
    malleated = int.from_bytes(signature[32:], "little") + times * GROUP_ORDER
    assert not verify(who("ada").node_id, signature[:32] + malleated.to_bytes(32, "little"), b"hello")


SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("key", SMALL_ORDER)
@pytest.mark.parametrize("sign_bit", [0, 0x80])
def test_a_key_under_which_anyone_can_sign_is_no_identity(key: str, sign_bit: int) -> None:
    raw = bytearray.fromhex(key)
    raw[31] |= sign_bit
    node_id = node_id_of(bytes(raw))
    assert not is_node_id(node_id)
    # R = the neutral element, S = 0: under the key 01 00 … OpenSSL accepts this for every message.
    assert not verify(node_id, b"\x01" + bytes(63), b"anything")


@pytest.mark.parametrize("passphrase", [None, "correct horse", "lösenord"])
def test_a_saved_identity_is_the_same_when_loaded(tmp_path: Path, passphrase: str | None) -> None:
    identity = Identity.generate()
    identity.save(tmp_path / "key", passphrase)
    assert Identity.load(tmp_path / "key", passphrase).seed == identity.seed
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["key"]


def test_a_stolen_file_is_dear_to_guess_at(tmp_path: Path, who: Who) -> None:
    who("ada").save(tmp_path / "key", "secret")
    body = "".join((tmp_path / "key").read_text().splitlines()[1:-1])
    scrypt = bytes.fromhex("06092b06010401da47040b")
    assert scrypt in base64.b64decode(body)
    assert who("ada").seed not in base64.b64decode(body)


def test_a_key_is_never_overwritten(tmp_path: Path, who: Who) -> None:
    who("ada").save(tmp_path / "key")
    with pytest.raises(IdentityError, match="already holds a key"):
        who("bob").save(tmp_path / "key")
    assert Identity.load(tmp_path / "key").node_id == who("ada").node_id
    assert os.listdir(tmp_path) == ["key"]


def test_a_key_that_others_can_read_is_refused_with_the_cure(tmp_path: Path, who: Who) -> None:
    who("ada").save(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(IdentityError, match="chmod 600"):
        Identity.load(tmp_path / "key")


def test_what_is_wrong_with_a_key_file_is_said(tmp_path: Path, who: Who) -> None:
    locked, plain, junk, other = (tmp_path / name for name in ("locked", "plain", "junk", "other"))
    who("ada").save(locked, "secret")
    who("ada").save(plain)
    pem = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for path, data in ((junk, b"hello"), (other, pem)):
        path.touch(0o600)
        path.write_bytes(data)
    cases: list[tuple[Path, str | None, str]] = [
        (locked, None, "Give its passphrase"),
        (locked, "wrong", "does not open with this passphrase"),
        (plain, "secret", "is not encrypted"),
        (junk, None, "is not a private key"),
        (other, None, "Ed25519"),
        (tmp_path / "missing", None, "could not be read"),
    ]
    for path, passphrase, words in cases:
        with pytest.raises(IdentityError, match=words):
            Identity.load(path, passphrase)
    with pytest.raises(IdentityError, match="could not be written"):
        who("ada").save(tmp_path / "nowhere" / "key")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_a_programming_error(length: int) -> None:
    with pytest.raises(ValueError, match="32"):
        node_id_of(bytes(length))
    with pytest.raises(ValueError, match="32"):
        Identity.from_seed(bytes(length))


def test_the_secret_is_not_in_what_is_printed(who: Who) -> None:
    identity = who("ada")
    assert identity.seed.hex() not in repr(identity)
    assert repr(identity) == f"Identity({identity.node_id})"


def test_importing_the_room_imports_neither_torch_nor_libp2p() -> None:
    code = (
        "import sys, pkgutil, importlib, banyan.security as room\n"
        "for module in pkgutil.iter_modules(room.__path__):\n"
        "    importlib.import_module('banyan.security.' + module.name)\n"
        "print({'torch', 'transformers', 'flwr', 'libp2p', 'banyan.protocol'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
