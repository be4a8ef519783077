"""What a payment's word means for its attempt and order. Invariant: an order is carried out by exactly one attempt;
money that it needs no more is given back, and no clock ever fails an attempt."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from core.transaction.domain.change import Change, Draft
from core.transaction.domain.plan import Plan, later, wait_seconds
from core.transaction.domain.records import (
    Attempt,
    Instruction,
    Order,
    OrderFile,
    PaymentReport,
    Refund,
    Refusal,
)
from core.transaction.domain.states import (
    PAYER_PAYS_KINDS,
    SETTLED_BY_TRANSFER_KINDS,
    UNDECIDED_ORDER_STATES,
    AttemptState,
    EventType,
    OrderState,
    PaymentKind,
    PaymentState,
    RefundState,
)

_SHOWN_AS = {
    PaymentState.PENDING: AttemptState.PENDING,
    PaymentState.CHALLENGED: AttemptState.CHALLENGED,
    PaymentState.UNKNOWN: AttemptState.UNKNOWN,
    PaymentState.IN_REVIEW: AttemptState.IN_REVIEW,
    PaymentState.CLOSING: AttemptState.CLOSING,
}
"""How an undecided payment is shown; ACCEPTED and SUBMITTING change nothing."""

PAID_AFTER_CLOSE = "The order was closed before the payment arrived."
PAID_TWICE = "The order had been paid already."


def is_unwanted(order: Order) -> bool:
    """Whether attempts that are open now are to be closed at their channels: the order is paid or being closed."""
    return order.kind in PAYER_PAYS_KINDS and order.state not in (OrderState.CREATED, OrderState.PAYING)


def contradicts(attempt: Attempt, report: PaymentReport) -> bool:
    """Whether a report of money cannot be true beside what was decided of its attempt, so that a person must look.

    Money arrived for an attempt whose own payment was proven to have failed, or the winner's money was moved on to
    the receivers by a second transfer.
    """
    if report.state is not PaymentState.SUCCEEDED:
        return False
    if attempt.state is AttemptState.FAILED:
        return attempt.payment_id == report.payment_id
    return (
        report.kind is PaymentKind.TRANSFER
        and attempt.state is AttemptState.SUCCEEDED
        and bool(attempt.transfer_payment_id)
        and attempt.transfer_payment_id != report.payment_id
    )


def begin_attempt(file: OrderFile, attempt: Attempt) -> Change:
    """Adds an attempt and makes the order PAYING; the caller has checked that it may be paid."""
    draft = Draft(file)
    draft.add_attempt(attempt)
    draft.set_order(state=OrderState.PAYING)
    draft.tell(EventType.ATTEMPT_CHANGED, attempt.attempt_id)
    return draft.finish()


def refuse_attempt(file: OrderFile, attempt: Attempt, refusal: Refusal) -> Change | None:
    """Fails an attempt that PaymentCore refused outright: nothing was begun there, so the order stays payable."""
    if not attempt.is_open or attempt.payment_id:
        return None
    draft = Draft(file)
    draft.set_attempt(
        attempt,
        state=AttemptState.FAILED,
        failure_reason=refusal.reason,
        refusal=refusal,
        instruction=_without_secret(attempt),
        next_step_time=None,
    )
    draft.tell(EventType.ATTEMPT_CHANGED, attempt.attempt_id)
    _end_closing(draft)
    return draft.finish()


def record_report(
    file: OrderFile, attempt: Attempt, report: PaymentReport, *, plan: Plan, new_refund_id: str
) -> Change | None:
    """Decides what a report of the attempt's payment changes; None when it is old news.

    Safe for reports that are repeated, late or in any order: older versions and reports on decided attempts change
    nothing.
    """
    if report.version < attempt.payment_version or attempt.payment_id not in ("", report.payment_id):
        return None
    if report.state is PaymentState.SUCCEEDED:
        return _money_arrived(file, attempt, report, plan=plan, new_refund_id=new_refund_id)
    if not attempt.is_open or file.order.winning_attempt_id == attempt.attempt_id:
        return None
    if report.state is PaymentState.FAILED:
        return _ended(file, attempt, report, AttemptState.FAILED, None)
    if report.state is PaymentState.CLOSED:
        first_look = later(file.read_time, plan.closed_seconds[0]) if plan.closed_seconds else None
        return _ended(file, attempt, report, AttemptState.CLOSED, first_look)
    return _still_open(file, attempt, report, plan)


def _still_open(file: OrderFile, attempt: Attempt, report: PaymentReport, plan: Plan) -> Change | None:
    shown = _SHOWN_AS.get(report.state, attempt.state)
    if shown is not AttemptState.IN_REVIEW and (
        attempt.state is AttemptState.CLOSING or is_unwanted(file.order)
    ):
        shown = AttemptState.CLOSING
    told = _told(attempt, report)
    if shown is attempt.state and told == {**_told_before(attempt), "payment_version": report.version}:
        return None
    try_count = attempt.step_try_count if shown is attempt.state else 0
    draft = Draft(file)
    draft.set_attempt(
        attempt,
        **told,
        state=shown,
        instruction=_without_secret(attempt),
        next_step_time=_next_look(file, shown, plan, try_count),
        step_try_count=try_count,
    )
    draft.tell(EventType.ATTEMPT_CHANGED, attempt.attempt_id)
    return draft.finish()


def _next_look(file: OrderFile, shown: AttemptState, plan: Plan, try_count: int) -> datetime:
    if shown is AttemptState.IN_REVIEW:
        return later(file.read_time, plan.review_seconds)
    schedule = plan.closing_seconds if shown is AttemptState.CLOSING else plan.attempt_seconds
    return later(file.read_time, wait_seconds(schedule, try_count))


def _ended(
    file: OrderFile, attempt: Attempt, report: PaymentReport, state: AttemptState, next_look: datetime | None
) -> Change:
    draft = Draft(file)
    draft.set_attempt(
        attempt,
        **_told(attempt, report),
        state=state,
        instruction=_without_secret(attempt),
        next_step_time=next_look,
        step_try_count=0,
    )
    draft.tell(EventType.ATTEMPT_CHANGED, attempt.attempt_id)
    if file.order.kind not in PAYER_PAYS_KINDS and file.order.state is OrderState.PAYING:
        draft.set_order(state=OrderState.FAILED, next_step_time=None)
        draft.tell(EventType.ORDER_FAILED, attempt.attempt_id)
    _end_closing(draft)
    return draft.finish()


def _money_arrived(
    file: OrderFile, attempt: Attempt, report: PaymentReport, *, plan: Plan, new_refund_id: str
) -> Change | None:
    order = file.order
    if attempt.state in (AttemptState.SUCCEEDED, AttemptState.SUPERSEDED) or contradicts(attempt, report):
        return None
    if order.winning_attempt_id == attempt.attempt_id:
        return None
    draft = Draft(file)
    if order.state in UNDECIDED_ORDER_STATES and not order.winning_attempt_id:
        if order.kind in SETTLED_BY_TRANSFER_KINDS:
            draft.set_attempt(
                attempt,
                **_told(attempt, report),
                state=AttemptState.PAID,
                instruction=_without_secret(attempt),
                next_step_time=later(file.read_time, plan.call_lease_seconds),
                step_try_count=0,
            )
            draft.set_order(
                winning_attempt_id=attempt.attempt_id, pay_time=report.succeed_time or file.read_time
            )
            draft.tell(EventType.ATTEMPT_CHANGED, attempt.attempt_id)
        else:
            draft.set_attempt(attempt, **_told(attempt, report), instruction=_without_secret(attempt))
            draft.set_order(
                winning_attempt_id=attempt.attempt_id, pay_time=report.succeed_time or file.read_time
            )
            _carry_out(draft, attempt)
        return draft.finish()
    _supersede(draft, attempt, report, new_refund_id)
    return draft.finish()


def may_begin_transfer(attempt: Attempt, *, is_due: bool) -> bool:
    """Whether the winner's transfer may be begun now: the first one at once, a further one only when it `is_due`."""
    return is_due or attempt.transfer_round == 1


