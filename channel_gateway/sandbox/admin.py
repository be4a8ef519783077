"""The plain JSON interface by which people, demos and tests direct the sandbox.

Invariant: it needs no signature, and is therefore served to loopback callers of a test machine alone.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from channel_gateway.sandbox.admin_fields import BadField, Fields
from channel_gateway.sandbox.faults import NOTICE_KINDS, FaultKind, Operation
from channel_gateway.sandbox.lookup import (
    AmbiguousNumber,
    UnknownNumber,
    find_refund,
    find_trade,
    find_transfer,
)
from channel_gateway.sandbox.notices import SPOILING_KINDS
from channel_gateway.sandbox.records import Channel, Notice, RefundState, TransferState
from channel_gateway.sandbox.refusal import Refusal

if TYPE_CHECKING:
    from channel_gateway.sandbox.sandbox import Sandbox

Answer = dict[str, Any]
Action = Callable[[Request, Fields], Awaitable[Answer] | Answer]


class Admin:
    """Every call below /sandbox that is not a page."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._started = time.monotonic()

    def routes(self) -> list[Route]:
        """Returns one route per call."""
        table: tuple[tuple[str, str, Action], ...] = (
            ("GET", "/sandbox/health", self.health),
            ("POST", "/sandbox/merchants/alipay", self.register_alipay),
            ("POST", "/sandbox/merchants/wechat", self.register_wechat),
            ("POST", "/sandbox/wechat/rotate-certificate", self.rotate_certificate),
            ("GET", "/sandbox/payments/{number}", self.payment),
            ("POST", "/sandbox/payments/{number}/{action}", self.act_on_payment),
            ("POST", "/sandbox/refunds/{number}/{action}", self.act_on_refund),
            ("POST", "/sandbox/transfers/{number}/{action}", self.act_on_transfer),
            ("GET", "/sandbox/settings", self.settings),
            ("POST", "/sandbox/settings", self.change_settings),
            ("GET", "/sandbox/faults", self.faults),
            ("POST", "/sandbox/faults", self.add_fault),
            ("DELETE", "/sandbox/faults", self.clear_faults),
            ("GET", "/sandbox/notices", self.notices),
            ("POST", "/sandbox/notices/{number}/resend", self.resend),
            ("GET", "/sandbox/books", self.books),
            ("POST", "/sandbox/reset", self.reset),
        )
        return [Route(path, _endpoint(action), methods=[method]) for method, path, action in table]

    def health(self, _request: Request, _fields: Fields) -> Answer:
        """Tells that the sandbox serves and how much it holds."""
        books, notices = self._sandbox.books, self._sandbox.notices.notices
        return {
            "status": "SERVING",
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "trades": len(books.trades),
            "refunds": len(books.refunds),
            "transfers": len(books.transfers),
            "notices": len(notices),
            "notices_due": sum(1 for notice in notices.values() if notice.state == "DUE"),
        }

    def register_alipay(self, _request: Request, fields: Fields) -> Answer:
        """Registers an application and its seller; idempotent; answers with the platform's keys."""
        app = self._sandbox.merchants.register_alipay(
            app_id=fields.text("app_id"),
            seller_id=fields.text("seller_id"),
            app_public_key=fields.text("app_public_key", default=""),
            app_certificate=fields.text("app_certificate", default=""),
        )
        account = self._open_account(Channel.ALIPAY, app.seller_id, fields)
        keys = self._sandbox.keys
        return account | {
            "app_id": app.app_id,
            "seller_id": app.seller_id,
            "app_certificate_serial": app.app_certificate_serial,
            "gateway_url": f"{self._sandbox.settings.public_url}/gateway.do",
            "alipay_public_key": keys.alipay_public_key_pem,
            "alipay_certificate": keys.alipay_certificate_pem,
            "alipay_certificate_serial": keys.alipay_certificate_serial,
            "alipay_root_certificate": keys.alipay_root_certificate_pem,
            "alipay_root_certificate_serial": keys.alipay_root_certificate_serial,
        }

    def register_wechat(self, _request: Request, fields: Fields) -> Answer:
        """Registers a merchant; idempotent; answers with the platform's public key and certificate."""
        merchant = self._sandbox.merchants.register_wechat(
            mchid=fields.text("mchid"),
            appids=[fields.text("appid"), *fields.texts("further_appids")],
            serial=fields.text("certificate_serial", default=""),
            public_key=fields.text("public_key", default=""),
            certificate=fields.text("certificate", default=""),
            api_v3_key=fields.text("api_v3_key"),
            platform_key_mode=fields.text("platform_key_mode", default="public_key"),
        )
        account = self._open_account(Channel.WECHAT, merchant.mchid, fields)
        keys = self._sandbox.keys
        return account | {
            "mchid": merchant.mchid,
            "appids": merchant.appids,
            "certificate_serials": list(merchant.public_keys),
            "platform_key_mode": merchant.platform_key_mode,
            "base_url": self._sandbox.settings.public_url,
            "platform_public_key_id": keys.wechat_public_key_id,
            "platform_public_key": keys.wechat_public_key_pem,
            "platform_certificate_serial": keys.wechat_certificate.serial,
            "platform_certificate": keys.wechat_certificate.certificate_pem,
        }

    def rotate_certificate(self, _request: Request, _fields: Fields) -> Answer:
        """Lets a new WeChat Pay platform certificate sign from now on."""
        certificate = self._sandbox.keys.rotate_wechat_certificate()
        return {
            "platform_certificate_serial": certificate.serial,
            "platform_certificate": certificate.certificate_pem,
        }

    def payment(self, request: Request, _fields: Fields) -> Answer:
        """Shows one trade."""
        trade = find_trade(self._sandbox.books, request.path_params["number"], request.query_params)
        self._sandbox.payments.expire_when_due(trade)
        return trade.to_json()

    def act_on_payment(self, request: Request, fields: Fields) -> Answer:
        """Lets the payer scan, pay, cancel or fail."""
        trade = find_trade(self._sandbox.books, request.path_params["number"], request.query_params)
        payments = self._sandbox.payments
        match request.path_params["action"]:
            case "pay":
                amount = fields.minor_units("amount_minor_units")
                payments.pay(trade, amount_minor_units=amount, force=fields.flag("force"))
            case "scan":
                payments.scan(trade)
            case "cancel":
                payments.cancel_by_payer(trade)
            case "fail":
                payments.fail(trade)
            case action:
                raise UnknownNumber(action)
        return trade.to_json()

    def act_on_refund(self, request: Request, fields: Fields) -> Answer:
        """Ends a refund: succeed, or fail as CLOSED (the money is back) or ABNORMAL (it is stuck)."""
        refund = find_refund(self._sandbox.books, request.path_params["number"], request.query_params)
        match request.path_params["action"]:
            case "succeed":
                state = RefundState.SUCCEEDED
            case "fail":
                state = RefundState(fields.one_of("as", ("CLOSED", "ABNORMAL"), default="CLOSED"))
            case action:
                raise UnknownNumber(action)
        self._sandbox.refunds.finish(refund, state)
        return refund.to_json()

    def act_on_transfer(self, request: Request, fields: Fields) -> Answer:
        """Ends a transfer: succeed or fail."""
        transfer = find_transfer(self._sandbox.books, request.path_params["number"], request.query_params)
        match request.path_params["action"]:
            case "succeed":
                self._sandbox.transfers.finish(transfer, TransferState.SUCCEEDED)
            case "fail":
                reason = fields.text("reason", default="PAYEE_ACCOUNT_ABNORMAL")
                self._sandbox.transfers.finish(transfer, TransferState.FAILED, failure_reason=reason)
            case action:
                raise UnknownNumber(action)
        return transfer.to_json()

    def settings(self, _request: Request, _fields: Fields) -> Answer:
        """Shows the behaviour."""
        return self._sandbox.behaviour.to_json()

    def change_settings(self, _request: Request, fields: Fields) -> Answer:
        """Changes the named settings and shows all."""
        self._sandbox.behaviour.change(fields.body)
        self._sandbox.store.put(self._sandbox.behaviour)
        return self._sandbox.behaviour.to_json()

    def faults(self, _request: Request, _fields: Fields) -> Answer:
        """Lists the fault rules with how often each was asked and fired."""
        return {"faults": [rule.to_json() for rule in self._sandbox.faults.rules()]}

    def add_fault(self, _request: Request, fields: Fields) -> Answer:
        """Adds a fault rule."""
        channel = fields.one_of("channel", tuple(Channel), default="")
        rule = self._sandbox.faults.add(
            channel=Channel(channel) if channel else None,
            operation=Operation(fields.one_of("operation", tuple(Operation))),
            kind=FaultKind(fields.one_of("kind", tuple(FaultKind))),
            number=fields.text("out_trade_no", default=""),
            rate=fields.number("rate"),
            seed=fields.integer("seed", default=0),
            count=fields.integer("count", default=None),
            seconds=fields.number("seconds"),
            other=fields.text("other", default=""),
        )
        return rule.to_json()

    def clear_faults(self, _request: Request, _fields: Fields) -> Answer:
        """Removes all fault rules."""
        return {"removed": self._sandbox.faults.clear()}

    def notices(self, request: Request, _fields: Fields) -> Answer:
        """Lists notices with attempts and answers, oldest first, narrowed by number, channel and state."""
        query = request.query_params
        number = query.get("out_trade_no")
        found = (
            self._sandbox.notices.numbered(number) if number else list(self._sandbox.notices.notices.values())
        )
        wanted = [
            notice
            for notice in found
            if query.get("channel", notice.channel) == notice.channel
            and query.get("state", notice.state) == notice.state
        ]
        limit = int(query.get("limit", "1000")) if query.get("limit", "1000").isdigit() else 1000
        return {"count": len(wanted), "notices": [notice.to_json() for notice in wanted[-limit:]]}

    async def resend(self, request: Request, fields: Fields) -> Answer:
        """Sends the last notice of a number now, true or spoilt; spoilt ones may lie about unpaid trades."""
        kind_text = fields.one_of("kind", tuple(SPOILING_KINDS), default="")
        kind = FaultKind(kind_text) if kind_text else None
        number = request.path_params["number"]
        known = [
            notice
            for notice in self._sandbox.notices.numbered(number)
            if request.query_params.get("channel", notice.channel) == notice.channel
        ]
        if known:
            notice = known[-1]
            attempt = await self._sandbox.notices.send_now(
                notice, spoil=kind, other=fields.text("other", default="")
            )
        elif kind is not None:
            notice = self._pretended(request, kind)
            attempt = await self._sandbox.notices.send_once(
                notice, spoil=kind, other=fields.text("other", default="")
            )
        else:
            raise UnknownNumber(number)
        return {"notice_id": notice.notice_id, "event_type": notice.event_type, "attempt": attempt}

    def books(self, request: Request, _fields: Fields) -> Answer:
        """Shows the channel's own books; totals_only leaves the records out."""
        books = self._sandbox.books
        answer: Answer = {"accounts": books.account_figures()}
        if request.query_params.get("totals_only") not in ("1", "true"):
            answer["trades"] = [trade.to_json() for trade in books.trades.values()]
            answer["refunds"] = [refund.to_json() for refund in books.refunds.values()]
            answer["transfers"] = [transfer.to_json() for transfer in books.transfers.values()]
        return answer

    def reset(self, _request: Request, fields: Fields) -> Answer:
        """Forgets trades, refunds, transfers, notices and faults, and the merchants too when asked."""
        self._sandbox.reset(merchants=fields.flag("merchants"))
        return {"status": "RESET"}

    def _open_account(self, channel: Channel, account: str, fields: Fields) -> Answer:
        opened = self._sandbox.books.open_account(
            channel=channel,
            account=account,
            opening_balance_minor_units=fields.integer("opening_balance_minor_units", default=None),
            fee_rate_parts_per_million=fields.rate_parts_per_million("fee_rate"),
        )
        return {
            "opening_balance_minor_units": opened.opening_balance_minor_units,
            "fee_rate_parts_per_million": opened.fee_rate_parts_per_million,
        }

    def _pretended(self, request: Request, kind: FaultKind) -> Notice:
        trade = find_trade(self._sandbox.books, request.path_params["number"], request.query_params)
        if kind not in NOTICE_KINDS or (kind is FaultKind.SIGNTEST_PROBE and trade.channel != Channel.WECHAT):
            raise BadField("kind", "does not fit the channel")
        if trade.channel == Channel.WECHAT:
            return self._sandbox.wechat_notices.pretended_payment(trade)
        return self._sandbox.alipay_notices.pretended_payment(trade)


def _endpoint(action: Action) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def endpoint(request: Request) -> JSONResponse:
        try:
            outcome = action(request, Fields.parse(await request.body()))
            if isinstance(outcome, Awaitable):
                outcome = await outcome
        except UnknownNumber as error:
            return _error(404, "NOT_FOUND", f"there is no {error}")
        except AmbiguousNumber as error:
            return _error(
                409, "AMBIGUOUS", f"several records carry {error}: name channel and account in the query"
            )
        except Refusal as refusal:
            return _error(409, refusal.cause, "the record's state does not allow it")
        except ValueError as error:
            return _error(400, "INVALID", str(error))
        return JSONResponse(outcome)

    return endpoint


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"code": code, "message": message}, status_code=status)
