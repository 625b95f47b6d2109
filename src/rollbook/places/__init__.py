"""The register of South Africa's provinces, districts and municipalities, and the names in use.

A place has one code and one official name; everything else compares those. ``register.toml`` is
the data, ``register`` finds a place by what somebody wrote.
"""

from rollbook.places.register import (
    Found,
    Municipality,
    Province,
    find_municipality,
    find_province,
    is_district,
    municipalities,
    municipality_of_ward,
    nearest_municipalities,
    nearest_provinces,
    provinces,
    ward_codes,
)

__all__ = [
    "Found",
    "Municipality",
    "Province",
    "find_municipality",
    "find_province",
    "is_district",
    "municipalities",
    "municipality_of_ward",
    "nearest_municipalities",
    "nearest_provinces",
    "provinces",
    "ward_codes",
]