def settle(
    file: OrderFile, attempt: Attempt, report: PaymentReport, *, plan: Plan, transfer_round: int | None = None
) -> Change | None:
    """Decides what a report on the winner's transfer to the receivers changes; None when it is old news.

    `transfer_round` is the round that a call was made for when the report is its answer. SUCCEEDED makes the order
    PAID, whichever round's transfer it was, and sends the other open attempts to be closed. Everything else counts
    only when it is said of the present transfer: one proven to have failed is begun anew a few times; then a person
    is asked for, and it is still tried slowly.
    """
    if file.order.winning_attempt_id != attempt.attempt_id or not attempt.is_open:
        return None
    draft = Draft(file)
    if report.state is PaymentState.SUCCEEDED:
        draft.set_attempt(attempt, transfer_payment_id=report.payment_id)
        _carry_out(draft, attempt)
        return draft.finish()
    if not _is_present_transfer(attempt, report, transfer_round):
        return None
    if report.state in (PaymentState.FAILED, PaymentState.CLOSED):
        return _next_transfer(file, attempt, report.failure_reason, plan=plan)
    if attempt.transfer_payment_id == report.payment_id:
        return None
    draft.set_attempt(
        attempt,
        transfer_payment_id=report.payment_id,
        next_step_time=later(file.read_time, wait_seconds(plan.settle_seconds, attempt.step_try_count)),
    )
    draft.tell(EventType.ATTEMPT_CHANGED, attempt.attempt_id)
    return draft.finish()


def _is_present_transfer(attempt: Attempt, report: PaymentReport, transfer_round: int | None) -> bool:
    """Whether a report is of the transfer of the present round: by its number, or before that is known as an answer."""
    if attempt.transfer_payment_id:
        return attempt.transfer_payment_id == report.payment_id
    return transfer_round == attempt.transfer_round


