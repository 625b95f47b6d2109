"""The one module that knows the environment.

Every limit of the system is a field here, with its default and its unit in the name or the
comment. ``Settings()`` reads the environment and a ``.env`` file in the working directory; the
result can't be changed.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from rollbook import languages
from rollbook.config.bounds import BoundSettings
from rollbook.config.members import MemberSettings
from rollbook.config.provider import ProviderSettings
from rollbook.config.secret_files import SecretFiles
from rollbook.config.values import (
    Positive,
    known_identities,
    known_language,
    known_roles,
    known_zone,
    split,
)
from rollbook.config.voter_roll import VoterRollSettings
from rollbook.errors import ConfigurationError

#: Sub-folders of the watched folder from which nothing is taken.
OWN_FOLDERS = frozenset({"processed", "failed", "archive"})
#: Of a key that signs tokens.
KEY_BYTES = 32


class Settings(BoundSettings, MemberSettings, ProviderSettings, VoterRollSettings):
    """All settings, frozen. Names in the environment are the fields' with ``ROLLBOOK_`` before."""

    model_config = SettingsConfigDict(
        env_prefix="ROLLBOOK_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    # --- the parts outside this process; the embedded engines serve where these are not given
    database_url: SecretStr | None = Field(None, validation_alias="DATABASE_URL")
    #: Wins over the single names below; the first four are the first system's.
    redis_url: SecretStr | None = Field(None, validation_alias="REDIS_URL")
    redis_host: str | None = Field(None, validation_alias="REDIS_HOST")
    redis_port: int = Field(6379, validation_alias="REDIS_PORT")
    redis_password: SecretStr | None = Field(None, validation_alias="REDIS_PASSWORD")
    redis_db: int = Field(0, validation_alias="REDIS_DB")
    #: Instead of redis_host and redis_port: ``host:port``, comma-separated.
    redis_sentinels: str | None = Field(None, validation_alias="REDIS_SENTINELS")
    #: The name that the Sentinels know the server by.
    redis_sentinel_master: str = Field("mymaster", validation_alias="REDIS_SENTINEL_MASTER")
    #: The Sentinels' own.
    redis_sentinel_password: SecretStr | None = Field(
        None, validation_alias="REDIS_SENTINEL_PASSWORD"
    )
    #: TLS to the server that the names above give; REDIS_URL says ``rediss:`` itself.
    redis_tls: bool = Field(default=False, validation_alias="REDIS_TLS")
    #: Certificates (PEM) of who signed the server's, where the system doesn't know them.
    redis_ca_file: Path | None = Field(None, validation_alias="REDIS_CA_FILE")

    #: Home of the embedded engines, the default file store and the secret key.
    data_dir: Path = Path("rollbook-data")
    #: ``file:///...``, ``s3://bucket/prefix``, ``gs://...`` or ``az://...``.
    store_url: str | None = None
    #: Seconds for which a call to an object store is tried again, before it counts as away.
    store_retry_s: Annotated[float, Field(ge=0)] = 10
    #: Seconds that the store gets for a step: to list files, to take or give a part of one.
    store_answer_s: Annotated[float, Field(gt=0)] = 60
    #: Take an object store whose endpoint has no TLS, on a network of your own.
    store_allow_http: bool = False

    #: By what people may be named: ``za_id`` (a South African ID number), or ``za_id,passport``.
    identities: Annotated[str, AfterValidator(known_identities)] = "za_id"
    #: The time zone in which the page, mails and sentences give times, by its name in the IANA
    #: database.
    time_zone: Annotated[str, AfterValidator(known_zone)] = "Africa/Johannesburg"

    #: The language of mails and of reports of the watched folder, where nobody has chosen one: en,
    #: af, zu or xh.
    language: Annotated[str, AfterValidator(known_language)] = languages.ENGLISH

    # --- HTTP
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    secret_key: SecretStr | None = None
    #: Keys that have signed tokens before, with spaces or commas between them: still read.
    former_secret_keys: SecretStr | None = None
    #: Former keys whose tokens are refused, likewise: people who were erased are known by them.
    erasure_keys: SecretStr | None = None
    #: Minutes that a token is good; using the system renews it, so this is also how
    #: long a sign-in outlives its use.
    token_lifetime_min: Positive = 30
    #: Minutes after which even a session in use has to sign in again.
    session_lifetime_min: Positive = 12 * 60
    #: The lowest accepted strength of a new password: zxcvbn's score, 0 (any) to 4.
    password_strength: Annotated[int, Field(ge=0, le=4)] = 3
    #: Sign-ins that may fail before the next has to wait: for one account, from one address.
    sign_in_failures: Positive = 5
    sign_in_failures_per_address: Positive = 100
    #: The same for one account, from all addresses at which it has not signed in before.
    sign_in_failures_per_account: Positive = 100
    #: Longest wait at an address at which the account has signed in before, in seconds, and for how
    #: many days such an address is known.
    sign_in_known_wait_s: Positive = 5
    sign_in_known_days: Positive = 90
    #: Seconds that the wait grows to, and minutes without a failure after which all is forgotten.
    sign_in_longest_wait_s: Positive = 15 * 60
    sign_in_forget_min: Positive = 60
    #: Roles whose accounts need a second factor, comma-separated, such as
    #: ``super_admin,national_admin``; without one they can only set it up.
    second_factor_roles: Annotated[str, AfterValidator(known_roles)] = ""
    #: Codes of an account that may be wrong before the next has to wait.
    second_factor_failures: Positive = 5
    #: Hours for which the one-time link of an invitation is good, and of a reset password.
    invitation_h: Annotated[int, Field(gt=0, le=30 * 24)] = 72
    reset_link_h: Annotated[int, Field(gt=0, le=30 * 24)] = 24
    #: Accounts that one list may invite, and seconds in which their links are mailed; links that
    #: are left are shown.
    invitations_most: Annotated[int, Field(gt=0, le=5_000)] = 500
    invitations_mail_s: Annotated[float, Field(gt=0, le=600)] = 20
    #: Days for which a key for programs is good at most, and good keys of one person.
    key_days: Positive = 365
    keys_per_user: Positive = 50
    max_upload_mb: Positive = 50
    #: What the body of any other request may hold.
    max_body_kb: Positive = 64
    #: Serve clients of the first system: their names beside ours, and no name refused as unknown.
    first_system_clients: bool = False
    #: Other sites whose pages may listen to live messages, comma-separated: ``https://a.example``.
    allowed_origins: str = ""
    #: Seconds for which a browser that used HTTPS must use nothing else; 0 asks for nothing.
    hsts_s: Annotated[int, Field(ge=0)] = 365 * 24 * 3600
    #: What a workbook may hold once it is unpacked.
    max_inflated_mb: Positive = 2048
    #: Columns of the table of members; a worksheet has 16,384, and the report some of its own.
    max_columns: Annotated[int, Field(gt=0, le=16_000)] = 2_000
    #: Whether a workbook with macros is read, as data: no macro is ever run.
    macro_workbooks: Literal["read", "refuse"] = "read"

    # --- the virus scanner; files are looked at by none unless clamd_url is given
    #: ``unix:///run/clamav/clamd.ctl`` or ``tcp://host:3310``.
    clamd_url: str | None = None
    #: Seconds that it gets for a file.
    clamd_timeout_s: Annotated[float, Field(gt=0)] = 120

    # --- the first account
    admin_email: str | None = None
    admin_password: SecretStr | None = None

    # --- limits, so that a flood from one office leaves the others served
    #: Requests of one user in a minute, and of all users of an office; a minute's worth may come at
    #: once. A page asks for something every few seconds, and an office may have a thousand people.
    requests_per_minute: Positive = 1200
    office_requests_per_minute: Positive = 30_000
    #: Uploads that may wait at a time for one user, and for an office.
    waiting_uploads_per_user: Positive = 200
    waiting_uploads_per_office: Positive = 1000

    #: Live connections of one user at a time, with each API process.
    live_lines_per_user: Positive = 100

    # --- the queue, by the names that operators of Bull know
    queue_name: str = "bulk-uploads"
    #: Jobs at a time in each worker process.
    concurrency: Positive = 2
    attempts: Positive = 2
    #: First pause before another attempt; it doubles with each.
    backoff_ms: Positive = 10_000
    #: Seconds after which an attempt's process is killed.
    job_timeout_s: Positive = 600
    #: How long a job of a dead worker stays locked; renewed by a living one.
    lock_duration_ms: Positive = 60_000
    stalled_interval_ms: Positive = 30_000
    max_stalled_count: Positive = 3
    remove_on_complete: Positive = 100
    remove_on_fail: Positive = 200
    #: Memory of one attempt's process, over which it is killed.
    child_memory_mb: Positive = 4096
    #: Seconds that running jobs get to finish after SIGTERM before they are handed back.
    shutdown_grace_s: Annotated[int, Field(ge=0)] = 20
    #: Seconds between two looks for uploads that are recorded but not queued.
    reconcile_interval_s: Positive = 15
    #: Minutes after which a waiting upload goes before all others; 0 keeps priorities strict.
    max_wait_min: Annotated[float, Field(ge=0)] = 30
    #: Hours in which the same file content counts as sent twice.
    duplicate_window_h: Annotated[int, Field(ge=0)] = 24

    # --- the watched folder; none is watched unless watch_dir is given
    watch_dir: Path | None = None
    #: Whose the files of a sub-folder are: its name to the address of an account. The files of the
    #: folder itself are the account ``folder``'s; other sub-folders are ignored.
    watch_owners: dict[str, str] = {}
    #: Seconds for which a file's size and modification time must be unchanged.
    watch_still_s: Annotated[float, Field(ge=0)] = 5
    #: Seconds between two looks at the whole folder, for shares that report no changes.
    watch_sweep_s: Annotated[float, Field(gt=0)] = 30
    #: Seconds that the folder gets for a step: to list it, to move a file, to read a part of one.
    watch_answer_s: Annotated[float, Field(gt=0)] = 60
    #: Listen to the file system too? False where a share's events are wrong.
    watch_events: bool = True

    #: Items of a long list that are counted; the number of more is estimated.
    list_most_counted: Positive = 10_000

    # --- how long things are kept
    #: Days that the files of failed uploads and dry runs stay, to be tried again or run for real.
    source_retention_days: Positive = 30
    #: Days that reports, refused rows and the cells kept with rows stay.
    report_retention_days: Annotated[int, Field(ge=7)] = 90
    #: Days that the outcome of each row stays.
    keep_rows_days: Annotated[int, Field(ge=7)] = 365
    #: Days that the queue remembers ended jobs, at most (remove_on_complete and _fail count too),
    #: and the outbox notifications.
    queue_retention_days: Positive = 30
    #: Days that files stay in the watched folder's processed/ and failed/.
    watch_retention_days: Positive = 30
    #: Days within which a completed upload can be undone, and members' former values are kept.
    undo_days: Positive = 30
    #: Corrections by hand of people who are no members any more, and whom nothing can bring back.
    corrections_retention_days: Positive = 90
    #: Days that audit entries stay.
    audit_retention_days: Annotated[int, Field(ge=30)] = 730

    # --- metrics; the API answers /metrics at its own port
    #: Where a worker or a watcher answers /metrics, /healthz and /readyz; None: nowhere.
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    metrics_host: str = "127.0.0.1"
    #: Whoever reads /metrics has to send it as a bearer token, if it is set.
    metrics_token: SecretStr | None = None
    #: Other processes whose metrics the API's /metrics holds too, by name: ``{"worker":
    #: "http://127.0.0.1:9101"}``. ``rollbook up`` fills it in.
    metrics_from: dict[str, str] = {}

    # --- traces, by the names that OpenTelemetry gives them; none are sent without an endpoint
    #: The collector's base address, to which ``/v1/traces`` is added.
    otel_endpoint: str | None = Field(None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    #: Wins over it, and is used as it is.
    otel_traces_endpoint: str | None = Field(
        None, validation_alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    )
    #: ``name=value,name=value``: a key of the collector's, say.
    otel_headers: SecretStr | None = Field(None, validation_alias="OTEL_EXPORTER_OTLP_HEADERS")
    otel_service_name: str = Field("rollbook", validation_alias="OTEL_SERVICE_NAME")

    # --- logs
    log_level: str = "info"
    #: ``human``, ``json``, or ``auto``: human on a terminal, JSON otherwise.
    log_format: str = Field("auto", pattern="^(auto|human|json)$")

    @field_validator("database_url")
    @classmethod
    def _for_libpq(cls, url: SecretStr | None) -> SecretStr | None:
        """Refused here, because libpq would repeat it in its error, with the password."""
        text = "" if url is None else url.get_secret_value()
        scheme, separator, _ = text.partition("://")
        is_pairs = "=" in scheme  # host=... user=..., libpq's other form
        if text and not is_pairs and not (separator and scheme in {"postgresql", "postgres"}):
            raise ValueError("write it as postgresql://user:password@host:5432/database")
        return url

    @field_validator("secret_key", "former_secret_keys", "erasure_keys")
    @classmethod
    def _long_enough(cls, given: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """HS256 asks for so many bytes (RFC 7518, section 3.2)."""
        text = "" if given is None else given.get_secret_value()
        keys = [text] if info.field_name == "secret_key" else text.replace(",", " ").split()
        if given is not None and any(len(key.encode()) < KEY_BYTES for key in keys):
            raise ValueError(
                f"a key is {KEY_BYTES} bytes or longer. Without ROLLBOOK_SECRET_KEY, one is made "
                "and kept in the data folder"
            )
        return given

    @field_validator("clamd_url")
    @classmethod
    def _one_of_two_sockets(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        is_unix = parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/")
        # An odd port is a ValueError of its own.
        is_tcp = parts.scheme == "tcp" and bool(parts.hostname) and parts.port != 0
        if not is_unix and not is_tcp:
            raise ValueError(
                "the scanner's address is unix:///path/of/its/socket or tcp://host:port"
            )
        return url

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - of pydantic's own kind
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where settings come from; the first one that has a setting wins."""
        files = SecretFiles(settings_cls, env_settings, dotenv_settings)
        return init_settings, files, env_settings, dotenv_settings

    @field_validator("watch_owners")
    @classmethod
    def _plain_folders(cls, owners: dict[str, str]) -> dict[str, str]:
        """A sub-folder's name leads nowhere else, and none of our own is one."""
        for name in owners:
            is_plain = name not in {"", ".", ".."} and name == PurePosixPath(name).name
            if not is_plain or "\\" in name or name.startswith(".") or "\0" in name:
                raise ValueError(f"{name!r} is not the name of a sub-folder")
            if name.lower() in OWN_FOLDERS:
                raise ValueError(f"{name!r} is a folder of Rollbook's own; choose another name")
        return owners

    @field_validator("allowed_origins")
    @classmethod
    def _only_origins(cls, text: str) -> str:
        """Each as a browser writes it: a scheme, a host, perhaps a port, and nothing after it."""
        for origin in split(text):
            parts = urlsplit(origin)
            whole = f"{parts.scheme}://{parts.netloc}"
            if parts.scheme not in {"http", "https"} or whole != origin:
                raise ValueError(f"{origin!r} is not an origin such as https://members.example.org")
        return text

    def needs_second_factor(self, role: str) -> bool:
        """Whether accounts of this role need a second factor."""
        return role in split(self.second_factor_roles)

    @property
    def origins(self) -> frozenset[str]:
        """The other sites whose pages may listen to live messages."""
        return frozenset(origin.lower() for origin in split(self.allowed_origins))

    @property
    def given_redis_address(self) -> str | None:
        """The Redis URL, from REDIS_URL or from the single names; None means embedded.

        ``backends.redis`` says which forms there are.
        """
        if self.redis_url is not None:
            return self._with_ca(self.redis_url.get_secret_value())
        scheme = "rediss" if self.redis_tls else "redis"
        login = f":{_quoted(self.redis_password)}@" if self.redis_password else ""
        if self.redis_sentinels is not None:
            hosts = ",".join(split(self.redis_sentinels))
            query = f"?master={quote(self.redis_sentinel_master, safe='')}"
            if self.redis_sentinel_password is not None:
                query += f"&sentinel_password={_quoted(self.redis_sentinel_password)}"
            return self._with_ca(f"{scheme}+sentinel://{login}{hosts}/{self.redis_db}{query}")
        if self.redis_host is None:
            return None
        return self._with_ca(
            f"{scheme}://{login}{self.redis_host}:{self.redis_port}/{self.redis_db}"
        )

    def _with_ca(self, address: str) -> str:
        """The address with the certificates to trust, where it is one with TLS and names none."""
        is_needed = address.startswith("rediss") and "ssl_ca_certs=" not in address
        if self.redis_ca_file is None or not is_needed:
            return address
        path = quote(str(self.redis_ca_file.resolve()), safe="/")
        return f"{address}{'&' if '?' in address else '?'}ssl_ca_certs={path}"

    @property
    def given_database_address(self) -> str | None:
        """The PostgreSQL URL; None means embedded."""
        return self.database_url.get_secret_value() if self.database_url else None

    @property
    def redis_address(self) -> str:
        """The Redis URL, once it is known (``cli.session.engines`` fills in the embedded one)."""
        return _known(self.given_redis_address, "REDIS_URL")

    @property
    def database_address(self) -> str:
        """The PostgreSQL URL, once it is known."""
        return _known(self.given_database_address, "DATABASE_URL")

    @property
    def store_address(self) -> str:
        """The file store's URL: ROLLBOOK_STORE_URL, or a folder in the data folder."""
        return self.store_url or self._default_store

    @property
    def is_default_store(self) -> bool:
        """Is it the folder in the data folder, where no mount is expected?"""
        return self.store_address == self._default_store

    @property
    def _default_store(self) -> str:
        return (self.data_dir.resolve() / "store").as_uri()

    @property
    def traces_address(self) -> str | None:
        """Where traces are sent; None: nowhere."""
        if self.otel_traces_endpoint is not None or self.otel_endpoint is None:
            return self.otel_traces_endpoint
        return f"{self.otel_endpoint.rstrip('/')}/v1/traces"

    @property
    def accepts_passports(self) -> bool:
        """Whether a row may name its person by a passport in place of an ID number."""
        return "passport" in self.identities

    @property
    def max_upload_bytes(self) -> int:
        """The limit on an upload's file, in bytes."""
        return self.max_upload_mb * 1024 * 1024


def _quoted(secret: SecretStr) -> str:
    return quote(secret.get_secret_value(), safe="")


def _known(address: str | None, name: str) -> str:
    if address is None:
        raise ConfigurationError(f"{name} is not set, and no embedded engine was started.")
    return address
