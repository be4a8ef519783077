"""Mapping, plugins, secrets and settings without a network."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from paycenter.channel.v1 import channel_gateway_pb2 as pb
from paycenter.errors.v1 import errors_pb2
from paycenter.type.v1 import credential_pb2, party_pb2
from pydantic import ValidationError

from channel_gateway import mapping
from channel_gateway.channels.accounts import AccountChecker
from channel_gateway.channels.protocol import ChannelPlugin
from channel_gateway.channels.registry import discover
from channel_gateway.channels.rsa import read_private_key, read_public_key, sign, verify
from channel_gateway.channels.transport import transport_factory
from channel_gateway.domain.credential import QrCode
from channel_gateway.domain.vocabulary import ChannelOrderState, InvokeMethod, Operation
from channel_gateway.listing import cut_page, page_size_of, read_page_token
from channel_gateway.secret_box import SealBroken, SecretBox
from channel_gateway.settings import ChannelGatewaySettings
from runtime.errors import PaycenterError, Reason
from tests.channel_gateway.unit.support import order, private_pem, public_pem


@pytest.mark.parametrize(
    ("table", "enum", "zero_has_a_word"),
    [
        (mapping.ORDER_KINDS, pb.ChannelOrderKind, False),
        (mapping.ORDER_STATES, pb.ChannelOrderState, False),
        (mapping.FAILURE_REASONS, pb.ChannelFailureReason, True),
        (mapping.OUTCOME_SAFETIES, errors_pb2.OutcomeSafety, False),
        (mapping.INVOKE_METHODS, credential_pb2.InvokeMethod, False),
        (mapping.PAYEE_ID_KINDS, party_pb2.PayeeIdKind, False),
        (mapping.NOTICE_STATES, pb.NoticeState, False),
        (mapping.MERCHANT_STATES, pb.MerchantState, False),
        (mapping.ACCOUNT_STATES, pb.PaymentAccountState, False),
        (mapping.EVENT_TYPES, pb.ChannelEventType, False),
    ],
)
def test_enum_tables_are_total_in_both_directions(table, enum, zero_has_a_word) -> None:  # type: ignore[no-untyped-def]
    first = 0 if zero_has_a_word else 1
    assert sorted(table.values()) == [value for value in sorted(enum.values()) if value >= first]
    assert len(set(table)) == len(set(table.values()))


def test_a_settled_order_has_no_way_in_any_more() -> None:
    waiting = order(credential=QrCode("weixin://x"))
    assert mapping.order_to_proto(waiting).credential.qr_code.code_url == "weixin://x"
    for state in (ChannelOrderState.SUCCEEDED, ChannelOrderState.CLOSED):
        settled = order(credential=QrCode("weixin://x"), state=state)
        assert not mapping.order_to_proto(settled).HasField("credential")


def test_every_folder_is_a_channel_and_says_what_it_can_do() -> None:
    plugins = discover()
    assert list(plugins) == ["alipay", "wechat_pay"]
    for plugin in plugins.values():
        operations = {capability.operation for capability in plugin.capabilities}
        assert operations >= {
            Operation.PAY,
            Operation.QUERY,
            Operation.CLOSE,
            Operation.REFUND,
            Operation.PAYOUT,
        }
        for capability in plugin.capabilities:
            if capability.operation in (Operation.PAY, Operation.REFUND, Operation.PAYOUT):
                assert capability.not_found_proof is not None


async def test_executors_are_those_of_the_capability_table(
    merchant_key: rsa.RSAPrivateKey, platform_key: rsa.RSAPrivateKey
) -> None:
    plugins: dict[str, tuple[ChannelPlugin, dict[str, str], dict[str, str]]] = {
        "alipay": (
            discover()["alipay"],
            {"app_id": "1", "seller_id": "2", "gateway_url": "https://x.example/gateway.do"},
            {"app_private_key": private_pem(merchant_key), "alipay_public_key": public_pem(platform_key)},
        ),
        "wechat_pay": (
            discover()["wechat_pay"],
            {
                "mchid": "1",
                "appid": "2",
                "api_base_url": "https://x.example",
                "merchant_certificate_serial": "AB",
                "platform_public_key_id": "PUB_KEY_ID_1",
            },
            {
                "merchant_private_key": private_pem(merchant_key),
                "platform_public_key": public_pem(platform_key),
                "api_v3_key": "k" * 32,
            },
        ),
    }
    factory = transport_factory(timeout_seconds=1, connect_timeout_seconds=1, pool_size=1)
    for plugin, settings, secrets in plugins.values():
        plugin.check(settings, secrets)
        account = plugin.open_account(settings, secrets, factory)
        offered = {each.invoke_method for each in plugin.capabilities if each.operation is Operation.PAY}
        assert {method for method in InvokeMethod if account.executor(method) is not None} == offered
        await account.close()


def test_secrets_open_only_for_their_owner_and_key() -> None:
    box = SecretBox(b"k" * 32)
    sealed = box.seal_secrets({"api_v3_key": "top secret"}, owner="K1")
    assert b"top secret" not in sealed.sealed_secrets
    assert "6b6b" not in sealed.key_encryption_key_id
    secrets, data_box = box.open_secrets(sealed, owner="K1")
    assert secrets == {"api_v3_key": "top secret"}
    for other, owner in ((box, "K2"), (SecretBox(b"x" * 32), "K1")):
        with pytest.raises(PaycenterError) as caught:
            other.open_secrets(sealed, owner=owner)
        assert caught.value.reason is Reason.CHANNEL_SETTINGS_INVALID
        assert "top secret" not in repr(caught.value)
    text = data_box.seal("张三", owner="C1")
    assert data_box.open(text, owner="C1") == "张三"
    for broken, owner in ((text, "C2"), (text[:-1] + bytes([text[-1] ^ 1]), "C1"), (b"short", "C1")):
        with pytest.raises(SealBroken):
            data_box.open(broken, owner=owner)


def test_each_sealing_looks_different() -> None:
    box = SecretBox(b"k" * 32)
    first, second = (box.seal_secrets({"a": "b"}, owner="K1") for _ in range(2))
    assert first.sealed_secrets != second.sealed_secrets
    assert first.sealed_data_key != second.sealed_data_key


@pytest.mark.parametrize("key", ["", "zz" * 32, "aa" * 31, "aa" * 33])
def test_a_bad_key_encryption_key_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ChannelGatewaySettings(key_encryption_key=key)
    assert caught.value.errors()[0]["loc"] == ("key_encryption_key",)


def test_settings_never_print_the_key() -> None:
    settings = ChannelGatewaySettings(key_encryption_key="5a" * 32)
    assert "5a5a" not in repr(settings)
    assert "5a5a" not in json.dumps(settings.model_dump(mode="json"))


def test_a_signature_has_one_spelling(merchant_key: rsa.RSAPrivateKey) -> None:
    public_key = merchant_key.public_key()
    signature = sign(merchant_key, b"text")
    assert verify(public_key, b"text", signature)
    assert signature.endswith("==")
    last = signature[-3]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = signature[:-3] + alphabet[alphabet.index(last) ^ 1] + "=="
    for other in (twin, signature + "\n", signature.rstrip("="), "", "é", f" {signature}"):
        assert not verify(public_key, b"text", other)


def test_keys_are_read_in_every_usual_spelling(merchant_key: rsa.RSAPrivateKey) -> None:
    pem = private_pem(merchant_key)
    bare = "".join(pem.splitlines()[1:-1])
    for text in (pem, bare, f"\n{pem}\n", bare[:64] + "\n" + bare[64:]):
        assert read_private_key(text, prove=True).private_numbers() == merchant_key.private_numbers()
    assert read_public_key(public_pem(merchant_key)) == merchant_key.public_key()
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    for bad in ("", "nonsense", public_pem(merchant_key), private_pem(small)):
        with pytest.raises(ValueError, match=r"^(is|has)") as caught:
            read_private_key(bad)
        assert bad[30:60] not in str(caught.value) or not bad[30:60]


def test_violations_name_the_setting_and_never_its_value() -> None:
    checker = AccountChecker("x", {"url": "not-a-url", "odd": "1"}, {"key": "hush"})
    checker.require_settings(("url", "name"))
    checker.check_url("url")

    def unreadable(_text: str) -> None:
        raise ValueError("is unreadable")

    checker.check_secret("key", unreadable)
    with pytest.raises(PaycenterError) as caught:
        checker.raise_if_any()
    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["settings[name]", "settings[odd]", "settings[url]", "secrets[key]"]
    assert "hush" not in repr(caught.value.violations)


def test_pages_are_cut_and_tokens_belong_to_their_list() -> None:
    assert [page_size_of(size) for size in (0, 1, 500, 501)] == [50, 1, 500, 500]
    page, token = cut_page(["a", "b", "c"], size=2, listing="letters", key=str)
    assert page == ["a", "b"]
    assert read_page_token(token, listing="letters") == "b"
    assert cut_page(["c"], size=2, listing="letters", key=str) == (["c"], "")
    for bad, listing in (
        (token, "numbers"),
        ("%", "letters"),
        ("YQ==", "letters"),
        ("bGV0dGVyczo=", "letters"),
    ):
        with pytest.raises(PaycenterError) as caught:
            read_page_token(bad, listing=listing)
        assert caught.value.reason is Reason.PAGE_TOKEN_INVALID
