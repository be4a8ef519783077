"""Books a journal. Invariant: one request books at most one journal, one business event is booked at most once, and
what was decided once is answered the same for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from accounting import mapping
from accounting.books import Books
from accounting.domain import posting
from accounting.domain.holds import HoldAction, HoldPosition, HoldState, state_after
from accounting.domain.posting import Line
from accounting.store import accounts, journals
from accounting.store import holds as hold_store
from accounting.store.accounts import shard_of_account
from accounting.store.journals import Journal, NewJournal, Refusal
from runtime.context import current_scope, mark_replayed
from runtime.errors import FieldViolation, PaycenterError, Reason
from runtime.ids import NumberKind, new_number, shard_of_number
from runtime.money import Money

# Refusals that depend on the books at that moment. They are recorded and replay as refused; what operations can mend
# without a new command (a missing or frozen account) is not recorded, so that the same request succeeds afterwards.
RECORDED_REASONS = frozenset(
    {
        Reason.INSUFFICIENT_FUNDS,
        Reason.BALANCE_OVERFLOW,
        Reason.VERSION_MISMATCH,
        Reason.HOLD_NOT_FOUND,
        Reason.HOLD_STATE_INVALID,
        Reason.HOLD_AMOUNT_EXCEEDED,
    }
)


@dataclass(frozen=True, slots=True)
class JournalCommand:
    """What is to be booked, and by which request."""

    request_id: str
    fingerprint: bytes
    event_code: str
    business_number: str
    lines: tuple[Line, ...]
    effective_time: datetime | None = None
    posting_rule_version: int = 0
    hold_id: str = ""
    release_remainder: bool = False
    kind: str = "NORMAL"
    reversed_journal_id: str = ""

    @property
    def shard(self) -> int:
        """Shard of the journal: that of the number it books, else that of its first account."""
        try:
            return shard_of_number(self.business_number)
        except ValueError:
            return shard_of_account(self.lines[0].account_id)


async def post_event(
    books: Books,
    *,
    request_id: str,
    fingerprint: bytes,
    event_code: str,
    business_number: str,
    parties: Mapping[str, str],
    components: Mapping[str, Money],
    hold_id: str,
    effective_time: datetime | None,
) -> Journal:
    """Books a business event by the rule in force; idempotent by request, one journal for each event and number.

    Raises:
        PaycenterError: POSTING_RULE_NOT_FOUND, FIELD_INVALID, and whatever `post` raises.
    """
    rule = await books.rule_of(event_code)
    return await post(
        books,
        JournalCommand(
            request_id=request_id,
            fingerprint=fingerprint,
            event_code=event_code,
            business_number=business_number,
            lines=rule.lines_of(parties, components),
            effective_time=effective_time,
            posting_rule_version=rule.version,
            hold_id=hold_id,
            release_remainder=bool(hold_id),
        ),
    )


async def post(books: Books, command: JournalCommand) -> Journal:
    """Books lines as they are given; idempotent by request, one journal for each event and number.

    Raises:
        PaycenterError: JOURNAL_UNBALANCED, ACCOUNT_NOT_FOUND, CURRENCY_MISMATCH, SHADOW_MIXED, ACCOUNT_STATE_INVALID,
            HOLD_NOT_FOUND, HOLD_STATE_INVALID, HOLD_AMOUNT_EXCEEDED, VERSION_MISMATCH, INSUFFICIENT_FUNDS,
            BALANCE_OVERFLOW, JOURNAL_EXISTS or IDEMPOTENCY_KEY_REUSED. Nothing is booked then.
    """
    posting.check_lines(command.lines)
    async with books.database.begin() as connection:
        outcome = await post_in(books, connection, command)
    if isinstance(outcome, PaycenterError):
        raise outcome
    return outcome


async def post_in(
    books: Books, connection: AsyncConnection, command: JournalCommand
) -> Journal | PaycenterError:
    """Books a journal inside the caller's transaction; a refusal is returned, so that its record can be committed."""
    positions = await accounts.lock_positions(connection, [line.account_id for line in command.lines])
    tenant_id = current_scope().platform.tenant_id
    if any(position.tenant_id != tenant_id for position in positions.values()):
        return PaycenterError(Reason.TENANT_FORBIDDEN, "an account belongs to another tenant")
    try:
        hold = await _lock_hold(connection, command)
        decision = posting.decide(
            command.lines, positions, hold=hold, release_remainder=command.release_remainder
        )
    except PaycenterError as refusal:
        return await _refuse(connection, command, refusal)
    if next(iter(positions.values())).shadow is not current_scope().platform.shadow:
        return PaycenterError(
            Reason.SHADOW_MIXED, "the call and the accounts are not both shadow or both real", field="lines"
        )
    hold_state = _hold_state_after(hold, decision)
    journal = await journals.insert_journal(
        connection, _new_journal(books, command), decision, hold=hold, hold_state=hold_state
    )
    if journal is None:
        return await _replay(connection, command)
    await books.outbox.append(connection, mapping.journal_posted(journal))
    return journal


