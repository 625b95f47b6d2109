"""Free texts: fields such as an occupation, kept as they are and flagged where they are none.

A value of another kind of column, a mark of a checklist and a pointer to a form are no values, and
would take the place of a stored one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rollbook.pipeline import cells
from rollbook.pipeline.cells import Understood

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

#: Texts that are a whole date, a boolean cell, a long number, an e-mail address, a formula, or what
#: another cell says.
_UNLIKELY: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2} (?:[0-9]{2}:[0-9]{2}:[0-9]{2}|\([^()]*\))|true|false|TRUE|FALSE"
    r"|[0-9]{1,4}[/.][0-9]{1,2}[/.][0-9]{2,4}"
    r"|\+?[0-9][0-9 -]{7,}[0-9](?:\.0)?|\S+@\S+\.\S+|=.*"
    r"|(?i:same(?: as .*)?|selfde)"
)
#: What says that the value is elsewhere or still to come. A status may be pending.
_ELSEWHERE: Final = (
    r"(?i:(?:see|sien|as per|soos op) (?:the |die )?(?:form|vorm|file|l\x{ea}er|attached|attachment"
    r"|aangeheg|list|lys|notes?|notas?|above|below|id|other|remarks?)\b.*|on file|attached|aangeheg"
    r"|pending|outstanding|uitstaande|hangende|incomplete|onvolledig|refused.*|refuses.*|withheld"
    r"|unchanged|no change|onveranderd)"
)
#: A field's own name in brackets, as a form or template shows it.
_TO_FILL: Final = r"[\[<][\p{L} ]+[\]>]"
#: Marks of a checklist.
_MARK: Final = (
    r"(?i:y(?:es)?|no?|ja|nee|x|v|ok|tick(?:ed)?|done|[\x{2713}\x{2714}\x{2717}\x{2718}\x{221a}"
    r"\x{2610}-\x{2612}])"
)
_NONE: Final = r"(?i:none|nil|geen|niks|no (?:fixed )?address|geen (?:vaste )?adres)"
_NUMBER: Final = r"[0-9]{1,8}(?:[.,][0-9]+)?"
#: Amounts with cents, and whole ones; "R56" in an address is a road.
_CENTS: Final = r"(?:R ?)?[0-9][0-9 ]*[.,][0-9]{2}"
_RAND: Final = r"R ?[0-9][0-9 ]*"
#: Of a ward or a voting district.
_CODE: Final = "[0-9]{8}"
#: Words of another status than that of a membership, two statuses, a code and no status at all.
_OTHER_STATUS: Final = (
    r"^(?i:(?:un)?married|single|divorced|separated|widow(?:ed|er)?|engaged|cohabiting|ongetroud"
    r"|getroud|geskei|enkel|weduwee|wewenaar|ushadile|utshatile|akashadile|akatshatanga"
    r"|(?:self[ -]?)?employed|unemployed|student|scholar|learner|pensioner|retired|housewife"
    r"|werkloos|werkend|afgetree|pensionaris|uyasebenza|akasebenzi|umfundi"
    r"|permanent|contract(?: worker)?|temp(?:orary)?|casual|(?:full|part)[ -]?time"
    r"|tydelik|deeltyds|voltyds"
    # Of a meeting's attendance, and of the voters' roll.
    r"|present|absent|apolog(?:y|ies)|teenwoordig|afwesig|verskoning"
    r"|(?:not )?(?:found )?on (?:the )?voters.? roll|not registered(?: to vote)?"
    r"|nie geregistreer nie"
    # A code, but for those of active, yes and no.
    r"|[b-eg-ik-mo-xz]|see .*|sien .*|\p{L}+ ?/ ?\p{L}+|\?+|[0-9]+(?:[.,]0)?)$"
)


def as_written(texts: pl.Series) -> Understood:
    """The text as it is; a letter that was lost before the file came here is a doubt."""
    return Understood(texts, cells.coded(texts.str.contains("\ufffd", literal=True), "letter_lost"))


def _words(*also: str) -> Callable[[pl.Series], Understood]:
    """The text as it is; a value of another kind of column, or one of ``also``, is a doubt too."""
    unlikely = f"^(?:{'|'.join((_UNLIKELY, *also))})$"

    def meaning(texts: pl.Series) -> Understood:
        found = as_written(texts)
        is_unlikely = texts.str.contains(unlikely)
        doubts = cells.coded(is_unlikely, "text_unlikely").fill_null(found.doubts)
        return Understood(texts, doubts) if is_unlikely.any() else found

    return meaning


def status(texts: pl.Series) -> Understood:
    """The text as it is; another status than a membership's, a code and none at all are a doubt."""
    return cells.also_doubted(_STATUS(texts), texts.str.contains(_OTHER_STATUS), "value_unknown")


def spelling(field: str, code: str | None) -> Callable[[pl.Series], Understood]:
    """The one spelling of a known value; another is a doubt, and without a code it stays."""

    def meaning(texts: pl.Series) -> Understood:
        found = cells.known_spelling(field, texts)
        if found.null_count() == texts.null_count():
            return Understood(found, cells.nulls(len(found)))
        is_unknown = found.is_null() & texts.is_not_null()
        doubts = cells.coded(is_unknown, code or "value_unknown")
        return Understood(found if code else found.fill_null(texts), doubts)

    return meaning


def race(texts: pl.Series) -> Understood:
    """The one spelling of a population group; beside "B" for Black, "A" may be Asian."""
    found = _RACE(texts)
    lower = texts.str.to_lowercase()
    is_open = (lower == "a").fill_null(value=False)
    if not (is_open.any() and (lower == "b").any()):
        return found
    return cells.also_doubted(
        found._replace(values=found.values.zip_with(~is_open, texts)), is_open, "value_unknown"
    )


_RACE: Final = spelling("race", None)
_TO_COME: Final = (_ELSEWHERE, _TO_FILL)
_STATUS: Final = _words(_CENTS, _RAND, _CODE)
#: How the cells of free texts are read, by field.
MEANINGS: Final[Mapping[str, Callable[[pl.Series], Understood]]] = {
    # One may have no occupation and no qualification, and "12" is a grade.
    "occupation": _words(*_TO_COME, _RAND, _MARK, _NUMBER),
    "qualification": _words(*_TO_COME, _CENTS, _RAND, _CODE, _MARK),
    "voting_station": _words(*_TO_COME, _RAND, _MARK, _NUMBER, _NONE),
    "residential_address": _words(*_TO_COME, _CENTS, _MARK, _NUMBER, _NONE),
    # A region may be "R1", and a subscription is often an amount.
    "region": _words(*_TO_COME, _CODE, _MARK, _NONE),
    "subscription": _words(_CODE),
    "status": status,
}
