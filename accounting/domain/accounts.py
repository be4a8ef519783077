"""What an account is and what it allows. Invariant: a balance never falls below its floor, holds included."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAXIMUM_MINOR_UNITS = 2**63 - 1


class EntrySide(StrEnum):
    """Side of a line."""

    DEBIT = "DEBIT"
    CREDIT = "CREDIT"

    @property
    def opposite(self) -> EntrySide:
        """The other side."""
        return EntrySide.CREDIT if self is EntrySide.DEBIT else EntrySide.DEBIT


class AccountState(StrEnum):
    """What entries an account takes."""

    ACTIVE = "ACTIVE"
    DEBIT_BLOCKED = "DEBIT_BLOCKED"
    CREDIT_BLOCKED = "CREDIT_BLOCKED"
    FROZEN = "FROZEN"
    CLOSED = "CLOSED"

    def takes(self, side: EntrySide) -> bool:
        """Whether an entry on this side is allowed."""
        if self is AccountState.ACTIVE:
            return True
        if self is AccountState.DEBIT_BLOCKED:
            return side is EntrySide.CREDIT
        return self is AccountState.CREDIT_BLOCKED and side is EntrySide.DEBIT


# From, to: CLOSED is terminal and is reached with a zero balance only.
ACCOUNT_TRANSITIONS: frozenset[tuple[AccountState, AccountState]] = frozenset(
    (source, target)
    for source in AccountState
    for target in AccountState
    if source is not AccountState.CLOSED and source is not target
)


class FloorKind(StrEnum):
    """How low a balance may go."""

    ZERO = "ZERO"
    OVERDRAFT = "OVERDRAFT"
    NONE = "NONE"


class SubjectCategory(StrEnum):
    """Which part of the books a subject belongs to."""

    ASSET = "ASSET"
    LIABILITY = "LIABILITY"
    EQUITY = "EQUITY"
    INCOME = "INCOME"
    EXPENSE = "EXPENSE"


@dataclass(frozen=True, slots=True)
class Subject:
    """One heading of the chart of accounts."""

    subject_code: str
    parent_subject_code: str
    display_name: str
    category: SubjectCategory
    normal_side: EntrySide
    leaf: bool


@dataclass(slots=True)
class AccountPosition:
    """An account with its balance as it stands under lock; the posting decision moves it on.

    `debit_minor_units` and `credit_minor_units` only ever grow.
    """

    shard: int
    account_id: str
    tenant_id: str
    currency_code: str
    normal_side: EntrySide
    state: AccountState
    floor: FloorKind
    overdraft_minor_units: int
    shadow: bool
    debit_minor_units: int
    credit_minor_units: int
    held_minor_units: int
    entry_sequence: int
    version: int

    @property
    def balance_minor_units(self) -> int:
        """Balance on the normal side; below zero when the other side is greater."""
        difference = self.debit_minor_units - self.credit_minor_units
        return difference if self.normal_side is EntrySide.DEBIT else -difference

    @property
    def available_minor_units(self) -> int:
        """Balance less holds."""
        return self.balance_minor_units - self.held_minor_units

    @property
    def lowest_minor_units(self) -> int | None:
        """Lowest that the balance less holds may be; None without limit."""
        if self.floor is FloorKind.NONE:
            return None
        return -self.overdraft_minor_units if self.floor is FloorKind.OVERDRAFT else 0


def account_id_of(subject_code: str, owner_id: str, currency_code: str) -> str:
    """Gives the number of an account: subject, owner and currency joined by colons."""
    return f"{subject_code}:{owner_id}:{currency_code}"
