"""Settings: what the environment may say and how it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio.connection import parse_url

from rollbook import config
from rollbook.accounts import tokens
from rollbook.backends.redis import read_sentinel_address
from rollbook.config import Settings
from rollbook.config.secret_files import OF_STORES, is_secret
from rollbook.errors import ConfigurationError
from tests.hung_share import hung

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the developer's own, and no .env file."""
    for name, field in Settings.model_fields.items():
        monkeypatch.delenv(f"ROLLBOOK_{name.upper()}", raising=False)
        if isinstance(field.validation_alias, str):
            monkeypatch.delenv(field.validation_alias, raising=False)
    monkeypatch.chdir(tmp_path)


def test_without_any_setting_the_engines_are_the_embedded_ones() -> None:
    settings = config.load()
    assert settings.given_database_address is None
    assert settings.given_redis_address is None
    with pytest.raises(ConfigurationError, match="DATABASE_URL is not set"):
        _ = settings.database_address


def test_the_four_names_of_the_first_system_make_one_redis_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_HOST", "redis.example.org")
    monkeypatch.setenv("REDIS_PORT", "6380")
    monkeypatch.setenv("REDIS_PASSWORD", "p@ss/word")
    monkeypatch.setenv("REDIS_DB", "3")
    assert config.load().redis_address == "redis://:p%40ss%2Fword@redis.example.org:6380/3"


def test_redis_url_wins_over_the_four_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_HOST", "other.example.org")
    monkeypatch.setenv("REDIS_URL", "redis://redis.example.org/1")
    assert config.load().redis_address == "redis://redis.example.org/1"


def test_sentinels_and_tls_are_part_of_the_one_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ca_file = tmp_path / "our ca.pem"
    monkeypatch.setenv("REDIS_HOST", "left.example.org")
    monkeypatch.setenv("REDIS_SENTINELS", "a.example.org:26379, b.example.org")
    monkeypatch.setenv("REDIS_SENTINEL_MASTER", "members")
    monkeypatch.setenv("REDIS_SENTINEL_PASSWORD", "an&other")
    monkeypatch.setenv("REDIS_PASSWORD", "p@ss")
    monkeypatch.setenv("REDIS_DB", "2")
    monkeypatch.setenv("REDIS_TLS", "true")
    monkeypatch.setenv("REDIS_CA_FILE", str(ca_file))
    address = config.load().redis_address
    found = read_sentinel_address(address)
    assert found.sentinels == (("a.example.org", 26379), ("b.example.org", 26379))
    assert (found.master, found.password) == ("members", "an&other")
    server = parse_url(found.server)
    assert (server["password"], server["db"]) == ("p@ss", 2)
    assert server["ssl_ca_certs"] == str(ca_file)  # type: ignore[typeddict-item]
    # A process that is started with the address comes to the same.
    monkeypatch.setenv("REDIS_URL", address)
    assert config.load().redis_address == address


def test_the_certificates_are_for_an_address_with_tls_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_CA_FILE", "/etc/ca.pem")
    monkeypatch.setenv("REDIS_URL", "redis://plain.example.org/0")
    assert config.load().redis_address == "redis://plain.example.org/0"
    monkeypatch.setenv("REDIS_URL", "rediss://tls.example.org/0")
    assert config.load().redis_address == "rediss://tls.example.org/0?ssl_ca_certs=/etc/ca.pem"
    monkeypatch.setenv("REDIS_URL", "rediss://tls.example.org/0?ssl_ca_certs=/own.pem")
    assert config.load().redis_address == "rediss://tls.example.org/0?ssl_ca_certs=/own.pem"


def test_a_dotenv_file_is_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("ROLLBOOK_CONCURRENCY=7\nROLLBOOK_ATTEMPTS=4\n")
    monkeypatch.setenv("ROLLBOOK_ATTEMPTS", "5")
    settings = config.load()
    assert (settings.concurrency, settings.attempts) == (7, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROLLBOOK_CONCURRENCY", "0"),
        ("ROLLBOOK_PORT", "70000"),
        ("ROLLBOOK_LOG_FORMAT", "xml"),
        ("REDIS_PORT", "many"),
    ],
)
def test_a_value_that_does_not_fit_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        config.load()