async def _lock_hold(connection: AsyncConnection, command: JournalCommand) -> HoldPosition | None:
    if not command.hold_id:
        return None
    hold = None
    try:
        shard = shard_of_number(command.hold_id)
        hold = await hold_store.get_hold(connection, shard=shard, hold_id=command.hold_id, lock=True)
    except ValueError:
        pass
    if hold is None or hold.tenant_id != current_scope().platform.tenant_id:
        raise PaycenterError(
            Reason.HOLD_NOT_FOUND,
            "no hold has this number",
            field="hold_id",
            resource=("hold", command.hold_id),
        )
    return hold.position


def _hold_state_after(hold: HoldPosition | None, decision: posting.Decision) -> HoldState | None:
    if hold is None:
        return None
    remaining = hold.remaining_minor_units - decision.captured_minor_units - decision.released_minor_units
    return state_after(hold.state, HoldAction.CAPTURE, nothing_remains=remaining == 0)


def _new_journal(books: Books, command: JournalCommand) -> NewJournal:
    scope = current_scope()
    return NewJournal(
        shard=command.shard,
        journal_id=new_number(NumberKind.JOURNAL, shard=command.shard),
        tenant_id=scope.platform.tenant_id,
        caller=scope.platform.caller_service,
        request_id=command.request_id,
        fingerprint=command.fingerprint,
        event_code=command.event_code,
        business_number=command.business_number,
        kind=command.kind,
        posting_rule_version=command.posting_rule_version,
        hold_id=command.hold_id,
        reversed_journal_id=command.reversed_journal_id,
        accounting_date=books.accounting_date(),
        effective_time=command.effective_time,
        business_id=scope.platform.business_id or command.business_number,
        traceparent=scope.trace.format(),
    )


async def _refuse(
    connection: AsyncConnection, command: JournalCommand, refusal: PaycenterError
) -> Journal | PaycenterError:
    """Answers what was decided before, else records the refusal under its request."""
    decided = await _find_decided(connection, command)
    if decided is not None:
        return _answer(command, decided)
    if refusal.reason in RECORDED_REASONS:
        scope = current_scope()
        await journals.insert_refusal(
            connection,
            Refusal(
                fingerprint=command.fingerprint,
                reason=refusal.reason.value,
                message=refusal.message,
                field=refusal.violations[0].field if refusal.violations else "",
                metadata=dict(refusal.metadata),
            ),
            shard=command.shard,
            caller=scope.platform.caller_service,
            request_id=command.request_id,
            metadata_json=json.dumps(dict(refusal.metadata)),
            business_id=scope.platform.business_id or command.business_number,
            traceparent=scope.trace.format(),
        )
    return refusal


async def _replay(connection: AsyncConnection, command: JournalCommand) -> Journal | PaycenterError:
    decided = await _find_decided(connection, command)
    assert decided is not None, "an insert that meets a conflict finds what it conflicts with"
    return _answer(command, decided)


async def _find_decided(connection: AsyncConnection, command: JournalCommand) -> Journal | Refusal | None:
    return await journals.find_decided(
        connection,
        shard=command.shard,
        caller=current_scope().platform.caller_service,
        request_id=command.request_id,
        event_code=command.event_code,
        business_number=command.business_number,
    )


def _answer(command: JournalCommand, decided: Journal | Refusal) -> Journal | PaycenterError:
    caller = current_scope().platform.caller_service
    if isinstance(decided, Journal) and (decided.caller, decided.request_id) != (caller, command.request_id):
        return PaycenterError(
            Reason.JOURNAL_EXISTS,
            "the business event is booked",
            field="business_number",
            metadata={"journalId": decided.journal_id},
            resource=("journal", decided.journal_id),
        )
    if decided.fingerprint != command.fingerprint:
        return PaycenterError(
            Reason.IDEMPOTENCY_KEY_REUSED, "the request_id was used with another body", field="request_id"
        )
    mark_replayed()
    return decided if isinstance(decided, Journal) else _error_of(decided)


def _error_of(refusal: Refusal) -> PaycenterError:
    violations: Sequence[FieldViolation] = ()
    if refusal.field:
        violations = (FieldViolation(field=refusal.field, description=refusal.message),)
    return PaycenterError(
        Reason(refusal.reason), refusal.message, violations=violations, metadata=refusal.metadata
    )


def mirrored(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Gives the same lines on the opposite sides."""
    return tuple(replace(line, side=line.side.opposite) for line in lines)
