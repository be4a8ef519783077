"""Every rule of the contract that a message breaks is named by its field."""

from __future__ import annotations

import pytest
from paycenter.accounting.v1 import accounting_pb2
from paycenter.transaction.v1 import transaction_core_pb2
from paycenter.type.v1 import money_pb2

from runtime import validation
from runtime.errors import PaycenterError, Reason

SOUND = "018f3c5e-7c1a-7d5e-9a43-0123456789ab"


def fields_at_fault(message: object) -> set[str]:
    with pytest.raises(PaycenterError) as caught:
        validation.check(message)  # type: ignore[arg-type]
    assert caught.value.reason is Reason.FIELD_INVALID
    return {violation.field for violation in caught.value.violations}


def test_a_sound_message_passes() -> None:
    validation.check(money_pb2.Money(minor_units=1, currency_code="CNY"))
    assert validation.violations_of(money_pb2.Money(minor_units=1, currency_code="CNY")) == ()


def test_a_field_deep_in_a_list_is_named_with_its_index() -> None:
    lines = [
        accounting_pb2.JournalLine(amount=money_pb2.Money(minor_units=1, currency_code=code))
        for code in ("CNY", "yuan")
    ]
    request = accounting_pb2.PostJournalRequest(
        request_id=SOUND, event_code="RECHARGE", business_number="P1", lines=lines
    )

    assert "lines[1].amount.currency_code" in fields_at_fault(request)
    assert "lines[0].amount.currency_code" not in fields_at_fault(request)


def test_a_key_of_a_map_is_named() -> None:
    request = transaction_core_pb2.CreateOrderRequest(
        request_id=SOUND,
        merchant_id="M1",
        amount=money_pb2.Money(minor_units=1, currency_code="CNY"),
        purchase=transaction_core_pb2.Purchase(),
        annotations={"note": "x" * 257},
    )

    assert fields_at_fault(request) == {'annotations["note"]'}


def test_the_missing_choice_of_a_oneof_is_named() -> None:
    request = transaction_core_pb2.CreateOrderRequest(
        request_id=SOUND, merchant_id="M1", amount=money_pb2.Money(minor_units=1, currency_code="CNY")
    )

    assert fields_at_fault(request) == {"purpose"}


def test_a_violation_tells_its_rule() -> None:
    [violation] = validation.violations_of(money_pb2.Money(minor_units=1, currency_code="yuan"))

    assert violation.rule == "string.pattern"
    assert "yuan" not in violation.description