def test_a_time_zone_is_one_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.load().time_zone == "Africa/Johannesburg"
    for name in ("Johannesburg", "../etc/passwd", "+02:00"):
        monkeypatch.setenv("ROLLBOOK_TIME_ZONE", name)
        with pytest.raises(ConfigurationError, match=r"ROLLBOOK_TIME_ZONE.*no time zone"):
            config.load()


@pytest.mark.parametrize("name", ["../gp", "/gp", "a/b", "..", "", ".taking", "processed", "a\\b"])
def test_a_mapped_sub_folder_has_a_plain_name_of_its_own(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ROLLBOOK_WATCH_OWNERS", json.dumps({name: "gp@example.org"}))
    with pytest.raises(ConfigurationError, match="ROLLBOOK_WATCH_OWNERS"):
        config.load()


def test_reports_can_not_be_kept_for_less_than_a_week(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLBOOK_REPORT_RETENTION_DAYS", "6")
    with pytest.raises(ConfigurationError, match="ROLLBOOK_REPORT_RETENTION_DAYS"):
        config.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROLLBOOK_SECRET_KEY", "short"),
        ("ROLLBOOK_FORMER_SECRET_KEYS", f"{'k' * 40}, short"),
    ],
)
def test_a_short_signing_key_is_refused_at_once(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"{name}: .*32 bytes"):
        config.load()


def test_a_signing_key_is_made_once_and_readable_by_its_owner_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROLLBOOK_DATA_DIR", str(tmp_path / "data"))
    first = tokens.signing_key(config.load())
    tokens._stored_key.cache_clear()  # as another process
    assert tokens.signing_key(config.load()) == first
    assert len(first) >= 32
    assert (tmp_path / "data" / "secret.key").stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret.key"]


def test_a_signing_key_is_known_while_its_folder_hangs(tmp_path: Path) -> None:
    """Each request needs it, in the event loop."""
    (tmp_path / "data").mkdir()
    settings = Settings(_env_file=None, data_dir=tmp_path / "data")
    first = tokens.signing_key(settings)
    with hung(tmp_path / "data"):
        assert tokens.signing_key(settings) == first


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hidden@db/x")
    monkeypatch.setenv("ROLLBOOK_ADMIN_PASSWORD", "hidden")
    assert "hidden" not in repr(config.load())


def test_another_process_comes_to_the_same_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("ROLLBOOK_STORE_URL=s3://elsewhere/x\n")
    settings = Settings(
        _env_file=None,
        database_url=SecretStr("postgresql://a/b"),
        redis_url=SecretStr("redis://c/1"),
        data_dir=tmp_path,
        secret_key=SecretStr("k" * 40),
        concurrency=7,
        max_wait_min=2.5,
        watch_dir=tmp_path,
        watch_owners={"gp": "gp@example.org"},
    )
    for name, value in config.environment_for(settings).items():
        monkeypatch.setenv(name, value)
    there = config.load()
    assert there.store_address == settings.store_address
    assert tokens.signing_key(there) == "k" * 40
    assert there.model_copy(update={"store_url": None}) == settings


def test_every_setting_is_in_the_reference() -> None:
    reference = (DOCS / "reference" / "settings.md").read_text()
    names = [
        field.validation_alias
        if isinstance(field.validation_alias, str)
        else f"ROLLBOOK_{name.upper()}"
        for name, field in Settings.model_fields.items()
    ]
    assert [name for name in names if f"| `{name}` |" not in reference] == []


