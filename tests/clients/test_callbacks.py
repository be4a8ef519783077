"""A business system acts only on callbacks that the center signed: unchanged, fresh, by its key."""

from __future__ import annotations

import base64
import http.client
import json
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paycenter_client import CallbackInvalid, read_callback, verify_callback

from clients.cli.business_system import BusinessSystem

KEY = Ed25519PrivateKey.generate()
SENT_SECONDS = 1_700_000_000
BODY = json.dumps(
    {
        "notification_id": "N01",
        "event_type": "ORDER_PAID",
        "order": {
            "orderId": "O01",
            "state": "ORDER_STATE_PAID",
            "amount": {"minorUnits": "1230", "currencyCode": "CNY"},
        },
    }
).encode()


def headers(
    body: bytes = BODY, *, key: Ed25519PrivateKey = KEY, number: str = "N01", sent_seconds: int = SENT_SECONDS
) -> dict[str, str]:
    signature = key.sign(f"{sent_seconds}.{number}.".encode() + body)
    return {
        "x-paycenter-notification-id": number,
        "x-paycenter-timestamp": str(sent_seconds),
        "x-paycenter-signature": base64.b64encode(signature).decode(),
    }


def verify(given: dict[str, str], body: bytes = BODY, *, now_seconds: float = SENT_SECONDS + 1.0) -> str:
    return verify_callback(given, body, KEY.public_key(), now_seconds=now_seconds)


def test_a_genuine_callback_gives_its_number() -> None:
    assert verify(headers()) == "N01"


@pytest.mark.parametrize("place", [0, len(BODY) // 2, len(BODY) - 1])
def test_one_flipped_byte_is_refused(place: int) -> None:
    altered = bytearray(BODY)
    altered[place] ^= 1
    with pytest.raises(CallbackInvalid):
        verify(headers(), bytes(altered))


def test_another_key_is_refused() -> None:
    with pytest.raises(CallbackInvalid):
        verify(headers(key=Ed25519PrivateKey.generate()))


@pytest.mark.parametrize("late_seconds", [301, -301])
def test_a_stale_callback_is_refused_and_one_within_tolerance_is_not(late_seconds: int) -> None:
    assert verify(headers(), now_seconds=SENT_SECONDS + late_seconds * 0.99) == "N01"
    with pytest.raises(CallbackInvalid):
        verify(headers(), now_seconds=SENT_SECONDS + late_seconds)


@pytest.mark.parametrize("name", list(headers()))
def test_a_header_that_is_absent_or_altered_is_refused(name: str) -> None:
    given = headers()
    altered = given | {name: given[name].replace("1", "2", 1) if "1" in given[name] else "x"}
    without = {key: value for key, value in given.items() if key != name}
    for wrong in (altered, without):
        with pytest.raises(CallbackInvalid):
            verify(wrong)


def test_the_body_is_read_with_what_a_newer_center_adds() -> None:
    content = json.loads(BODY)
    content["order"]["somethingNew"] = {"a": 1}
    content["event_type"] = "ORDER_SOMETHING_NEW"
    body = json.dumps(content).encode()
    callback = read_callback(headers(body), body, KEY.public_key(), now_seconds=SENT_SECONDS)
    assert (callback.notification_id, callback.event_type) == ("N01", "ORDER_SOMETHING_NEW")
    assert (callback.order.order_id, callback.order.amount.minor_units) == ("O01", 1230)


@pytest.mark.parametrize("body", [b"not json", b"[]", b"{}", b'{"order": 5, "event_type": "x"}'])
def test_a_signed_body_that_is_no_callback_is_refused(body: bytes) -> None:
    with pytest.raises(CallbackInvalid):
        read_callback(headers(body), body, KEY.public_key(), now_seconds=SENT_SECONDS)


def test_the_business_system_records_genuine_callbacks_once_and_counts_the_others() -> None:
    import time

    with BusinessSystem(KEY.public_key()) as business_system:
        fresh = headers(sent_seconds=int(time.time()))

        def post(given: dict[str, str], body: bytes) -> int:
            address = urlsplit(business_system.callback_url)
            connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
            connection.request("POST", address.path, body, given)
            try:
                return connection.getresponse().status
            finally:
                connection.close()

        assert post(fresh, BODY) == 200
        assert post(fresh, BODY) == 200, "a repeat is taken, too"
        assert post(fresh, BODY.replace(b"1230", b"9999")) == 401
        assert business_system.verified_count == 1
        assert business_system.refused_count == 1
        assert [each.event_type for each in business_system.callbacks_of("O01")] == ["ORDER_PAID"]
        assert business_system.callbacks_of("O02") == []
