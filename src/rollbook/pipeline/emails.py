"""E-mail addresses as people write them; only their form is checked."""

from __future__ import annotations

import re
from typing import Final

import polars as pl

from rollbook.pipeline.cells import MOST_CHARS, Reading, Understood, also_doubted, understood

#: Characters that no part of an address has; dots are only between parts, never at an end.
_NONE_OF: Final = r"@\s<>()\[\],;:\\\"."
_NAME: Final = rf"[^{_NONE_OF}]+"
_EDGE: Final = rf"[^{_NONE_OF}'/_-]"
_LABEL_OF_DOMAIN: Final = rf"{_EDGE}(?:[^{_NONE_OF}'/]*{_EDGE})?"
_ADDRESS: Final = (
    rf"[^{_NONE_OF}'][^{_NONE_OF}]*(?:\.{_NAME})*@(?:{_LABEL_OF_DOMAIN}\.)+"
    rf"[^{_NONE_OF}'/_\d-]{{2,}}"
)
_WHOLE: Final = re.compile(rf"^{_ADDRESS}$")
_BETWEEN: Final = re.compile(r"\s*(?:[,;/|&]|\bor\b|\band\b|\ben\b|\bof\b|\s)\s*", re.IGNORECASE)
_ANGLES: Final = re.compile(r"^[^<>@]*<([^<>]+)>$")
_LABEL: Final = re.compile(r"^(?:mailto|e-?mail|email address|e-?pos)\s*:\s*", re.IGNORECASE)
_BRACKETS: Final = re.compile(r"\s*\([^()@]*\)\s*$")
#: Domains that hardly exist and are near to well-known ones, and addresses that fill the cell.
_MISTYPED: Final = (
    r"\.(?:con|cm|vom|comm|coma|ocm|cpm|coza|co\.z|za\.co|zaa|orgg|nett)$"
    r"|@gmail\.(?:co|co\.za|za|net|org)$"
    r"|@(?:gmial|gmali|gmal|gamil|gnail|gmil|gmaill|gmai|gmaul|gmsil|hotmial|hotmal|hotmai|homail"
    r"|yaho|yahooo|yhoo|outlok|outloo|icoud|iclou)\."
)
_FILLER: Final = (
    r"^(?:none|na|no[ ._-]?(?:e?-?mail|name|address)|nil|null|n[./]a|test|unknown|dummy|abc|xyz"
    r"|x{2,}|asdf|qwerty|not[._]?(?:available|applicable|provided)|(?:dont|donot)[._]?have)@"
    r"|@(?:none|no-?e?-?mail|nil|null|test|unknown|dummy|asdf)\."
    # The domain is the name again: na@na.co.za, x@x.com.
    r"|^(?:a@a|b@b|c@c|x@x|y@y|z@z|o@o|no@no|xx@xx|aa@aa|me@me|email@email|mail@mail)\."
)


_LOWER: Final = pl.col("cell").str.to_lowercase().str.strip_prefix("'")
_IS_SHORT: Final = pl.col("cell").str.len_bytes() <= MOST_CHARS
_PLAIN: Final = pl.when(_IS_SHORT & _LOWER.str.contains(f"^{_ADDRESS}$")).then(_LOWER)


def emails(texts: pl.Series) -> Understood:
    """An address in small letters."""
    found = understood(texts, _PLAIN, _read, pl.String())
    is_doubtful = found.values.str.contains(f"{_MISTYPED}|{_FILLER}")
    return also_doubted(found, is_doubtful, "email_doubtful")


def _read(text: str) -> Reading:
    """The address in a text that isn't one, or the first of several."""
    if len(text) > MOST_CHARS:
        return None, "email_unclear"
    text = text.lower().removeprefix("'").strip()
    if match := _ANGLES.match(text):
        text = match[1]
    bare = _LABEL.sub("", text).strip(" '\"<>.,;:")
    if _WHOLE.match(bare):
        return bare, None
    without = _BRACKETS.sub("", bare)
    if _WHOLE.match(without):
        return without, "email_remark"
    parts = [part.strip("'\"<>.,;:") for part in _BETWEEN.split(bare) if part]
    addresses = [part for part in parts if _WHOLE.match(part)]
    # If a part is a broken address, the parts can't be assigned to each other.
    if len(addresses) > 1 and len(addresses) == len(parts):
        return addresses[0], "email_several" if len(set(addresses)) > 1 else None
    return None, "email_unclear"
