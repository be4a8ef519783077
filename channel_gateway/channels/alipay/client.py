"""Calls one method of Alipay's gateway. Invariant: an answer is believed only when Alipay's signature over
its very bytes holds; everything else is no answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from channel_gateway.channels import rsa
from channel_gateway.channels.alipay.outcomes import OUTCOMES, SUCCESS
from channel_gateway.channels.alipay.settings import AlipayCredentials
from channel_gateway.channels.alipay.signature import read_answer, sign_request
from channel_gateway.channels.alipay.values import write_instant
from channel_gateway.channels.transport import NoAnswer, NotReached, Transport
from channel_gateway.domain.answer import ChannelAnswer, no_answer, not_sent
from channel_gateway.domain.vocabulary import FailureReason

_FORM = {"content-type": "application/x-www-form-urlencoded;charset=utf-8"}


@dataclass(frozen=True, slots=True)
class AlipayAnswer:
    """The verified node of an answer."""

    content: Mapping[str, Any]

    @property
    def succeeded(self) -> bool:
        """Whether the method did what was asked."""
        return self.text("code") == SUCCESS

    @property
    def code(self) -> str:
        """The code that says most: the sub code, unless only the general code is in the table."""
        code, sub_code = self.text("code"), self.text("sub_code")
        return sub_code if sub_code and (sub_code in OUTCOMES or code not in OUTCOMES) else code

    def text(self, name: str) -> str:
        """Returns a field as text, empty when absent."""
        value = self.content.get(name)
        return "" if value is None else str(value)

    def refusal(self) -> ChannelAnswer:
        """Returns what the codes mean for the money."""
        return OUTCOMES.refusal(self.code, self.text("sub_msg") or self.text("msg"))


class AlipayClient:
    """Signs, sends and verifies for one account."""

    def __init__(
        self,
        credentials: AlipayCredentials,
        transport: Transport,
        *,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._credentials = credentials
        self._transport = transport
        self._now = now or (lambda: datetime.now(UTC))

    def signed_parameters(
        self, method: str, business: Mapping[str, Any], *, notify_url: str = "", return_url: str = ""
    ) -> dict[str, str]:
        """Returns every parameter of a call, `sign` among them."""
        credentials = self._credentials
        parameters = {
            "app_id": credentials.app_id,
            "method": method,
            "format": "JSON",
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": write_instant(self._now()),
            "version": "1.0",
            "biz_content": json.dumps(business, ensure_ascii=False, separators=(",", ":")),
        }
        if notify_url:
            parameters["notify_url"] = notify_url
        if return_url:
            parameters["return_url"] = return_url
        if credentials.serials is not None:
            parameters["app_cert_sn"] = credentials.serials.app
            parameters["alipay_root_cert_sn"] = credentials.serials.root
        parameters["sign"] = sign_request(credentials.private_key, parameters)
        return parameters

    def page_url(self, parameters: Mapping[str, str]) -> str:
        """Returns the address that carries signed parameters to Alipay in the payer's browser."""
        return f"{self._credentials.gateway_url}?{urlencode(parameters)}"

    async def call(self, method: str, business: Mapping[str, Any], *, notify_url: str = "") -> AlipayAnswer:
        """Calls a method. Raises NotReached, or NoAnswer when nothing that can be trusted came back."""
        parameters = self.signed_parameters(method, business, notify_url=notify_url)
        content = parameters.pop("biz_content")
        answer = await self._transport.send(
            "POST",
            self.page_url(parameters),
            headers=_FORM,
            content=urlencode({"biz_content": content}).encode(),
        )
        if answer.status_code != 200:
            raise NoAnswer(f"HTTP {answer.status_code}")
        return self._verified(answer.body, method)

    async def ask(
        self,
        method: str,
        business: Mapping[str, Any],
        read: Callable[[AlipayAnswer], ChannelAnswer],
        *,
        notify_url: str = "",
    ) -> ChannelAnswer:
        """Calls a method and reads its verified answer; network trouble becomes an answer too."""
        try:
            answer = await self.call(method, business, notify_url=notify_url)
        except NotReached as error:
            return not_sent(FailureReason.NOT_REACHED, str(error))
        except NoAnswer as error:
            return no_answer(str(error))
        return read(answer)

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        await self._transport.close()

    def _verified(self, body: bytes, method: str) -> AlipayAnswer:
        try:
            node = read_answer(body, method)
        except ValueError:
            raise NoAnswer("answer is not Alipay's JSON") from None
        credentials = self._credentials
        if credentials.serials is not None and node.certificate_serial != credentials.serials.alipay:
            raise NoAnswer("answer is signed with another certificate")
        if not rsa.verify(credentials.alipay_public_key, node.raw, node.signature):
            raise NoAnswer("answer's signature does not hold")
        return AlipayAnswer(node.content)
