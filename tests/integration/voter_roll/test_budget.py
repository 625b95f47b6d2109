"""The voter roll's budget: never one request more than the roll counts, from all workers."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import SecretStr

from rollbook import clock
from rollbook.backends.database import UNAVAILABLE, connect
from rollbook.errors import BudgetSpentError, NoAnswerError, QuestionRefusedError, RollDownError
from rollbook.queue.subscriber import QueueEvent, Subscriber
from rollbook.service.system import open_system
from rollbook.voter_roll.budget import CHECK_S, Budget, Standing
from rollbook.voter_roll.client import RENEW_EARLY_S, RollClient
from tests.files import id_number
from tests.integration.voter_roll.rolls import LOOK_S, asking, until
from tests.refusals import refusal
from tests.roll import ScriptedRoll
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.config import Settings
    from rollbook.service.system import System


@pytest.fixture
def roll() -> ScriptedRoll:
    return ScriptedRoll()


@pytest.fixture
def url(roll: ScriptedRoll) -> Iterator[str]:
    with roll.running() as url:
        yield url


def budget_of(system: System, **changes: Any) -> Budget:
    return Budget(replace(system, settings=system.settings.model_copy(update=changes)))


async def taken(budget: Budget) -> bool:
    """Take one request and end it at once."""
    try:
        async with budget.request():
            return True
    except BudgetSpentError:
        return False


async def taken_at_last(budget: Budget) -> None:
    """Take one request as soon as there is one."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await taken(budget):
                return
            await asyncio.sleep(LOOK_S)


async def test_no_more_is_given_out_than_there_is_to_however_many_who_ask_at_once(
    settings: Settings,
) -> None:
    changes = {"voter_roll_requests_per_hour": 50, "voter_roll_window_s": 3600}
    async with open_system(settings) as one, open_system(settings) as other:
        budgets = [budget_of(one, **changes), budget_of(other, **changes)]
        given = await asyncio.gather(*(taken(budgets[n % 2]) for n in range(120)))
        standing = await budgets[0].standing()
    assert sum(given) == 50
    assert standing.used == 50
    assert standing.remaining == 0
    assert 3600 - PATIENCE_S < standing.wait_s <= 3600


async def test_a_request_counts_for_a_whole_window_after_its_answer(system: System) -> None:
    budget = budget_of(system, voter_roll_requests_per_hour=1, voter_roll_window_s=1)
    async with budget.request():
        began = time.monotonic()
        # Its answer takes longer than the window: it must not be free in the meantime.
        while time.monotonic() - began < 1.2:
            with pytest.raises(BudgetSpentError):
                async with budget.request():
                    raise AssertionError
            await asyncio.sleep(LOOK_S)
        answered = time.monotonic()
    await taken_at_last(budget)
    assert time.monotonic() - answered >= 1


