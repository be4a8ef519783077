"""WeChat Pay's operations on transfers to persons: transfer, query, cancel.

Source: WeChat Pay API v3, /v3/fund-app/mch-transfer/transfer-bills.
Invariant: one out_bill_no of a merchant pays out once.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from channel_gateway.sandbox.clock import beijing_compact, now_milliseconds, rfc3339_text
from channel_gateway.sandbox.records import Channel, Transfer, TransferState
from channel_gateway.sandbox.refusal import Cause, Refusal
from channel_gateway.sandbox.wechat.answers import parameter_error, transfer_error
from channel_gateway.sandbox.wechat.call import Call

TRANSFER_WORDS = {
    TransferState.ACCEPTED: "WAIT_USER_CONFIRM",
    TransferState.SUCCEEDED: "SUCCESS",
    TransferState.FAILED: "FAIL",
    TransferState.CANCELLED: "CANCELLED",
}
_OUT_BILL_NO = re.compile(r"[0-9A-Za-z]{5,32}")
_NAME_REQUIRED_FROM_MINOR_UNITS = 200_000
_OAEP = padding.OAEP(mgf=padding.MGF1(algorithm=hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303


def create_transfer(call: Call) -> tuple[int, dict[str, Any]]:
    """Accepts a transfer, which the payee has to confirm."""
    appid = call.text("appid", longest=32)
    call.require_own_application(appid)
    amount_minor_units = call.amount("", "transfer_amount")
    sealed_name = call.text("user_name", longest=1024, required=False)
    if amount_minor_units >= _NAME_REQUIRED_FROM_MINOR_UNITS and not sealed_name:
        raise parameter_error("/body/user_name", "required from 2000 yuan on")
    now = now_milliseconds()
    asked = Transfer(
        channel=Channel.WECHAT,
        account=call.merchant.mchid,
        app_id=appid,
        out_transfer_no=call.text("out_bill_no", pattern=_OUT_BILL_NO),
        transfer_no=f"1330{secrets.randbelow(10**14):014d}{beijing_compact(now)[:8]}{secrets.randbelow(10**14):014d}",
        amount_minor_units=amount_minor_units,
        payee=call.text("openid", longest=64),
        payee_name=_open_name(call, sealed_name) if sealed_name else "",
        remark=call.text("transfer_remark", longest=32),
        scene=call.text("transfer_scene_id", longest=36),
        notify_url=call.notify_url(required=False),
        create_milliseconds=now,
        package_token=secrets.token_urlsafe(32),
    )
    try:
        transfer, _ = call.sandbox.transfers.accept(asked, immediate=False)
    except Refusal as refusal:
        raise transfer_error(refusal.cause) from refusal
    body = {
        "out_bill_no": transfer.out_transfer_no,
        "transfer_bill_no": transfer.transfer_no,
        "create_time": rfc3339_text(transfer.create_milliseconds),
        "state": TRANSFER_WORDS[TransferState(transfer.state)],
    }
    if transfer.state == TransferState.ACCEPTED:
        body["package_info"] = transfer.package_token
    return 200, body


def query_transfer(call: Call) -> tuple[int, dict[str, Any]]:
    """Tells how a transfer stands."""
    return 200, transfer_body(_find(call))


def cancel_transfer(call: Call) -> tuple[int, dict[str, Any]]:
    """Cancels a transfer that the payee has not confirmed."""
    transfer = _find(call)
    try:
        call.sandbox.transfers.finish(transfer, TransferState.CANCELLED)
    except Refusal as refusal:
        raise transfer_error(refusal.cause) from refusal
    return 200, {
        "out_bill_no": transfer.out_transfer_no,
        "transfer_bill_no": transfer.transfer_no,
        "state": TRANSFER_WORDS[TransferState.CANCELLED],
        "update_time": rfc3339_text(transfer.finish_milliseconds),
    }


def transfer_body(transfer: Transfer) -> dict[str, Any]:
    """Returns a transfer as queries and notices show it."""
    body: dict[str, Any] = {
        "mch_id": transfer.account,
        "mchid": transfer.account,
        "out_bill_no": transfer.out_transfer_no,
        "transfer_bill_no": transfer.transfer_no,
        "appid": transfer.app_id,
        "state": TRANSFER_WORDS[TransferState(transfer.state)],
        "transfer_amount": transfer.amount_minor_units,
        "transfer_remark": transfer.remark,
        "openid": transfer.payee,
        "create_time": rfc3339_text(transfer.create_milliseconds),
        "update_time": rfc3339_text(transfer.finish_milliseconds or transfer.create_milliseconds),
    }
    if transfer.failure_reason:
        body["fail_reason"] = transfer.failure_reason
    return body


def _find(call: Call) -> Transfer:
    number = call.path.get("out_bill_no") or call.path["transfer_bill_no"]
    for transfer in call.sandbox.books.transfers_numbered(number):
        if (transfer.channel, transfer.account) == (Channel.WECHAT, call.merchant.mchid):
            return transfer
    raise transfer_error(Cause.TRANSFER_NOT_EXIST)


def _open_name(call: Call, sealed: str) -> str:
    """Decrypts the payee's name with the key that the request's Wechatpay-Serial names."""
    keys = call.sandbox.keys
    private_key: rsa.RSAPrivateKey | None = None
    if call.platform_serial == keys.wechat_public_key_id:
        private_key = keys.wechat_public_key_private
    for certificate in keys.wechat_certificates:
        if certificate.serial == call.platform_serial.upper():
            private_key = certificate.private_key
    if private_key is None:
        raise parameter_error("Wechatpay-Serial", "names no key of the platform", location="header")
    try:
        return private_key.decrypt(base64.b64decode(sealed, validate=True), _OAEP).decode()
    except (binascii.Error, ValueError) as error:
        raise parameter_error("/body/user_name", "cannot be decrypted") from error