def _give_an_account(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ROLLBOOK_VOTER_ROLL_URL", url)
    monkeypatch.setenv("ROLLBOOK_VOTER_ROLL_USERNAME", "office")
    monkeypatch.setenv("ROLLBOOK_VOTER_ROLL_PASSWORD", "hidden")


@pytest.mark.parametrize("missing", ["URL", "USERNAME", "PASSWORD"])
def test_the_voter_roll_is_off_unless_address_and_account_are_all_given(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    assert not config.load().asks_voter_roll
    _give_an_account(monkeypatch, "https://roll.example.org/")
    assert config.load().asks_voter_roll
    monkeypatch.delenv(f"ROLLBOOK_VOTER_ROLL_{missing}")
    assert not config.load().asks_voter_roll


def test_id_numbers_are_sent_to_another_machine_over_https_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for url in ("http://roll.example.org", "ftp://roll.example.org", "roll.example.org"):
        _give_an_account(monkeypatch, url)
        with pytest.raises(ConfigurationError, match="VOTER_ROLL_URL"):
            config.load()
    _give_an_account(monkeypatch, "http://127.0.0.1:8080/")
    assert config.load().voter_roll_url == "http://127.0.0.1:8080"


def test_the_demonstration_asks_no_roll_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _give_an_account(monkeypatch, "https://roll.example.org")
    addresses = {"database_url": SecretStr("postgresql://a/b"), "redis_url": SecretStr("redis://c")}
    settings = config.load().model_copy(update={**addresses, "voter_roll_enabled": False})
    for name, value in config.environment_for(settings).items():
        monkeypatch.setenv(name, value)
    assert not config.load().asks_voter_roll


KEY = "whsec_" + "a" * 32


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WEBHOOK_URL": "https://hooks.example.org/x"}, "needs a secret"),
        ({"WEBHOOK_URL": "http://hooks.example.org/x", "WEBHOOK_SECRET": KEY}, "https://"),
        ({"WEBHOOK_URL": "https://me:pw@hooks.example.org", "WEBHOOK_SECRET": KEY}, "no user"),
        ({"WEBHOOK_URL": "https://hooks.example.org", "WEBHOOK_SECRET": "whsec_YQ=="}, "24 to 64"),
        ({"WEBHOOK_URL": "https://hooks.example.org", "WEBHOOK_SECRET": "not base64!"}, "WEBHOOK"),
        ({"WEBHOOK_ALLOWED_NETWORKS": "10.0.0.0/8, somewhere"}, "WEBHOOK_ALLOWED_NETWORKS"),
        ({"SMTP_HOST": "mail.example.org"}, "sender"),
        ({"SMTP_HOST": "mail.example.org", "SMTP_FROM": "nobody"}, "sender"),
        ({"SMTP_HOST": "mail.example.org", "SMTP_FROM": "a@b.org", "SMTP_TLS": "none",
          "SMTP_PASSWORD": "secret"}, "clear text"),
        ({"PUBLIC_URL": "rollbook.example.org"}, "must begin with"),
    ],
)  # fmt: skip
def test_notifications_that_could_not_be_sent_safely_are_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"ROLLBOOK_{name}", value)
    with pytest.raises(ConfigurationError, match=words) as refused:
        config.load()
    assert "me:pw" not in str(refused.value)


def test_notifications_go_where_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.load().notification_channels == ("office_webhook",)
    for name, value in {
        "SMTP_HOST": "mail.example.org",
        "SMTP_FROM": "rollbook@example.org",
        "WEBHOOK_ALLOWED_NETWORKS": "10.0.0.0/8, fd00::/8",
        "WEBHOOK_URL": "http://10.1.2.3/hook",
        "WEBHOOK_SECRET": f"{KEY} {KEY}",
    }.items():
        monkeypatch.setenv(f"ROLLBOOK_{name}", value)
    settings = config.load()
    assert settings.notification_channels == ("office_webhook", "email", "webhook")
    assert settings.model_copy(update={"notifications_enabled": False}).notification_channels == ()
    assert len(settings.webhook_keys) == 2
    assert [str(network) for network in settings.webhook_networks] == ["10.0.0.0/8", "fd00::/8"]


# --- secrets in files -----------------------------------------------------------------------------


def secret_names() -> list[str]:
    return [
        str(field.validation_alias or f"ROLLBOOK_{name.upper()}")
        for name, field in Settings.model_fields.items()
        if is_secret(field)
    ]