def settle_refused(
    file: OrderFile, attempt: Attempt, reason: str, *, plan: Plan, transfer_round: int
) -> Change | None:
    """Notes that the call for the transfer of `transfer_round` was refused for good; the next try is a new transfer.

    None when another round has begun, or a transfer exists: that one is asked about until it is decided.
    """
    if file.order.winning_attempt_id != attempt.attempt_id or not attempt.is_open:
        return None
    if attempt.transfer_payment_id or attempt.transfer_round != transfer_round:
        return None
    return _next_transfer(file, attempt, reason, plan=plan)


def _next_transfer(file: OrderFile, attempt: Attempt, reason: str, *, plan: Plan) -> Change:
    next_round = attempt.transfer_round + 1
    needs_person = next_round > plan.transfer_rounds
    wait = plan.review_seconds if needs_person else wait_seconds(plan.settle_seconds, attempt.transfer_round)
    draft = Draft(file)
    draft.set_attempt(
        attempt,
        state=AttemptState.IN_REVIEW if needs_person else attempt.state,
        transfer_payment_id="",
        transfer_round=next_round,
        failure_reason=reason,
        next_step_time=later(file.read_time, wait),
    )
    draft.tell(EventType.ATTEMPT_CHANGED, attempt.attempt_id)
    return draft.finish()


def _carry_out(draft: Draft, attempt: Attempt) -> None:
    draft.set_attempt(
        attempt, state=AttemptState.SUCCEEDED, failure_reason="", credential=b"", next_step_time=None
    )
    order = draft.order
    draft.set_order(
        state=OrderState.PAID, paid_minor_units=order.amount.minor_units, next_step_time=None, closing_to=None
    )
    draft.tell(EventType.ORDER_PAID, attempt.attempt_id)
    for loser in draft.open_attempts:
        draft.set_attempt(
            loser, state=AttemptState.CLOSING, next_step_time=order.update_time, step_try_count=0
        )


def _supersede(draft: Draft, attempt: Attempt, report: PaymentReport, new_refund_id: str) -> None:
    order = draft.order
    draft.set_attempt(
        attempt,
        **_told(attempt, report),
        state=AttemptState.SUPERSEDED,
        instruction=_without_secret(attempt),
        next_step_time=None,
    )
    paid_already = bool(order.winning_attempt_id)
    draft.add_refund(
        Refund(
            shard=order.shard,
            business_id=order.business_id,
            traceparent=attempt.traceparent,
            platform=attempt.platform,
            create_time=order.update_time,
            update_time=order.update_time,
            refund_id=new_refund_id,
            order_id=order.order_id,
            tenant_id=order.tenant_id,
            merchant_id=order.merchant_id,
            merchant_refund_id="",
            attempt_id=attempt.attempt_id,
            amount=order.amount,
            reason=PAID_TWICE if paid_already else PAID_AFTER_CLOSE,
            state=RefundState.ACCEPTED,
            automatic=True,
            next_step_time=order.update_time,
        )
    )
    draft.tell(EventType.ATTEMPT_CHANGED, attempt.attempt_id)
    draft.tell(EventType.REFUND_CHANGED, new_refund_id)


def begin_closing(file: OrderFile, ending: OrderState, *, plan: Plan) -> Change:
    """Closes an order in CREATED or PAYING: at once when no attempt is open, else by way of CLOSING.

    `ending` is CLOSED or EXPIRED. The caller has checked that no attempt has won.
    """
    draft = Draft(file)
    lease = later(file.read_time, plan.call_lease_seconds)
    if not file.open_attempts:
        _end(draft, ending)
        return draft.finish()
    for attempt in file.open_attempts:
        draft.set_attempt(attempt, state=AttemptState.CLOSING, next_step_time=lease, step_try_count=0)
    draft.set_order(state=OrderState.CLOSING, closing_to=ending, next_step_time=lease, step_try_count=0)
    draft.tell(EventType.ORDER_CHANGED)
    return draft.finish()


def _end_closing(draft: Draft) -> None:
    order = draft.order
    if order.state is OrderState.CLOSING and not order.winning_attempt_id and not draft.open_attempts:
        _end(draft, order.closing_to or OrderState.CLOSED)


def _end(draft: Draft, ending: OrderState) -> None:
    draft.set_order(state=ending, closing_to=None, next_step_time=None)
    draft.tell(EventType.ORDER_EXPIRED if ending is OrderState.EXPIRED else EventType.ORDER_CLOSED)


def _told(attempt: Attempt, report: PaymentReport) -> dict[str, object]:
    return {
        "payment_id": report.payment_id,
        "payment_version": report.version,
        "payment_account_id": report.payment_account_id or attempt.payment_account_id,
        "channel_order_id": report.channel_order_id or attempt.channel_order_id,
        "channel_transaction_id": report.channel_transaction_id or attempt.channel_transaction_id,
        "credential": report.credential,
        "failure_reason": report.failure_reason,
        "channel_code": report.channel_code,
    }


def _told_before(attempt: Attempt) -> dict[str, object]:
    names = (
        "payment_id",
        "payment_account_id",
        "channel_order_id",
        "channel_transaction_id",
        "credential",
        "failure_reason",
        "channel_code",
    )
    return {name: getattr(attempt, name) for name in names}


def _without_secret(attempt: Attempt) -> Instruction:
    return replace(attempt.instruction, authorization_code="")
