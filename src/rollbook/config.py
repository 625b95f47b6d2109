"""The one module that knows the environment.

Every limit of the system is a field here, with its default and its unit in the name or the
comment. ``Settings()`` reads the environment and a ``.env`` file in the working directory; the
result can't be changed.
"""

from __future__ import annotations

import json
import os
import secrets
from base64 import b64decode
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rollbook.errors import ConfigurationError

Positive = Annotated[int, Field(gt=0)]
#: Sub-folders of the watched folder from which nothing is taken.
OWN_FOLDERS = frozenset({"processed", "failed", "archive"})


class Settings(BaseSettings):
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
    #: TLS to what the names above tell; REDIS_URL says ``rediss:`` itself.
    redis_tls: bool = Field(default=False, validation_alias="REDIS_TLS")
    #: Certificates (PEM) of who signed the server's, where the system doesn't know them.
    redis_ca_file: Path | None = Field(None, validation_alias="REDIS_CA_FILE")

    #: Home of the embedded engines, the default file store and the secret key.
    data_dir: Path = Path("rollbook-data")
    #: ``file:///...``, ``s3://bucket/prefix``, ``gs://...`` or ``az://...``.
    store_url: str | None = None
    #: Seconds for which a call to an object store is tried again, before it counts as away.
    store_retry_s: Annotated[float, Field(ge=0)] = 10
    #: Take an object store whose endpoint has no TLS, on a network of your own.
    store_allow_http: bool = False

    # --- HTTP
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    secret_key: SecretStr | None = None
    #: Keys that have signed tokens before, with spaces or commas between them: still read.
    former_secret_keys: SecretStr | None = None
    #: Minutes that a token is good; whoever uses the system renews it, so that this is also how
    #: long a sign-in outlives its use.
    token_lifetime_min: Positive = 30
    #: Minutes after which even a session in use must sign in anew.
    session_lifetime_min: Positive = 12 * 60
    #: Sign-ins that may fail before the next has to wait: for one account, from one address.
    sign_in_failures: Positive = 5
    sign_in_failures_per_address: Positive = 100
    #: Seconds that the wait grows to, and minutes without a failure after which all is forgotten.
    sign_in_longest_wait_s: Positive = 15 * 60
    sign_in_forget_min: Positive = 60
    max_upload_mb: Positive = 50
    #: What the body of any other request may hold.
    max_body_kb: Positive = 64
    #: Other sites whose pages may listen to live messages, comma-separated: ``https://a.example``.
    allowed_origins: str = ""
    #: Seconds for which a browser that came by HTTPS is to come by HTTPS alone; 0 asks for nothing.
    hsts_s: Annotated[int, Field(ge=0)] = 365 * 24 * 3600
    #: What a workbook may hold once it is unpacked.
    max_inflated_mb: Positive = 2048
    #: Columns of the table of members; a worksheet has 16,384, and the report some of its own.
    max_columns: Annotated[int, Field(gt=0, le=16_000)] = 2_000

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
    max_wait_min: Annotated[float, Field(ge=0)] = 0
    #: Hours in which the same file content counts as sent twice.
    duplicate_window_h: Annotated[int, Field(ge=0)] = 24

    # --- the watched folder; none is watched unless watch_dir is given
    watch_dir: Path | None = None
    #: Whose the files of a sub-folder are: its name to the address of an account. The files of the
    #: folder itself are the account ``folder``'s; other sub-folders are left alone.
    watch_owners: dict[str, str] = {}
    #: Seconds for which size and time of change must have stood still.
    watch_still_s: Annotated[float, Field(ge=0)] = 5
    #: Seconds between two looks at the whole folder, for shares that tell of no changes.
    watch_sweep_s: Annotated[float, Field(gt=0)] = 30
    #: Listen to the file system too? False where a share's events are wrong.
    watch_events: bool = True
    #: The smallest file that is taken; the largest is that of every upload.
    watch_min_bytes: Annotated[int, Field(ge=0)] = 1024

    # --- how long things are kept
    #: Days that the files of failed uploads and dry runs stay, to be tried again or run for real.
    source_retention_days: Positive = 30
    #: Days that reports, refused rows and the cells kept with rows stay.
    report_retention_days: Annotated[int, Field(ge=7)] = 90
    #: Days that the queue remembers ended jobs, at most (remove_on_complete and _fail count too),
    #: and the outbox notifications.
    queue_retention_days: Positive = 30
    #: Days that files stay in the watched folder's processed/ and failed/.
    watch_retention_days: Positive = 30
    #: Days within which a completed upload can be undone, and members' former values are kept.
    undo_days: Positive = 30
    #: Days that audit entries stay.
    audit_retention_days: Annotated[int, Field(ge=30)] = 730

    # --- the electoral commission's voter roll; nobody is asked about unless all three are given
    #: False switches it off, whatever else is given.
    voter_roll_enabled: bool = True
    voter_roll_url: str | None = None
    voter_roll_username: str | None = None
    voter_roll_password: SecretStr | None = None
    #: Requests that the roll allows the whole organisation in one window.
    voter_roll_requests_per_hour: Positive = 10_000
    #: Seconds of that window: an hour, unless the roll counts otherwise.
    voter_roll_window_s: Positive = 3600
    #: Days for which an answer is good.
    voter_roll_cache_days: Positive = 30
    #: Seconds that the roll gets to answer.
    voter_roll_timeout_s: Annotated[float, Field(gt=0)] = 10
    #: Requests under way at a time for one upload, over all workers.
    voter_roll_lanes: Positive = 8
    #: Seconds before somebody about whom asking failed is asked about again; doubles up to an hour.
    voter_roll_retry_s: Annotated[float, Field(gt=0)] = 60
    #: Failures in a row after which the roll counts as down.
    voter_roll_down_after: Positive = 5
    #: Seconds before a roll that is down is tried with one request; doubles up to 15 minutes.
    voter_roll_probe_s: Annotated[float, Field(gt=0)] = 30
    voter_roll_queue_name: str = "voter-verification"

    # --- notifications; none are sent unless smtp_host or webhook_url is given
    #: False switches them off, whatever else is given.
    notifications_enabled: bool = True
    #: Where people reach the page, for links: ``https://rollbook.example.org``.
    public_url: str | None = None
    smtp_host: str | None = None
    smtp_port: Annotated[int, Field(ge=1, le=65535)] = 587
    #: ``starttls``: encrypted after the greeting, or nothing is sent; ``tls``: from the first byte
    #: (port 465); ``none``: in clear text.
    smtp_tls: Literal["starttls", "tls", "none"] = "starttls"
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    #: The sender's address.
    smtp_from: str | None = Field(None, validate_default=True)
    #: Networks in which a webhook may lie though they are private, such as ``10.1.2.0/24``, with
    #: spaces or commas between them.
    webhook_allowed_networks: str = ""
    #: Secret, because some receivers take a token in the address.
    webhook_url: SecretStr | None = None
    #: ``whsec_`` and 24 to 64 bytes in base64; several, with spaces between them, all sign.
    webhook_secret: SecretStr | None = Field(None, validate_default=True)
    #: Seconds that a mail server or a webhook gets.
    notification_timeout_s: Annotated[float, Field(gt=0)] = 15
    notification_attempts: Positive = 12
    #: Seconds before a notification that failed is sent again; triples up to 12 hours.
    notification_backoff_s: Annotated[float, Field(gt=0)] = 5
    notification_queue_name: str = "notifications"

    # --- sign-in with an outside provider (OpenID Connect); none unless oidc_issuer is given
    #: Exactly as the provider writes it: ``https://login.example.org/realms/members``.
    oidc_issuer: str | None = None
    oidc_client_id: str | None = Field(None, validate_default=True)
    #: None for a public client, which has PKCE alone.
    oidc_client_secret: SecretStr | None = None
    #: What the button says behind "Sign in with".
    oidc_name: str = Field("the organisation's account", min_length=1, max_length=60)
    oidc_scopes: str = "openid email profile"
    #: Where the ID token says what somebody is: a claim, or a path such as ``realm_access.roles``.
    oidc_role_claim: str = "roles"
    #: Which of its values stand for which role: ``{"rollbook-admins": "super_admin"}``.
    oidc_roles: dict[
        str, Literal["super_admin", "national_admin", "province_admin", "municipality_admin"]
    ] = Field({}, validate_default=True)
    #: Where it says for which place, for the roles that have one.
    oidc_province_claim: str = "province"
    oidc_municipality_claim: str = "municipality"
    #: Seconds that the provider gets for an answer.
    oidc_timeout_s: Annotated[float, Field(gt=0)] = 10

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

    @field_validator("voter_roll_url")
    @classmethod
    def _only_encrypted(cls, url: str | None) -> str | None:
        """ID numbers and a password go there: in clear text at most to this machine itself."""
        if url is None:
            return None
        parts = urlsplit(url)
        is_here = parts.hostname in {"127.0.0.1", "::1", "localhost"}
        if parts.scheme != "https" and not (parts.scheme == "http" and is_here):
            raise ValueError("the voter roll's address must begin with https://")
        return url.rstrip("/")

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

    @field_validator("public_url")
    @classmethod
    def _without_slash(cls, url: str | None) -> str | None:
        if url is not None and urlsplit(url).scheme not in {"http", "https"}:
            raise ValueError("the address of the page must begin with https:// or http://")
        return url.rstrip("/") if url else None

    @field_validator("smtp_password")
    @classmethod
    def _no_password_in_clear(
        cls, password: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        is_here = info.data.get("smtp_host") in {"127.0.0.1", "::1", "localhost"}
        if password is not None and info.data.get("smtp_tls") == "none" and not is_here:
            raise ValueError("a password isn't sent in clear text; set ROLLBOOK_SMTP_TLS")
        return password

    @field_validator("smtp_from")
    @classmethod
    def _from_somebody(cls, sender: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("smtp_host") and (sender is None or "@" not in sender.strip("@")):
            raise ValueError("mail needs a sender's address, such as rollbook@example.org")
        return sender

    @field_validator("webhook_allowed_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        for network in text.replace(",", " ").split():
            ip_network(network)  # raises ValueError, which says what is wrong
        return text

    @field_validator("webhook_url")
    @classmethod
    def _over_https(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if url is None:
            return None
        parts = urlsplit(url.get_secret_value())
        is_private = parts.scheme == "http" and info.data.get("webhook_allowed_networks")
        if parts.hostname is None or parts.username or not (parts.scheme == "https" or is_private):
            raise ValueError(
                "a webhook's address must begin with https:// and have no user in it; http:// is "
                "for ROLLBOOK_WEBHOOK_ALLOWED_NETWORKS alone"
            )
        return url

    @field_validator("webhook_secret")
    @classmethod
    def _strong_secret(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if secret is None:
            if info.data.get("webhook_url") is not None:
                raise ValueError("a webhook needs a secret that signs it")
            return None
        keys = _webhook_keys(secret)
        if not keys or not all(24 <= len(key) <= 64 for key in keys):
            raise ValueError("a webhook's secret is whsec_ and 24 to 64 bytes in base64")
        return secret

    @field_validator("oidc_issuer")
    @classmethod
    def _encrypted_issuer(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return None
        if not is_safe_url(url) or urlsplit(url).query or urlsplit(url).fragment:
            raise ValueError("the provider's address must begin with https:// and have no query")
        if not is_safe_url(info.data.get("public_url") or ""):
            raise ValueError(
                "for sign-in with a provider, ROLLBOOK_PUBLIC_URL must be set, with https://"
            )
        return url

    @field_validator("oidc_client_id")
    @classmethod
    def _known_to_the_provider(cls, client: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("oidc_issuer") and not client:
            raise ValueError("the provider knows Rollbook by a client id")
        return client

    @field_validator("oidc_scopes")
    @classmethod
    def _asks_for_an_id_token(cls, scopes: str) -> str:
        if "openid" not in scopes.split():
            raise ValueError("openid must be among the scopes")
        return scopes

    @field_validator("oidc_roles")
    @classmethod
    def _some_role(cls, roles: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if info.data.get("oidc_issuer") and not roles:
            raise ValueError("without a value that stands for a role, nobody could sign in")
        return roles

    @property
    def notification_channels(self) -> tuple[Literal["email", "webhook"], ...]:
        """How the ends of uploads are told, by what is set."""
        channels: list[Literal["email", "webhook"]] = []
        if not self.notifications_enabled:
            return ()
        if self.smtp_host is not None:
            channels.append("email")
        if self.webhook_url is not None:
            channels.append("webhook")
        return tuple(channels)

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """The keys that sign webhooks, the newest first."""
        return _webhook_keys(self.webhook_secret) if self.webhook_secret else ()

    @property
    def webhook_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks in which a webhook may lie though they are private."""
        given = self.webhook_allowed_networks.replace(",", " ").split()
        return tuple(ip_network(network) for network in given)

    @field_validator("allowed_origins")
    @classmethod
    def _only_origins(cls, text: str) -> str:
        """Each as a browser writes it: a scheme, a host, perhaps a port, and nothing behind."""
        for origin in _comma_separated(text):
            parts = urlsplit(origin)
            whole = f"{parts.scheme}://{parts.netloc}"
            if parts.scheme not in {"http", "https"} or whole != origin:
                raise ValueError(f"{origin!r} is not an origin such as https://members.example.org")
        return text

    @property
    def origins(self) -> frozenset[str]:
        """The other sites whose pages may listen to live messages."""
        return frozenset(origin.lower() for origin in _comma_separated(self.allowed_origins))

    @property
    def asks_voter_roll(self) -> bool:
        """Has the organisation decided to ask the voter roll? Address and account are all given."""
        given = (self.voter_roll_url, self.voter_roll_username, self.voter_roll_password)
        return self.voter_roll_enabled and None not in given

    @property
    def given_redis_address(self) -> str | None:
        """The Redis URL, from REDIS_URL or from the single names; None means embedded.

        What it may be says ``redis_client``.
        """
        if self.redis_url is not None:
            return self._with_ca(self.redis_url.get_secret_value())
        scheme = "rediss" if self.redis_tls else "redis"
        login = f":{_quoted(self.redis_password)}@" if self.redis_password else ""
        if self.redis_sentinels is not None:
            hosts = ",".join(_comma_separated(self.redis_sentinels))
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
        return self.store_url or (self.data_dir.resolve() / "store").as_uri()

    @property
    def traces_address(self) -> str | None:
        """Where traces are sent; None: nowhere."""
        if self.otel_traces_endpoint is not None or self.otel_endpoint is None:
            return self.otel_traces_endpoint
        return f"{self.otel_endpoint.rstrip('/')}/v1/traces"

    @property
    def max_upload_bytes(self) -> int:
        """The limit on an upload's file, in bytes."""
        return self.max_upload_mb * 1024 * 1024

    def signing_key(self) -> str:
        """The key that signs tokens: ROLLBOOK_SECRET_KEY, or one made and kept in the data folder.

        Raises:
            ConfigurationError: the key is shorter than HS256 asks for (RFC 7518, section 3.2).
        """
        if self.secret_key is not None:
            key = self.secret_key.get_secret_value()
            if len(key.encode()) < 32:
                raise ConfigurationError(
                    "ROLLBOOK_SECRET_KEY is shorter than 32 bytes. Give a longer one, or leave it "
                    "out: one is then made and kept in the data folder."
                )
            return key
        return _kept_key(self.data_dir / "secret.key")

    def verifying_keys(self) -> tuple[str, ...]:
        """The keys whose tokens are read: the one that signs, then the former ones.

        Raises:
            ConfigurationError: one of them is too short.
        """
        given = self.former_secret_keys.get_secret_value() if self.former_secret_keys else ""
        former = given.replace(",", " ").split()
        if any(len(key.encode()) < 32 for key in former):
            raise ConfigurationError(
                "A key of ROLLBOOK_FORMER_SECRET_KEYS is shorter than 32 bytes. Give whole keys, "
                "with spaces or commas between them."
            )
        return (self.signing_key(), *former)


def is_safe_url(url: str) -> bool:
    """Is it encrypted on its way, or does it not leave this machine?"""
    parts = urlsplit(url)
    is_here = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}
    return bool(parts.hostname) and not parts.username and (parts.scheme == "https" or is_here)


def environment_for(settings: Settings) -> dict[str, str]:
    """The environment under which another process of ours comes to the same settings.

    A port that was chosen here is in it.
    """
    named = settings.model_copy(
        update={
            "store_url": settings.store_address,
            "data_dir": settings.data_dir.resolve(),
            "watch_dir": settings.watch_dir.resolve() if settings.watch_dir else None,
        }
    )
    values = dict(os.environ)
    for field in Settings.model_fields:
        value = getattr(named, field)
        name = _environment_name((field,))
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


def _webhook_keys(secret: SecretStr) -> tuple[bytes, ...]:
    """The keys of a setting (binascii.Error, which is a ValueError, where one isn't base64)."""
    given = secret.get_secret_value().split()
    return tuple(b64decode(key.removeprefix("whsec_"), validate=True) for key in given)


def _quoted(secret: SecretStr) -> str:
    return quote(secret.get_secret_value(), safe="")


def _comma_separated(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _known(address: str | None, name: str) -> str:
    if address is None:
        raise ConfigurationError(f"{name} is not set, and no embedded engine was started.")
    return address


def _kept_key(path: Path) -> str:
    """Read the key file, making it first; two processes that start together get the same key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    if not path.exists():
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(48))
        try:
            path.hardlink_to(fresh)  # fails where another process was quicker: its key counts
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()


def load(*, env_file: bool = True) -> Settings:
    """Read the settings.

    Args:
        env_file: look into ``.env`` too; not under ``environment_for``, where what is left out is
            unset.

    Raises:
        ConfigurationError: a value doesn't fit; the message names each setting and why.
    """
    try:
        return Settings() if env_file else Settings(_env_file=None)
    except ValidationError as error:
        lines = [f"  {_environment_name(e['loc'])}: {e['msg']}" for e in error.errors()]
        raise ConfigurationError("These settings can't be used:\n" + "\n".join(lines)) from None


def _environment_name(location: tuple[int | str, ...]) -> str:
    name = str(location[0])
    field = Settings.model_fields.get(name)
    if field is None:  # pydantic names a field by its alias, where it has one
        return name
    return str(field.validation_alias or f"ROLLBOOK_{name.upper()}")
