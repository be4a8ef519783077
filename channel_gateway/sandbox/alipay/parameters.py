"""Reading and checking the parameters that every Alipay request carries.

Source: Alipay open platform, "common request parameters".
Invariant: a parameter that is given twice is refused, so that what was signed is what is carried out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from channel_gateway.sandbox.alipay.answers import invalid, missing
from channel_gateway.sandbox.clock import parse_beijing

_REQUIRED = {
    "sign_type": "missing-signature-type",
    "sign": "missing-signature",
    "timestamp": "missing-timestamp",
    "version": "missing-version",
}


def read_parameters(query_string: bytes, body: bytes) -> dict[str, str]:
    """Reads the parameters of query and form; raises ValueError when one is given twice or is not UTF-8."""
    pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict")
    pairs += parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict")
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise ValueError("a parameter is given twice")
    return parameters


def check_common_parameters(parameters: Mapping[str, str]) -> None:
    """Raises AlipayError when a parameter beside app_id and method is missing or wrong."""
    for name, sub_code in _REQUIRED.items():
        if not parameters.get(name):
            raise missing(sub_code)
    if parameters["sign_type"] != "RSA2":
        raise invalid("invalid-signature-type", "无效签名类型")
    if parameters.get("charset", "utf-8").lower() != "utf-8":
        raise invalid("invalid-charset", "字符集错误")
    try:
        parse_beijing(parameters["timestamp"])
    except ValueError as error:
        raise invalid("invalid-timestamp", "非法的时间戳参数") from error


def read_business_parameters(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Reads biz_content, numbers as they are written; raises AlipayError when it is no JSON object."""
    try:
        business = json.loads(parameters.get("biz_content") or "{}", parse_float=str)
    except ValueError as error:
        raise invalid("invalid-parameter", "biz_content 不是合法的 JSON") from error
    if not isinstance(business, dict):
        raise invalid("invalid-parameter", "biz_content 不是 JSON 对象")
    return business
