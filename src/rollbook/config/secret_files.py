"""Secrets from files: ``NAME_FILE`` names a file whose text is the secret ``NAME``.

Docker, Kubernetes and systemd hand secrets over as files, which no list of processes shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import SecretStr
from pydantic_settings import EnvSettingsSource, PydanticBaseSettingsSource

from rollbook.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

#: The most bytes that a file of a secret has; a longer one is not a secret.
MOST_BYTES = 64 * 1024
#: Secrets that the object store's own client reads from the environment.
OF_STORES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
)
#: After the name of a secret setting, in the name of the one for its file.
ENDING = "_FILE"


class SecretFiles(PydanticBaseSettingsSource):
    """The secrets whose files are named in the environment or in ``.env``."""

    def __init__(
        self, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource
    ) -> None:
        super().__init__(settings_cls)
        #: What is set, by names in lower case; the first source wins.
        self._given: dict[str, str] = {}
        for source in sources:
            assert isinstance(source, EnvSettingsSource)
            self._given |= {
                name: text
                for name, text in source.env_vars.items()
                if text and name not in self._given
            }

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The secret, None where no file is named; the setting's name; and that it isn't JSON.

        Raises:
            ConfigurationError: the file can't be used, or the secret is given as well.
        """
        name = environment_name(field_name, field)
        path = self._given.get((name + ENDING).lower()) if is_secret(field) else None
        if path is None:
            return None, name, False
        if name.lower() in self._given:
            raise ConfigurationError(f"Both {name} and {name}{ENDING} are set. Remove one of them.")
        return _read(name + ENDING, Path(path)), name, False

    def __call__(self) -> dict[str, Any]:
        """The secrets that are in files, by the names that the settings take."""
        found = {
            field_name: self.get_field_value(field, field_name)
            for field_name, field in self.settings_cls.model_fields.items()
        }
        return {name: text for name, (text, _, _) in found.items() if text is not None}


def read_secrets_of_stores(environment: MutableMapping[str, str]) -> None:
    """Put the secrets of object stores whose files are named where their clients read them.

    Raises:
        ConfigurationError: a file can't be used, or the secret is given as well.
    """
    for name in OF_STORES:
        path = environment.get(name + ENDING)
        if not path:
            continue
        if environment.get(name):
            raise ConfigurationError(f"Both {name} and {name}{ENDING} are set. Remove one of them.")
        environment[name] = _read(name + ENDING, Path(path))
        del environment[name + ENDING]  # a process of ours gets the secret itself


def environment_name(field_name: str, field: FieldInfo) -> str:
    """The name of a setting in the environment."""
    return str(field.validation_alias or f"ROLLBOOK_{field_name.upper()}")


def is_secret(field: FieldInfo) -> bool:
    """Whether the field holds a secret."""
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _read(name: str, path: Path) -> str:
    """The text of a file, without the line end that editors and `echo` add.

    Raises:
        ConfigurationError: it can't be read, is empty or far too long.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(
            f"{name} names {str(path)!r}, which can't be read ({error.strerror})."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name} names {str(path)!r}, which is not UTF-8.") from error
    if not text or len(content) > MOST_BYTES:
        what = "is empty" if not text else f"is longer than {MOST_BYTES // 1024} KB"
        raise ConfigurationError(f"{name} names {str(path)!r}, which {what}: that is no secret.")
    return text
