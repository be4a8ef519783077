"""A run of payments under way while faults strike. Invariant: every caller repeats what it asked under the same
request id, so whatever is lost or doubled afterwards is the center's fault."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType

from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter_client import PreconditionFailed, new_request_id

from tests.e2e.center import Center, Shop, yuan
from tests.faults.convergence import Convergence
from tests.faults.patience import PATIENCE_SECONDS, insist, insist_at_sandbox
from tests.faults.plans import PlannedOrder, Story, planned_orders

CONVERGENCE_SECONDS = 150.0
_CREDENTIAL_SECONDS = 4.0
_LOOK_EVERY_SECONDS = 0.1
_PAID = frozenset({tc.ORDER_STATE_PAID, tc.ORDER_STATE_PARTLY_REFUNDED, tc.ORDER_STATE_REFUNDED})
_FINAL_ATTEMPTS = frozenset(
    {
        tc.ATTEMPT_STATE_SUCCEEDED,
        tc.ATTEMPT_STATE_FAILED,
        tc.ATTEMPT_STATE_CLOSED,
        tc.ATTEMPT_STATE_SUPERSEDED,
    }
)


class RunOfPayments:
    """Orders of one merchant on both channels, some refunded in parts, some closed, some paid twice.

    Use it with `async with`: inside, the run is under way; `at(share)` waits until that share of it was paid,
    `converges` waits for its end and for the center's, then compares all books.
    """

    def __init__(
        self, center: Center, shop: Shop, *, order_count: int, callers: int = 6, seed: int | None = None
    ) -> None:
        self.shop = shop
        self.seed = random.randrange(10**9) if seed is None else seed
        self.plans = planned_orders(order_count)
        self._center = center
        self._callers = asyncio.Semaphore(callers)
        self._random = random.Random(self.seed)
        self._payer_acts = 0
        self._progress = asyncio.Condition()
        self._work: asyncio.Task[None] | None = None

    async def __aenter__(self) -> RunOfPayments:
        self._work = asyncio.create_task(self._run_all(), name="run of payments")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._work is not None
        self._work.cancel()
        await asyncio.wait((self._work,))

    @property
    def is_under_way(self) -> bool:
        """Whether callers still have something to ask."""
        return self._work is not None and not self._work.done()

    async def at(self, share: float) -> None:
        """Waits until payers have acted on a share of the orders; raises what made the run fail."""
        assert self._work is not None
        reached = asyncio.create_task(self._reaches(share * len(self.plans)))
        try:
            await asyncio.wait(
                (reached, self._work), timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if self._work.done():
                self._work.result()
            elif not reached.done():
                raise AssertionError(f"the run does not get to {share:.0%}:\n{self._where_it_stands()}")
        finally:
            reached.cancel()

    async def converges(self, *, seconds: float = CONVERGENCE_SECONDS) -> None:
        """Waits until every caller is done and every order is where the sandbox's books say, then checks all books.

        Fails with a list of what has not converged, which invariants are broken, whose books differ.
        """
        assert self._work is not None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.shield(self._work)
        except TimeoutError:
            raise AssertionError(f"callers still have no answer:\n{self._where_it_stands()}") from None
        await Convergence(self._center, self.shop, self.plans).within(seconds)

    async def _run_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for plan in self.plans:
                group.create_task(self._tell(plan), name=plan.name)

    async def _tell(self, plan: PlannedOrder) -> None:
        async with self._callers:
            await self._take_in(plan)
            match plan.story:
                case Story.CLOSED:
                    await self._begin_and_see_credential(plan, plan.channel)
                    await self._payer_acted()
                    await self._close(plan)
                case Story.CLOSED_WHILE_PAID:
                    number = await self._begin_and_see_credential(plan, plan.channel)
                    await asyncio.gather(self._close(plan), self._pays(plan, number))
                case Story.PAID_ON_BOTH_CHANNELS:
                    await self._is_paid_twice(plan)
                case Story.PAID | Story.PARTLY_REFUNDED | Story.REFUNDED_IN_PARTS:
                    await self._pays(plan, await self._begin_and_see_credential(plan, plan.channel))
            if plan.refunds_minor_units:
                await self._until_paid(plan)
                for minor_units in plan.refunds_minor_units:
                    await self._refund(plan, minor_units)
            plan.step = "done"

    async def _take_in(self, plan: PlannedOrder) -> None:
        plan.step = "being created"
        request = self.shop.order_request(plan.amount_minor_units)
        answer = await insist(lambda: self.shop.client.transaction.CreateOrder(request))
        plan.order = answer.order

    async def _is_paid_twice(self, plan: PlannedOrder) -> None:
        first = await self._begin_and_see_credential(plan, plan.channel)
        second = await self._begin_and_see_credential(plan, plan.other_channel(plan.channel))
        await asyncio.gather(self._pays(plan, first), self._pays(plan, second))

    async def _begin_and_see_credential(self, plan: PlannedOrder, channel: str) -> str:
        """Begins attempts until one gives the payer a way to pay; gives its channel order's number, or "" when the
        order was decided without it."""
        give_up_at = _now_seconds() + PATIENCE_SECONDS
        while _now_seconds() < give_up_at:
            plan.step = f"beginning at {channel}"
            attempt_id = await self._begin(plan, channel)
            attempt = await self._with_credential(plan, attempt_id) if attempt_id else None
            if attempt is not None:
                if attempt.credential.WhichOneof("form") == "redirect":
                    url = attempt.credential.redirect.url
                    await insist_at_sandbox(lambda url=url: self._center.sandbox.visit(url))  # type: ignore[misc]
                number = await insist(lambda found=attempt: self.shop.channel_order_id(found))  # type: ignore[misc]
                if number:
                    return number
            if (await self._see(plan)).state not in {tc.ORDER_STATE_CREATED, tc.ORDER_STATE_PAYING}:
                return ""
            channel = plan.other_channel(channel)
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        raise AssertionError(f"{plan.name}: nothing gave a way to pay:\n{(await self._see(plan)).attempts}")

    async def _begin(self, plan: PlannedOrder, channel: str) -> str:
        """Begins an attempt; gives its number, or "" when the order takes none at this moment."""
        account = self.shop.alipay if channel == "alipay" else self.shop.wechat_pay
        request = self.shop.pay_request(plan.order, account, plan.method(channel))
        try:
            answer = await insist(lambda: self.shop.client.transaction.PayOrder(request))
        except PreconditionFailed as refusal:
            if refusal.reason == "ATTEMPT_IN_PROGRESS":
                return refusal.metadata["attemptId"]
            if refusal.reason == "ORDER_STATE_INVALID":
                return ""
            raise
        return answer.attempt.attempt_id

    async def _with_credential(self, plan: PlannedOrder, attempt_id: str) -> tc.Attempt | None:
        """Waits for an attempt's credential; None when it ended or took too long."""
        plan.step = f"waiting for the credential of {attempt_id}"
        give_up_at = _now_seconds() + _CREDENTIAL_SECONDS
        while _now_seconds() < give_up_at:
            seen = await self._see(plan)
            attempt = next((each for each in seen.attempts if each.attempt_id == attempt_id), None)
            if attempt is None or attempt.state in _FINAL_ATTEMPTS:
                return None
            if attempt.credential.WhichOneof("form") is not None:
                return attempt
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        return None

    async def _pays(self, plan: PlannedOrder, number: str) -> None:
        """Lets the payer pay at the sandbox, whatever state the center is in."""
        await self._payer_acted()
        if not number:
            return
        plan.step = f"paying {number}"
        await asyncio.sleep(self._random.uniform(0, 0.2))
        is_forced = plan.story is Story.PAID_ON_BOTH_CHANNELS
        refused = await insist_at_sandbox(lambda: self._center.sandbox.pay(number, force=is_forced))
        assert refused in {None, "TRADE_PAID", "TRADE_CLOSED"}, f"{plan.name}: the sandbox says {refused}"

    async def _close(self, plan: PlannedOrder) -> None:
        plan.step = "being closed"
        request = tc.CloseOrderRequest(
            request_id=new_request_id(), merchant_id=self.shop.merchant_id, order_id=plan.order.order_id
        )
        try:
            await insist(lambda: self.shop.client.transaction.CloseOrder(request))
        except PreconditionFailed as refusal:
            if refusal.reason != "ORDER_STATE_INVALID" or plan.story is not Story.CLOSED_WHILE_PAID:
                raise

    async def _refund(self, plan: PlannedOrder, minor_units: int) -> None:
        """Gives a part back; asks anew when the channel was proven not to have been reached."""
        give_up_at = _now_seconds() + PATIENCE_SECONDS
        while _now_seconds() < give_up_at:
            plan.step = f"refunding {minor_units}"
            request = tc.CreateRefundRequest(
                request_id=new_request_id(),
                merchant_id=self.shop.merchant_id,
                order_id=plan.order.order_id,
                amount=yuan(minor_units),
                reason="returned",
            )
            answer = await insist(lambda asked=request: self.shop.client.transaction.CreateRefund(asked))  # type: ignore[misc]
            if await self._goes_back(plan, answer.refund.refund_id):
                return
        raise AssertionError(f"{plan.name}: cannot be refunded:\n{(await self._see(plan)).refunds}")

    async def _goes_back(self, plan: PlannedOrder, refund_id: str) -> bool:
        plan.step = f"waiting for refund {refund_id}"
        while True:
            refunds = (await self._see(plan)).refunds
            state = next(each.state for each in refunds if each.refund_id == refund_id)
            if state in {tc.REFUND_STATE_SUCCEEDED, tc.REFUND_STATE_FAILED}:
                return state == tc.REFUND_STATE_SUCCEEDED
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _until_paid(self, plan: PlannedOrder) -> None:
        plan.step = "waiting to be paid"
        while (await self._see(plan)).state not in _PAID:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _see(self, plan: PlannedOrder) -> tc.Order:
        return await insist(lambda: self.shop.see(plan.order))

    async def _payer_acted(self) -> None:
        async with self._progress:
            self._payer_acts += 1
            self._progress.notify_all()

    async def _reaches(self, count: float) -> None:
        async with self._progress:
            await self._progress.wait_for(lambda: self._payer_acts >= count)

    def _where_it_stands(self) -> str:
        return "\n".join(plan.name for plan in self.plans if plan.step != "done")


def _now_seconds() -> float:
    return asyncio.get_running_loop().time()
