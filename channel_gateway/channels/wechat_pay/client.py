"""Calls one interface of WeChat Pay. Invariant: an answer, an error included, is believed only when one of
the platform's keys signed its bytes within the last five minutes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from channel_gateway.channels.transport import HttpAnswer, NoAnswer, NotReached, Transport
from channel_gateway.channels.wechat_pay.outcomes import OUTCOMES
from channel_gateway.channels.wechat_pay.settings import WechatPayCredentials
from channel_gateway.channels.wechat_pay.signature import authorization, is_fresh, is_genuine, new_nonce
from channel_gateway.domain.answer import ChannelAnswer, no_answer, not_sent
from channel_gateway.domain.vocabulary import FailureReason


@dataclass(frozen=True, slots=True)
class WechatPayAnswer:
    """A verified answer: its status and JSON content."""

    status_code: int
    content: Mapping[str, Any]

    @property
    def succeeded(self) -> bool:
        """Whether the interface did what was asked."""
        return 200 <= self.status_code < 300

    def text(self, name: str) -> str:
        """Returns a field as text, empty when absent."""
        value = self.content.get(name)
        return "" if value is None else str(value)

    def refusal(self) -> ChannelAnswer:
        """Returns what the code means for the money; an error without code is open from 500 on."""
        code = self.text("code") or (
            "SYSTEM_ERROR" if self.status_code >= 500 else f"HTTP_{self.status_code}"
        )
        return OUTCOMES.refusal(code, self.text("message"))


class WechatPayClient:
    """Signs, sends and verifies for one account."""

    def __init__(
        self,
        credentials: WechatPayCredentials,
        transport: Transport,
        *,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._credentials = credentials
        self._transport = transport
        self._now = now or (lambda: datetime.now(UTC))

    def timestamp_seconds(self) -> int:
        """Returns the present second."""
        return int(self._now().timestamp())

    async def call(
        self, method: str, path: str, content: Mapping[str, Any] | None = None, *, key_serial: str = ""
    ) -> WechatPayAnswer:
        """Calls an interface. Raises NotReached, or NoAnswer when nothing that can be trusted came back.

        `key_serial` names the platform key with which fields of the content are encrypted.
        """
        credentials = self._credentials
        body = (
            b""
            if content is None
            else json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        )
        url_path = f"{credentials.path_prefix}{path}"
        headers = {
            "accept": "application/json",
            "authorization": authorization(
                credentials.private_key,
                mchid=credentials.mchid,
                certificate_serial=credentials.certificate_serial,
                method=method,
                url_path=url_path,
                timestamp_seconds=self.timestamp_seconds(),
                nonce=new_nonce(),
                body=body,
            ),
            "wechatpay-serial": key_serial or credentials.preferred_serial,
        }
        if content is not None:
            headers["content-type"] = "application/json"
        answer = await self._transport.send(
            method, f"{credentials.origin}{url_path}", headers=headers, content=body or None
        )
        return self._verified(answer)

    async def ask(
        self,
        method: str,
        path: str,
        read: Callable[[WechatPayAnswer], ChannelAnswer],
        content: Mapping[str, Any] | None = None,
        *,
        key_serial: str = "",
    ) -> ChannelAnswer:
        """Calls an interface and reads its verified answer; network trouble becomes an answer too."""
        try:
            answer = await self.call(method, path, content, key_serial=key_serial)
        except NotReached as error:
            return not_sent(FailureReason.NOT_REACHED, str(error))
        except NoAnswer as error:
            return no_answer(str(error))
        return read(answer)

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        await self._transport.close()

    def _verified(self, answer: HttpAnswer) -> WechatPayAnswer:
        if not is_genuine(self._credentials.platform_keys, answer.headers, answer.body):
            raise NoAnswer(f"HTTP {answer.status_code}: answer's signature does not hold")
        if not is_fresh(answer.headers.get("wechatpay-timestamp", ""), self._now().timestamp()):
            raise NoAnswer(f"HTTP {answer.status_code}: answer is not of this time")
        if not answer.body:
            return WechatPayAnswer(answer.status_code, {})
        try:
            content = json.loads(answer.body)
        except ValueError:
            raise NoAnswer("answer is not JSON") from None
        if not isinstance(content, dict):
            raise NoAnswer("answer is not a JSON object")
        return WechatPayAnswer(answer.status_code, content)
