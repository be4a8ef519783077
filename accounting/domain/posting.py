"""Decides a journal: which entries it becomes, or why it is refused. Invariant: what is accepted balances per
currency and leaves no account below its floor.

Refusals follow one order, so that a request has one answer: balance of the lines, shadow mixing, missing accounts,
account states, holds, versions, funds, overflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accounting.domain.accounts import MAXIMUM_MINOR_UNITS, AccountPosition, EntrySide
from accounting.domain.holds import HoldPosition
from runtime.errors import PaycenterError, Reason
from runtime.money import Money


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a journal to be booked; `expected_version` is None for any."""

    account_id: str
    side: EntrySide
    amount: Money
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class EntryDraft:
    """One line as it is to be applied to its account."""

    shard: int
    account_id: str
    account_sequence: int
    line_number: int
    side: EntrySide
    amount: Money
    balance_after_minor_units: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What an accepted journal becomes; the positions are moved on in place."""

    entries: tuple[EntryDraft, ...]
    positions: tuple[AccountPosition, ...]
    captured_minor_units: int = 0
    released_minor_units: int = 0


def check_lines(lines: Sequence[Line]) -> None:
    """Checks what needs no account: two lines or more, amounts above zero, debits equal to credits per currency.

    Raises:
        PaycenterError: FIELD_INVALID or JOURNAL_UNBALANCED, with the field.
    """
    if len(lines) < 2:
        raise PaycenterError(Reason.FIELD_INVALID, "a journal has two lines or more", field="lines")
    totals: dict[str, int] = {}
    for index, line in enumerate(lines):
        if line.amount.minor_units <= 0:
            raise PaycenterError(
                Reason.FIELD_INVALID, "an amount is above zero", field=f"lines[{index}].amount"
            )
        sign = 1 if line.side is EntrySide.DEBIT else -1
        code = line.amount.currency_code
        totals[code] = totals.get(code, 0) + sign * line.amount.minor_units
    for code, total in totals.items():
        if total:
            raise PaycenterError(
                Reason.JOURNAL_UNBALANCED,
                f"debits and credits in {code} differ by {total} minor units",
                field="lines",
                metadata={"currencyCode": code, "differenceMinorUnits": str(total)},
            )


def decide(
    lines: Sequence[Line],
    positions: Mapping[str, AccountPosition],
    *,
    hold: HoldPosition | None = None,
    release_remainder: bool = False,
) -> Decision:
    """Decides a journal against the locked positions of its accounts.

    Args:
        lines: Lines that `check_lines` accepted.
        positions: Positions by account number, locked; moved on in place when the journal is accepted.
        hold: Hold from which the debit of its account is taken.
        release_remainder: Whether what the hold keeps beyond this journal is freed.

    Raises:
        PaycenterError: ACCOUNT_NOT_FOUND, CURRENCY_MISMATCH, SHADOW_MIXED, ACCOUNT_STATE_INVALID, HOLD_STATE_INVALID,
            HOLD_AMOUNT_EXCEEDED, VERSION_MISMATCH, INSUFFICIENT_FUNDS or BALANCE_OVERFLOW. Then nothing may be
            written: positions may be half moved and are to be thrown away.
    """
    _check_accounts(lines, positions)
    captured, released = _take_from_hold(lines, positions, hold, release_remainder=release_remainder)
    _check_versions(lines, positions)
    entries = tuple(
        _apply(number, line, positions[line.account_id]) for number, line in enumerate(lines, start=1)
    )
    touched = {line.account_id: positions[line.account_id] for line in lines}
    _check_floors(lines, touched)
    for position in touched.values():
        position.version += 1
    return Decision(
        entries=entries,
        positions=tuple(touched.values()),
        captured_minor_units=captured,
        released_minor_units=released,
    )


def _check_accounts(lines: Sequence[Line], positions: Mapping[str, AccountPosition]) -> None:
    for index, line in enumerate(lines):
        position = positions.get(line.account_id)
        if position is None:
            raise PaycenterError(
                Reason.ACCOUNT_NOT_FOUND,
                "the account is not open",
                field=f"lines[{index}].account_id",
                metadata={"accountId": line.account_id},
                resource=("account", line.account_id),
            )
        if position.currency_code != line.amount.currency_code:
            raise PaycenterError(
                Reason.CURRENCY_MISMATCH,
                f"the account holds {position.currency_code}",
                field=f"lines[{index}].amount.currency_code",
                metadata={"accountId": line.account_id, "currencyCode": position.currency_code},
            )
    if len({positions[line.account_id].shadow for line in lines}) > 1:
        raise PaycenterError(
            Reason.SHADOW_MIXED, "a journal touches shadow accounts or real ones", field="lines"
        )
    for index, line in enumerate(lines):
        position = positions[line.account_id]
        if not position.state.takes(line.side):
            raise PaycenterError(
                Reason.ACCOUNT_STATE_INVALID,
                f"the account is {position.state.value} and takes no {line.side.value.lower()}",
                field=f"lines[{index}].account_id",
                metadata={"accountId": line.account_id, "current": position.state.value},
            )


def _take_from_hold(
    lines: Sequence[Line],
    positions: Mapping[str, AccountPosition],
    hold: HoldPosition | None,
    *,
    release_remainder: bool,
) -> tuple[int, int]:
    if hold is None:
        return 0, 0
    position = positions.get(hold.account_id)
    taken = sum(
        line.amount.minor_units
        for line in lines
        if line.account_id == hold.account_id and position and line.side is position.normal_side.opposite
    )
    hold.check_capture(taken)
    released = hold.remaining_minor_units - taken if release_remainder else 0
    assert position is not None
    position.held_minor_units -= taken + released
    assert position.held_minor_units >= 0
    return taken, released


def _check_versions(lines: Sequence[Line], positions: Mapping[str, AccountPosition]) -> None:
    for index, line in enumerate(lines):
        current = positions[line.account_id].version
        if line.expected_version is not None and line.expected_version != current:
            raise PaycenterError(
                Reason.VERSION_MISMATCH,
                f"the account's version is {current}",
                field=f"lines[{index}].expected_version",
                metadata={"accountId": line.account_id, "version": str(current)},
            )


def _apply(number: int, line: Line, position: AccountPosition) -> EntryDraft:
    if line.side is EntrySide.DEBIT:
        position.debit_minor_units += line.amount.minor_units
    else:
        position.credit_minor_units += line.amount.minor_units
    if max(position.debit_minor_units, position.credit_minor_units) > MAXIMUM_MINOR_UNITS:
        raise PaycenterError(
            Reason.BALANCE_OVERFLOW,
            "the balance would leave the range of 64 bits",
            field=f"lines[{number - 1}].amount",
            metadata={"accountId": line.account_id},
        )
    position.entry_sequence += 1
    return EntryDraft(
        shard=position.shard,
        account_id=line.account_id,
        account_sequence=position.entry_sequence,
        line_number=number,
        side=line.side,
        amount=line.amount,
        balance_after_minor_units=position.balance_minor_units,
    )


def _check_floors(lines: Sequence[Line], touched: Mapping[str, AccountPosition]) -> None:
    for index, line in enumerate(lines):
        position = touched[line.account_id]
        lowest = position.lowest_minor_units
        draws = line.side is position.normal_side.opposite
        if draws and lowest is not None and position.available_minor_units < lowest:
            short = lowest - position.available_minor_units
            raise PaycenterError(
                Reason.INSUFFICIENT_FUNDS,
                f"the account lacks {short} minor units",
                field=f"lines[{index}].amount",
                metadata={"accountId": line.account_id, "shortMinorUnits": str(short)},
            )
