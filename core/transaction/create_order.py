"""Takes an order of a business system in. Invariant: one transaction; a merchant's number names one order for ever."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.exc import IntegrityError

from core.transaction import commands, metrics, order_changes
from core.transaction.callback_http import is_callable_url
from core.transaction.domain.amounts import divide
from core.transaction.domain.change import Happening
from core.transaction.domain.plan import later
from core.transaction.domain.records import Order, OrderFile, Purpose
from core.transaction.domain.states import EventType, OrderKind, OrderState
from core.transaction.mapping import answers
from core.transaction.parts import Parts
from core.transaction.store import idempotency, order_files, order_intake
from core.transaction.store.order_saving import Answer
from runtime.context import CallScope, current_scope, encode_platform, mark_replayed, with_business_id
from runtime.database import after_commit
from runtime.errors import PaycenterError, Reason
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
        return await _take_in(parts, command, order)


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
    now = parts.database_clock.now()
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


def _is_ahead(parts: Parts, order: Order) -> bool:
    """Whether the order's end lies ahead and near enough; a replay may come after it."""
    longest = later(order.create_time, parts.order_longest_expire_seconds)
    return order.create_time < order.expire_time <= longest


def _not_ahead(parts: Parts, order: Order) -> PaycenterError:
    if order.expire_time <= order.create_time:
        return PaycenterError(
            Reason.FIELD_INVALID, "The order would have expired already.", field="expire_time"
        )
    return PaycenterError(
        Reason.FIELD_INVALID,
        "The order would expire later than allowed.",
        field="expire_time",
        metadata={"longestSeconds": f"{parts.order_longest_expire_seconds:.0f}"},
    )


async def _take_in(parts: Parts, command: commands.CreateOrder, order: Order) -> answers.CreateOrderResponse:
    """Writes the order; when the request id was used before, or the merchant's number is taken, finds out which."""
    file = OrderFile(read_time=order.create_time, order=order)
    answer = answers.order_created(file)
    is_ahead = _is_ahead(parts, order)
    try:
        if is_ahead and await _write(parts, command, file, answer):
            return answer
    except IntegrityError as error:
        if order_intake.broken_constraint(error) != order_intake.MERCHANT_ORDER_UNIQUE:
            raise
    replayed = await _replay(parts, command, order)
    if replayed is not None:
        return replayed
    raise await _merchant_order_exists(parts, order) if is_ahead else _not_ahead(parts, order)


async def _write(
    parts: Parts, command: commands.CreateOrder, file: OrderFile, answer: answers.CreateOrderResponse
) -> bool:
    scope = current_scope()
    happenings = (Happening(EventType.ORDER_CREATED),)
    async with parts.database.autocommit() as connection:
        written = await order_intake.take_in(
            connection,
            file,
            events=order_changes.events_of(parts, file, answer.order, happenings),
            origin=(scope.trace.format(), encode_platform(scope.platform)),
            answer=Answer(
                caller=scope.platform.caller_service,
                method=METHOD,
                request_id=command.key.request_id,
                response=answers.pack(answer),
            ),
            fingerprint=command.key.fingerprint,
        )
        after_commit(connection, parts.outbox.nudge.set)
    if written:
        metrics.order_events.labels(EventType.ORDER_CREATED.value).inc()
    return written


async def _replay(
    parts: Parts, command: commands.CreateOrder, order: Order
) -> answers.CreateOrderResponse | None:
    """Returns what the same request was answered before, or None when it is new."""
    async with parts.database.read() as connection:
        asked = await idempotency.find(
            connection,
            shard=order.shard,
            caller=current_scope().platform.caller_service,
            method=METHOD,
            request_id=command.key.request_id,
        )
    if asked is None:
        return None
    if asked.fingerprint != command.key.fingerprint:
        raise PaycenterError(
            Reason.IDEMPOTENCY_KEY_REUSED,
            "The request_id was used for another request.",
            field="request_id",
            metadata={"requestId": command.key.request_id},
        )
    mark_replayed()
    return answers.unpack(answers.CreateOrderResponse, asked.response)


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
