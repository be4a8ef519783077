"""Takes an order of a business system in. Invariant: one transaction; a merchant's number names one order for ever."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.exc import IntegrityError

from core.transaction import commands, order_changes
from core.transaction.callback_http import is_callable_url
from core.transaction.domain.amounts import divide
from core.transaction.domain.change import Happening
from core.transaction.domain.plan import later
from core.transaction.domain.records import Order, OrderFile, Purpose
from core.transaction.domain.states import EventType, OrderKind, OrderState
from core.transaction.mapping import answers
from core.transaction.parts import Parts
from core.transaction.store import order_files
from runtime.context import CallScope, current_scope, encode_platform, with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Replay
from runtime.ids import NumberKind, new_number, shard_of_owner
from runtime.money import CURRENCY_EXPONENTS
from runtime.telemetry import span

METHOD = "CreateOrder"


async def create_order(parts: Parts, command: commands.CreateOrder) -> answers.CreateOrderResponse:
    """Records the order and gives it its number. Idempotent by request id.

    Raises PaycenterError: FIELD_INVALID, CURRENCY_UNSUPPORTED, CURRENCY_MISMATCH, MERCHANT_ORDER_EXISTS (metadata
    orderId), IDEMPOTENCY_KEY_REUSED, REQUEST_IN_PROGRESS.
    """
    with span("validate"):
        purpose = _validate(command)
    order = _new_order(parts, command, purpose, current_scope())
    with with_business_id(order.business_id), span("generate_order"):
        try:
            return await _take_in(parts, command, order)
        except IntegrityError as error:
            if order_files.broken_constraint(error) != order_files.MERCHANT_ORDER_UNIQUE:
                raise
        raise await _merchant_order_exists(parts, order)


def _validate(command: commands.CreateOrder) -> Purpose:
    if command.kind is OrderKind.PREAUTHORIZED_PURCHASE:
        raise PaycenterError(
            Reason.FIELD_INVALID,
            "This release does not serve pre-authorised purchases.",
            field="preauthorized_purchase",
        )
    if not command.merchant_order_id and not command.merchant_serial_number:
        raise PaycenterError(
            Reason.FIELD_INVALID,
            "Give merchant_order_id or merchant_serial_number.",
            field="merchant_order_id",
        )
    if command.amount.currency_code not in CURRENCY_EXPONENTS:
        raise PaycenterError(
            Reason.CURRENCY_UNSUPPORTED,
            "The currency is not one of ISO 4217 that has a minor unit.",
            field="amount.currency_code",
            metadata={"currencyCode": command.amount.currency_code},
        )
    if command.notify_url and not is_callable_url(command.notify_url):
        raise PaycenterError(
            Reason.FIELD_INVALID, "Give an http or https address in ASCII.", field="notify_url"
        )
    if not command.subject:
        raise PaycenterError(Reason.FIELD_INVALID, "Say what is paid for.", field="subject")
    if (
        command.kind is OrderKind.TRANSFER
        and command.purpose.source_owner == command.purpose.destination_owner
    ):
        raise PaycenterError(
            Reason.FIELD_INVALID, "Money moves between two balances.", field="transfer.destination_owner"
        )
    if command.kind is not OrderKind.SPLIT_PURCHASE:
        return command.purpose
    shares = divide(
        command.amount.minor_units,
        currency_code=command.amount.currency_code,
        requested=command.requested_shares,
    )
    return replace(command.purpose, shares=shares)


def _new_order(parts: Parts, command: commands.CreateOrder, purpose: Purpose, scope: CallScope) -> Order:
    now = parts.clock.now()
    shard = shard_of_owner(command.merchant_id)
    order_id = new_number(NumberKind.ORDER, shard=shard)
    business_id = scope.platform.business_id or order_id
    expire_time = command.expire_time or later(now, parts.order_expire_seconds)
    return Order(
        shard=shard,
        order_id=order_id,
        tenant_id=scope.platform.tenant_id,
        merchant_id=command.merchant_id,
        merchant_order_id=command.merchant_order_id or command.merchant_serial_number,
        merchant_serial_number=command.merchant_serial_number,
        kind=command.kind,
        state=OrderState.CREATED,
        amount=command.amount,
        subject=command.subject,
        purpose=purpose,
        notify_url=command.notify_url,
        annotations=command.annotations,
        expire_time=expire_time,
        next_step_time=later(expire_time, parts.plan.expire_grace_seconds),
        business_id=business_id,
        traceparent=scope.trace.format(),
        platform=encode_platform(replace(scope.platform, business_id=business_id)),
        create_time=now,
        update_time=now,
    )


def _require_ahead(parts: Parts, order: Order) -> None:
    """Looks at the clock only once the request is known to be new: its replay may come after the order's end."""
    if order.expire_time <= order.create_time:
        raise PaycenterError(
            Reason.FIELD_INVALID, "The order would have expired already.", field="expire_time"
        )
    if order.expire_time > later(order.create_time, parts.order_longest_expire_seconds):
        raise PaycenterError(
            Reason.FIELD_INVALID,
            "The order would expire later than allowed.",
            field="expire_time",
            metadata={"longestSeconds": f"{parts.order_longest_expire_seconds:.0f}"},
        )


async def _take_in(parts: Parts, command: commands.CreateOrder, order: Order) -> answers.CreateOrderResponse:
    async with parts.database.begin() as connection:
        claim = await parts.idempotency.claim(
            connection,
            shard=order.shard,
            method=METHOD,
            request_id=command.key.request_id,
            fingerprint=command.key.fingerprint,
            resource_id=order.order_id,
        )
        if isinstance(claim, Replay):
            return answers.unpack(answers.CreateOrderResponse, claim.response)
        _require_ahead(parts, order)
        created = await order_files.insert_order(connection, order)
        file = OrderFile(read_time=created, order=replace(order, create_time=created, update_time=created))
        await order_changes.tell(parts, connection, file, (Happening(EventType.ORDER_CREATED),))
        answer = answers.order_created(file)
        await parts.idempotency.complete(
            connection,
            shard=order.shard,
            method=METHOD,
            request_id=command.key.request_id,
            response=answers.pack(answer),
        )
    return answer


async def _merchant_order_exists(parts: Parts, order: Order) -> PaycenterError:
    async with parts.database.read() as connection:
        existing = await order_files.find_by_merchant_order(
            connection,
            shard=order.shard,
            tenant_id=order.tenant_id,
            merchant_id=order.merchant_id,
            merchant_order_id=order.merchant_order_id,
        )
    return PaycenterError(
        Reason.MERCHANT_ORDER_EXISTS,
        "The merchant has an order with this number already.",
        field="merchant_order_id",
        metadata={"orderId": existing or ""},
        resource=("order", existing or ""),
    )
