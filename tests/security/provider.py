"""A provider that isn't one: OpenID Connect over real HTTP, honest or hostile."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.ports import free_port
from tests.waiting import PATIENCE_S, join, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

CLIENT, SECRET = "rollbook-tests", "known to the tests: alone & only"
HMAC_KEY = SECRET.encode().ljust(32, b".")


def _encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


class StandIn:
    """What it says of a person, and how it fails."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.asked: list[str] = []
        self.begin_anew()

    def begin_anew(self) -> None:
        """Be honest, about somebody new."""
        self.twist = ""
        #: How a program says who it is: ``basic``, ``post``, or ``none`` where it has no secret.
        self.way = "basic"
        #: Claims that are added to the ID token, or taken away (None).
        self.changes: dict[str, Any] = {}
        self.document: dict[str, Any] = {}
        self.person: dict[str, Any] = {
            "sub": uuid4().hex,
            "email": f"{uuid4().hex[:12]}@members.example.org",
            "email_verified": True,
            "name": "Naledi Dlamini",
            "realm_access": {"roles": ["other", "rollbook-office"]},
            "place": {"province": "GP"},
        }
        self.codes: dict[str, dict[str, str]] = {}
        self.rotate()

    def rotate(self, rsa_bits: int | None = None) -> None:
        """Sign with another key from here on: of RSA, or else of an elliptic curve."""
        self.key = (
            ec.generate_private_key(ec.SECP256R1())
            if rsa_bits is None
            else rsa.generate_private_key(65537, rsa_bits)
        )
        self.algorithm = "ES256" if rsa_bits is None else "RS256"
        self.kid = uuid4().hex

    async def discovery(self, request: Request) -> Response:
        self.asked.append("discovery")
        if self.twist == "slow":
            async with asyncio.timeout(PATIENCE_S):
                while (await request.receive())["type"] != "http.disconnect":
                    pass
        if self.twist == "away":
            return Response(status_code=503)
        if self.twist == "endless":
            return Response(b"[" * 1_000_000)
        if self.twist == "no json":
            return Response(b"<html>")
        if self.twist == "redirect":
            return RedirectResponse(f"{self.url}/elsewhere")
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                **self.document,
            }
        )

    async def authorize(self, request: Request) -> Response:
        query = dict(request.query_params)
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        back = {"state": query["state"]}
        if self.twist == "denied":
            back["error"] = "access_denied"
        else:
            back["code"] = uuid4().hex
            self.codes[back["code"]] = query
        if self.twist == "mixed up":
            back["iss"] = "https://other.example.org"
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(back)}", 303)

    async def token(self, request: Request) -> Response:
        self.asked.append("token")
        form = dict(parse_qsl((await request.body()).decode()))
        if not self._knows(request.headers.get("authorization"), form):
            return JSONResponse({"error": "invalid_client"}, 401)
        begun = self.codes.pop(str(form.get("code")), None)
        digest = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            begun is None
            or begun["code_challenge"] != challenge
            or begun["redirect_uri"] != form.get("redirect_uri")
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        if self.twist == "token fails":
            return Response(status_code=500)
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300,
            "nonce": begun["nonce"], **self.person, **self.changes,
        }  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        return JSONResponse(
            {"access_token": "unused", "token_type": "Bearer", "id_token": self.signed(claims)}
        )

    def _knows(self, header: str | None, form: dict[str, str]) -> bool:
        """Has the program said who it is in the one way, and in no other?"""
        whole = "rollbook-tests:known+to+the+tests%3A+alone+%26+only"
        basic = f"Basic {base64.b64encode(whole.encode()).decode()}"
        expected = {
            "basic": (basic, None, None),
            "post": (None, CLIENT, SECRET),
            "none": (None, CLIENT, None),
        }
        return (header, form.get("client_id"), form.get("client_secret")) == expected[self.way]

    def signed(self, claims: dict[str, Any]) -> str:
        kid = {"kid": self.kid}
        if self.twist == "alg none":
            return jwt.encode(claims, None, algorithm="none", headers=kid)  # type: ignore[arg-type]
        if self.twist == "HS256, the secret":
            return jwt.encode(claims, HMAC_KEY, algorithm="HS256", headers=kid)
        if self.twist == "HS256, the public key":
            public = self.key.public_key().public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
            # By hand, because the library won't.
            parts = [{"alg": "HS256", **kid}, claims]
            signed = b".".join(_encoded(json.dumps(part).encode()) for part in parts)
            return b".".join([signed, _encoded(hmac.digest(public, signed, "sha256"))]).decode()
        if self.twist == "another's key":
            other = ec.generate_private_key(ec.SECP256R1())
            return jwt.encode(claims, other, algorithm="ES256", headers=kid)
        return jwt.encode(claims, self.key, algorithm=self.algorithm, headers=kid)

    async def keys(self, _: Request) -> Response:
        self.asked.append("keys")
        key = self.key.public_key()
        public = json.loads(
            jwt.algorithms.RSAAlgorithm.to_jwk(key)
            if isinstance(key, rsa.RSAPublicKey)
            else jwt.algorithms.ECAlgorithm.to_jwk(key)
        )
        shown = {**public, "kid": "unknown" if self.twist == "unknown key" else self.kid}
        return JSONResponse({"keys": [{**shown, "use": "sig", "alg": self.algorithm}]})

    @contextlib.contextmanager
    def served(self) -> Iterator[StandIn]:
        routes = [
            Route("/.well-known/openid-configuration", self.discovery),
            Route("/authorize", self.authorize),
            Route("/token", self.token, methods=["POST"]),
            Route("/keys", self.keys),
        ]
        server = uvicorn.Server(
            uvicorn.Config(Starlette(routes=routes), port=self.port, log_config=None)
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            until(lambda: server.started, "the provider is served")
            yield self
        finally:
            server.should_exit = True
            join(thread)

    @property
    def settings(self) -> dict[str, Any]:
        """With which people sign in here."""
        return {
            "oidc_issuer": self.url,
            "oidc_client_id": CLIENT,
            "oidc_client_secret": SECRET,
            "oidc_name": "Example Members",
            "oidc_role_claim": "realm_access.roles",
            "oidc_roles": {
                "rollbook-office": "province_admin",
                "rollbook-town": "municipality_admin",
                "rollbook-all": "national_admin",
            },
            "oidc_province_claim": "place.province",
            "oidc_municipality_claim": "place.municipality",
        }
