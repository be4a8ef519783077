"""What the channel gateway says of a channel order, and what follows for the payment. Invariant: only the channel's
own word fails or closes a payment; an open outcome stays open."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.payment.domain.payment import Failure, FailureAdvice, OutcomeSafety, Payment
from runtime.money import Money


class ChannelState(StrEnum):
    """State of a channel order, in the gateway's words."""

    PREPARED = "PREPARED"
    SENT = "SENT"
    ACCEPTED = "ACCEPTED"
    SUCCEEDED = "SUCCEEDED"
    DECLINED = "DECLINED"
    NOT_SENT = "NOT_SENT"
    UNKNOWN = "UNKNOWN"
    CLOSED = "CLOSED"


MISMATCH = "MISMATCH"
"""The gateway's reason for a channel that reports another amount, currency, order or account than was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelWord:
    """What the gateway says of the channel order that serves a payment.

    `state` is None for a state that this release does not know: it is treated as not final. `credential` is the
    serialized credential for the payer, None once there is none.
    """

    channel_order_id: str
    payment_id: str
    state: ChannelState | None
    amount: Money
    channel_fee_minor_units: int = 0
    channel_transaction_id: str = ""
    failure_reason: str = ""
    failure_channel_code: str = ""
    credential: bytes | None = None
    succeed_time: datetime | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerDetails:
    """What the channel needs besides the payment itself to take a payer's money; `payer` is a serialized Payer."""

    subject: str
    payer: bytes
    expire_time: datetime
    return_url: str = ""
    authorization_code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayeeDetails:
    """What the channel needs besides the payment itself to pay out; `payee` is a serialized Payee."""

    payee: bytes
    remark: str = ""


class Verdict(StrEnum):
    """What follows from the channel's word."""

    WAIT = "WAIT"
    SETTLE = "SETTLE"
    FAIL = "FAIL"
    CLOSE = "CLOSE"
    OPEN = "OPEN"
    REVIEW = "REVIEW"


_VERDICTS = {
    ChannelState.ACCEPTED: Verdict.WAIT,
    ChannelState.SUCCEEDED: Verdict.SETTLE,
    ChannelState.DECLINED: Verdict.FAIL,
    ChannelState.NOT_SENT: Verdict.FAIL,
    ChannelState.CLOSED: Verdict.CLOSE,
    ChannelState.PREPARED: Verdict.OPEN,
    ChannelState.SENT: Verdict.OPEN,
    ChannelState.UNKNOWN: Verdict.OPEN,
}


def verdict_on(payment: Payment, word: ChannelWord) -> Verdict:
    """Says what follows for `payment` from `word`; another amount, currency or fee than can be goes to a person."""
    verdict = Verdict.OPEN if word.state is None else _VERDICTS[word.state]
    if word.failure_reason == MISMATCH and verdict in (Verdict.OPEN, Verdict.SETTLE, Verdict.WAIT):
        return Verdict.REVIEW
    if verdict is Verdict.SETTLE and (
        word.amount != payment.amount or not 0 <= word.channel_fee_minor_units <= payment.amount.minor_units
    ):
        return Verdict.REVIEW
    return verdict


_NOT_ANOTHER_CHANNEL = frozenset({"REQUEST_INVALID", "PAYEE_INVALID"})


def failure_of(word: ChannelWord, verdict: Verdict) -> Failure:
    """Returns the failure that `word` means for the caller."""
    if verdict is Verdict.REVIEW:
        return Failure(
            reason=MISMATCH,
            channel_code=word.failure_channel_code,
            outcome_safety=OutcomeSafety.MAYBE_SENT,
            advice=FailureAdvice.CONTACT_OPERATIONS,
        )
    if verdict is Verdict.OPEN:
        return Failure(
            reason=word.failure_reason or "NO_ANSWER",
            channel_code=word.failure_channel_code,
            outcome_safety=OutcomeSafety.MAYBE_SENT,
            advice=FailureAdvice.WAIT,
        )
    if verdict is Verdict.CLOSE:
        return Failure(
            reason=word.failure_reason or "ORDER_CLOSED",
            channel_code=word.failure_channel_code,
            outcome_safety=OutcomeSafety.DECLINED,
            advice=FailureAdvice.NONE,
        )
    not_sent = word.state is ChannelState.NOT_SENT
    return Failure(
        reason=word.failure_reason or ("NOT_REACHED" if not_sent else "UNSPECIFIED"),
        channel_code=word.failure_channel_code,
        outcome_safety=OutcomeSafety.NOT_SENT if not_sent else OutcomeSafety.DECLINED,
        advice=(
            FailureAdvice.FIX_REQUEST
            if word.failure_reason in _NOT_ANOTHER_CHANNEL
            else FailureAdvice.RETRY_OTHER_CHANNEL
        ),
    )
