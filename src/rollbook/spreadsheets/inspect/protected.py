"""Write-protected workbooks, which Excel encrypts with a publicly known password.

Excel asks for no password when it opens such a file: it tries this one first (MS-OFFCRYPTO 2.3.4,
agile encryption).
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
from xml.parsers import expat

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from rollbook.spreadsheets.inspect.compound import stream_of
from rollbook.spreadsheets.kinds import OLE2

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


class _Secret(NamedTuple):
    key: bytes
    #: The package's salt and hash algorithm for its segments.
    salt: bytes
    hash_name: str


@contextmanager
def unprotected(path: Path) -> Iterator[Path]:
    """The file, or the workbook within it where that is only write-protected.

    Args:
        path: the file.

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
    if info is None or info[:4] != struct.pack("<2H", 4, 4):
        return None
    elements: dict[str, dict[str, str]] = {}
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        elements.setdefault(name.rpartition(":")[2], attributes)

    parser.StartElementHandler = start
    try:
        parser.Parse(info[8:].rstrip(b"\0"), True)  # noqa: FBT003 - expat takes no names
        return _opened(elements["encryptedKey"], elements["keyData"])
    except (expat.ExpatError, KeyError, ValueError, binascii.Error):
        return None


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
    found = bytearray()
    for number, at in enumerate(range(8, len(package), _SEGMENT_BYTES)):
        vector = hashlib.new(secret.hash_name, secret.salt + struct.pack("<I", number)).digest()
        segment = package[at : at + _SEGMENT_BYTES]
        found += _aes(secret.key, vector[:16], segment[: len(segment) // 16 * 16])
    return bytes(found[:size])


def _aes(key: bytes, vector: bytes, content: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
    return decryptor.update(content) + decryptor.finalize()
