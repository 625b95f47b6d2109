"""Signing in with an outside provider: OpenID Connect Core 1.0, the authorization code flow.

With PKCE (RFC 7636), state and nonce. The provider is found by its discovery document, and an ID
token counts only with a signature by one of its keys. Nothing that it answers is trusted to be
short, quick or well-formed, and redirects are not followed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import ssl
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode

import httpx
import jwt

from rollbook import clock
from rollbook.config import is_safe_url
from rollbook.errors import NotAuthenticatedError, ServiceUnavailableError

if TYPE_CHECKING:
    from rollbook.config import Settings

CALLBACK: Final = "/api/v1/auth/oidc/callback"
#: Only signatures by a private key: with a shared secret, everybody who knows it could sign.
ALGORITHMS: Final = {
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
    "ES256": "EC", "ES384": "EC", "ES512": "EC", "EdDSA": "OKP",
}  # fmt: skip
#: Allowed difference between the provider's clock and ours, and age limit of an ID token, seconds.
SKEW_S: Final = 60
OLDEST_S: Final = 600
#: Seconds for which the discovery document is cached.
DISCOVERED_FOR_S: Final = 3600
#: Maximum size of an answer, in bytes.
MOST_BYTES: Final = 256 * 1024
_SMALLEST_RSA_BITS: Final = 2048


def new_secret() -> str:
    """A nonce or a PKCE verifier, of 256 bits."""
    return secrets.token_urlsafe(32)


class Provider:
    """The configured provider, with its discovery document and keys."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: dict[str, Any] | None = None
        self._found_until = 0.0
        self._keys: list[dict[str, Any]] = []

    @property
    def is_set(self) -> bool:
        """Is a provider configured?"""
        return self._settings.oidc_issuer is not None

    @property
    def name(self) -> str:
        """The name that people see."""
        return self._settings.oidc_name

    @property
    def redirect_uri(self) -> str:
        """The redirect address."""
        return f"{self._settings.public_url}{CALLBACK}"

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()  # takes long to make

    async def authorization_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """The address at which a person signs in.

        Raises:
            ServiceUnavailableError: the provider doesn't answer, or its answer is malformed.
        """
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": self.redirect_uri,
            "scope": self._settings.oidc_scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        address = str((await self._discovered())["authorization_endpoint"])
        return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"

    async def claims(
        self, *, code: str, issuer: str | None, nonce: str, verifier: str
    ) -> dict[str, Any]:
        """Exchange an authorization code for the verified claims about the person.

        ``issuer`` is the one named in the redirect (RFC 9207), if any.

        Raises:
            NotAuthenticatedError: the code or the ID token isn't good.
            ServiceUnavailableError: the provider doesn't answer, or its answer is malformed.
        """
        found = await self._discovered()
        is_told = found.get("authorization_response_iss_parameter_supported") is True
        if (issuer is not None or is_told) and issuer != self._settings.oidc_issuer:
            raise self._refused("another provider sent you back")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }
        status, answer = await self._ask(
            "POST", str(found["token_endpoint"]), **self._with_client(found, form)
        )
        if status in {400, 401, 403}:
            raise self._refused("it didn't take the code that you came back with")
        if status != httpx.codes.OK or not isinstance(answer.get("id_token"), str):
            raise self._unusable("gave no ID token")
        return await self._verified(answer["id_token"], nonce)

    def _with_client(self, found: dict[str, Any], form: dict[str, str]) -> dict[str, Any]:
        """The form with our client credentials, in the way that the provider supports."""
        client = str(self._settings.oidc_client_id)
        if self._settings.oidc_client_secret is None:
            return {"data": {**form, "client_id": client}}
        secret = self._settings.oidc_client_secret.get_secret_value()
        ways = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if isinstance(ways, list) and "client_secret_basic" in ways:
            # Encoded first: RFC 6749, section 2.3.1.
            return {"data": form, "auth": (quote_plus(client), quote_plus(secret))}
        return {"data": {**form, "client_id": client, "client_secret": secret}}

    async def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        """The claims of an ID token (OpenID Connect Core 1.0, section 3.1.3.7)."""
        client = self._settings.oidc_client_id
        try:
            header = jwt.get_unverified_header(token)
            algorithm = str(header.get("alg"))
            if algorithm not in ALGORITHMS:
                raise self._refused("its ID token isn't signed with a private key")
            key = await self._key(header.get("kid"), algorithm)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=client,
                issuer=self._settings.oidc_issuer,
                options={
                    "require": ["iss", "sub", "aud", "exp", "iat", "nonce"],
                    # Below, by the one clock of ours.
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            now = clock.now().timestamp()
            oldest, newest = now - OLDEST_S - SKEW_S, now + SKEW_S
            is_in_time = oldest <= float(claims["iat"]) <= newest
            is_in_time &= now < float(claims["exp"]) + SKEW_S
            is_in_time &= float(claims.get("nbf", 0)) <= newest
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError):
            raise self._refused("its ID token isn't good") from None
        if not is_in_time:
            raise self._refused("the time of its ID token is over, or hasn't begun")
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if (several or "azp" in claims) and claims.get("azp") != client:
            raise self._refused("its ID token is for another program")
        if not hmac.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
            raise self._refused("its ID token is of another sign-in")
        if not claims["sub"] or len(claims["sub"]) > 255 or not claims["sub"].isprintable():
            raise self._refused("its ID token doesn't say whose it is")
        return claims

    async def _key(self, key_id: object, algorithm: str) -> jwt.PyJWK:
        """The key that signed; the keys are fetched again where it is unknown."""
        if len(self._fitting(key_id, algorithm)) != 1:
            await self._fetch_keys()
        fitting = self._fitting(key_id, algorithm)
        if len(fitting) != 1:
            raise self._refused("none of its keys signed its ID token")
        made = jwt.PyJWK(fitting[0], algorithm=algorithm)
        if made.key_type == "RSA" and made.key.key_size < _SMALLEST_RSA_BITS:
            raise self._refused("its key is too short")
        return made

    def _fitting(self, key_id: object, algorithm: str) -> list[dict[str, Any]]:
        return [key for key in self._keys if _fits(key, key_id, algorithm)]

    async def _fetch_keys(self) -> None:
        status, answer = await self._ask("GET", str((await self._discovered())["jwks_uri"]))
        keys = answer.get("keys")
        if status != httpx.codes.OK or not isinstance(keys, list):
            raise self._unusable("gave no keys")
        self._keys = [key for key in keys if isinstance(key, dict)]

    async def _discovered(self) -> dict[str, Any]:
        """The discovery document (OpenID Connect Discovery 1.0, section 4)."""
        now = clock.now().timestamp()
        if self._found is not None and now < self._found_until:
            return self._found
        issuer = str(self._settings.oidc_issuer)
        status, found = await self._ask(
            "GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        )
        if status != httpx.codes.OK:
            raise self._unusable("has no discovery document")
        if found.get("issuer") != issuer:
            raise self._unusable("gives itself another name than ROLLBOOK_OIDC_ISSUER")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            address = found.get(name)
            # A provider elsewhere must not make us call this machine.
            scheme = ("https:",) if issuer.startswith("https:") else ("https:", "http:")
            if not (
                isinstance(address, str) and is_safe_url(address) and address.startswith(scheme)
            ):
                raise self._unusable(f"names no encrypted {name}")
        self._found, self._found_until = found, now + DISCOVERED_FOR_S
        self._keys = []  # one that was withdrawn is then forgotten too
        return found

    async def _ask(self, method: str, url: str, **request: Any) -> tuple[int, dict[str, Any]]:
        """The status and the JSON object of an answer; {} for an error status without an object."""
        try:
            async with (
                asyncio.timeout(self._settings.oidc_timeout_s),
                httpx.AsyncClient(
                    verify=self._tls, timeout=self._settings.oidc_timeout_s, follow_redirects=False
                ) as client,
                client.stream(
                    method, url, headers={"accept": "application/json"}, **request
                ) as response,
            ):
                body = b""
                async for chunk in response.aiter_bytes(16384):
                    body += chunk
                    if len(body) > MOST_BYTES:
                        raise self._unusable("gave an answer without end")
                status = response.status_code
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unusable(f"can't be reached ({type(error).__name__})") from None
        if status >= 500 or status in {408, 429}:
            raise self._unusable(f"answered with {status}")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if isinstance(answer, dict):
            return status, answer
        if status == httpx.codes.OK:
            raise self._unusable("gave an answer that can't be read")
        return status, {}

    def _refused(self, why: str) -> NotAuthenticatedError:
        return NotAuthenticatedError(
            f"You were not signed in: {self.name} was asked, but {why}. Please try again; if it "
            "happens again, ask the person who runs Rollbook for you."
        )

    def _unusable(self, what: str) -> ServiceUnavailableError:
        return ServiceUnavailableError(
            f"You can't sign in with {self.name} right now: it {what}. Please try again later, or "
            "sign in with a password if you have one."
        )


def _fits(key: dict[str, Any], key_id: object, algorithm: str) -> bool:
    """May this key have signed? Where the token names no key, only one may fit."""
    return (
        key.get("kty") == ALGORITHMS[algorithm]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (key_id is None or key.get("kid") == key_id)
    )
