"""The settings of sign-in with an outside provider."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from rollbook.config.notifications import NotificationSettings
from rollbook.config.values import is_safe_url


class ProviderSettings(NotificationSettings):
    """Sign-in by OpenID Connect, off unless oidc_issuer is given; it needs public_url."""

    #: Exactly as the provider writes it: ``https://login.example.org/realms/members``.
    oidc_issuer: str | None = None
    oidc_client_id: str | None = Field(None, validate_default=True)
    #: None for a public client, which has only PKCE.
    oidc_client_secret: SecretStr | None = None
    #: What the button says after "Sign in with".
    oidc_name: str = Field("the organisation's account", min_length=1, max_length=60)
    oidc_scopes: str = "openid email profile"
    #: Where the ID token says what somebody is: a claim, or a path such as ``realm_access.roles``.
    oidc_role_claim: str = "roles"
    #: The role for each of its values: ``{"rollbook-admins": "super_admin"}``.
    oidc_roles: dict[
        str, Literal["super_admin", "national_admin", "province_admin", "municipality_admin"]
    ] = Field({}, validate_default=True)
    #: Where it says for which place, for the roles that have one.
    oidc_province_claim: str = "province"
    oidc_municipality_claim: str = "municipality"
    #: Seconds that the provider gets for an answer.
    oidc_timeout_s: Annotated[float, Field(gt=0)] = 10

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
            raise ValueError("without a value for at least one role, nobody could sign in")
        return roles
