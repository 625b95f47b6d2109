"""The places of a batch by the register: one spelling for each, and what contradicts itself."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import polars as pl

from rollbook import places
from rollbook.pipeline.cells import Understood

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.pipeline.plausible import Found

#: Texts whose place is remembered; a file of addresses in the wrong column has many.
_REMEMBERED: Final = 20_000
#: The doubt of a place, by how it was found; one that is known by its code or name has none.
_DOUBTS: Final = {"former": "place_former_name", "near": "place_near", "town": "place_town"}
_PLACE: Final = ("province", "municipality", "ward")


class _Place(NamedTuple):
    """What a row's province, municipality and ward say together."""

    province: str | None
    municipality: str | None
    #: The ward's place, if its number shows it.
    ward_province: str | None
    ward_municipality: str | None
    #: The doubt of either cell; None where there is none.
    municipality_doubt: str | None = None
    ward_doubt: str | None = None


def provinces(texts: pl.Series) -> Understood:
    """The codes of the provinces that texts mean."""
    found = [None if text is None else _province(text) for text in texts]
    codes = [one and one.place.code for one in found]
    doubts = [
        None if text is None else _DOUBTS.get(one.how) if one else "province_unknown"
        for text, one in zip(texts, found, strict=True)
    ]
    return Understood(pl.Series(codes, dtype=pl.String), pl.Series(doubts, dtype=pl.String))


def placed(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[Found]]:
    """The frame with each row's place by the register.

    A municipality gets its official name; one that isn't in the register stays as it is. Where the
    row has no province, the municipality's is used.

    Returns:
        The frame with ``ward_province`` and ``ward_municipality``, where a ward's id of eight
        digits lies, and the doubts of its cells.
    """
    if all(frame[name].null_count() == frame.height for name in ("municipality", "ward")):
        nowhere = pl.lit(None, pl.String)
        return frame.with_columns(ward_province=nowhere, ward_municipality=nowhere), []
    says = frame.select("province", "municipality", _ward_of_eight_digits())
    each = says.unique()
    table = each.hstack(
        pl.DataFrame(
            [_place(*row) for row in each.iter_rows()],
            schema=[(f"its_{name}", pl.String) for name in _Place._fields],
            orient="row",
        )
    )
    found = says.join(table, on=_PLACE, how="left", maintain_order="left", nulls_equal=True)
    doubts = [
        doubt for field in ("municipality", "ward") for doubt in _doubts(field, found, frame[field])
    ]
    return frame.with_columns(
        province=found["its_province"],
        municipality=found["its_municipality"],
        ward_province=found["its_ward_province"],
        ward_municipality=found["its_ward_municipality"],
    ), doubts


def _ward_of_eight_digits() -> pl.Expr:
    return pl.when(pl.col("ward").str.contains("^[0-9]{8}$")).then(pl.col("ward").str.head(5))


def _doubts(field: str, found: pl.DataFrame, cells: pl.Series) -> Iterator[Found]:
    codes = found[f"its_{field}_doubt"]
    if codes.null_count() == len(codes):
        return
    kept = found["its_municipality"] if field == "municipality" else cells
    for code in codes.unique().drop_nulls().sort():
        yield field, code, (codes == code).fill_null(value=False), kept


def _place(province: str | None, text: str | None, ward: str | None) -> _Place:
    """The place that a province's code, a municipality's text and a ward's first digits mean."""
    by_ward = None if ward is None else places.municipality_of_ward(f"{ward}001")
    ward_province = None if by_ward is None else by_ward.province
    ward_municipality = None if by_ward is None else by_ward.name
    if text is None:
        is_elsewhere = by_ward is not None and province not in {None, by_ward.province}
        return _Place(
            province,
            None,
            ward_province,
            ward_municipality,
            None,
            "ward_in_other_place" if is_elsewhere else None,
        )
    found = _municipality(text, province)
    if found is None:
        code = "municipality_is_district" if places.is_district(text) else "municipality_unknown"
        return _Place(province, text, ward_province, ward_municipality, code)
    place = found.place
    doubt = _DOUBTS.get(found.how)
    if province is not None and place.province != province:
        doubt = "municipality_in_other_province"
    ward_doubt = "ward_in_other_place" if by_ward not in {None, place} else None
    return _Place(
        province or place.province, place.name, ward_province, ward_municipality, doubt, ward_doubt
    )


@lru_cache(_REMEMBERED)
def _province(text: str) -> places.Found[places.Province] | None:
    return places.find_province(text)


@lru_cache(_REMEMBERED)
def _municipality(text: str, province: str | None) -> places.Found[places.Municipality] | None:
    return places.find_municipality(text, province=province)
