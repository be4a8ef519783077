"""The demonstration from start to end: pay, reconcile, trace, prove. Invariant: it ends well only when all match."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter_client import AsyncPaycenterClient

from clients.cli.business_system import BusinessSystem, load_callback_key
from clients.cli.demo.order_run import Surroundings
from clients.cli.demo.reconciliation import reconcile
from clients.cli.demo.rendering import order_table, reconciliation_table
from clients.cli.demo.runner import OrderResult, run_orders
from clients.cli.demo.scenario import PlannedOrder, load_orders
from clients.cli.demo_merchant import merchant_keys, provision_demo_merchant
from clients.cli.invariant_check import check_invariants, invariant_table
from clients.cli.order_feed import OrderFeed
from clients.cli.output import console, work
from clients.cli.proof import settled_spans
from clients.cli.sandbox_client import SandboxClient
from clients.cli.waterfall import waterfall_table
from runtime.embedded import Endpoints, TraceStore

_TRACED_ORDER = "coffee"
_NOTICE_RETRY_SCALE = 0.02


async def show_orders(endpoints: Endpoints, client: AsyncPaycenterClient) -> bool:
    """Runs the orders that ship with the project and prints everything; true when all of it matches."""
    planned_orders = load_orders()
    started = time.monotonic()
    async with SandboxClient(endpoints.sandbox_base_url) as sandbox:
        await sandbox.change_settings(notice_retry_scale=_NOTICE_RETRY_SCALE)
        merchant = await provision_demo_merchant(
            client, sandbox, merchant_keys(endpoints.callback_public_key_file)
        )
        business_key = load_callback_key(endpoints.callback_public_key_file)
        with BusinessSystem(business_key) as business_system:
            async with OrderFeed(client) as feed:
                surroundings = Surroundings(
                    client=client,
                    sandbox=sandbox,
                    merchant=merchant,
                    business_system=business_system,
                    feed=feed,
                    run_name=f"DEMO-{secrets.token_hex(4)}",
                )
                results = await _run(planned_orders, surroundings)
            seconds = time.monotonic() - started
            console.print(order_table(results))
            console.print(
                f"{len(results)} orders in {seconds:.1f} s; {business_system.verified_count} signed callbacks "
                f"taken, {business_system.refused_count} refused\n"
            )
        reconciled = await reconcile(client, sandbox, merchant)
    console.print(reconciliation_table(reconciled))
    console.print()
    await _show_trace(endpoints, client, results)
    report = await check_invariants(endpoints, client)
    if not report.all_hold:
        console.print(invariant_table(report))
    agrees = all(each.agrees for each in reconciled)
    all_match = all(result.matches for result in results) and business_system.refused_count == 0
    console.print(f"orders: {'all as expected' if all_match else 'NOT all as expected'}")
    console.print(f"books: {'no differences' if agrees else 'THEY DIFFER'}")
    console.print(report.summary(), soft_wrap=True)
    return all_match and agrees and report.all_hold


async def _run(planned_orders: Sequence[PlannedOrder], surroundings: Surroundings) -> list[OrderResult]:
    with work("paying", len(planned_orders)) as progress:
        return await run_orders(
            planned_orders, surroundings, on_done=lambda result: progress.advance(result.planned.name)
        )


async def _show_trace(
    endpoints: Endpoints, client: AsyncPaycenterClient, results: Sequence[OrderResult]
) -> None:
    order_id = next(result.order_id for result in results if result.planned.name == _TRACED_ORDER)
    if not order_id:
        return
    request = transaction.GetOrderFamilyRequest(number=order_id)
    family = await client.transaction.GetOrderFamily(request)
    spans = await settled_spans(TraceStore(endpoints.trace_file), family)
    console.print(waterfall_table(spans, title=f"Trace of the order {order_id} ({_TRACED_ORDER})"))
    console.print()
