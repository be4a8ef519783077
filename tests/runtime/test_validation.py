"""Every rule of the contract that a message breaks is named by its field."""

from __future__ import annotations

import pytest
from google.protobuf import struct_pb2
from paycenter.accounting.v1 import accounting_pb2
from paycenter.channel.v1 import channel_gateway_pb2
from paycenter.transaction.v1 import transaction_core_pb2
from paycenter.type.v1 import money_pb2, party_pb2

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


def test_a_text_with_a_nul_character_is_named_wherever_it_stands() -> None:
    request = channel_gateway_pb2.CreateChannelPaymentRequest(
        subject="tea\0", payer=party_pb2.Payer(channel_payer_id="\0"), return_url="https://a"
    )
    texts = {each.field for each in validation.violations_of(request) if each.rule == "string.no_nul"}
    assert texts == {"subject", "payer.channel_payer_id"}

    account = channel_gateway_pb2.OpenPaymentAccountRequest(
        settings={"app_id": "2\0", "mode": "key"}, secrets={"key": "s\0"}
    )
    texts = {each.field for each in validation.violations_of(account) if each.rule == "string.no_nul"}
    assert texts == {'settings["app_id"]', "secrets[...]"}


def test_a_key_with_a_nul_character_is_named_without_it() -> None:
    request = transaction_core_pb2.CreateOrderRequest(
        request_id=SOUND,
        merchant_id="M1",
        amount=money_pb2.Money(minor_units=1, currency_code="CNY"),
        purchase=transaction_core_pb2.Purchase(),
        annotations={"no\0te": "x"},
    )

    assert "annotations[...]" in fields_at_fault(request)


def test_a_text_in_a_list_is_named_with_its_index_when_it_has_a_nul_character() -> None:
    lines = [
        accounting_pb2.JournalLine(
            account_id=account_id, amount=money_pb2.Money(minor_units=1, currency_code="CNY")
        )
        for account_id in ("1101", "21\0")
    ]
    request = accounting_pb2.PostJournalRequest(
        request_id=SOUND, event_code="RECHARGE", business_number="P1", lines=lines
    )

    fields = fields_at_fault(request)
    assert "lines[1].account_id" in fields
    assert "lines[0].account_id" not in fields


def test_a_zero_byte_in_a_number_is_no_nul_character() -> None:
    double = struct_pb2.Value(number_value=1.0)
    assert b"\0" in double.SerializeToString()
    assert validation.violations_of(double) == ()
