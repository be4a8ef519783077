"""What a hold is and what it allows. Invariant: captured + released never exceeds what was placed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from accounting.domain.accounts import AccountPosition, EntrySide
from runtime.errors import PaycenterError, Reason
from runtime.money import Money


class HoldState(StrEnum):
    """What became of a hold."""

    OPEN = "OPEN"
    CAPTURED = "CAPTURED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


class HoldAction(StrEnum):
    """What was done to a hold."""

    PLACE = "PLACE"
    CAPTURE = "CAPTURE"
    RELEASE = "RELEASE"
    EXPIRE = "EXPIRE"


# From, action, whether nothing remains afterwards, to.
HOLD_TRANSITIONS: tuple[tuple[HoldState, HoldAction, bool, HoldState], ...] = (
    (HoldState.OPEN, HoldAction.CAPTURE, False, HoldState.OPEN),
    (HoldState.OPEN, HoldAction.CAPTURE, True, HoldState.CAPTURED),
    (HoldState.OPEN, HoldAction.RELEASE, True, HoldState.RELEASED),
    (HoldState.OPEN, HoldAction.EXPIRE, True, HoldState.EXPIRED),
)


@dataclass(slots=True)
class HoldPosition:
    """A hold as it stands under lock. `expired` tells that its time has passed, also when no worker noticed yet."""

    shard: int
    hold_id: str
    account_id: str
    amount_minor_units: int
    captured_minor_units: int
    released_minor_units: int
    state: HoldState
    expired: bool
    version: int

    @property
    def remaining_minor_units(self) -> int:
        """What the hold still keeps back."""
        return self.amount_minor_units - self.captured_minor_units - self.released_minor_units

    def check_capture(self, minor_units: int) -> None:
        """Checks that an amount can be taken now.

        Raises:
            PaycenterError: HOLD_STATE_INVALID when the hold is not open or its time has passed; FIELD_INVALID when
                the journal takes nothing from the hold's account; HOLD_AMOUNT_EXCEEDED above what remains.
        """
        self.check_open()
        if self.expired:
            raise PaycenterError(
                Reason.HOLD_STATE_INVALID,
                "the hold's time has passed",
                field="hold_id",
                metadata={"holdId": self.hold_id, "current": HoldState.EXPIRED.value},
            )
        if minor_units <= 0:
            raise PaycenterError(
                Reason.FIELD_INVALID, "the journal takes nothing from the hold's account", field="hold_id"
            )
        if minor_units > self.remaining_minor_units:
            raise PaycenterError(
                Reason.HOLD_AMOUNT_EXCEEDED,
                f"the hold keeps {self.remaining_minor_units} minor units",
                field="hold_id",
                metadata={"holdId": self.hold_id, "remainingMinorUnits": str(self.remaining_minor_units)},
            )

    def check_open(self) -> None:
        """Checks that the hold still keeps money back.

        Raises:
            PaycenterError: HOLD_STATE_INVALID.
        """
        if self.state is not HoldState.OPEN:
            raise PaycenterError(
                Reason.HOLD_STATE_INVALID,
                f"the hold is {self.state.value}",
                field="hold_id",
                metadata={"holdId": self.hold_id, "current": self.state.value},
            )


def state_after(state: HoldState, action: HoldAction, *, nothing_remains: bool) -> HoldState:
    """Gives the state after an action.

    Raises:
        PaycenterError: HOLD_STATE_INVALID when the table has no such transition.
    """
    for source, taken, empty, target in HOLD_TRANSITIONS:
        if source is state and taken is action and empty is nothing_remains:
            return target
    raise PaycenterError(
        Reason.HOLD_STATE_INVALID, f"{action.value} is not allowed in {state.value}", field="hold_id"
    )


def check_place(position: AccountPosition, amount: Money) -> None:
    """Checks that an amount of an account can be kept back; a hold never draws overdraft.

    Raises:
        PaycenterError: CURRENCY_MISMATCH, ACCOUNT_STATE_INVALID or INSUFFICIENT_FUNDS, with the field.
    """
    if amount.currency_code != position.currency_code:
        raise PaycenterError(
            Reason.CURRENCY_MISMATCH,
            f"the account holds {position.currency_code}",
            field="amount.currency_code",
            metadata={"currencyCode": position.currency_code},
        )
    drawing_side: EntrySide = position.normal_side.opposite
    if not position.state.takes(drawing_side):
        raise PaycenterError(
            Reason.ACCOUNT_STATE_INVALID,
            f"the account is {position.state.value}",
            field="account_id",
            metadata={"accountId": position.account_id, "current": position.state.value},
        )
    short = amount.minor_units - position.available_minor_units
    if short > 0:
        raise PaycenterError(
            Reason.INSUFFICIENT_FUNDS,
            f"the account lacks {short} minor units",
            field="amount",
            metadata={"accountId": position.account_id, "shortMinorUnits": str(short)},
        )
