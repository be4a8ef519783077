"""The commands against a whole center of their own: started by `paycenter up`, paid through, proved, and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from runtime.embedded import load_endpoints

PAYCENTER = str(Path(sys.executable).with_name("paycenter"))
BILL = Path(__file__).parents[2].parent / "shared" / "vectors" / "wechat_bill" / "bill.ALL.csv"
_START_SECONDS = 150.0


class RunningCenter:
    """A center that `paycenter up` runs in a process of its own."""

    def __init__(self, data_directory: Path) -> None:
        self.data_directory = data_directory
        self._environment = {**os.environ, "PAYCENTER_DATA_DIRECTORY": str(data_directory)}
        self._log = data_directory.with_suffix(".log")
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [PAYCENTER, "up"], env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_until_up(self) -> None:
        give_up_at = time.monotonic() + _START_SECONDS
        while "The center is up" not in self.log():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < give_up_at, self.log()
            time.sleep(0.1)

    def log(self) -> str:
        return self._log.read_text()

    def run(self, *words: str, exit_code: int = 0) -> str:
        """Runs a command and gives its standard output."""
        done = subprocess.run(
            [PAYCENTER, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=170,
        )
        assert done.returncode == exit_code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if exit_code == 0 or done.stdout else done.stderr

    def run_json(self, *words: str, exit_code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", exit_code=exit_code))

    def stop(self) -> list[psutil.Process]:
        """Asks it to stop as a service manager does; gives the children that were left."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(90)
        return [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def center(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCenter]:
    started = RunningCenter(tmp_path_factory.mktemp("center") / "data")
    try:
        started.wait_until_up()
        yield started
    finally:
        left = started.stop()
    assert started.process.returncode == 0, started.log()
    assert not left
    assert "The center is stopped." in started.log()


@pytest.fixture(scope="module")
def paid_order(center: RunningCenter) -> str:
    """An order that was paid from the command line and given back in part."""
    order = center.run_json("pay", "--amount", "12.30", "--channel", "wechat_pay", "--auto")
    assert (order["state"], order["paid_amount"]["minor_units"]) == ("ORDER_STATE_PAID", "1230")
    refunded = center.run_json("refund", order["order_id"], "--amount", "2.30")
    assert refunded["state"] == "ORDER_STATE_PARTLY_REFUNDED"
    assert refunded["refunded_amount"]["minor_units"] == "230"
    return str(order["order_id"])


def test_every_process_serves(center: RunningCenter) -> None:
    status = center.run_json("status")
    names = {process["process"] for process in status["processes"]}
    assert names == {
        "postgres",
        "nats",
        "telemetry",
        "sandbox",
        "transaction",
        "payment",
        "channel",
        "accounting",
    }
    assert {process["health"] for process in status["processes"]} == {"SERVING"}


def test_any_number_of_a_family_finds_the_same_family(center: RunningCenter, paid_order: str) -> None:
    family = center.run_json("order", "show", paid_order)
    members = family["members"]
    kinds = {each["kind"] for each in members}
    assert {"order", "attempt", "payment", "channel_order", "notice", "journal", "refund"} <= kinds
    assert {each["business_id"] for each in members} == {family["business_id"]}
    for kind in ("attempt", "payment", "channel_order", "journal", "refund"):
        number = next(each["number"] for each in members if each["kind"] == kind)
        assert center.run_json("order", "show", number)["business_id"] == family["business_id"], kind


def test_a_trace_reaches_all_services_and_the_later_notice(center: RunningCenter, paid_order: str) -> None:
    for _ in range(20):
        spans = center.run_json("trace", paid_order)["spans"]
        if any(span["name"].startswith("notice ") for span in spans):
            break
    assert {span["service"] for span in spans} == {"transaction", "payment", "channel_gateway", "accounting"}
    assert any(span["name"].startswith("notice ") for span in spans)
    assert any(span["kind"] == "consumer" for span in spans)
    creating = next(span for span in spans if span["name"].endswith("/PayOrder"))
    notice = next(span for span in spans if span["name"].startswith("notice "))
    assert notice["trace_id"] == creating["trace_id"]


def test_a_refund_above_what_is_left_is_refused_in_one_sentence(
    center: RunningCenter, paid_order: str
) -> None:
    said = center.run("refund", paid_order, "--amount", "10.01", exit_code=1)
    assert "reason REFUND_EXCEEDS_PAID, field amount" in said


def test_the_demonstration_ends_with_everything_as_expected(center: RunningCenter) -> None:
    text = center.run("demo")
    assert "orders: all as expected" in text
    assert "books: no differences" in text
    assert text.splitlines()[-1].startswith("invariants: all hold (")
    assert max(len(line) for line in text.splitlines()[:-1]) <= 100


@pytest.mark.skipif(not BILL.is_file(), reason=f"the bill {BILL} is not here")
def test_a_replayed_bill_ends_with_the_totals_of_its_footer_and_adds_nothing_the_second_time(
    center: RunningCenter,
) -> None:
    first = center.run("demo", "--bill", str(BILL))
    assert "45 rows became 45 orders, 45 payments and 14 refunds" in first
    assert "totals: no differences" in first
    assert first.splitlines()[-1].startswith("invariants: all hold (")
    second = center.run("demo", "--bill", str(BILL))
    assert second.splitlines()[-1] == first.splitlines()[-1]


def test_a_violation_ends_with_exit_code_1_and_names_the_record(
    center: RunningCenter, paid_order: str
) -> None:
    before = center.run_json("invariants")
    assert before["all_hold"]
    assert before["record_counts"]["orders"] > 0
    url = load_endpoints(center.data_directory).database_urls["transaction"].replace("+psycopg", "")
    change = "UPDATE orders SET refunded_minor_units = refunded_minor_units + %s WHERE order_id = %s"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(change, (1, paid_order))
        try:
            report = center.run_json("invariants", exit_code=1)
            text = center.run("invariants", exit_code=1)
        finally:
            connection.execute(change, (-1, paid_order))
    broken = [each for each in report["invariants"] if each["violation_count"]]
    assert broken
    assert all(any(paid_order in example for example in each["examples"]) for each in broken)
    assert paid_order in text
    assert "violations (" in text
    assert center.run_json("invariants")["all_hold"]
