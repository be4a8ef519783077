"""The same request twice has one effect, at whatever moment the second one comes."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from runtime.context import CallRecord, CallScope, current_scope, use_scope
from runtime.database import Database
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Claim, Replay, Resume, fingerprint
from tests.runtime.support import Shop, calling_as, idempotency_record, new_shop, orders

BODY = b"a" * 32
OTHER_BODY = b"b" * 32


async def _create_order(
    shop: Shop, request_id: str, *, body: bytes = BODY, pause_seconds: float = 0.0
) -> str:
    """A command of one transaction: claim, effect, response."""
    with calling_as():
        async with shop.database.begin() as connection:
            claim = await shop.idempotency.claim(
                connection, shard=7, method="CreateOrder", request_id=request_id, fingerprint=body
            )
            if isinstance(claim, Replay):
                return f"replay {claim.response.decode()}"
            order_id = f"O-{request_id}"
            await connection.execute(orders.insert(), {"order_id": order_id, "state": "CREATED"})
            await asyncio.sleep(pause_seconds)
            await shop.idempotency.complete(
                connection, shard=7, method="CreateOrder", request_id=request_id, response=order_id.encode()
            )
            return f"fresh {order_id}"


async def _begin(
    shop: Shop, *, lease_seconds: float = 20.0, resource_id: str = "P-1"
) -> Claim | Replay | Resume:
    """The first transaction of a command of several."""
    with calling_as():
        async with shop.database.begin() as connection:
            return await shop.idempotency.claim(
                connection,
                shard=7,
                method="Pay",
                request_id="R-1",
                fingerprint=BODY,
                resource_id=resource_id,
                lease_seconds=lease_seconds,
            )


async def _end(shop: Shop, response: bytes) -> None:
    with calling_as():
        async with shop.database.begin() as connection:
            await shop.idempotency.complete(
                connection, shard=7, method="Pay", request_id="R-1", response=response
            )


async def test_the_same_request_again_gets_the_same_answer(shop: Shop) -> None:
    assert await _create_order(shop, "R-1") == "fresh O-R-1"
    assert await _create_order(shop, "R-1") == "replay O-R-1"
    assert await shop.count(orders) == 1


async def test_of_twenty_equal_requests_at_once_one_acts_and_all_get_its_answer(shop: Shop) -> None:
    answers = await asyncio.gather(*(_create_order(shop, "R-1", pause_seconds=0.05) for _ in range(20)))
    assert sorted(answers) == ["fresh O-R-1"] + ["replay O-R-1"] * 19
    assert await shop.count(orders) == 1


async def test_when_the_first_fails_the_one_that_waited_acts(shop: Shop) -> None:
    async def fail() -> None:
        with calling_as():
            async with shop.database.begin() as connection:
                await shop.idempotency.claim(
                    connection, shard=7, method="CreateOrder", request_id="R-1", fingerprint=BODY
                )
                await asyncio.sleep(0.2)
                raise KeyError

    failing = asyncio.create_task(fail())
    await asyncio.sleep(0.05)
    assert await _create_order(shop, "R-1") == "fresh O-R-1"
    with pytest.raises(KeyError):
        await failing


async def test_another_body_under_the_same_id_is_refused(shop: Shop) -> None:
    await _create_order(shop, "R-1")
    with pytest.raises(PaycenterError) as refusal:
        await _create_order(shop, "R-1", body=OTHER_BODY)
    assert refusal.value.reason is Reason.IDEMPOTENCY_KEY_REUSED
    assert [violation.field for violation in refusal.value.violations] == ["request_id"]


async def test_the_same_id_of_another_caller_or_method_is_another_request(shop: Shop) -> None:
    await _create_order(shop, "R-1")
    for caller, method in (("back-office", "CreateOrder"), ("web-shop", "CloseOrder")):
        with calling_as(caller):
            async with shop.database.begin() as connection:
                claim = await shop.idempotency.claim(
                    connection, shard=7, method=method, request_id="R-1", fingerprint=OTHER_BODY
                )
        assert isinstance(claim, Claim)


async def test_a_replay_marks_the_running_rpc(shop: Shop) -> None:
    await _create_order(shop, "R-1")
    with calling_as() as scope:
        record = CallRecord(method="/shop/CreateOrder")
        with use_scope(CallScope(scope.platform, scope.trace, None, record)):
            async with shop.database.begin() as connection:
                await shop.idempotency.claim(
                    connection, shard=7, method="CreateOrder", request_id="R-1", fingerprint=BODY
                )
            assert current_scope().record is record
    assert record.replayed


class TestCommandOfSeveralTransactions:
    async def test_while_it_runs_the_same_request_is_told_to_wait(self, shop: Shop) -> None:
        assert await _begin(shop) == Claim("P-1")
        with pytest.raises(PaycenterError) as refusal:
            await _begin(shop)
        assert refusal.value.reason is Reason.REQUEST_IN_PROGRESS
        assert 0 < (refusal.value.retry_after_seconds or 0) <= 1

    async def test_when_it_is_done_the_same_request_gets_its_answer(self, shop: Shop) -> None:
        await _begin(shop)
        await _end(shop, b"paid")
        assert await _begin(shop, resource_id="P-2") == Replay(b"paid", "P-1")

    async def test_after_the_lease_it_is_taken_over_by_one(self, shop: Shop) -> None:
        await _begin(shop, lease_seconds=0.05)
        await asyncio.gather(*(shop.database.check() for _ in range(4)))
        await asyncio.sleep(0.1)
        outcomes = await asyncio.gather(
            *(_begin(shop, resource_id="P-2") for _ in range(5)), return_exceptions=True
        )
        taken = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        assert taken == [Resume("P-1")]
        assert all(
            outcome.reason is Reason.REQUEST_IN_PROGRESS
            for outcome in outcomes
            if isinstance(outcome, PaycenterError)
        )

    async def test_when_its_process_is_gone_it_is_taken_over_at_once(
        self, shop: Shop, database_url: str
    ) -> None:
        crashed = new_shop(Database(database_url, pool_size=1))
        await _begin(crashed, lease_seconds=3600)
        await crashed.database.close()
        async with asyncio.timeout(5):
            while True:
                try:
                    outcome = await _begin(shop, lease_seconds=3600)
                    break
                except PaycenterError:
                    await asyncio.sleep(0.02)
        assert outcome == Resume("P-1")

    async def test_who_takes_over_has_a_lease_of_its_own(self, shop: Shop) -> None:
        await _begin(shop, lease_seconds=0.01)
        await asyncio.sleep(0.05)
        assert isinstance(await _begin(shop, lease_seconds=30), Resume)
        with pytest.raises(PaycenterError) as refusal:
            await _begin(shop)
        assert refusal.value.reason is Reason.REQUEST_IN_PROGRESS

    async def test_an_equal_request_that_waits_too_long_for_the_first_is_told_to_wait(
        self, shop: Shop, database_url: str
    ) -> None:
        impatient = new_shop(Database(database_url, pool_size=1, lock_timeout_seconds=0.1))
        first = asyncio.create_task(_create_order(shop, "R-1", pause_seconds=0.5))
        await asyncio.sleep(0.1)
        with pytest.raises(PaycenterError) as refusal:
            await _create_order(impatient, "R-1")
        assert refusal.value.reason is Reason.REQUEST_IN_PROGRESS
        assert await first == "fresh O-R-1"
        await impatient.database.close()


async def test_nobody_completes_what_he_has_not_claimed(shop: Shop) -> None:
    with pytest.raises(RuntimeError, match="claimed"):
        await _end(shop, b"paid")


async def test_a_new_request_is_one_statement(shop: Shop) -> None:
    statements: list[str] = []
    sa.event.listen(
        shop.database.engine.sync_engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: statements.append(statement),
    )
    await _begin(shop)
    assert len(statements) == 1


async def test_records_stay_for_72_hours_and_unfinished_ones_longer(shop: Shop) -> None:
    ages = {"new": (71, b"x"), "old": (73, b"x"), "unfinished": (73, None), "forgotten": (145, None)}
    async with shop.database.begin() as connection:
        for request_id, (hours, response) in ages.items():
            await connection.execute(
                idempotency_record.insert().values(
                    shard=7,
                    caller="web-shop",
                    method="CreateOrder",
                    request_id=request_id,
                    fingerprint=BODY,
                    response=response,
                    claimed_by=1,
                    claimed_time=sa.func.now(),
                    locked_until=sa.func.now(),
                    created_time=sa.func.now() - sa.text(f"interval '{hours} hours'"),
                )
            )
    async with shop.database.begin() as connection:
        assert await shop.idempotency.purge(connection) == 2
    async with shop.database.read() as connection:
        left = set((await connection.execute(sa.select(idempotency_record.c.request_id))).scalars())
    assert left == {"new", "unfinished"}


def test_a_fingerprint_looks_at_everything_but_the_request_id() -> None:
    first = error_details_pb2.RequestInfo(request_id="R-1", serving_data="body")
    again = error_details_pb2.RequestInfo(request_id="R-2", serving_data="body")
    other = error_details_pb2.RequestInfo(request_id="R-1", serving_data="other")
    assert fingerprint(first) == fingerprint(again) != fingerprint(other)
    assert first.request_id == "R-1"
    with pytest.raises(ValueError, match="request_id"):
        fingerprint(Timestamp(seconds=1))
