"""Write-protected workbooks, which Excel encrypts with a publicly known password.

Excel asks for no password when it opens such a file: it tries this one first. Excel 2010 and later
use agile encryption, Excel 2007 standard encryption (MS-OFFCRYPTO 2.3.4).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from rollbook.errors import UnreadableFileError
from rollbook.spreadsheets.books.package import elements
from rollbook.spreadsheets.content import OLE2
from rollbook.spreadsheets.inspect.compound import stream_of

if TYPE_CHECKING:
    from collections.abc import Iterator

KNOWN_PASSWORD: Final = "VelvetSweatshop"  # noqa: S105 - it is no secret
#: Excel hashes the password 100,000 times; each time takes about a microsecond.
MOST_SPINS: Final = 1_000_000
_SEGMENT_BYTES: Final = 4096
_HASHES: Final = {"SHA1", "SHA256", "SHA384", "SHA512"}
_INPUT, _HASH, _KEY = (
    bytes.fromhex(block) for block in ("fea7d2763b4b9e79", "d7aa0f6d3061344e", "146e0be7abacd0d6")
)


#: Major versions of standard encryption, whose minor version is 2; agile encryption has 4.4.
_STANDARD_VERSIONS: Final = {(2, 2), (3, 2), (4, 2)}
#: Times that standard encryption hashes the password.
_STANDARD_SPINS: Final = 50_000
#: Bytes of a standard key, by the identifiers of the algorithms AES-128, AES-192 and AES-256.
_STANDARD_KEYS: Final = {0x660E: 16, 0x660F: 24, 0x6610: 32}


class _Secret(NamedTuple):
    key: bytes
    #: The package's salt and hash algorithm for its segments. Standard encryption has neither: each
    #: block of 16 bytes is by itself.
    salt: bytes = b""
    hash_name: str = ""


@contextmanager
def unprotected(path: Path) -> Iterator[Path]:
    """The file, or the workbook within it where that is only write-protected.

    Yields:
        The same path, or that of a copy which is removed at the end.
    """
    with path.open("rb") as file:
        is_compound = file.read(len(OLE2)) == OLE2
        secret = _secret(file) if is_compound else None
        if secret is None:
            yield path
            return
        package = stream_of(file, "EncryptedPackage") or b""
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=path.suffix) as plain:
        plain.write(_decrypted(package, secret))
        plain.flush()
        yield Path(plain.name)


def _secret(file: BinaryIO) -> _Secret | None:
    """The key of the package; None where the known password doesn't open it."""
    info = stream_of(file, "EncryptionInfo")
    if info is None or len(info) < 8:
        return None
    version = struct.unpack_from("<2H", info)
    if version in _STANDARD_VERSIONS:
        return _standard(info)
    if version != (4, 4):
        return None
    found: dict[str, dict[str, str]] = {}
    try:
        for path, attributes in elements(info[8:].rstrip(b"\0")):
            found.setdefault(path[-1], attributes)
        return _opened(found["encryptedKey"], found["keyData"])
    except (UnreadableFileError, KeyError, ValueError, binascii.Error):
        return None


def _standard(info: bytes) -> _Secret | None:
    """The key of a package with standard encryption (MS-OFFCRYPTO 2.3.4.5 to 2.3.4.9)."""
    try:
        (header_size,) = struct.unpack_from("<I", info, 8)
        (algorithm,) = struct.unpack_from("<I", info, 20)
        (salt_size,) = struct.unpack_from("<I", info, 12 + header_size)
        salt, given, hash_size, expected = struct.unpack_from("<16s16sI32s", info, 16 + header_size)
    except struct.error:
        return None
    size = _STANDARD_KEYS.get(algorithm)
    if size is None or salt_size != len(salt) or hash_size != len(_sha1(b"")):
        return None
    hashed = _sha1(salt + KNOWN_PASSWORD.encode("utf-16-le"))
    for number in range(_STANDARD_SPINS):
        hashed = _sha1(struct.pack("<I", number) + hashed)
    hashed = _sha1(hashed + bytes(4)).ljust(64, b"\0")
    key = b"".join(_sha1(bytes(byte ^ pad for byte in hashed)) for pad in (0x36, 0x5C))[:size]
    if _aes(key, None, expected)[:hash_size] != _sha1(_aes(key, None, given)):
        return None
    return _Secret(key)


def _sha1(content: bytes) -> bytes:
    return hashlib.sha1(content).digest()  # noqa: S324 - the format's hash


def _opened(key: dict[str, str], data: dict[str, str]) -> _Secret | None:
    name, spins, size = key["hashAlgorithm"], int(key["spinCount"]), int(key["keyBits"]) // 8
    if {name, data["hashAlgorithm"]} - _HASHES or not 0 <= spins <= MOST_SPINS:
        return None
    salt = base64.b64decode(key["saltValue"])
    hashed = hashlib.new(name, salt + KNOWN_PASSWORD.encode("utf-16-le")).digest()
    for number in range(spins):
        hashed = hashlib.new(name, struct.pack("<I", number) + hashed).digest()

    def value(block: bytes, attribute: str) -> bytes:
        own = hashlib.new(name, hashed + block).digest()[:size].ljust(size, b"\x36")
        return _aes(own, salt[:16], base64.b64decode(key[attribute]))

    given = value(_INPUT, "encryptedVerifierHashInput")[: len(salt)]
    expected = hashlib.new(name, given).digest()
    if value(_HASH, "encryptedVerifierHashValue")[: len(expected)] != expected:
        return None
    secret = value(_KEY, "encryptedKeyValue")[:size]
    return _Secret(secret, base64.b64decode(data["saltValue"]), data["hashAlgorithm"])


def _decrypted(package: bytes, secret: _Secret) -> bytes:
    size = int.from_bytes(package[:8], "little")
    if not secret.salt:
        return _aes(secret.key, None, package[8 : 8 + (len(package) - 8) // 16 * 16])[:size]
    found = bytearray()
    for number, at in enumerate(range(8, len(package), _SEGMENT_BYTES)):
        vector = hashlib.new(secret.hash_name, secret.salt + struct.pack("<I", number)).digest()
        segment = package[at : at + _SEGMENT_BYTES]
        found += _aes(secret.key, vector[:16], segment[: len(segment) // 16 * 16])
    return bytes(found[:size])


def _aes(key: bytes, vector: bytes | None, content: bytes) -> bytes:
    """Decrypt blocks: each after the one before, or by itself where there is no vector."""
    mode = modes.ECB() if vector is None else modes.CBC(vector)  # noqa: S305 - the format's
    decryptor = Cipher(algorithms.AES(key), mode).decryptor()
    return decryptor.update(content) + decryptor.finalize()
