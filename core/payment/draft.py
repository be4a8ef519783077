"""Makes the record of a payment that is about to begin. Invariant: number, shard, trace and business identifier are
fixed here and never change; a case without a business identifier gets the payment's number as one."""

from __future__ import annotations

from dataclasses import dataclass

from core.payment.domain.payment import Payment, PaymentKind, PaymentState, initial_steps
from core.payment.records import Call
from runtime.clock import Clock
from runtime.context import current_scope, encode_platform, with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, new_number, shard_of_owner
from runtime.money import CurrencyUnknownError, Money, currency_exponent


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What every command tells of where it comes from."""

    merchant_id: str
    order_id: str
    transaction_number: str
    amount: Money


def draft_payment(kind: PaymentKind, origin: Origin, call: Call, *, clock: Clock) -> Payment:
    """Returns the record of a new payment in the current scope, not yet stored."""
    shard = shard_of_owner(origin.merchant_id)
    payment_id = new_number(NumberKind.PAYMENT, shard=shard)
    business_id = current_scope().platform.business_id or payment_id
    with with_business_id(business_id) as scope:
        platform = encode_platform(scope.platform)
    return Payment(
        shard=shard,
        payment_id=payment_id,
        tenant_id=scope.platform.tenant_id,
        kind=kind,
        state=PaymentState.SUBMITTING,
        merchant_id=origin.merchant_id,
        amount=origin.amount,
        business_id=business_id,
        traceparent=scope.trace.format(),
        platform=platform,
        order_id=origin.order_id,
        transaction_number=origin.transaction_number,
        steps=initial_steps(kind, now=clock.now()),
        request_id=call.request_id,
    )


def check_currency(amount: Money, *, field: str = "amount.currency_code") -> None:
    """Raises PaycenterError(CURRENCY_UNSUPPORTED) for a code that is not in the ISO 4217 table."""
    try:
        currency_exponent(amount.currency_code)
    except CurrencyUnknownError:
        raise PaycenterError(
            Reason.CURRENCY_UNSUPPORTED,
            "The currency code is not in the ISO 4217 table.",
            field=field,
            metadata={"currencyCode": amount.currency_code},
        ) from None
