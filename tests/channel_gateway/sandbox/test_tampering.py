"""A signed request in which one character was changed is refused, whichever character it is."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.channel_gateway.sandbox.support import (
    AlipayMerchant,
    SandboxProcess,
    WechatMerchant,
    node_of,
    unique,
)

PROPERTY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@pytest.fixture(scope="module")
def merchants(
    process: SandboxProcess, merchant_key: rsa.RSAPrivateKey
) -> tuple[AlipayMerchant, WechatMerchant]:
    return AlipayMerchant(process, merchant_key), WechatMerchant(process, merchant_key)


def flip(text: str, position: int, bit: int) -> str:
    place = position % len(text)
    return text[:place] + chr(ord(text[place]) ^ (1 << bit)) + text[place + 1 :]


@PROPERTY
@given(position=st.integers(0, 10_000), bit=st.integers(0, 6), data=st.data())
def test_alipay(
    merchants: tuple[AlipayMerchant, WechatMerchant], position: int, bit: int, data: st.DataObject
) -> None:
    alipay, _ = merchants
    business = {"out_trade_no": unique("A"), "total_amount": "1.00", "subject": "tea", "buyer_id": "2088002"}
    parameters = alipay.signed("alipay.trade.create", business, notify_url="http://127.0.0.1:9/none")
    name = data.draw(st.sampled_from(sorted(parameters)))
    before = alipay.sandbox.figures(alipay.seller_id)["trade_count"]
    answer = alipay.send(parameters | {name: flip(parameters[name], position, bit)})
    assert node_of(answer.content)["code"] in ("40001", "40002")
    assert alipay.sandbox.figures(alipay.seller_id)["trade_count"] == before


@PROPERTY
@given(
    position=st.integers(0, 10_000), bit=st.integers(0, 6), part=st.sampled_from(["body", "url", "header"])
)
def test_wechat(merchants: tuple[AlipayMerchant, WechatMerchant], position: int, bit: int, part: str) -> None:
    _, wechat = merchants
    url = "/v3/pay/transactions/jsapi"
    raw = json.dumps(wechat.order(unique("W"))).encode()
    header = wechat.authorization("POST", url, raw)
    if part == "body":
        raw = flip(raw.decode(), position, bit).encode()
    elif part == "url":
        url = quote(flip(url, position % (len(url) - 1) + 1, bit), safe="/")
    else:
        header = flip(header, position, bit)
        assume(header.isprintable() and header.strip() == header)
    answer = wechat.sandbox.http.post(url, content=raw, headers={"Authorization": header})
    assert answer.status_code in (401, 404, 405)
    assert wechat.sandbox.figures(wechat.mchid)["trade_count"] == 0
