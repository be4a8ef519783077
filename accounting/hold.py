"""Keeps money of an account back, takes it, frees it. Invariant: what is held equals the open holds, and a hold never
draws overdraft."""

from __future__ import annotations

import json

from sqlalchemy.ext.asyncio import AsyncConnection

from accounting import mapping
from accounting.books import Books
from accounting.domain import holds as hold_rules
from accounting.domain.accounts import EntrySide
from accounting.domain.holds import HoldAction, HoldState
from accounting.domain.posting import Line
from accounting.post import RECORDED_REASONS, JournalCommand, post
from accounting.store import accounts, journals
from accounting.store import holds as hold_store
from accounting.store.holds import Hold
from accounting.store.journals import Journal, Refusal
from runtime.context import current_scope, encode_platform, mark_replayed, use_scope
from runtime.errors import FieldViolation, PaycenterError, Reason
from runtime.idempotency import Replay
from runtime.ids import NumberKind, new_number, shard_of_number
from runtime.money import Money
from runtime.telemetry import scope_from_stored


async def place_hold(
    books: Books,
    *,
    request_id: str,
    fingerprint: bytes,
    account_id: str,
    amount: Money,
    business_number: str,
    hold_seconds: float | None,
) -> Hold:
    """Keeps an amount of an account back; idempotent by request, refusals included.

    Raises:
        PaycenterError: ACCOUNT_NOT_FOUND, CURRENCY_MISMATCH, ACCOUNT_STATE_INVALID, INSUFFICIENT_FUNDS or
            IDEMPOTENCY_KEY_REUSED. Nothing is held then.
    """
    async with books.database.begin() as connection:
        positions = await accounts.lock_positions(connection, [account_id])
        decided = await _decided(connection, account_id, request_id)
        if decided is not None:
            return _replay(decided, fingerprint)
        position = positions.get(account_id)
        if position is None:
            raise PaycenterError(
                Reason.ACCOUNT_NOT_FOUND,
                "the account is not open",
                field="account_id",
                resource=("account", account_id),
            )
        scope = current_scope()
        if position.tenant_id != scope.platform.tenant_id:
            raise PaycenterError(Reason.TENANT_FORBIDDEN, "the account belongs to another tenant")
        if position.shadow is not scope.platform.shadow:
            raise PaycenterError(
                Reason.SHADOW_MIXED,
                "the call and the account are not both shadow or both real",
                field="account_id",
            )
        try:
            hold_rules.check_place(position, amount)
        except PaycenterError as refusal:
            if refusal.reason in RECORDED_REASONS:
                await journals.insert_refusal(
                    connection,
                    Refusal(
                        fingerprint, refusal.reason.value, refusal.message, "amount", dict(refusal.metadata)
                    ),
                    shard=position.shard,
                    caller=scope.platform.caller_service,
                    request_id=request_id,
                    metadata_json=json.dumps(dict(refusal.metadata)),
                    business_id=scope.platform.business_id or business_number,
                    traceparent=scope.trace.format(),
                )
                refused = refusal
            else:
                raise
        else:
            placed = await hold_store.insert_hold(
                connection,
                shard=position.shard,
                hold_id=new_number(NumberKind.HOLD, shard=position.shard),
                tenant_id=scope.platform.tenant_id,
                caller=scope.platform.caller_service,
                request_id=request_id,
                fingerprint=fingerprint,
                account_id=account_id,
                amount=amount,
                business_number=business_number,
                hold_seconds=hold_seconds,
                business_id=scope.platform.business_id or business_number,
                traceparent=scope.trace.format(),
                platform=encode_platform(scope.platform),
            )
            assert placed is not None, "the account's lock keeps an equal request out"
            await books.outbox.append(connection, mapping.hold_changed(placed))
            return placed
    raise refused


async def capture_hold(
    books: Books,
    *,
    request_id: str,
    fingerprint: bytes,
    hold_id: str,
    amount: Money,
    event_code: str,
    business_number: str,
    destination_account_id: str,
    release_remainder: bool,
) -> tuple[Hold, Journal]:
    """Books a movement of held money to another account; idempotent by request.

    Raises:
        PaycenterError: HOLD_NOT_FOUND and whatever `post` raises.
    """
    held = await get_hold(books, hold_id)
    async with books.database.read() as connection:
        source = await accounts.get_account(connection, held.position.account_id)
    assert source is not None, "a hold stands on an open account"
    drawing_side: EntrySide = source.position.normal_side.opposite
    journal = await post(
        books,
        JournalCommand(
            request_id=request_id,
            fingerprint=fingerprint,
            event_code=event_code,
            business_number=business_number,
            lines=(
                Line(held.position.account_id, drawing_side, amount),
                Line(destination_account_id, drawing_side.opposite, amount),
            ),
            hold_id=hold_id,
            release_remainder=release_remainder,
        ),
    )
    return await get_hold(books, hold_id), journal


