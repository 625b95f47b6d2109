"""Remarks: columns that aren't read, and a status, which speak against a row.

The person may no longer be a member or never have been one, the payment may have failed, or a value
of the row may be wrong. The row is read like the others, so the words must not go unseen.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline.columns import is_correction, is_of_other_person, reasons
from rollbook.pipeline.id_numbers import is_valid
from rollbook.pipeline.legends import is_legend
from rollbook.pipeline.no_members import pattern, phrases
from rollbook.pipeline.problem_table import select
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.pipeline.values import written

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from rollbook.pipeline.read import Sheet

LEFT: Final = "may_have_left"
NO_MEMBER: Final = "may_be_no_member"
NOT_PAID: Final = "payment_failed"
CORRECTS: Final = "remark_corrects"
CODES: Final = frozenset({LEFT, NO_MEMBER, NOT_PAID, CORRECTS})


def _of_remarks(*lists: str) -> str:
    return phrases(one for name in lists for one in written("remarks.toml")[name])


#: With a box that isn't ticked.
PLAIN_NO: Final = r"n|no|nee|cha|hayi|tjhe|nnyaa|false|\u2610"
#: Crosses, one of them in Wingdings. Beside "Active" they are a "no", and beside "Resigned" perhaps
#: a mark, as X is.
_CROSS: Final = r"[\u2717\u2718\u274c\u00fb]"
_END: Final = r"\s*[.!?]*\s*$"
YES_NO: Final = r"(?:\(?(?:y(?:es)?|j|ja)\W+n(?:o|ee)?\)?)?"
_SAYS_SO: Final = pattern("everywhere", "of_remarks")
_HAS_LEFT: Final = (
    rf"(?i)\b(?:{_SAYS_SO}|{_of_remarks('gone_or_wrong')})\b"
    rf"|^\s*(?:{pattern('whole_remarks')}|{_of_remarks('gone')}){_END}"
    rf"|^\W*(?:(?:has|have|now)\W+)?joined\s+(?:the\s+)?(?:{pattern('parties')})\W*$"
)
_IS_NO_MEMBER: Final = (
    rf"(?i)^\W*(?:{_of_remarks('examples')})(?:\W|$)|^\W*(?:{_of_remarks('others')}){_END}"
    rf"|^\W*(?:{_of_remarks('duplicates')})(?:\W+(?:of|van|with|entry|record|row|ry|see|sien)\b.*)?{_END}"
)
_WAS_NOT_PAID: Final = (
    rf"(?i)(?:^|\W)(?:{_of_remarks('failed_payment')})(?:\W|$)"
    rf"|^\s*(?:{_of_remarks('whole_failed_payment')})(?:\s*[-:,(].*)?{_END}"
)
_FIELD: Final = f"(?:{_of_remarks('fields')})"
#: "Surname now Zwane", "new cell 0821234567", "id no incorrect".
_CORRECTS: Final = (
    rf"(?i)\b{_FIELD}\b\W+(?:(?:is|has|was|number|no|nr|nommer|address)\W+)*"
    rf"(?:{_of_remarks('after_field')})(?:\W|$)"
    rf"|^\W*(?:{_of_remarks('before_field')})\W+(?:(?:is|his|her|the|die)\W+)?{_FIELD}\b"
    rf"|(?i:\b(?:{_of_remarks('new_surname')})\b)"
)
_ID_NUMBER: Final = r"(?:^|[^0-9])([0-9]{6}[ -]?[0-9]{4}[ -]?[0-9]{3})(?:[^0-9]|$)"
#: What may be in a cell under any header. Few cells of a file have it, and only these are looked
#: at closely.
_ANY: Final = f"{_HAS_LEFT}|{_IS_NO_MEMBER}|{_WAS_NOT_PAID}|{_CORRECTS}|{_ID_NUMBER}"
#: "Not deceased", which says the opposite. Phrases with a "not" of their own aren't taken apart.
_NOT: Final = (
    r"(?i)\b(?:not|never|isn.?t|nie|nooit)\s+(?:yet\s+|been\s+|to\s+be\s+)*"
    rf"(?:{pattern('deniable')})\b"
)
#: Another person of whom a remark may say so.
_RELATIVE: Final = (
    r"(?i)\b(?:husband|wife|spouse|father|mother|parents?|son|daughter|child|brother|sister|partner"
    r"|vader|moeder|ouers?|vrou|eggenoot)\b[ ,:]*(?:(?:is|has|have|was|were|both) )*"
    r"(?:deceased|died|dead|passed (?:away|on)|oorlede)\b"
)
#: Headers such as "Deceased?" or "Date of death", under which any cell but these says so.
_HEADER: Final = (
    r"(?i)^\W*date\W+out\W*$"
    r"|^\W*(?:(?:date|day|reason|datum|rede)\W+(?:(?:of|for|van|vir)\W+)?)?(?:member\W+)?"
    r"(?:is\W+|has\W+|to\W+be\W+)?(?:deceased|death|died|resigned|resignation|resign|suspended"
    r"|suspension|expelled|expulsion|left|leaving|left\W+on|removed?|removal|deleted?|terminated"
    r"|termination|cancelled|canceled|cancellation|inactive|exit|exited|withdrawn|withdrawal"
    r"|dod|struck\W+off|dismissed|dismissal|retrenched|opt(?:ed)?\W*out"
    r"|do\W+not\W+contact|unsubscribed?|blacklisted|barred|blocked|deregistered|transferred\W+out"
    r"|oorlede|sterfdatum|bedank|geskors|uitgetree|uittree"
    r"|verwyder|gekanselleer|onaktief|ushonile|hlokahetse)"
    r"\W*(?:date|datum|reason|rede|member|membership)?"
    rf"\W*{YES_NO}\W*$"
)
#: Headers such as "Active?", under which only a "no" says so.
_INVERSE: Final = (
    r"(?i)^\W*(?:is\W+|still\W+|nog\W+)*(?:an?\W+|in\W+|'n\W+|steeds\W+)*(?:active|aktief|aktiewe"
    r"|good\W+standing|current|alive|living|member|lid|lewend)(?:\W+(?:member|membership|lid))?"
    rf"\W*(?:still)?\W*{YES_NO}\W*$"
)
_SAYS_NO: Final = (
    rf"(?i)^\s*(?:{PLAIN_NO}|{_CROSS}|f|0+(?:[.,]0+)?|inactive|onaktief|no longer.*"
    r"|dec|res|term|susp|inact"
    r"|(?:not|nie)(?:\W+(?:an?|in|'n|meer|yet|currently))*"
    r"(?:\W+(?:active|aktief|members?|lid|good\W+standing|current|alive))?)\W*$"
)
_NO: Final = (
    rf"(?i)^\s*(?:{PLAIN_NO}|f|0+(?:[.,]0+)?|none|nil|n\W?a\W?|not\b.*|nie\b.*"
    r"|unknown|alive|living|lewend|active|aktief|current|member|lid|never|nooit|[-\u2013\u2014.?]+)?\s*$"
)
#: Errors of formulas, as a look-up in the list of the dead has for everybody else.
_ERROR: Final = r"^\s*(?:#|Err:)"
#: Headers of what became of a payment: "Payment Status", "Bank Response".
_OF_PAYMENT: Final = (
    r"(?i)\b(?:pay(?:ment)?|paid|debit|deduction|collection|bank|betaling|betaal|debiet|aftrekking)"
    r"\b.*\b(?:status|response|result|outcome|reason|returned?|uitslag|antwoord|rede)\b"
)
#: Headers such as "Paid?", under which a "no" says that it didn't come.
_IS_PAID: Final = (
    r"(?i)^\W*(?:(?:is|has|fees?|subs?|subscription|membership|amount)\W+)*(?:paid|betaal"
    r"|(?:payment|betaling)\W+(?:received|made|successful|cleared|ontvang)|ubhadele|ukhokhile|uhlawule)"
    rf"\W*{YES_NO}\W*$"
)
#: Headers of what is done with the member, as in a list of changes of an employer.
OF_CHANGE: Final = (
    r"(?i)^\W*(?:action|movement|change|transaction|instruction|aksie|beweging|verandering)s?"
    r"(?:\W+(?:type|code|required|needed|tipe))?\W*$|^\W*type\W+of\W+(?:change|transaction)\W*$"
)
#: Headers of what the person is to the member: "Relationship to main member".
_OF_RELATION: Final = (
    r"(?i)^\W*(?:relation(?:ship)?|verwantskap|ubudlelwane)\b(?:\W+(?:to|with|aan|met)\b.*)?\W*$"
    r"|^\W*(?:(?:member|person|life|lives?|lid)\W*)?(?:type|category|class|tipe|kategorie)\W*$"
)
#: Headers such as "Member/Dependant", under which a letter says which.
_OF_DEPENDANTS: Final = (
    r"(?i)^\W*(?:member|main|principal|lid)\W+(?:or\W+|of\W+)?(?:dep|dependa?nts?|afhanklikes?)\W*$"
)
#: The first of these may also be what the next of kin is to the member.
_BARE_RELATION: Final = r"(?i)^\W*(?:relation(?:ship)?|verwantskap|ubudlelwane)\W*$"
#: Headers of a consent or a decision on an application, under which a "no" refuses it.
_OF_CONSENT: Final = (
    r"(?i)\b(?:consent|consents|popia?|agree|approved|approval|accepted|acceptance|toestemming"
    r"|goedgekeur|aanvaar|imvume)\b|\b(?:application|aansoek)\W+status\b"
)
#: Headers of whose number another column has: "Belongs to", "Phone Type".
_OF_OWNER: Final = (
    r"(?i)\b(?:belong(?:s|ing)?\W+to|behoort\W+aan|owners?|owned\W+by|whose)\b"
    r"|^\W*(?:(?:tele|cell)?phone|cell|contact|number|nommer|tel)\W*(?:no\W*|number\W*)?type\W*$"
)
#: Consents to something else than membership.
_OF_OTHER_CONSENT: Final = (
    r"(?i)\b(?:marketing|photo\w*|pictures?|images?|sms|smses|whatsapp|e?-?mails?|newsletters?|contact"
    r"|contacted|bemarking|foto\w*|debit|deduction|payment)\b"
)
_REFUSES: Final = (
    rf"(?i)^\s*(?:{PLAIN_NO}|{_CROSS}|i\s+do\s+not\b.*|i\s+don.?t\b.*|not\b.*|nie\b.*|rejected|declined|refused"
    r"|denied|pending|awaiting.*|withdrawn|afgekeur|geweier|hangende)\W*$"
)
_IS_REFUSED: Final = rf"(?i)^\s*(?:{_of_remarks('refused')}){_END}"
#: Fields that are read and may say so.
_READ: Final = ("status", "subscription")
#: A cell's meaning under headers of a kind: the code, and what the header and the cell have.
_BELOW: Final = (
    (NOT_PAID, _OF_PAYMENT, rf"(?i)\b(?:{_of_remarks('below_payment')})\b"),
    (NOT_PAID, _IS_PAID, rf"(?i)^\s*(?:{PLAIN_NO}|{_CROSS}|{_of_remarks('below_payment')}){_END}"),
    (LEFT, OF_CHANGE, rf"(?i)^\W*(?:{_of_remarks('of_leaving')}){_END}"),
    (NO_MEMBER, _OF_RELATION, rf"(?i)^\W*(?:{_of_remarks('relatives')})(?:\W*[0-9]+)?{_END}"),
    (LEFT, _OF_OWNER, rf"(?i)^\W*(?:his|her|my|sy|haar)?\W*(?:{_of_remarks('relatives')}){_END}"),
    (NO_MEMBER, _OF_DEPENDANTS, r"(?i)^\s*(?:d|dep|a|afh)\W*$"),
    (NO_MEMBER, _OF_CONSENT, _REFUSES),
)
_HEADERS: Final = (_HEADER, _INVERSE, _OF_OTHER_CONSENT, *(header for _, header, _ in _BELOW))


def doubts(
    sheet: Sheet, headers: dict[str, str], values: pl.DataFrame, today: dt.date
) -> Iterator[pl.DataFrame]:
    """The warnings on the cells that say so, as ``normalise`` has them.

    They are those of columns that aren't read, of the status and the type of the membership, which
    are, and of corrections, which may be remarks. An unread column's header is added to
    ``headers``, under the name that its warnings have. ``values`` has what was read of the rows: it
    matters only of those with a payment's date or amount whether it came. What a workbook of
    refused rows says of its former values isn't looked at.
    """
    former = reasons(sheet.frame.columns)
    pays = pl.col("last_payment").is_not_null() | pl.col("membership_amount").is_not_null()
    own = values.select(has_payment=pays, number="id_number", today=pl.lit(today))
    others = {
        header
        for header in sheet.columns.unknown
        if is_of_other_person(header) and not re.search(_OF_DEPENDANTS, header)
    }
    every = [*sheet.columns.unknown, *itertools.chain(*sheet.columns.headers.values())]
    kinds = kinds_of(every, _HEADERS)
    for number, header in enumerate(sheet.columns.unknown, start=1):
        is_of_kin = others and re.search(_BARE_RELATION, header)
        if not (is_of_kin or header in others or header in former or is_legend(header)):
            name = f"remark/{number}"
            yield from _of_column(sheet, header, kinds[header], name, headers, own)
    for field, found in sheet.columns.headers.items():
        for number, header in enumerate(found, start=1):
            if field in _READ or is_correction(header):
                name = field if number == 1 else f"{field}/{number}"
                name = name if field in _READ else f"remark/{name}"
                yield from _of_column(sheet, header, kinds[header], name, headers, own)


def kinds_of(headers: Sequence[str], patterns: Sequence[str]) -> dict[str, Sequence[bool]]:
    """Which of the patterns each header has.

    By polars: its patterns take a header of any length in linear time. For all at once: reading a
    pattern takes a millisecond, and a file may have hundreds of columns.
    """
    texts = pl.Series("header", headers, pl.String).to_frame()
    header = pl.col("header")
    found = texts.select(
        header.str.contains(one).alias(str(number)) for number, one in enumerate(patterns)
    )
    return dict(zip(headers, found.rows(), strict=True))


def texts_below(sheet: Sheet, header: str) -> pl.Series | None:
    """The cells of a column; None where it has no text."""
    # By position: a header such as "^ID$" would be a pattern.
    cells = sheet.frame.to_series(sheet.frame.get_column_index(header))
    return None if cells.dtype != pl.String or cells.null_count() == len(cells) else cells


def _of_column(
    sheet: Sheet,
    header: str,
    kinds: Sequence[bool],
    name: str,
    headers: dict[str, str],
    own: pl.DataFrame,
) -> Iterator[pl.DataFrame]:
    if (cells := texts_below(sheet, header)) is None:
        return
    cells = cells.alias("value")
    field = name.partition("/")[0]
    found = _said(cells, header, kinds, own, is_status=field == "status")
    said = {code: where for code, where in found.items() if where.any()}
    if not said:
        return
    seen = cells.str.contains(_ERROR).fill_null(value=True)
    for code, where in said.items():
        says_so = where.fill_null(value=False) & ~seen
        if says_so.any():
            seen |= says_so
            headers.setdefault(name, header)
            raw = pl.DataFrame([sheet.frame[ROW_NUMBER], cells.alias(name)])
            yield select(raw, says_so, name, code)


def _said(
    cells: pl.Series, header: str, kinds: Sequence[bool], own: pl.DataFrame, *, is_status: bool
) -> dict[str, pl.Series]:
    """The cells that say something, by the code of what they say."""
    leaves, stays, is_other_consent, *below = kinds
    found = dict(_of_cells(cells, own))
    if leaves:
        found[LEFT] = ~cells.str.contains(_NO)
    elif stays or is_status:
        found[LEFT] = found[LEFT] | cells.str.contains(_SAYS_NO)
    if is_status:
        found[NO_MEMBER] = found[NO_MEMBER] | cells.str.contains(_IS_REFUSED)
    for (code, of, cell), applies in zip(_BELOW, below, strict=True):
        if applies and not (of is _OF_CONSENT and is_other_consent):
            found[code] = found[code] | cells.str.contains(cell)
            if code is NOT_PAID:
                found[LEFT] = found[LEFT] & ~found[code]
    found[NOT_PAID] = found[NOT_PAID] & own["has_payment"]
    if is_correction(header):
        # They have a rule of their own.
        del found[CORRECTS]
    return found


def _of_cells(cells: pl.Series, own: pl.DataFrame) -> Iterator[tuple[str, pl.Series]]:
    """What the cells say under any header."""
    nowhere = pl.repeat(value=False, n=len(cells), eager=True)
    rows = cells.str.contains(_ANY).fill_null(value=False).arg_true()
    if rows.is_empty():
        yield from ((code, nowhere) for code in (LEFT, NOT_PAID, NO_MEMBER, CORRECTS))
        return
    some = cells.gather(rows)
    bare = some.str.replace_all(_RELATIVE, "").str.replace_all(_NOT, "")
    for code, where in (
        (LEFT, bare.str.contains(_HAS_LEFT)),
        (NOT_PAID, some.str.contains(_WAS_NOT_PAID)),
        (NO_MEMBER, some.str.contains(_IS_NO_MEMBER)),
        (CORRECTS, some.str.contains(_CORRECTS) | _has_other_number(some, own[rows])),
    ):
        yield code, nowhere.clone().scatter(rows, where)


def _has_other_number(cells: pl.Series, own: pl.DataFrame) -> pl.Series:
    """Which cells hold another person's ID number than the row's own."""
    digits = pl.col("cell").str.extract(_ID_NUMBER).str.replace_all("[ -]", "")
    other = own.insert_column(0, cells.alias("cell")).with_columns(digits.alias("other"))
    is_other = is_valid(pl.col("other"), other["today"][0])
    return other.select(is_other & pl.col("other").ne_missing(pl.col("number"))).to_series()
