"""What a channel says about a movement of money, in neutral words. Invariant: only a verified answer says
anything but UNKNOWN or NOT_SENT."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from channel_gateway.domain.credential import Credential
from channel_gateway.domain.vocabulary import FailureReason, OutcomeSafety
from runtime.money import Money


class Standing(StrEnum):
    """Where the channel says that the movement stands."""

    ACCEPTED = "ACCEPTED"
    """The channel has it; the payer or the channel still has to act."""
    SUCCEEDED = "SUCCEEDED"
    """The money moved."""
    DECLINED = "DECLINED"
    """The channel refused; no money moved."""
    CLOSED = "CLOSED"
    """Closed at the channel, unpaid."""
    NOT_FOUND = "NOT_FOUND"
    """The channel knows no such number."""
    CONTRADICTED = "CONTRADICTED"
    """The channel reports something that does not fit what was asked; a person has to look at it."""
    NOT_SENT = "NOT_SENT"
    """The request did not reach the channel."""
    UNKNOWN = "UNKNOWN"
    """No answer, or none that can be trusted, or one that leaves the outcome open."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why it did not succeed: unified reason, the channel's own code and words, whether money may have moved."""

    reason: FailureReason
    channel_code: str
    channel_message: str
    outcome_safety: OutcomeSafety


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelAnswer:
    """One answer of a channel about one of our numbers."""

    standing: Standing
    channel_transaction_id: str = ""
    amount: Money | None = None
    succeed_time: datetime | None = None
    credential: Credential | None = None
    failure: Failure | None = None

    @property
    def may_be_sent_again(self) -> bool:
        """Whether sending the same number again at once cannot move money twice."""
        if self.standing is Standing.NOT_SENT:
            return True
        return self.failure is not None and self.failure.reason is FailureReason.RATE_LIMITED


def not_sent(reason: FailureReason, message: str) -> ChannelAnswer:
    """Builds the answer for a request that provably did not reach the channel."""
    failure = Failure(reason, "", message, OutcomeSafety.NOT_SENT)
    return ChannelAnswer(standing=Standing.NOT_SENT, failure=failure)


def contradicted(message: str, *, channel_code: str = "", channel_transaction_id: str = "") -> ChannelAnswer:
    """Builds the answer for a report that does not fit what was asked."""
    failure = Failure(FailureReason.MISMATCH, channel_code, message, OutcomeSafety.MAYBE_SENT)
    return ChannelAnswer(
        standing=Standing.CONTRADICTED, channel_transaction_id=channel_transaction_id, failure=failure
    )


def left_open(answer: ChannelAnswer) -> ChannelAnswer:
    """Returns an answer as an open outcome that keeps reason, code and words.

    For refusals that speak of the asking and not of the movement: a refused question says nothing about an order.
    """
    failure = answer.failure
    if failure is not None:
        failure = replace(failure, outcome_safety=OutcomeSafety.MAYBE_SENT)
    return replace(answer, standing=Standing.UNKNOWN, failure=failure)


def no_answer(message: str, *, channel_code: str = "") -> ChannelAnswer:
    """Builds the answer for a request that may have reached the channel and brought nothing that can be trusted."""
    failure = Failure(FailureReason.NO_ANSWER, channel_code, message, OutcomeSafety.MAYBE_SENT)
    return ChannelAnswer(standing=Standing.UNKNOWN, failure=failure)
