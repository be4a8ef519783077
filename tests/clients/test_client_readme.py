"""The examples in the client's README run as they stand, against a center on a real socket."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter.type.v1 import credential_pb2

from tests.clients.scripted_center import ScriptedCenter, refuse, serving

PROJECT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (PROJECT / "clients/python/README.md").read_text(), re.DOTALL)


async def create_order(request: Any, _context: Any) -> Any:
    assert (request.amount.minor_units, request.amount.currency_code) == (1230, "CNY")
    assert request.WhichOneof("purpose") == "purchase"
    order = transaction.Order(order_id="O-7", merchant_id=request.merchant_id)
    return transaction.CreateOrderResponse(order=order)


async def pay_order(request: Any, _context: Any) -> Any:
    assert (request.order_id, request.merchant_id) == ("O-7", "M-1")
    code = credential_pb2.PaymentCredential(qr_code=credential_pb2.QrCode(code_url="weixin://example"))
    return transaction.PayOrderResponse(attempt=transaction.Attempt(credential=code))


async def refuse_refund(_request: Any, context: Any) -> Any:
    await refuse(
        context,
        grpc.StatusCode.FAILED_PRECONDITION,
        "REFUND_EXCEEDS_PAID",
        field_at_fault="amount",
        metadata={"traceId": "c" * 32},
    )


async def one_event(request: Any, _context: Any, _call_number: int) -> AsyncIterator[Any]:
    yield transaction.TransactionEvent(
        revision=request.start_revision,
        event_type=transaction.TRANSACTION_EVENT_TYPE_ORDER_PAID,
        order=transaction.Order(order_id="O-7"),
    )
    await asyncio.sleep(30)


async def run(example: str) -> str:
    center = ScriptedCenter(
        answers={"CreateOrder": create_order, "PayOrder": pay_order, "CreateRefund": refuse_refund},
        watch=one_event,
    )
    async with serving(center) as target:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            example,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join((str(PROJECT / "generated"), str(PROJECT / "clients/python"))),
                "PAYCENTER_TRANSACTION_TARGET": target,
                "MERCHANT_ID": "M-1",
                "ORDER_NUMBER": "B-1",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_the_examples_run_and_print_what_they_say() -> None:
    paying, callback, watching = EXAMPLES
    assert await run(paying) == (
        "show the payer this QR code: weixin://example\n"
        f"refused: REFUND_EXCEEDS_PAID amount trace {'c' * 32}\n"
    )
    assert await run(callback) == ""
    assert await run(watching) == "1 O-7\n"
