"""Own fields: how their cells are read, which rules they must satisfy, how they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook import fields
from rollbook.fields.file import MOST_TEXT, whole
from rollbook.pipeline.cells import Understood, also_doubted, nulls
from rollbook.pipeline.columns import key
from rollbook.pipeline.emails import emails
from rollbook.pipeline.phones import phones

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from rollbook.fields import OwnField, Rule

YES: Final = "Yes"
NO: Final = "No"
_YES_OR_NO: Final = {
    **dict.fromkeys(
        ("yes", "y", "true", "t", "1", "x", "ja", "j", "yebo", "ewe", "ee", "eya"), YES
    ),
    **dict.fromkeys(
        ("no", "n", "false", "f", "0", "nee", "cha", "hayi", "hhayi", "tjhe", "nnyaa"), NO
    ),
}
_CELL: Final = pl.col("cell")
_DIGITS: Final = 12
#: Numbers with thousands in groups, by the separator that goes. A comma or a full stop separates
#: thousands for certain where it comes more than once, or the other one comes after it.
_GROUPED: Final = {
    " ": r"^[+-]?[1-9][0-9]{0,2}(?: [0-9]{3})+(?:[.,][0-9]+)?$",
    "'": r"^[+-]?[1-9][0-9]{0,2}(?:'[0-9]{3})+(?:[.,][0-9]+)?$",
    **{
        sign: rf"^[+-]?[1-9][0-9]{{0,2}}(?:(?:[{sign}][0-9]{{3}}){{2,}}(?:[{point}][0-9]+)?|"
        rf"[{sign}][0-9]{{3}}[{point}][0-9]+)$"
        for sign, point in ((",", "."), (".", ","))
    },
}
#: Thousands, or three decimals.
_IN_TWO_WAYS: Final = r"^[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}$"
_COMMA_IN_TWO_WAYS: Final = _IN_TWO_WAYS.replace("[.,]", ",")
_THOUSANDS: Final = 3


def of_sheet(headers: Mapping[str, object]) -> tuple[str, ...]:
    """The keys of the own fields that a file has columns of."""
    return tuple(name for name in fields.current().by_key if name in headers)


def understood(field: OwnField, texts: pl.Series) -> Understood:
    """The values of an own field's clean texts; dates are read as those of built-in fields."""
    if field.kind == "phone":
        return phones(texts)
    if field.kind == "e-mail":
        return emails(texts)
    if field.kind == "yes/no":
        values = _spelt(texts, _YES_OR_NO)
    elif field.kind == "choice":
        values = _spelt(texts, _by_key(field.rule.choices or ()))
    else:
        values = texts.to_frame("cell").select(_MEANINGS[field.kind](field)).to_series()
    return _with_doubt(Understood(values, nulls(len(texts))), texts, f"{field.key}.unclear")


def checked(name: str, rule: Rule, found: Understood) -> Understood:
    """The values of a field that satisfy its rule; each other one is left out, with a doubt."""
    values = found.values
    for check, holds in _CHECKS.items():
        limit = getattr(rule, check)
        if limit is None:
            continue
        if check == "choices":
            kept = _spelt(values, _by_key(limit))
        else:
            fits = values.to_frame("cell").select(holds(limit, values.dtype)).to_series()
            kept = values.zip_with(fits.fill_null(value=False), _null(values))
        found = _with_doubt(Understood(kept, found.doubts), values, f"{name}.{check}")
        values = found.values
    return found


def too_young(born: pl.Series, years: int, today: dt.date) -> pl.Series:
    """Whether each is younger than so many years; whose birth date isn't known is not."""
    birthday = born.to_frame("born").select(pl.col("born").dt.offset_by(f"{years}y")).to_series()
    return (birthday > today).fill_null(value=False)