async def release_hold(books: Books, *, request_id: str, fingerprint: bytes, hold_id: str) -> Hold | Replay:
    """Frees what a hold still keeps; idempotent by request, and releasing a released hold again is harmless.

    Raises:
        PaycenterError: HOLD_NOT_FOUND, TENANT_FORBIDDEN, HOLD_STATE_INVALID when it was captured or expired,
            IDEMPOTENCY_KEY_REUSED.
    """
    hold = await get_hold(books, hold_id)
    async with books.database.begin() as connection:
        claim = await books.idempotency.claim(
            connection,
            shard=hold.position.shard,
            method="ReleaseHold",
            request_id=request_id,
            fingerprint=fingerprint,
            resource_id=hold_id,
        )
        if isinstance(claim, Replay):
            return claim
        released = await _free(books, connection, hold, HoldAction.RELEASE)
        await books.idempotency.complete(
            connection,
            shard=hold.position.shard,
            method="ReleaseHold",
            request_id=request_id,
            response=mapping.release_hold_response(released),
        )
    return released


async def expire_holds(books: Books, *, limit: int = 100) -> int:
    """Frees holds whose time has passed; gives their number."""
    async with books.database.read() as connection:
        due = await hold_store.expired_holds(connection, limit=limit)
    for hold in due:
        with use_scope(scope_from_stored(hold.traceparent, hold.platform)):
            try:
                async with books.database.begin() as connection:
                    await _free(books, connection, hold, HoldAction.EXPIRE)
            except PaycenterError as error:
                if error.reason is not Reason.HOLD_STATE_INVALID:
                    raise
    return len(due)


async def get_hold(books: Books, hold_id: str) -> Hold:
    """Reads a hold.

    Raises:
        PaycenterError: HOLD_NOT_FOUND or TENANT_FORBIDDEN.
    """
    hold = None
    try:
        shard = shard_of_number(hold_id)
    except ValueError:
        pass
    else:
        async with books.database.read() as connection:
            hold = await hold_store.get_hold(connection, shard=shard, hold_id=hold_id)
    if hold is None:
        raise PaycenterError(
            Reason.HOLD_NOT_FOUND, "no hold has this number", field="hold_id", resource=("hold", hold_id)
        )
    if hold.tenant_id != current_scope().platform.tenant_id:
        raise PaycenterError(Reason.TENANT_FORBIDDEN, "the hold belongs to another tenant")
    return hold


async def _free(books: Books, connection: AsyncConnection, hold: Hold, action: HoldAction) -> Hold:
    await accounts.lock_positions(connection, [hold.position.account_id])
    present = await hold_store.get_hold(
        connection, shard=hold.position.shard, hold_id=hold.position.hold_id, lock=True
    )
    assert present is not None, "holds are never deleted"
    if action is HoldAction.RELEASE and present.position.state is HoldState.RELEASED:
        return present
    present.position.check_open()
    state = hold_rules.state_after(present.position.state, action, nothing_remains=True)
    freed = await hold_store.free_hold(connection, present.position, action, state)
    assert freed is not None, "the hold is locked"
    await books.outbox.append(connection, mapping.hold_changed(freed))
    return freed


async def _decided(connection: AsyncConnection, account_id: str, request_id: str) -> Hold | Refusal | None:
    shard = accounts.shard_of_account(account_id)
    caller = current_scope().platform.caller_service
    hold = await hold_store.hold_of_request(connection, shard=shard, caller=caller, request_id=request_id)
    if hold is not None:
        return hold
    return await journals.get_refusal(connection, shard=shard, caller=caller, request_id=request_id)


def _replay(decided: Hold | Refusal, fingerprint: bytes) -> Hold:
    if decided.fingerprint != fingerprint:
        raise PaycenterError(
            Reason.IDEMPOTENCY_KEY_REUSED, "the request_id was used with another body", field="request_id"
        )
    mark_replayed()
    if isinstance(decided, Hold):
        return decided
    raise PaycenterError(
        Reason(decided.reason),
        decided.message,
        violations=(FieldViolation(field=decided.field, description=decided.message),)
        if decided.field
        else (),
        metadata=decided.metadata,
    )
