"""The file that holds a node's private key: PKCS#8 PEM, mode 0600, optionally under a passphrase.

The encrypted form is standard PKCS#8 (RFC 5958) with PBES2 (RFC 8018): scrypt (RFC 7914) and AES-256-CBC, which
``openssl pkey`` opens. It is written here, byte by byte, because ``cryptography`` writes only PBKDF2 with 2,048
rounds, which makes a stolen file cheap to guess at.
"""

from __future__ import annotations

import base64
import os
import secrets
import textwrap
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from banyan.security.errors import BanyanError

_FILE_LIMIT: Final = 16_384  # bytes read: a key file has a few hundred

# 16 MiB, five passes (OWASP's recommendation in the memory that OpenSSL allows when it opens the file).
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 5

_PBES2: Final = "2a864886f70d01050d"
_SCRYPT: Final = "2b06010401da47040b"
_AES256_CBC: Final = "60864801650304012a"


class IdentityError(BanyanError):
    """The key file cannot be used: missing, readable by others, locked by a passphrase, or not a key."""


def write_key(path: Path, key: Ed25519PrivateKey, passphrase: str | None) -> None:
    """Write ``key`` to a new file; whole or not at all. Raises :class:`IdentityError` if it exists or cannot be."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(_pem(key, passphrase))
            stream.flush()
            os.fsync(file)
        os.link(temporary, path)  # unlike rename, refuses to replace
        _sync_folder(path.parent)
    except FileExistsError:
        raise IdentityError(
            f"{path} already holds a key", "Use it, or move it away if you want another identity"
        ) from None
    except OSError as error:
        raise IdentityError(
            f"The key could not be written to {path}: {error.strerror}",
            "Check that the folder exists, is yours and has space",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def read_key(path: Path, passphrase: str | None) -> Ed25519PrivateKey:
    """The key in ``path``; raises :class:`IdentityError` saying what is wrong with the file."""
    pem = _read_private(path)
    try:
        key = serialization.load_pem_private_key(pem, passphrase.encode() if passphrase else None)
    except TypeError:
        if passphrase:
            raise IdentityError(f"{path} is not encrypted", "Open it without a passphrase") from None
        raise IdentityError(f"{path} is encrypted", "Give its passphrase") from None
    except Exception as error:  # the parser's errors are many, and all mean the same
        if passphrase:
            raise IdentityError(f"{path} does not open with this passphrase", "Try again") from error
        raise IdentityError(f"{path} is not a private key", "Restore it from a backup") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(f"{path} holds a key of another kind", "Banyan needs an Ed25519 key")
    return key


def _pem(key: Ed25519PrivateKey, passphrase: str | None) -> bytes:
    if passphrase:
        der = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        text = "\n".join(textwrap.wrap(base64.b64encode(_encrypted(der, passphrase.encode())).decode(), 64))
        label = "ENCRYPTED PRIVATE KEY"
        return f"-----BEGIN {label}-----\n{text}\n-----END {label}-----\n".encode()
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _encrypted(pkcs8: bytes, passphrase: bytes) -> bytes:
    """The DER of ``EncryptedPrivateKeyInfo`` around ``pkcs8``."""
    salt, iv = secrets.token_bytes(16), secrets.token_bytes(16)
    secret = Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(passphrase)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(AES256(secret), CBC(iv)).encryptor()
    hidden = encryptor.update(padder.update(pkcs8) + padder.finalize()) + encryptor.finalize()
    costs = b"".join(_integer(cost) for cost in (_SCRYPT_N, _SCRYPT_R, _SCRYPT_P))
    derivation = _sequence(_object(_SCRYPT), _sequence(_octets(salt), costs))
    cipher = _sequence(_object(_AES256_CBC), _octets(iv))
    algorithm = _sequence(_object(_PBES2), _sequence(derivation, cipher))
    return _sequence(algorithm, _octets(hidden))


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def _sequence(*parts: bytes) -> bytes:
    return _der(0x30, b"".join(parts))


def _octets(content: bytes) -> bytes:
    return _der(0x04, content)


def _object(identifier: str) -> bytes:
    return _der(0x06, bytes.fromhex(identifier))


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & 0o077:
                raise IdentityError(f"Others can read the key in {path}", f"Run: chmod 600 {path}")
            return stream.read(_FILE_LIMIT)
    except OSError as error:
        raise IdentityError(
            f"The key in {path} could not be read: {error.strerror}", "Check the path and its permissions"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a new name in ``folder`` survive a power cut."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
