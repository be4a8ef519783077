"""From a channel's code to what it means for the money. Invariant: an unknown code says that money may have
moved; it is logged and counted, so that the table grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from channel_gateway import metrics
from channel_gateway.domain.answer import ChannelAnswer, Failure, Standing
from channel_gateway.domain.vocabulary import FailureReason, OutcomeSafety
from runtime.logs import get_logger

_STANDINGS = {
    OutcomeSafety.NOT_SENT: Standing.NOT_SENT,
    OutcomeSafety.MAYBE_SENT: Standing.UNKNOWN,
    OutcomeSafety.DECLINED: Standing.DECLINED,
    OutcomeSafety.SUCCEEDED: Standing.SUCCEEDED,
}
_UNKNOWN_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Meaning:
    """Whether money may have moved, and why it did not, in the unified vocabulary."""

    outcome_safety: OutcomeSafety
    reason: FailureReason


_UNLISTED = Meaning(OutcomeSafety.MAYBE_SENT, FailureReason.UNSPECIFIED)


class OutcomeTable:
    """The codes of one channel."""

    def __init__(self, channel: str, meanings: Mapping[str, Meaning]) -> None:
        self._channel = channel
        self._meanings = dict(meanings)

    def __contains__(self, code: str) -> bool:
        return code in self._meanings

    def meaning(self, code: str) -> Meaning:
        """Returns what `code` means; an unlisted one leaves the outcome open and is counted."""
        meaning = self._meanings.get(code)
        if meaning is None:
            metrics.unknown_channel_code(self._channel)
            get_logger().warning(
                "channel code not in the table", channel=self._channel, channel_code=code[:_UNKNOWN_LIMIT]
            )
            return _UNLISTED
        return meaning

    def refusal(self, code: str, message: str) -> ChannelAnswer:
        """Returns the answer for a refusal with `code`: DECLINED, or UNKNOWN where the outcome is open."""
        meaning = self.meaning(code)
        failure = Failure(meaning.reason, code[:128], message[:512], meaning.outcome_safety)
        return ChannelAnswer(standing=_STANDINGS[meaning.outcome_safety], failure=failure)
