"""Rollbook takes members' spreadsheets into PostgreSQL and says what became of each row."""


def __getattr__(name: str) -> str:
    """``__version__``; what reads it takes longer to load than most of the command line."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import version  # noqa: PLC0415

    return version("rollbook")
