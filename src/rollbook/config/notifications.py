"""The settings of notifications."""

from __future__ import annotations

from base64 import b64decode
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from rollbook.config.values import Positive


class NotificationSettings(BaseSettings):
    """Notifications by mail and webhook, beside those to offices' own webhooks.

    Without smtp_host there are no mails, without webhook_url no webhook of the whole installation.
    """

    #: False switches them off, even where other settings are given.
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
    #: Webhooks that an office may have.
    webhooks_per_office: Positive = 20
    #: Hours for which the former secret of an office's webhook signs beside a new one.
    webhook_former_secret_h: Annotated[int, Field(ge=0)] = 24
    #: Time limit of a webhook, and of each exchange with a mail server, in seconds.
    notification_timeout_s: Annotated[float, Field(gt=0)] = 15
    notification_attempts: Positive = 12
    #: Seconds before a notification that failed is sent again; triples up to 12 hours.
    notification_backoff_s: Annotated[float, Field(gt=0)] = 5

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
        text = url.get_secret_value()
        parts = urlsplit(text)
        is_private = parts.scheme == "http" and info.data.get("webhook_allowed_networks")
        if parts.hostname is None or parts.username or not (parts.scheme == "https" or is_private):
            raise ValueError(
                "a webhook's address must begin with https:// and have no user in it; http:// is "
                "only for ROLLBOOK_WEBHOOK_ALLOWED_NETWORKS"
            )
        return SecretStr(parts.scheme + text[len(parts.scheme) :])

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

    @property
    def notification_channels(self) -> tuple[Literal["email", "webhook", "office_webhook"], ...]:
        """The channels by which the ends of uploads are announced, from the settings."""
        channels: list[Literal["email", "webhook", "office_webhook"]] = []
        if not self.notifications_enabled:
            return ()
        channels.append("office_webhook")
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


def _webhook_keys(secret: SecretStr) -> tuple[bytes, ...]:
    """The keys of a setting (binascii.Error, which is a ValueError, where one isn't base64)."""
    given = secret.get_secret_value().split()
    return tuple(b64decode(key.removeprefix("whsec_"), validate=True) for key in given)
