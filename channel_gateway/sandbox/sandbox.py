"""One sandbox: everything that the two channels share, wired together.

Invariant: it is built once per process and data directory, before the first request.
"""

from __future__ import annotations

from channel_gateway.sandbox.alipay.notices import AlipayNotices
from channel_gateway.sandbox.behaviour import Behaviour
from channel_gateway.sandbox.books import Books
from channel_gateway.sandbox.delivery import Delivery
from channel_gateway.sandbox.faults import FaultBook
from channel_gateway.sandbox.keys import PlatformKeys
from channel_gateway.sandbox.merchants import Merchants
from channel_gateway.sandbox.notices import Notices
from channel_gateway.sandbox.payments import Announcer, Payments
from channel_gateway.sandbox.records import Channel
from channel_gateway.sandbox.refunds import Refunds
from channel_gateway.sandbox.schedule import Schedule
from channel_gateway.sandbox.settings import SandboxSettings
from channel_gateway.sandbox.store import Store
from channel_gateway.sandbox.transfers import Transfers
from channel_gateway.sandbox.wechat.notices import WechatNotices


class Sandbox:
    """The state and the operations behind every page, gateway and admin call."""

    def __init__(self, settings: SandboxSettings) -> None:
        directory = settings.state_directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.settings = settings
        self.keys = PlatformKeys(directory / "platform_keys.json")
        self.store = Store(directory / "sandbox.sqlite3")
        self.behaviour = next(iter(self.store.load(Behaviour)), Behaviour())
        self.merchants = Merchants(self.store)
        self.books = Books(self.store)
        self.faults = FaultBook(self.store)
        self.schedule = Schedule()
        self._delivery = Delivery()
        self.notices = Notices(
            store=self.store,
            behaviour=self.behaviour,
            faults=self.faults,
            schedule=self.schedule,
            delivery=self._delivery,
        )
        self.alipay_notices = AlipayNotices(keys=self.keys, merchants=self.merchants, notices=self.notices)
        self.wechat_notices = WechatNotices(keys=self.keys, merchants=self.merchants, notices=self.notices)
        self.notices.add_courier(Channel.ALIPAY, self.alipay_notices)
        self.notices.add_courier(Channel.WECHAT, self.wechat_notices)
        announcers: dict[str, Announcer] = {
            Channel.ALIPAY: self.alipay_notices,
            Channel.WECHAT: self.wechat_notices,
        }
        self.payments = Payments(
            books=self.books, behaviour=self.behaviour, schedule=self.schedule, announcers=announcers
        )
        self.refunds = Refunds(
            books=self.books, behaviour=self.behaviour, schedule=self.schedule, announcers=announcers
        )
        self.transfers = Transfers(
            books=self.books, behaviour=self.behaviour, schedule=self.schedule, announcers=announcers
        )

    def resume(self) -> None:
        """Takes up what was due when the last process ended; needs a running event loop."""
        self.payments.resume()
        self.refunds.resume()
        self.transfers.resume()
        self.notices.resume()

    def reset(self, *, merchants: bool) -> None:
        """Forgets trades, refunds, transfers, notices and faults, and the merchants too when asked."""
        self.schedule.clear()
        self.notices.clear()
        self.faults.clear()
        self.books.clear()
        if merchants:
            self.merchants.clear()
            self.books.clear_accounts()

    async def close(self) -> None:
        """Ends the deliveries under way and closes files and connections."""
        self.schedule.clear()
        await self.notices.stop()
        self._delivery.close()
        self.store.close()
