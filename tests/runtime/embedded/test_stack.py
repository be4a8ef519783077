from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from accounting.settings import AccountingSettings
from channel_gateway.settings import ChannelGatewaySettings
from core.payment.settings import PaymentSettings
from core.transaction.settings import TransactionSettings
from runtime.embedded import (
    DirectoryInUse,
    EmbeddedError,
    ProcessFailed,
    Stack,
    load_endpoints,
    read_status,
)
from runtime.embedded.readiness import grpc_serves, http_answers
from runtime.settings import RuntimeSettings
from tests.runtime.embedded.embedded_support import (
    QUICK_OPTIONS,
    end_owner,
    family_of,
    stand_in_servers,
    start_owner,
    wait_until_gone,
)

NAMES = ["postgres", "nats", "telemetry", "sandbox", "accounting", "channel", "payment", "transaction"]


def given(stack: Stack, name: str) -> dict[str, str]:
    return dict(json.loads((stack.data_directory / "stand_ins" / f"{name}.json").read_text()))


def port_of(target: str) -> int:
    return int(target.rsplit(":", 1)[1])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    center = Stack(
        tmp_path_factory.mktemp("stack") / "center", options=QUICK_OPTIONS, servers=stand_in_servers()
    )
    center.start()
    yield center
    center.remove()


def test_everything_runs_and_answers(stack: Stack) -> None:
    assert list(stack.status()) == NAMES
    assert all(status.is_running for status in stack.status().values())
    endpoints = stack.endpoints
    for target in (
        endpoints.transaction_target,
        endpoints.payment_target,
        endpoints.channel_target,
        endpoints.accounting_target,
    ):
        assert grpc_serves(port_of(target))
    assert grpc_serves(port_of(endpoints.telemetry_otlp_endpoint))
    assert http_answers(port_of(endpoints.sandbox_base_url))
    assert http_answers(port_of(endpoints.notice_base_url))


def test_each_server_is_told_what_it_needs_and_no_more(stack: Stack) -> None:
    endpoints = stack.endpoints
    transaction, payment, channel = (given(stack, name) for name in ("transaction", "payment", "channel"))
    assert transaction["PAYCENTER_PAYMENT_TARGET"] == endpoints.payment_target
    assert transaction["PAYCENTER_DATABASE_URL"] == endpoints.database_urls["transaction"]
    assert transaction["PAYCENTER_MIGRATE_ON_START"] == "true"
    assert payment["PAYCENTER_CHANNEL_TARGET"] == endpoints.channel_target
    assert payment["PAYCENTER_ACCOUNTING_TARGET"] == endpoints.accounting_target
    assert payment["PAYCENTER_NATS_URL"] == endpoints.nats_url
    assert payment["PAYCENTER_TELEMETRY_OTLP_ENDPOINT"] == endpoints.telemetry_otlp_endpoint
    assert channel["PAYCENTER_NOTICE_BASE_URL"] == endpoints.notice_base_url
    assert given(stack, "sandbox")["PAYCENTER_SANDBOX_BASE_URL"] == endpoints.sandbox_base_url
    assert len(bytes.fromhex(channel["PAYCENTER_KEY_ENCRYPTION_KEY"])) == 32
    assert "PAYCENTER_KEY_ENCRYPTION_KEY" not in payment
    assert "PAYCENTER_DATABASE_URL" not in given(stack, "sandbox")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("transaction", TransactionSettings),
        ("payment", PaymentSettings),
        ("channel", ChannelGatewaySettings),
        ("accounting", AccountingSettings),
    ],
)
def test_every_variable_is_a_setting_of_its_server(
    stack: Stack, name: str, settings: type[RuntimeSettings]
) -> None:
    variables = {key for key in given(stack, name) if key.startswith("PAYCENTER_")} - set(os.environ)
    known = {f"PAYCENTER_{field.upper()}" for field in settings.model_fields}
    assert variables - known == set()


def test_the_callback_key_pair_fits_together(stack: Stack) -> None:
    private_file = Path(given(stack, "transaction")["PAYCENTER_CALLBACK_SIGNING_KEY_FILE"])
    assert private_file.stat().st_mode & 0o077 == 0
    private_key = load_pem_private_key(private_file.read_bytes(), None)
    public_key = load_pem_public_key(stack.endpoints.callback_public_key_file.read_bytes())
    assert isinstance(private_key, Ed25519PrivateKey)
    assert isinstance(public_key, Ed25519PublicKey)
    public_key.verify(private_key.sign(b"callback"), b"callback")


def test_another_terminal_finds_it(stack: Stack) -> None:
    assert load_endpoints(stack.data_directory) == stack.endpoints
    status = read_status(stack.data_directory)
    assert status.is_running
    assert status.owner_pid == os.getpid()
    assert [process.name for process in status.processes] == NAMES
    assert all(process.is_running for process in status.processes)


