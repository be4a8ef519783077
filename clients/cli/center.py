"""`paycenter up` and `paycenter status`. Invariant: when `up` has returned, nothing that it started is left."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.table import Table

from clients.cli.output import (
    DEFAULT_DATA_DIRECTORY,
    AsJson,
    DataDirectory,
    console,
    error_console,
    make_table,
    print_json,
)
from runtime.embedded import Endpoints, ProcessStatus, Stack, StackOptions, read_status, readiness

_SOMETHING_IS_DOWN = 1
_HEALTH_CHECKS: dict[str, Callable[[int], bool]] = {
    "postgres": readiness.tcp_accepts,
    "nats": readiness.nats_answers,
    "sandbox": readiness.http_answers,
}


def up(
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    trace_sample_ratio: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the calls that are traced.")
    ] = 1.0,
) -> None:
    """Starts the whole center and runs it until Ctrl-C.

    PostgreSQL, NATS, the telemetry receiver, the sandbox channels and the four servers; a server that crashes is
    started again.
    """
    options = StackOptions(trace_sample_ratio=trace_sample_ratio)
    with signals_as_interrupt():
        try:
            with running_stack(data_directory, options=options, supervise=True) as stack:
                console.print(endpoint_table(stack.endpoints))
                console.print("The center is up. Ctrl-C stops it; `paycenter demo` pays through it.")
                _wait_for_interrupt()
        except KeyboardInterrupt:
            console.print("The center is stopped.")


def status(data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY, as_json: AsJson = False) -> None:
    """Shows every process of the center; ends with exit code 1 when something is down."""
    found = read_status(data_directory)
    rows = [(process, _health(process)) for process in found.processes]
    all_well = found.is_running and bool(rows) and all(health == "SERVING" for _, health in rows)
    if as_json:
        processes = [
            {
                "process": process.name,
                "pid": process.pid,
                "port": process.port,
                "health": health,
                "state": _state(process),
                "restart_count": process.restart_count,
                "started_time": process.started_time,
                "log_file": process.log_file,
            }
            for process, health in rows
        ]
        print_json({"is_running": found.is_running, "owner_pid": found.owner_pid, "processes": processes})
    elif not rows:
        console.print(f"No center runs on {data_directory}; start one with: paycenter up", soft_wrap=True)
    else:
        console.print(_status_table(data_directory, rows))
    if not all_well:
        raise typer.Exit(_SOMETHING_IS_DOWN)


@contextmanager
def running_stack(
    data_directory: Path, *, options: StackOptions | None = None, supervise: bool = False
) -> Iterator[Stack]:
    """Starts the center with progress on the terminal, and stops it at the end, whatever happens between."""
    with error_console.status("starting the center") as spinner:

        def show(text: str) -> None:
            if error_console.is_terminal:
                spinner.update(text)
            else:
                error_console.print(text, markup=False)

        stack = Stack(data_directory, options=options, supervise=supervise, on_progress=show)
        stack.start()
    try:
        yield stack
    finally:
        with error_console.status("stopping the center"):
            stack.stop()


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Lets the first SIGINT or SIGTERM raise KeyboardInterrupt; later ones change nothing while things are stopped."""
    asked_before = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked_before
        if not asked_before:
            asked_before = True
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def endpoint_table(endpoints: Endpoints) -> Table:
    """Where everything listens."""
    table = make_table("Where everything listens", ("what", "address", "for"))
    rows = (
        ("TransactionCore", endpoints.transaction_target, "gRPC: business systems"),
        ("PaymentCore", endpoints.payment_target, "gRPC"),
        ("ChannelGateway", endpoints.channel_target, "gRPC"),
        ("Accounting", endpoints.accounting_target, "gRPC"),
        ("notices", endpoints.notice_base_url, "HTTP: the channels tell outcomes"),
        ("sandbox", endpoints.sandbox_base_url, "HTTP: plays Alipay and WeChat Pay"),
        ("NATS", _without_password(endpoints.nats_url), "events"),
        (
            "PostgreSQL",
            _without_password(endpoints.database_urls["transaction"]).rsplit("/", 1)[0],
            "four databases",
        ),
        ("telemetry", endpoints.telemetry_otlp_endpoint, "OTLP/gRPC: spans"),
        *((f"{name} metrics", url, "HTTP: Prometheus") for name, url in endpoints.metrics_urls.items()),
    )
    for row in rows:
        table.add_row(*row)
    return table


def _wait_for_interrupt() -> None:
    while True:
        signal.pause()


def _health(process: ProcessStatus) -> str:
    if not process.is_running:
        return "DOWN"
    check = _HEALTH_CHECKS.get(process.name, readiness.grpc_serves)
    return "SERVING" if check(process.port) else "NOT_ANSWERING"


def _state(process: ProcessStatus) -> str:
    if process.is_running:
        return "running"
    return "stopped" if process.exit_code is None else f"exited ({process.exit_code})"


def _status_table(data_directory: Path, rows: list[tuple[ProcessStatus, str]]) -> Table:
    columns = ("process", "pid", "port", "health", "state", "up for", "restarts")
    table = make_table(f"Center on {data_directory}", columns, right=("pid", "port", "up for", "restarts"))
    now = datetime.now(UTC)
    for process, health in rows:
        running_for = now - process.started_time if process.is_running and process.started_time else None
        table.add_row(
            process.name,
            str(process.pid or "-"),
            str(process.port),
            f"[green]{health}" if health == "SERVING" else f"[red]{health}",
            _state(process),
            str(running_for).split(".", maxsplit=1)[0] if running_for else "-",
            str(process.restart_count),
        )
    return table


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme.split('+', maxsplit=1)[0]}://{rest.rsplit('@', 1)[-1]}"
