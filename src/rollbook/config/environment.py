"""Settings from the environment, and back into it for other processes of ours."""

from __future__ import annotations

import difflib
import json
import os

from pydantic import SecretStr, ValidationError

from rollbook import fields
from rollbook.config.secret_files import (
    ENDING,
    environment_name,
    is_secret,
    read_secrets_of_stores,
)
from rollbook.config.settings import Settings
from rollbook.errors import ConfigurationError
from rollbook.fields import file as fields_file

#: Names that commands read, and that are no settings of an installation.
OF_COMMANDS = frozenset(
    {
        "ROLLBOOK_NEW_PASSWORD",
        "ROLLBOOK_PATIENCE_S",
        "ROLLBOOK_SERVER",
        "ROLLBOOK_TOKEN",
        "ROLLBOOK_TOKEN_FILE",
    }
)


def load(*, env_file: bool = True) -> Settings:
    """Read the settings, and the organisation's own fields where there is a file of them.

    ``.env`` is not read under ``environment_for``, where a setting that is left out is unset.

    Raises:
        ConfigurationError: a value doesn't fit; the message names each setting and why. Or
            ``.env`` can't be read. Or the fields file has a mistake; the message names its line.
    """
    read_secrets_of_stores(os.environ)
    try:
        settings = Settings() if env_file else Settings(_env_file=None)
    except ValidationError as error:
        lines = [f"  {_environment_name(e['loc'])}: {e['msg']}" for e in error.errors()]
        raise ConfigurationError("These settings can't be used:\n" + "\n".join(lines)) from None
    except (OSError, UnicodeDecodeError) as error:
        # The folder of another user too: `sudo -u rollbook rollbook ...` from /root, for example.
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigurationError(
            f"The settings in the file .env of this folder can't be read ({why}). Start Rollbook "
            "in a folder that its user may read, or correct the file."
        ) from None
    if settings.fields_file is not None:
        fields.install(fields_file.read(settings.fields_file))
    return settings


def _environment_name(location: tuple[int | str, ...]) -> str:
    name = str(location[0])
    field = Settings.model_fields.get(name)
    if field is None:  # pydantic names a field by its alias, where it has one
        return name
    return environment_name(name, field)


def unknown_names() -> dict[str, str | None]:
    """The names in the environment that begin as ours do and name no setting.

    Returns:
        The nearest setting of each; None where none is near.
    """
    known = set(OF_COMMANDS)
    for field, described in Settings.model_fields.items():
        name = environment_name(field, described)
        known |= {name, name + ENDING} if is_secret(described) else {name}
    unknown = (name for name in os.environ if name.startswith("ROLLBOOK_") and name not in known)
    return {name: next(iter(difflib.get_close_matches(name, known)), None) for name in unknown}


def environment_for(settings: Settings) -> dict[str, str]:
    """The environment under which another process of ours comes to the same settings.

    A port that was chosen here is in it.
    """
    named = settings.model_copy(
        update={
            "store_url": settings.store_address,
            "data_dir": settings.data_dir.resolve(),
            # Not resolved: that asks a share, which may hang.
            "watch_dir": settings.watch_dir.absolute() if settings.watch_dir else None,
            "fields_file": settings.fields_file.resolve() if settings.fields_file else None,
        }
    )
    values = dict(os.environ)
    for field, described in Settings.model_fields.items():
        value = getattr(named, field)
        name = environment_name(field, described)
        if is_secret(described):
            values.pop(name + ENDING, None)  # what it holds is given by value
        if value is not None:
            values[name] = _as_text(value)
        else:
            values.pop(name, None)  # it was unset on purpose
    return values


def _as_text(value: object) -> str:
    """A setting as the environment says it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return json.dumps(value) if isinstance(value, dict) else str(value)