async def test_the_budget_needs_no_redis(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    async with open_system(away) as system:
        budget = budget_of(system, voter_roll_requests_per_hour=10, voter_roll_window_s=3600)
        assert sum([await taken(budget) for _ in range(12)]) == 10


async def test_when_postgresql_is_away_nothing_may_be_sent(settings: Settings) -> None:
    nowhere = SecretStr("postgresql://127.0.0.1:1/rollbook")
    async with open_system(settings.model_copy(update={"database_url": nowhere})) as system:
        budget = budget_of(system)
        budget._pool.timeout = 0.2
        with pytest.raises(UNAVAILABLE):
            async with budget.request():
                raise AssertionError


async def test_a_request_whose_worker_died_counts_for_a_window_after_its_time_limit(
    settings: Settings, system: System
) -> None:
    changes = {"voter_roll_requests_per_hour": 1, "voter_roll_window_s": 3600}
    budget = budget_of(system, voter_roll_timeout_s=595, **changes)
    await budget._reserve()  # and no end
    with connect(settings.database_address) as connection:
        for age_s, used in ((60, 1), (4000, 1), (4201, 0)):  # 595 s, 5 s of margin and the window
            connection.execute(
                "UPDATE voter_roll_requests SET sent_at = now() - make_interval(secs => %s)",
                (age_s,),
            )
            connection.commit()
            standing = await budget.standing()
            assert standing.used == used
            # While it may still be under way, it leaves no sooner than a window from now.
            longest_s = min(3600, 4200 - age_s) if used else 0
            assert max(longest_s - PATIENCE_S, 0) <= standing.wait_s <= longest_s


async def test_a_request_of_the_version_before_counts_as_one_without_an_end(
    settings: Settings, system: System
) -> None:
    budget = budget_of(system, voter_roll_requests_per_hour=3, voter_roll_window_s=3600)
    with connect(settings.database_address) as connection:
        connection.execute("INSERT INTO voter_roll_requests DEFAULT VALUES")
    assert (await budget.standing()).used == 1
    assert [await taken(budget) for _ in range(3)] == [True, True, False]


async def test_requests_are_forgotten_only_when_no_window_counts_them(
    settings: Settings, system: System
) -> None:
    budget = budget_of(system, voter_roll_requests_per_hour=10, voter_roll_window_s=3600)
    for _ in range(3):
        assert await taken(budget)
    with connect(settings.database_address) as connection:
        connection.execute(
            "INSERT INTO voter_roll_requests (sent_at, ended_at) VALUES"
            " (now() - interval '1 day', NULL), (now() - interval '1 day', now())"
        )
    await budget.forget()
    with connect(settings.database_address) as connection:
        left = connection.execute("SELECT count(*) AS n FROM voter_roll_requests").fetchone()
    assert left == {"n": 4}


async def test_a_roll_that_wants_no_requests_gets_none_from_anybody(
    settings: Settings, roll: ScriptedRoll, url: str
) -> None:
    settings = asking(settings, url)
    roll.fail(id_number(5), "429")
    async with open_system(settings) as system:
        one, other = budget_of(system), budget_of(system)
        async with RollClient(settings, one) as client:
            with pytest.raises(BudgetSpentError) as spent:
                await client.ask(id_number(5))
            assert spent.value.wait_s == 1
            # After the second; one who wakes up too late for its turn asks again.
            await taken_at_last(other)
            taken_at = time.monotonic()
            assert (await client.ask(id_number(5))).status == "registered"
    first, second = roll.about(id_number(5))
    assert taken_at - first.at >= 1
    assert second.at - first.at >= 1


async def test_a_request_that_waits_for_its_turn_is_not_sent_when_the_roll_wants_none_since(
    settings: Settings, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is reserved long ahead of its turn, and checked when the roll has said that it wants none.
    for name in ("AHEAD_S", "CHECK_S"):
        monkeypatch.setattr(f"rollbook.voter_roll.budget.{name}", PATIENCE_S)
    budget = budget_of(system, voter_roll_requests_per_hour=1, voter_roll_window_s=PATIENCE_S)
    refrained, look = asyncio.Event(), budget.standing

    async def standing() -> Standing:
        await asyncio.wait_for(refrained.wait(), PATIENCE_S)
        return await look()

    monkeypatch.setattr(budget, "standing", standing)
    assert await taken(budget)
    waiting = asyncio.create_task(taken(budget))
    counted = "SELECT count(*) AS n FROM voter_roll_requests"
    await until(settings, counted, lambda rows: rows == [{"n": 2}])  # it has its reservation
    await budget.refrain(3600)
    refrained.set()
    assert not await waiting
    await until(settings, counted, lambda rows: rows == [{"n": 1}])
    assert 3600 - PATIENCE_S < (await look()).wait_s <= 3600


async def test_a_request_that_wakes_up_a_little_late_for_its_turn_is_sent(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AHEAD_S", "MOST_LATE_S"):
        monkeypatch.setattr(f"rollbook.voter_roll.budget.{name}", PATIENCE_S)
    budget = budget_of(system, voter_roll_requests_per_hour=1, voter_roll_window_s=1)
    look = budget.standing

    async def looked_late() -> Standing:
        await asyncio.sleep(2 * CHECK_S)
        return await look()

    monkeypatch.setattr(budget, "standing", looked_late)
    assert [await taken(budget) for _ in range(2)] == [True, True]


async def test_reservations_get_one_place_each_in_the_order_in_which_requests_leave_the_window(
    system: System,
) -> None:
    budget = budget_of(system, voter_roll_requests_per_hour=2, voter_roll_window_s=2)
    async with budget.request():
        answered = time.monotonic()
    sent: list[float] = []

    async def send() -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    async with budget.request():
                        sent.append(time.monotonic())
                        return
                except BudgetSpentError:  # it woke up too late for its turn
                    await asyncio.sleep(LOOK_S)

    # The second place is free at once; the third request waits for the first to leave.
    await asyncio.gather(send(), send())
    assert sent[1] - answered >= 1.9


async def test_the_wait_for_many_counts_the_windows_that_they_need(system: System) -> None:
    budget = budget_of(system, voter_roll_requests_per_hour=10, voter_roll_window_s=3600)
    assert await budget.wait_for(10) == 0
    for _ in range(4):
        await taken(budget)
    waits = [await budget.wait_for(n) for n in (6, 7, 16, 17, 36)]
    assert waits[0] == 0
    # By the window: each is shorter by the time since the first request.
    assert [round(wait / 3600, 1) for wait in waits[1:]] == [1, 1, 2, 3]


async def test_nine_tenths_and_the_end_are_each_said_once_through_the_queues_events(
    system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No event is left out because Redis is slow on a busy machine.
    monkeypatch.setattr("rollbook.queue.publisher.PATIENCE_S", PATIENCE_S)
    heard: list[QueueEvent] = []
    ended = asyncio.Event()

    def listen(event: QueueEvent) -> None:
        heard.append(event)
        if event.name == "rate_limit_exceeded":
            ended.set()

    subscriber = Subscriber(settings)
    subscriber.listen(listen)
    budget = budget_of(system, voter_roll_requests_per_hour=20, voter_roll_window_s=3600)
    async with subscriber.running(), asyncio.timeout(PATIENCE_S):
        await subscriber.reading.wait()
        for _ in range(25):
            await taken(budget)
        await ended.wait()
    assert [(event.name, event.job_id, event.data["used"]) for event in heard] == [
        ("rate_limit_warning", "", "18"),
        ("rate_limit_exceeded", "", "20"),
    ]


async def test_no_request_is_missing_in_the_record_and_refused_ones_are_not_there(
    system: System, settings: Settings
) -> None:
    budget = budget_of(system, voter_roll_requests_per_hour=3, voter_roll_window_s=3600)
    await asyncio.gather(*(taken(budget) for _ in range(10)))
    with connect(settings.database_address) as connection:
        noted = connection.execute("SELECT count(*) AS n FROM voter_roll_requests").fetchone()
    assert noted == {"n": 3}


# --- the client -----------------------------------------------------------------------------------


async def test_a_token_is_asked_for_once_and_again_before_it_ends(
    settings: Settings, roll: ScriptedRoll, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = asking(settings, url)
    true_now = clock.now

    def tokens() -> int:
        return [asked.id_number for asked in roll.asked].count(None)

    async with open_system(settings) as system, RollClient(settings, budget_of(system)) as client:
        await asyncio.gather(*(client.ask(id_number(n)) for n in range(4, 12)))
        assert tokens() == 1
        roll.revoke_tokens()
        await client.ask(id_number(13))
        assert tokens() == 2
        for left_s, number in ((RENEW_EARLY_S + PATIENCE_S, 2), (RENEW_EARLY_S, 3)):
            later = dt.timedelta(seconds=roll.token_lifetime_s - left_s)
            monkeypatch.setattr(clock, "now", lambda: true_now() + later)  # noqa: B023
            await client.ask(id_number(14))
            assert tokens() == number
    assert {asked.status for asked in roll.asked} == {200, 401}
    assert [asked.status for asked in roll.asked].count(401) == 1


async def test_a_failure_of_the_roll_is_tried_again_at_once_and_each_try_costs_budget(
    settings: Settings, roll: ScriptedRoll, url: str
) -> None:
    settings = asking(settings, url)
    roll.fail(id_number(5), "500", "503")
    async with open_system(settings) as system:
        budget = budget_of(system)
        async with RollClient(settings, budget) as client:
            answer = await client.ask(id_number(5))
        used = (await budget.standing()).used
    assert answer.status == "registered"
    assert [asked.status for asked in roll.about(id_number(5))] == [500, 503, 200]
    assert used == len(roll.asked) == 4


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (["500"] * 3, NoAnswerError),
        (["garbage"], NoAnswerError),
        (["redirect"], NoAnswerError),
        (["slow"], NoAnswerError),
        (["refused"], QuestionRefusedError),
        (["401", "401"], RollDownError),
        (["403"], RollDownError),
    ],
)
async def test_each_way_to_fail_has_its_own_error_that_says_nothing_of_the_person(
    settings: Settings, roll: ScriptedRoll, url: str, faults: list[Any], error: type[Exception]
) -> None:
    settings = asking(settings, url)
    roll.fail(id_number(5), *faults)
    async with open_system(settings) as system, RollClient(settings, budget_of(system)) as client:
        if faults == ["slow"]:
            await client._good_token()  # which has all the time that it needs
            client._settings = asking(settings, url, voter_roll_timeout_s=1.0)
        with pytest.raises(error) as failure:
            await client.ask(id_number(5))
    assert id_number(5) not in str(failure.value)
    await asyncio.to_thread(roll.wait_until_asked, len(faults))
    assert len(roll.about(id_number(5))) == len(faults)


async def test_no_redirect_is_followed(settings: Settings, url: str) -> None:
    settings = asking(settings, url)
    elsewhere: list[str] = []

    async def transport(request: httpx.Request) -> httpx.Response:
        elsewhere.append(request.url.host)
        if request.url.path == "/token":
            return httpx.Response(200, json={"access_token": "t", "expires_in": 3600})
        return httpx.Response(302, headers={"Location": "https://elsewhere.example.org/"})

    async with open_system(settings) as system, RollClient(settings, budget_of(system)) as client:
        client._http = httpx.AsyncClient(transport=httpx.MockTransport(transport))
        with pytest.raises(NoAnswerError):
            await client.ask(id_number(5))
    assert set(elsewhere) == {"127.0.0.1"}


def answering(
    reply: httpx.Response, grant: str = '{"access_token": "t", "expires_in": 3600}'
) -> httpx.AsyncClient:
    """A roll that gives this token and this answer to everything."""

    def transport(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=grant) if request.url.path == "/token" else reply

    return httpx.AsyncClient(transport=httpx.MockTransport(transport))


async def test_only_the_rolls_own_refusal_is_one_and_a_gateways_page_is_no_answer(
    settings: Settings, url: str
) -> None:
    settings = asking(settings, url)
    async with open_system(settings) as system, RollClient(settings, budget_of(system)) as client:
        for reply, error in (
            (httpx.Response(400, json={"Message": "It is invalid."}), QuestionRefusedError),
            (httpx.Response(404, json={"Message": "Nobody has it."}), QuestionRefusedError),
            (httpx.Response(422, json={}), QuestionRefusedError),
            (httpx.Response(404, text="<html>404 Not Found</html>"), NoAnswerError),
            (httpx.Response(400, text=""), NoAnswerError),
            (httpx.Response(400, json=["no object"]), NoAnswerError),
            (httpx.Response(410, json={"Message": "Gone"}), NoAnswerError),
        ):
            client._http = answering(reply)
            assert type(await refusal(client.ask(id_number(5)))) is error, (reply, reply.text)


async def test_a_token_without_a_finite_lifetime_is_no_token(settings: Settings, url: str) -> None:
    settings = asking(settings, url)
    async with open_system(settings) as system:
        for lifetime in ("NaN", "Infinity", "-Infinity", "1" + "0" * 400, "null"):
            token = f'{{"access_token": "t", "expires_in": {lifetime}}}'
            async with RollClient(settings, budget_of(system)) as client:
                client._http = answering(httpx.Response(200), token)
                failure = await refusal(client.ask(id_number(5)))
            assert isinstance(failure, NoAnswerError), (lifetime, failure)
            assert "no token" in str(failure), lifetime


async def test_a_token_of_a_thousand_years_is_taken_for_one_of_a_day(
    settings: Settings, url: str
) -> None:
    settings = asking(settings, url)
    token = '{"access_token": "t", "expires_in": 1e300}'
    async with open_system(settings) as system, RollClient(settings, budget_of(system)) as client:
        client._http = answering(httpx.Response(404, json={}), token)
        with pytest.raises(QuestionRefusedError):
            await client.ask(id_number(5))


async def test_a_wrong_account_means_that_the_roll_is_down_for_us(
    settings: Settings, roll: ScriptedRoll, url: str
) -> None:
    settings = asking(settings, url, voter_roll_password=SecretStr("wrong"))
    async with open_system(settings) as system, RollClient(settings, budget_of(system)) as client:
        with pytest.raises(RollDownError, match="account"):
            await client.ask(id_number(5))
    assert roll.about() == []
