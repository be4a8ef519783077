"""Conversion is total and loses nothing."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf import json_format
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter.type.v1 import credential_pb2

from core.transaction.domain.records import Instruction, Leg, Owner, Payee, Purpose, Refusal
from core.transaction.domain.states import AttemptState, EventType, LegState, OrderState
from core.transaction.mapping import enums, resources
from core.transaction.store import rows
from runtime.errors import FieldViolation
from tests.core.transaction.builders import NOW, attempt, file, order, refund, shares

TABLES = [value for value in vars(enums).values() if isinstance(value, enums.EnumTable)]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.prefix)
def test_every_value_of_the_contract_has_its_word_and_back(table: enums.EnumTable[Any]) -> None:
    numbers = {number for name, number in table.proto_enum.items() if number}
    assert set(table.from_proto) == numbers
    assert all(table.to_proto[member] == number for number, member in table.from_proto.items())


def test_names_of_other_enums_are_two_way() -> None:
    for to_proto, from_proto in (
        (enums.INVOKE_METHOD_TO_PROTO, enums.INVOKE_METHOD_FROM_PROTO),
        (enums.OWNER_KIND_TO_PROTO, enums.OWNER_KIND_FROM_PROTO),
        (enums.PAYEE_ID_KIND_TO_PROTO, enums.PAYEE_ID_KIND_FROM_PROTO),
    ):
        assert {number: name for name, number in to_proto.items()} == from_proto
        assert from_proto


class _Row:
    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(json.loads(json.dumps(values, default=_keep), object_hook=_restore))


_kept: dict[str, Any] = {}


def _keep(value: Any) -> Any:
    _kept[str(id(value))] = value
    return {"kept": str(id(value))}


def _restore(value: dict[str, Any]) -> Any:
    return _kept[value["kept"]] if set(value) == {"kept"} else value


def test_an_order_is_read_as_it_was_written() -> None:
    whole = order(
        purpose=Purpose(
            balance_owner=Owner(kind="USER", owner_id="u1"),
            source_owner=Owner(kind="USER", owner_id="u2"),
            destination_owner=Owner(kind="MERCHANT", owner_id="M9"),
            payee=Payee(channel_payee_id="p", id_kind="LOGIN", real_name="Li"),
            shares=shares(600, 400).shares,
        ),
        annotations={"table": "7"},
        closing_to=OrderState.EXPIRED,
        pay_time=NOW,
    )
    values = rows.order_values(whole) | {"create_time": whole.create_time, "update_time": whole.update_time}
    assert rows.order_from_row(_Row(values)) == whole


def test_an_attempt_is_read_as_it_was_written() -> None:
    whole = attempt(
        instruction=Instruction(
            payment_account_id="K1",
            invoke_method="BARCODE",
            payer_user_id="u",
            payer_channel_id="o",
            payer_client_ip="::1",
            return_url="https://shop",
            authorization_code="2876",
            agreement_id="g",
        ),
        refusal=Refusal(
            reason="RISK_BLOCKED",
            message="no",
            violations=(FieldViolation("payer", "blocked", "rule"),),
            metadata={"rule": "7"},
        ),
        credential=b"\x01\x02",
        transfer_round=3,
    )
    values = rows.attempt_values(whole) | {"create_time": whole.create_time, "update_time": whole.update_time}
    assert rows.attempt_from_row(_Row(values)) == whole


def test_a_refund_is_read_as_it_was_written() -> None:
    leg = Leg(
        receiver=Owner(kind="USER", owner_id="u"),
        minor_units=5,
        state=LegState.TAKEN,
        payment_id="P",
        round_number=2,
    )
    whole = refund(legs=(leg,), succeed_time=NOW, round_number=4)
    values = rows.refund_values(whole) | {"create_time": whole.create_time, "update_time": whole.update_time}
    assert rows.refund_from_row(_Row(values)) == whole


def test_a_credential_is_shown_only_while_the_attempt_is_open() -> None:
    credential = credential_pb2.PaymentCredential(qr_code=credential_pb2.QrCode(code_url="pay://1"))
    packed = credential.SerializeToString()
    assert resources.attempt_to_proto(attempt(credential=packed)).credential == credential
    closed = attempt(state=AttemptState.CLOSED, credential=packed)
    assert not resources.attempt_to_proto(closed).HasField("credential")


def test_a_callback_is_canonical_and_holds_the_order() -> None:
    shown = resources.order_to_proto(file(order(notify_url="https://商店.example"), attempt()))
    body = resources.callback_body(notification_id="N1", event_type=EventType.ORDER_PAID, order=shown)
    content = json.loads(body)
    assert body == json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert (content["notification_id"], content["event_type"]) == ("N1", "ORDER_PAID")
    assert json_format.ParseDict(content["order"], tc.Order()) == shown


def test_the_time_of_payment_is_told_only_of_a_paid_order() -> None:
    won = order(pay_time=NOW, winning_attempt_id="A1")
    assert not resources.bare_order_to_proto(won).HasField("pay_time")
    paid = order(pay_time=NOW + timedelta(seconds=1), paid_minor_units=1000, state=OrderState.PAID)
    assert resources.bare_order_to_proto(paid).pay_time.ToDatetime() == (NOW + timedelta(seconds=1)).replace(
        tzinfo=None
    )
