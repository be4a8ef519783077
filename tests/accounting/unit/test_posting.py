"""Scenarios of the posting decision: what is booked, what is refused, and in which order."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.domain.accounts import AccountPosition, AccountState, EntrySide, FloorKind
from accounting.domain.holds import HoldPosition, HoldState, check_place
from accounting.domain.posting import Line, check_lines, decide
from accounting.domain.rules import PostingRule, RuleLine
from runtime.errors import PaycenterError, Reason
from runtime.money import Money

DEBIT, CREDIT = EntrySide.DEBIT, EntrySide.CREDIT


def position(account_id: str, balance: int = 0, **changes: object) -> AccountPosition:
    """A merchant-like account: credit side, floor of zero."""
    fields: dict[str, object] = {
        "shard": 1,
        "account_id": account_id,
        "tenant_id": "tenant-1",
        "currency_code": "CNY",
        "normal_side": CREDIT,
        "state": AccountState.ACTIVE,
        "floor": FloorKind.ZERO,
        "overdraft_minor_units": 0,
        "shadow": False,
        "debit_minor_units": 0,
        "credit_minor_units": balance,
        "held_minor_units": 0,
        "entry_sequence": 7,
        "version": 3,
    }
    return AccountPosition(**(fields | changes))  # type: ignore[arg-type]


def line(account_id: str, side: EntrySide, minor_units: int, currency: str = "CNY") -> Line:
    return Line(account_id, side, Money(minor_units, currency))


def refusal(error: pytest.ExceptionInfo[PaycenterError]) -> tuple[Reason, str]:
    return error.value.reason, error.value.violations[0].field


class TestLines:
    def test_debits_and_credits_must_be_equal_in_each_currency(self) -> None:
        with pytest.raises(PaycenterError) as error:
            check_lines(
                [
                    line("a", DEBIT, 100),
                    line("b", CREDIT, 100, "USD"),
                    line("a", DEBIT, 100, "USD"),
                    line("b", CREDIT, 99),
                ]
            )
        assert refusal(error) == (Reason.JOURNAL_UNBALANCED, "lines")
        assert error.value.metadata["currencyCode"] == "CNY"

    def test_an_amount_is_above_zero(self) -> None:
        with pytest.raises(PaycenterError) as error:
            check_lines([line("a", DEBIT, 1), line("b", CREDIT, 0)])
        assert refusal(error) == (Reason.FIELD_INVALID, "lines[1].amount")

    def test_one_line_is_no_journal(self) -> None:
        with pytest.raises(PaycenterError) as error:
            check_lines([line("a", DEBIT, 1)])
        assert refusal(error) == (Reason.FIELD_INVALID, "lines")


class TestDecision:
    def test_entries_carry_sequence_and_running_balance(self) -> None:
        positions = {"payer": position("payer", 500), "merchant": position("merchant", 20)}
        decision = decide([line("payer", DEBIT, 300), line("merchant", CREDIT, 300)], positions)
        assert [
            (e.account_sequence, e.line_number, e.balance_after_minor_units) for e in decision.entries
        ] == [
            (8, 1, 200),
            (8, 2, 320),
        ]
        assert [p.version for p in decision.positions] == [4, 4]

    def test_the_same_account_twice_in_one_journal_counts_on(self) -> None:
        positions = {"payer": position("payer", 500), "merchant": position("merchant")}
        lines = [line("payer", DEBIT, 300), line("payer", DEBIT, 100), line("merchant", CREDIT, 400)]
        decision = decide(lines, positions)
        assert [e.account_sequence for e in decision.entries] == [8, 9, 8]
        assert decision.entries[1].balance_after_minor_units == 100

    def test_a_balance_never_falls_below_zero_holds_included(self) -> None:
        positions = {"payer": position("payer", 500, held_minor_units=250), "merchant": position("merchant")}
        with pytest.raises(PaycenterError) as error:
            decide([line("merchant", CREDIT, 251), line("payer", DEBIT, 251)], positions)
        assert refusal(error) == (Reason.INSUFFICIENT_FUNDS, "lines[1].amount")
        assert error.value.metadata["shortMinorUnits"] == "1"

    def test_an_overdraft_is_used_to_its_last_unit(self) -> None:
        overdrawn = {"floor": FloorKind.OVERDRAFT, "overdraft_minor_units": 100}
        positions = {"payer": position("payer", 0, **overdrawn), "merchant": position("merchant")}
        decision = decide([line("payer", DEBIT, 100), line("merchant", CREDIT, 100)], positions)
        assert decision.entries[0].balance_after_minor_units == -100
        positions = {"payer": position("payer", 0, **overdrawn), "merchant": position("merchant")}
        with pytest.raises(PaycenterError) as error:
            decide([line("payer", DEBIT, 101), line("merchant", CREDIT, 101)], positions)
        assert error.value.reason is Reason.INSUFFICIENT_FUNDS

    @pytest.mark.parametrize(
        ("state", "side", "taken"),
        [
            (AccountState.FROZEN, CREDIT, False),
            (AccountState.FROZEN, DEBIT, False),
            (AccountState.DEBIT_BLOCKED, CREDIT, True),
            (AccountState.DEBIT_BLOCKED, DEBIT, False),
            (AccountState.CREDIT_BLOCKED, DEBIT, True),
            (AccountState.CREDIT_BLOCKED, CREDIT, False),
            (AccountState.CLOSED, CREDIT, False),
        ],
    )
    def test_a_state_takes_what_it_says(self, state: AccountState, side: EntrySide, taken: bool) -> None:
        positions = {"a": position("a", 100, state=state), "b": position("b", 100)}
        lines = [line("a", side, 10), line("b", side.opposite, 10)]
        if taken:
            assert decide(lines, positions).entries
        else:
            with pytest.raises(PaycenterError) as error:
                decide(lines, positions)
            assert refusal(error) == (Reason.ACCOUNT_STATE_INVALID, "lines[0].account_id")

    def test_refusals_follow_one_order(self) -> None:
        lines = [Line("a", DEBIT, Money(900, "CNY"), expected_version=1), line("b", CREDIT, 900)]
        found = []
        worlds: list[dict[str, AccountPosition]] = [
            {"a": position("a", state=AccountState.FROZEN)},
            {"a": position("a", state=AccountState.FROZEN, shadow=True), "b": position("b")},
            {"a": position("a", state=AccountState.FROZEN), "b": position("b")},
            {"a": position("a"), "b": position("b")},
            {"a": position("a", version=1), "b": position("b")},
        ]
        for world in worlds:
            with pytest.raises(PaycenterError) as error:
                decide(lines, world)
            found.append(error.value.reason)
        assert found == [
            Reason.ACCOUNT_NOT_FOUND,
            Reason.SHADOW_MIXED,
            Reason.ACCOUNT_STATE_INVALID,
            Reason.VERSION_MISMATCH,
            Reason.INSUFFICIENT_FUNDS,
        ]

    def test_a_currency_other_than_the_accounts_is_refused(self) -> None:
        positions = {"a": position("a", 100), "b": position("b")}
        with pytest.raises(PaycenterError) as error:
            decide([line("a", DEBIT, 1, "USD"), line("b", CREDIT, 1, "USD")], positions)
        assert refusal(error) == (Reason.CURRENCY_MISMATCH, "lines[0].amount.currency_code")

    def test_a_balance_stays_within_64_bits(self) -> None:
        positions = {"a": position("a", 2**63 - 1), "b": position("b", 100)}
        with pytest.raises(PaycenterError) as error:
            decide([line("b", DEBIT, 1), line("a", CREDIT, 1)], positions)
        assert refusal(error) == (Reason.BALANCE_OVERFLOW, "lines[1].amount")

    @given(
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.integers(1, 400)), max_size=20)
    )
    def test_whatever_is_booked_the_books_balance_and_no_floor_is_broken(
        self, moves: list[tuple[str, str, int]]
    ) -> None:
        import copy

        positions = {name: position(name, 500) for name in "abc"}
        for source, target, amount in moves:
            trial = copy.deepcopy(positions)
            try:
                decide([line(source, DEBIT, amount), line(target, CREDIT, amount)], trial)
            except PaycenterError as error:
                assert error.reason is Reason.INSUFFICIENT_FUNDS  # noqa: PT017 - either outcome is allowed
                assert positions[source].available_minor_units < amount or source == target
            else:
                positions = trial
            assert sum(p.balance_minor_units for p in positions.values()) == 1500
            assert all(p.available_minor_units >= 0 for p in positions.values())


class TestHolds:
    def hold(self, **changes: object) -> HoldPosition:
        fields: dict[str, object] = {
            "shard": 1,
            "hold_id": "H",
            "account_id": "merchant",
            "amount_minor_units": 100,
            "captured_minor_units": 0,
            "released_minor_units": 0,
            "state": HoldState.OPEN,
            "expired": False,
            "version": 1,
        }
        return HoldPosition(**(fields | changes))  # type: ignore[arg-type]

    def positions(self) -> dict[str, AccountPosition]:
        return {
            "merchant": position("merchant", 100, held_minor_units=100),
            "clearing": position("clearing", 0, normal_side=DEBIT, floor=FloorKind.NONE),
        }

    def test_held_money_is_taken_though_nothing_else_is_available(self) -> None:
        positions = self.positions()
        lines = [line("merchant", DEBIT, 60), line("clearing", CREDIT, 60)]
        decision = decide(lines, positions, hold=self.hold(), release_remainder=True)
        assert (decision.captured_minor_units, decision.released_minor_units) == (60, 40)
        assert positions["merchant"].held_minor_units == 0
        assert positions["merchant"].balance_minor_units == 40

    def test_a_hold_gives_no_more_than_it_keeps(self) -> None:
        lines = [line("merchant", DEBIT, 61), line("clearing", CREDIT, 61)]
        with pytest.raises(PaycenterError) as error:
            decide(lines, self.positions(), hold=self.hold(captured_minor_units=40))
        assert refusal(error) == (Reason.HOLD_AMOUNT_EXCEEDED, "hold_id")

    @pytest.mark.parametrize(
        "changes", [{"state": HoldState.RELEASED}, {"state": HoldState.CAPTURED}, {"expired": True}]
    )
    def test_a_hold_that_is_over_gives_nothing(self, changes: dict[str, object]) -> None:
        lines = [line("merchant", DEBIT, 10), line("clearing", CREDIT, 10)]
        with pytest.raises(PaycenterError) as error:
            decide(lines, self.positions(), hold=self.hold(**changes))
        assert error.value.reason is Reason.HOLD_STATE_INVALID

    def test_a_hold_never_draws_overdraft(self) -> None:
        account = position("merchant", 50, floor=FloorKind.OVERDRAFT, overdraft_minor_units=1000)
        check_place(account, Money(50, "CNY"))
        with pytest.raises(PaycenterError) as error:
            check_place(account, Money(51, "CNY"))
        assert refusal(error) == (Reason.INSUFFICIENT_FUNDS, "amount")


class TestRules:
    RULE = PostingRule(
        "RECHARGE",
        1,
        (
            RuleLine("channel_clearing", DEBIT, "net"),
            RuleLine("channel_fee_expense", DEBIT, "fee"),
            RuleLine("beneficiary", CREDIT, "gross"),
        ),
    )
    PARTIES: ClassVar = {
        "channel_clearing": "1101:K:CNY",
        "channel_fee_expense": "5101:M:CNY",
        "beneficiary": "2201:M:CNY",
    }

    def test_an_event_becomes_its_lines(self) -> None:
        amounts = {"gross": Money(100, "CNY"), "fee": Money(1, "CNY"), "net": Money(99, "CNY")}
        lines = self.RULE.lines_of(self.PARTIES, amounts)
        assert [(each.account_id, each.side, each.amount.minor_units) for each in lines] == [
            ("1101:K:CNY", DEBIT, 99),
            ("5101:M:CNY", DEBIT, 1),
            ("2201:M:CNY", CREDIT, 100),
        ]

    def test_a_fee_of_zero_leaves_its_line_out(self) -> None:
        amounts = {"gross": Money(100, "CNY"), "fee": Money(0, "CNY"), "net": Money(100, "CNY")}
        assert len(self.RULE.lines_of(self.PARTIES, amounts)) == 2

    @pytest.mark.parametrize(
        ("parties", "components", "field"),
        [
            ({"thief": "x"}, {"gross": Money(1, "CNY")}, "parties"),
            ({}, {"gross": Money(1, "CNY")}, "parties"),
            ({"beneficiary": "x"}, {"tip": Money(1, "CNY")}, "components"),
            ({"beneficiary": "x"}, {"gross": Money(-1, "CNY")}, "components"),
        ],
    )
    def test_what_the_rule_does_not_know_is_refused(
        self, parties: dict[str, str], components: dict[str, Money], field: str
    ) -> None:
        with pytest.raises(PaycenterError) as error:
            self.RULE.lines_of(parties, components)
        assert refusal(error) == (Reason.FIELD_INVALID, field)
