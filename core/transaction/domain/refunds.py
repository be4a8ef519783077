"""What a refund may take and what its payment's word means. Invariant: refunded and refunding together never exceed
what was paid; money that no order took is given back until it is, or a person looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.transaction.domain import legs
from core.transaction.domain.change import Change, Draft
from core.transaction.domain.plan import Plan, later, wait_seconds
from core.transaction.domain.records import Order, OrderFile, PaymentReport, Refund
from core.transaction.domain.states import (
    PAYER_PAYS_KINDS,
    REFUNDABLE_ORDER_STATES,
    EventType,
    OrderState,
    PaymentState,
    RefundState,
)
from runtime.errors import PaycenterError, Reason
from runtime.money import Money

_SHOWN_AS = {
    PaymentState.UNKNOWN: RefundState.UNKNOWN,
    PaymentState.IN_REVIEW: RefundState.IN_REVIEW,
}
"""How an undecided payment is shown; every other one is PENDING."""


def require_refundable(order: Order, amount: Money) -> None:
    """Raises unless `amount` can go back from the order as it stands.

    FIELD_INVALID for a kind in which no payer paid, ORDER_STATE_INVALID, CURRENCY_MISMATCH, REFUND_EXCEEDS_PAID.
    """
    if order.kind not in PAYER_PAYS_KINDS:
        raise PaycenterError(
            Reason.FIELD_INVALID, "Only orders that a payer paid can be refunded.", field="order_id"
        )
    if order.state not in REFUNDABLE_ORDER_STATES:
        raise PaycenterError(
            Reason.ORDER_STATE_INVALID,
            f"An order in {order.state.value} cannot be refunded.",
            metadata={
                "current": order.state.value,
                "allowed": ",".join(state.value for state in REFUNDABLE_ORDER_STATES),
            },
            resource=("order", order.order_id),
        )
    if amount.currency_code != order.amount.currency_code:
        raise PaycenterError(
            Reason.CURRENCY_MISMATCH,
            f"The order is in {order.amount.currency_code}.",
            field="amount.currency_code",
            metadata={"expected": order.amount.currency_code},
        )
    if amount.minor_units > order.refundable_minor_units:
        raise PaycenterError(
            Reason.REFUND_EXCEEDS_PAID,
            f"At most {order.refundable_minor_units} minor units can still be refunded.",
            field="amount",
            metadata={"refundableMinorUnits": str(order.refundable_minor_units)},
            resource=("order", order.order_id),
        )


def begin_refund(file: OrderFile, refund: Refund) -> Change:
    """Adds a refund that a business system asked for and counts it; the caller has checked `require_refundable`."""
    draft = Draft(file)
    draft.add_refund(refund)
    draft.set_order(refunding_minor_units=file.order.refunding_minor_units + refund.amount.minor_units)
    draft.tell(EventType.REFUND_CHANGED, refund.refund_id)
    return draft.finish()


def contradicts(refund: Refund, report: PaymentReport) -> bool:
    """Whether a report says that money went back beside what was decided, so that a person must look.

    It went back for a refund that was given up, or by a second payment.
    """
    if report.state is not PaymentState.SUCCEEDED:
        return False
    if refund.state is RefundState.SUCCEEDED:
        return refund.payment_id != report.payment_id
    return refund.state is RefundState.FAILED or legs.are_being_undone(refund)


def record_report(
    file: OrderFile, refund: Refund, report: PaymentReport, *, plan: Plan, round_number: int | None = None
) -> Change | None:
    """Decides what a report of the refund's payment changes; None when it is old news. Safe in any order.

    `round_number` is the round that a call was made for when the report is its answer. SUCCEEDED counts whichever
    round's payment it was; everything else only when it is said of the present one.
    """
    if not refund.is_open or legs.are_being_undone(refund):
        return None
    if report.state is PaymentState.SUCCEEDED:
        return _succeeded(file, refund, report)
    if not _is_present_payment(refund, report, round_number) or report.version < refund.payment_version:
        return None
    if report.state in (PaymentState.FAILED, PaymentState.CLOSED):
        return _failed(file, refund, report.failure_reason, report, plan)
    shown = _SHOWN_AS.get(report.state, RefundState.PENDING)
    told = _told(report)
    if shown is refund.state and told == {**_told_before(refund), "payment_version": report.version}:
        return None
    draft = Draft(file)
    try_count = refund.step_try_count if shown is refund.state else 0
    is_reviewed = shown is RefundState.IN_REVIEW
    wait = plan.review_seconds if is_reviewed else wait_seconds(plan.refund_seconds, try_count)
    draft.set_refund(
        refund, **told, state=shown, next_step_time=later(file.read_time, wait), step_try_count=try_count
    )
    draft.tell(EventType.REFUND_CHANGED, refund.refund_id)
    return draft.finish()


def _is_present_payment(refund: Refund, report: PaymentReport, round_number: int | None) -> bool:
    """Whether a report is of the present round's payment: by its number, or before that is known as an answer.

    In the first round there is no payment of another round that it could be.
    """
    if refund.payment_id:
        return refund.payment_id == report.payment_id
    if round_number is None:
        return refund.round_number == 1
    return round_number == refund.round_number


def refuse_refund(
    file: OrderFile, refund: Refund, reason: str, *, plan: Plan, round_number: int
) -> Change | None:
    """Notes that PaymentCore refused the call of `round_number` outright: nothing was begun there.

    None when another round has begun, or a payment exists.
    """
    if not refund.is_open or refund.payment_id or legs.are_being_undone(refund):
        return None
    if refund.round_number != round_number:
        return None
    return _failed(file, refund, reason, None, plan)


def _succeeded(file: OrderFile, refund: Refund, report: PaymentReport) -> Change:
    draft = Draft(file)
    draft.set_refund(
        refund,
        **_told(report),
        state=RefundState.SUCCEEDED,
        succeed_time=report.succeed_time or file.read_time,
        next_step_time=None,
    )
    if not refund.automatic:
        order = file.order
        refunded = order.refunded_minor_units + refund.amount.minor_units
        all_back = refunded == order.paid_minor_units
        draft.set_order(
            state=OrderState.REFUNDED if all_back else OrderState.PARTLY_REFUNDED,
            refunding_minor_units=order.refunding_minor_units - refund.amount.minor_units,
            refunded_minor_units=refunded,
        )
    draft.tell(EventType.REFUND_SUCCEEDED, refund.refund_id)
    return draft.finish()


def _failed(file: OrderFile, refund: Refund, reason: str, report: PaymentReport | None, plan: Plan) -> Change:
    draft = Draft(file)
    if refund.automatic:
        _begin_anew(draft, file, refund, reason, report, plan)
        return draft.finish()
    told = _told(report) if report is not None else {"failure_reason": reason}
    draft.set_refund(refund, **told)
    if legs.are_held(refund):
        draft.set_refund(refund, legs=legs.all_back(refund), next_step_time=file.read_time, step_try_count=0)
        draft.tell(EventType.REFUND_CHANGED, refund.refund_id)
    else:
        fail(draft, refund)
    return draft.finish()


def fail(draft: Draft, refund: Refund) -> None:
    """Ends a refund that a business system asked for: its amount can be refunded again."""
    draft.set_refund(refund, state=RefundState.FAILED, next_step_time=None)
    draft.set_order(refunding_minor_units=draft.order.refunding_minor_units - refund.amount.minor_units)
    draft.tell(EventType.REFUND_FAILED, refund.refund_id)


def record_moves(file: OrderFile, refund: Refund, moves: Sequence[legs.Move], *, plan: Plan) -> Change | None:
    """Decides what the transfers between a split purchase's receivers and its merchant change; None when nothing.

    A receiver that cannot give its part back ends the refund: what the others gave goes back to them first.
    """
    moved = legs.after_moves(refund, moves)
    if not refund.is_open or moved == refund.legs:
        return None
    draft = Draft(file)
    changed = replace(refund, legs=moved)
    wait = wait_seconds(plan.settle_seconds, refund.step_try_count)
    draft.set_refund(refund, legs=moved, next_step_time=later(file.read_time, wait))
    refused = next((move.reason for move in moves if move.outcome is legs.MoveOutcome.REFUSED), "")
    if refused:
        draft.set_refund(refund, failure_reason=refused)
    if legs.are_undone(changed):
        fail(draft, refund)
    else:
        draft.tell(EventType.REFUND_CHANGED, refund.refund_id)
    return draft.finish()


def _begin_anew(
    draft: Draft, file: OrderFile, refund: Refund, reason: str, report: PaymentReport | None, plan: Plan
) -> None:
    next_round = refund.round_number + 1
    needs_person = next_round > plan.refund_rounds
    wait = plan.review_seconds if needs_person else wait_seconds(plan.refund_seconds, refund.round_number - 1)
    draft.set_refund(
        refund,
        state=RefundState.IN_REVIEW if needs_person else RefundState.ACCEPTED,
        payment_id="",
        payment_version=0,
        round_number=next_round,
        failure_reason=reason,
        channel_code=report.channel_code if report is not None else refund.channel_code,
        next_step_time=later(file.read_time, wait),
        step_try_count=0,
    )
    draft.tell(EventType.REFUND_CHANGED, refund.refund_id)


def _told(report: PaymentReport) -> dict[str, object]:
    return {
        "payment_id": report.payment_id,
        "payment_version": report.version,
        "failure_reason": report.failure_reason,
        "channel_code": report.channel_code,
    }


def _told_before(refund: Refund) -> dict[str, object]:
    return {name: getattr(refund, name) for name in ("payment_id", "failure_reason", "channel_code")}