def as_json(rows: pl.DataFrame) -> pl.Expr:
    """The own fields of each row as a JSON object; null where a row has none.

    Decimals and dates are texts in it.
    """
    parts = []
    for name, field in fields.current().by_key.items():
        if name not in rows.columns:
            continue
        value = pl.col(name)
        if field.kind == "integer":
            text = value.cast(pl.String)
        elif field.kind in {"decimal", "date"}:
            text = pl.lit('"') + value.cast(pl.String) + pl.lit('"')
        else:
            # {"v":"..."} without what is around the text.
            text = pl.struct(value.alias("v")).struct.json_encode().str.slice(5).str.head(-1)
        parts.append(pl.when(value.is_not_null()).then(pl.lit(f'"{field.name}":') + text))
    if not parts:
        return pl.lit(None, pl.String)
    joined = pl.concat_str(parts, separator=",", ignore_nulls=True)
    return pl.when(joined != "").then(pl.lit("{") + joined + pl.lit("}"))


def _text(field: OwnField) -> pl.Expr:
    del field
    return pl.when(_CELL.str.len_chars() <= MOST_TEXT).then(_CELL)


def _integer(field: OwnField) -> pl.Expr:
    number = _number(field)
    return number.str.extract(rf"^\+?(-?[0-9]{{1,{_DIGITS}}})(?:[.,]0+)?$").cast(pl.Int64)


def _decimal(field: OwnField) -> pl.Expr:
    places = field.decimals
    # Zeros after the last place say nothing.
    groups = _number(field).str.extract_groups(
        rf"^\+?(-?[0-9]{{1,{_DIGITS}}})(?:[.,]([0-9]{{0,{places}}})0*)?$"
    )
    behind = groups.struct.field("2").fill_null("").str.pad_end(places, "0")
    whole_ = groups.struct.field("1")
    text = whole_ + "." + behind if places else whole_
    return text.str.to_decimal(scale=places).cast(pl.Decimal(_DIGITS + 6, places))


def _number(field: OwnField) -> pl.Expr:
    """The text without a quotation mark in front, and without what separates thousands.

    Null where one separator may be of thousands or of decimals, as in ``12,500`` and ``12.500``.
    A field that has three decimals or more is written with a full stop by every program.
    """
    text = _CELL.str.strip_prefix("'")
    has_three = field.kind == "decimal" and field.decimals >= _THOUSANDS
    unclear = _COMMA_IN_TWO_WAYS if has_three else _IN_TWO_WAYS
    number: pl.Expr = pl.when(~text.str.contains(unclear)).then(text)
    for sign, form in _GROUPED.items():
        is_grouped = text.str.contains(form)
        bare = text.str.replace_all(sign, "", literal=True)
        number = pl.when(is_grouped).then(bare).otherwise(number)
    return number


_MEANINGS: Final[Mapping[str, Callable[[OwnField], pl.Expr]]] = {
    "text": _text,
    "integer": _integer,
    "decimal": _decimal,
}


def _at_least(limit: object, dtype: pl.DataType) -> pl.Expr:
    return _measured(dtype) >= pl.lit(limit)


def _at_most(limit: object, dtype: pl.DataType) -> pl.Expr:
    return _measured(dtype) <= pl.lit(limit)


def _measured(dtype: pl.DataType) -> pl.Expr:
    return _CELL.str.len_chars() if dtype == pl.String else _CELL


def _matches(pattern: str, _: pl.DataType) -> pl.Expr:
    # The engine's time is linear in the text; a text that is longer than any value has none.
    return (_CELL.str.len_chars() <= MOST_TEXT) & _CELL.str.contains(whole(pattern))


#: The checks of a rule, by their name in ``Rule`` and in the problem's code.
_CHECKS: Final[Mapping[str, Callable[..., pl.Expr]]] = {
    "choices": _matches,
    "pattern": _matches,
    "least": _at_least,
    "most": _at_most,
}


def _spelt(values: pl.Series, spellings: Mapping[str, str]) -> pl.Series:
    """The spelling of each value by its key; null where it is none of them."""
    texts = values.drop_nulls().unique()
    known = [spellings.get(key(text)) for text in texts]
    return values.replace_strict(
        texts, pl.Series(known, dtype=pl.String), default=None, return_dtype=pl.String
    )


def _by_key(choices: tuple[str, ...]) -> dict[str, str]:
    return {key(choice): choice for choice in choices}


def _with_doubt(found: Understood, before: pl.Series, code: str) -> Understood:
    """Add a doubt where there was something before, and there is no value now."""
    return also_doubted(found, before.is_not_null() & found.values.is_null(), code)


def _null(values: pl.Series) -> pl.Series:
    return pl.Series([None], dtype=values.dtype)