def test_every_secret_can_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = secret_names()
    assert {"DATABASE_URL", "REDIS_PASSWORD", "ROLLBOOK_SECRET_KEY"} <= set(names)
    monkeypatch.setenv("ROLLBOOK_SMTP_USERNAME", "mailer")
    monkeypatch.setenv("ROLLBOOK_VOTER_ROLL_URL", "https://roll.example.org")
    monkeypatch.setenv("ROLLBOOK_VOTER_ROLL_USERNAME", "office")
    secrets = {name: f"https://a-secret-of-{name.lower()}.example.org" for name in names}
    secrets["DATABASE_URL"] = "postgresql://rollbook:a-secret@db.example.org/members"
    secrets["ROLLBOOK_WEBHOOK_SECRET"] = "bWVtYmVycyBvZiBhIHN5bnRoZXRpYyBvZmZpY2U="
    for name, secret in secrets.items():
        path = tmp_path / name
        path.write_text(f"{secret}\n", encoding="utf-8")
        monkeypatch.setenv(f"{name}_FILE", str(path))
    environment = config.environment_for(config.load())
    assert {name: environment[name] for name in names} == secrets
    # A process of ours gets the secrets themselves: with both it would refuse to start.
    assert not {f"{name}_FILE" for name in names} & set(environment)


@pytest.mark.parametrize(
    "address", ["mysql://u:hidden@db/x", "postgresql+asyncpg://u:hidden@db/x", "hidden"]
)
def test_an_address_that_is_not_postgresqls_is_refused_without_its_password(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", address)
    with pytest.raises(ConfigurationError, match="postgresql://user:password@host") as raised:
        config.load()
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("address", ["postgres://db/x", "host=/run/postgresql dbname=x"])
def test_every_form_of_libpq_is_an_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", address)
    assert config.load().database_address == address


def test_a_file_that_dotenv_names_is_read(tmp_path: Path) -> None:
    (tmp_path / "database").write_text("postgresql://db.example.org/members", encoding="utf-8")
    (tmp_path / ".env").write_text(f"DATABASE_URL_FILE={tmp_path}/database\n", encoding="utf-8")
    assert config.load().database_address == "postgresql://db.example.org/members"


def test_the_keys_of_a_bucket_can_be_in_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in OF_STORES:
        monkeypatch.setenv(name, "was not set")  # is put back as it was
        monkeypatch.delenv(name)
        (tmp_path / name).write_text(f"{name.lower()}\n", encoding="utf-8")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    environment = config.environment_for(config.load())
    assert {name: environment[name] for name in OF_STORES} == {
        name: name.lower() for name in OF_STORES
    }
    # A process of ours would refuse both.
    assert not {f"{name}_FILE" for name in OF_STORES} & set(environment)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY_FILE", str(tmp_path / "AWS_SECRET_ACCESS_KEY"))
    with pytest.raises(ConfigurationError, match="Both AWS_SECRET_ACCESS_KEY and"):
        config.load()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "which can't be read \\(No such file or directory\\)"),
        (b"", "which is empty"),
        (b"\n", "which is empty"),
        (b"\xff", "which is not UTF-8"),
        (b"x" * 70_000, "which is longer than 64 KB"),
    ],
)
def test_a_file_that_holds_no_secret_is_named(
    content: bytes | None, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("ROLLBOOK_SECRET_KEY_FILE", str(path))
    with pytest.raises(ConfigurationError, match=f"ROLLBOOK_SECRET_KEY_FILE names .*{problem}"):
        config.load()


def test_a_secret_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("one", encoding="utf-8")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("DATABASE_URL", "postgresql://other.example.org/members")
    with pytest.raises(ConfigurationError, match="Both DATABASE_URL and DATABASE_URL_FILE"):
        config.load()


def test_a_name_that_is_no_setting_is_found_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROLLBOOK_CONCURENCY", "8")
    monkeypatch.setenv("ROLLBOOK_SECRET_KEY_FILE", "/run/secrets/key")
    monkeypatch.setenv("ROLLBOOK_PORT_FILE", "/run/port")  # a port is no secret
    unknown = config.unknown_names()
    assert unknown["ROLLBOOK_CONCURENCY"] == "ROLLBOOK_CONCURRENCY"
    assert "ROLLBOOK_SECRET_KEY_FILE" not in unknown
    assert "ROLLBOOK_PORT_FILE" in unknown


def test_a_settings_file_that_is_no_text_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"ROLLBOOK_PORT=8001 # caf\xe9\n")
    with pytest.raises(ConfigurationError, match=r"\.env of this folder .*no UTF-8 text"):
        config.load()


def test_a_folder_that_may_not_be_read_is_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def denied(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", denied)
    with pytest.raises(ConfigurationError, match=r"\.env of this folder .*Permission denied"):
        config.load()
