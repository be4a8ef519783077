"""What the receivers of a split purchase give back for a refund. Invariant: the parts sum to the refund exactly, no
receiver gives back more than it received, and either all of them do or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from core.transaction.domain.amounts import proportional_parts
from core.transaction.domain.records import Leg, OrderFile, Owner, Refund
from core.transaction.domain.states import LEG_STATES, LegState, RefundState
from runtime.money import Money

_UNDOING = frozenset({LegState.REFUSED, LegState.RETURNING, LegState.RETURNED})
_UNDONE = frozenset({LegState.REFUSED, LegState.RETURNED})


class MoveOutcome(StrEnum):
    """What became of one transfer of a leg; UNKNOWN ones are asked again under the same id."""

    MOVED = "MOVED"
    REFUSED = "REFUSED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One transfer of a leg, to the merchant or `back` to the receiver; `payment_id` is empty without an answer."""

    receiver: Owner
    back: bool
    outcome: MoveOutcome
    payment_id: str = ""
    reason: str = ""


def legs_for(file: OrderFile, amount: Money) -> tuple[Leg, ...]:
    """Divides a refund among the receivers in proportion to what each still has of the order (largest remainder).

    The merchant's own part needs no leg: the refund is paid out of its balance. Empty for an order without receivers.
    """
    shares = file.order.purpose.shares
    if not shares:
        return ()
    merchant = Owner(kind="MERCHANT", owner_id=file.order.merchant_id)
    left = [share.minor_units for share in shares]
    for refund in file.refunds:
        if refund.automatic or refund.state is RefundState.FAILED:
            continue
        for index, part in enumerate(_parts_of(refund, [share.receiver for share in shares], merchant)):
            left[index] -= part
    parts = proportional_parts(amount.minor_units, left)
    return tuple(
        Leg(receiver=share.receiver, minor_units=part)
        for share, part in zip(shares, parts, strict=True)
        if part and share.receiver != merchant
    )


def _parts_of(refund: Refund, receivers: Sequence[Owner], merchant: Owner) -> list[int]:
    given = {leg.receiver: leg.minor_units for leg in refund.legs}
    given[merchant] = refund.amount.minor_units - sum(given.values())
    return [given.get(receiver, 0) for receiver in receivers]


def are_held(refund: Refund) -> bool:
    """Whether the merchant holds parts of receivers that must go back when the refund fails."""
    return any(leg.state is LegState.TAKEN for leg in refund.legs)


def are_ready(refund: Refund) -> bool:
    """Whether every part has come in, so that the payer can be paid; true without legs."""
    return all(leg.state is LegState.TAKEN for leg in refund.legs)


def are_being_undone(refund: Refund) -> bool:
    """Whether the refund was given up and its parts are on their way back."""
    return any(leg.state in _UNDOING for leg in refund.legs)


def are_undone(refund: Refund) -> bool:
    """Whether the refund was given up and nobody is out of pocket any more."""
    return bool(refund.legs) and all(leg.state in _UNDONE for leg in refund.legs)


def to_move(refund: Refund) -> list[tuple[Leg, bool]]:
    """Returns the legs to move now, each with whether it goes back to its receiver."""
    return [
        (leg, leg.state is LegState.RETURNING)
        for leg in refund.legs
        if leg.state in (LegState.DUE, LegState.RETURNING)
    ]


def all_back(refund: Refund) -> tuple[Leg, ...]:
    """Returns the legs with every part that came in on its way back."""
    return tuple(
        replace(_to(leg, LegState.RETURNING), payment_id="") if leg.state is LegState.TAKEN else leg
        for leg in refund.legs
    )


def after_moves(refund: Refund, moves: Sequence[Move]) -> tuple[Leg, ...]:
    """Returns the legs after `moves`; one refusal to give sends back what the others gave."""
    by_receiver = {move.receiver: move for move in moves}
    changed = tuple(_after_move(leg, by_receiver.get(leg.receiver)) for leg in refund.legs)
    if any(leg.state in _UNDOING for leg in changed):
        return all_back(replace(refund, legs=changed))
    return changed


def _after_move(leg: Leg, move: Move | None) -> Leg:
    if move is None or move.back is not (leg.state is LegState.RETURNING):
        return leg
    if leg.state not in (LegState.DUE, LegState.RETURNING):
        return leg
    if move.outcome is MoveOutcome.UNKNOWN:
        return replace(leg, payment_id=move.payment_id or leg.payment_id)
    if move.outcome is MoveOutcome.MOVED:
        target = LegState.RETURNED if move.back else LegState.TAKEN
        return replace(_to(leg, target), payment_id=move.payment_id, round_number=1)
    if move.back:
        return replace(leg, round_number=leg.round_number + 1, payment_id="")
    return _to(leg, LegState.REFUSED)


def _to(leg: Leg, state: LegState) -> Leg:
    return replace(leg, state=LEG_STATES.require(leg.state, state))
