"""Makes channel orders out of requests. Invariant: an order gets its number, fee and origin here and nowhere
else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from channel_gateway.directory import OpenedAccount
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.vocabulary import ChannelOrderKind, ChannelOrderState, InvokeMethod
from channel_gateway.store.origin import origin_of_scope
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, new_number, shard_of_number
from runtime.money import Money

_NOT_YET = datetime.fromtimestamp(0, UTC)


def draft_order(
    account: OpenedAccount,
    *,
    kind: ChannelOrderKind,
    payment_id: str,
    amount: Money,
    channel_fee: Money,
    invoke_method: InvokeMethod | None = None,
    refunded_channel_order_id: str = "",
    asked: Mapping[str, Any],
    expire_time: datetime | None = None,
) -> ChannelOrder:
    """Makes a PREPARED order in the shard of its payment.

    Raises PaycenterError(FIELD_INVALID, field payment_id) when that is no number of the center.
    """
    shard = shard_of_payment(payment_id)
    channel_order_id = new_number(NumberKind.CHANNEL_ORDER, shard=shard)
    origin = origin_of_scope(payment_id)
    record = account.record
    return ChannelOrder(
        shard=shard,
        channel_order_id=channel_order_id,
        tenant_id=record.tenant_id,
        payment_id=payment_id,
        kind=kind,
        merchant_id=record.merchant_id,
        payment_account_id=record.payment_account_id,
        channel=record.channel,
        invoke_method=invoke_method,
        amount=amount,
        channel_fee=channel_fee,
        state=ChannelOrderState.PREPARED,
        channel_transaction_id="",
        refunded_channel_order_id=refunded_channel_order_id,
        reserved_refund_minor_units=0,
        failure=None,
        credential=None,
        asked=asked,
        sealed_asked=None,
        expire_time=expire_time,
        succeed_time=None,
        close_requested=False,
        step_count=0,
        business_id=origin.business_id,
        traceparent=origin.traceparent,
        platform=origin.platform,
        version=1,
        create_time=_NOT_YET,
        update_time=_NOT_YET,
    )


def shard_of_payment(payment_id: str) -> int:
    """Returns the shard that a payment's number carries; raises PaycenterError(FIELD_INVALID)."""
    try:
        return shard_of_number(payment_id)
    except ValueError:
        raise PaycenterError(
            Reason.FIELD_INVALID, "The payment's number is malformed.", field="payment_id"
        ) from None