def test_a_second_center_on_the_folder_is_refused(stack: Stack) -> None:
    with pytest.raises(DirectoryInUse):
        Stack(stack.data_directory, servers=stand_in_servers()).start()
    assert all(status.is_running for status in stack.status().values())


def test_a_restarted_server_keeps_port_and_environment(stack: Stack) -> None:
    before, old = given(stack, "payment"), stack.status()["payment"]
    stack.restart("payment", environment={"TEST_EXTRA": "1"})
    new = stack.status()["payment"]
    assert (new.port, given(stack, "payment")) == (old.port, before | {"TEST_EXTRA": "1"})
    assert new.pid != old.pid
    stack.kill("payment")
    killed = stack.status()["payment"]
    assert (killed.is_running, killed.exit_code) == (False, -9)
    stack.start_process("payment")
    assert given(stack, "payment")["TEST_EXTRA"] == "1"
    assert grpc_serves(old.port)


def test_wiping_the_bus_keeps_its_address(stack: Stack) -> None:
    before = stack.endpoints.nats_url
    stack.wipe_nats()
    assert stack.endpoints.nats_url == before
    assert stack.status()["nats"].is_running


def test_an_unknown_name_lists_the_known_ones(stack: Stack) -> None:
    with pytest.raises(EmbeddedError, match="no process 'ledger'; there are postgres, nats"):
        stack.restart("ledger")


def test_a_server_that_dies_at_start_is_named_and_takes_all_down(data_directory: Path) -> None:
    options = dataclasses.replace(QUICK_OPTIONS, environment_of={"payment": {"TEST_FAIL": "1"}})
    progress: list[str] = []
    center = Stack(data_directory, options=options, servers=stand_in_servers(), on_progress=progress.append)
    with pytest.raises(ProcessFailed, match="payment ended with exit code 3") as caught:
        center.start()
    assert caught.value.last_log_lines == ["the stand-in was told to fail"]
    assert not any(status.is_running for status in center.status().values())
    assert not read_status(data_directory).is_running
    assert progress[0] == "starting postgres"
    assert "stopping postgres" in progress


def test_stopping_goes_from_the_top_down_and_leaves_nothing(data_directory: Path) -> None:
    with Stack(data_directory, options=QUICK_OPTIONS, servers=stand_in_servers()) as center:
        family = family_of([status.pid or 0 for status in center.status().values()])
        first = center.endpoints
    assert wait_until_gone(family, timeout_seconds=0) == []
    order = (data_directory / "stand_ins" / "stop_order").read_text().split()
    assert order[:2] == ["transaction", "payment"]
    assert set(order[2:4]) == {"accounting", "channel"}
    assert order[4:] == ["sandbox"]
    assert all(status.exit_code == 0 for status in center.status().values())
    with pytest.raises(EmbeddedError, match="no center runs on"):
        load_endpoints(data_directory)
    with center:
        assert center.endpoints == first


def test_two_centers_at_once_do_not_disturb_each_other(stack: Stack, data_directory: Path) -> None:
    with Stack(data_directory, options=QUICK_OPTIONS, servers=stand_in_servers()) as second:
        ports = {status.port for status in second.status().values()}
        assert ports.isdisjoint({status.port for status in stack.status().values()})
    assert all(status.is_running for status in stack.status().values())
    assert grpc_serves(port_of(stack.endpoints.transaction_target))


def test_a_killed_owner_leaves_nothing(data_directory: Path) -> None:
    owner, pids = start_owner("stack", data_directory)
    family = family_of(list(pids.values()))
    assert len(family) > len(NAMES)
    owner.kill()
    end_owner(owner)
    assert wait_until_gone(family) == []
    status = read_status(data_directory)
    assert not status.is_running
    assert not any(process.is_running for process in status.processes)


def test_a_supervised_server_comes_back_and_a_stopped_one_does_not(data_directory: Path) -> None:
    progress: list[str] = []
    center = Stack(
        data_directory,
        options=QUICK_OPTIONS,
        servers=stand_in_servers(),
        supervise=True,
        on_progress=progress.append,
    )
    with center:
        center.stop_process("sandbox")
        first_pid = center.status()["channel"].pid
        center.kill("channel")
        deadline = time.monotonic() + 20
        while center.status()["channel"].restart_count == 0 or not center.status()["channel"].is_running:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert center.status()["channel"].pid != first_pid
        assert not center.status()["sandbox"].is_running
    assert any(text.startswith("channel ended unexpectedly (exit code -9)") for text in progress)
    assert not any(status.is_running for status in center.status().values())
