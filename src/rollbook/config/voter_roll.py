"""The settings of the voter roll."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from rollbook.config.values import Positive


class VoterRollSettings(BaseSettings):
    """The electoral commission's voter roll; without address and account it is not asked."""

    #: False switches it off, even where other settings are given.
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
    #: Requests under way at a time in each worker process.
    voter_roll_lanes: Positive = 8
    #: Delay before a failed question is retried, in seconds; doubles up to an hour.
    voter_roll_retry_s: Annotated[float, Field(gt=0)] = 60
    #: Failures in a row after which the roll counts as down.
    voter_roll_down_after: Positive = 5
    #: Seconds before a roll that is down is tried with one request; doubles up to 15 minutes.
    voter_roll_probe_s: Annotated[float, Field(gt=0)] = 30

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

    @property
    def asks_voter_roll(self) -> bool:
        """Has the organisation decided to ask the voter roll? Address and account are all given."""
        given = (self.voter_roll_url, self.voter_roll_username, self.voter_roll_password)
        return self.voter_roll_enabled and None not in given
