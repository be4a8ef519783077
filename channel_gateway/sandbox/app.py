"""The sandbox as an ASGI application: both channels at the root, the people's side below /sandbox.

Invariant: what was due when the last process ended is taken up before the first request is served.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route

from channel_gateway.sandbox.admin import Admin
from channel_gateway.sandbox.alipay.gateway import AlipayGateway
from channel_gateway.sandbox.cashier import CashierPages
from channel_gateway.sandbox.sandbox import Sandbox
from channel_gateway.sandbox.settings import SandboxSettings
from channel_gateway.sandbox.wechat.api import WechatApi


def build_app(settings: SandboxSettings) -> Starlette:
    """Builds the application on the data directory that the settings name."""
    sandbox = Sandbox(settings)
    pages = CashierPages(sandbox)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        sandbox.resume()
        yield
        await sandbox.close()

    routes = [
        Route("/gateway.do", AlipayGateway(sandbox).handle, methods=["GET", "POST"]),
        *WechatApi(sandbox).routes(),
        Route("/sandbox/cashier/{number}", pages.show, methods=["GET"]),
        Route("/sandbox/cashier/{number}/{action}", pages.decide, methods=["POST"]),
        *Admin(sandbox).routes(),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
