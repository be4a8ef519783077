"""Measures, writes `.paycenter/bench.json` and the table in docs/performance.md: `python -m tests.benchmarks`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.benchmarks import hop, machine, payments

PROJECT = Path(__file__).resolve().parents[2]
FIGURES = PROJECT / ".paycenter" / "bench.json"
PAGE = PROJECT / "docs" / "performance.md"
_BEGIN, _END = "<!-- begin of what make bench wrote -->", "<!-- end of what make bench wrote -->"


def main() -> None:
    """Runs every benchmark of this project in one go."""
    console = Console()
    foreign_cores = machine.foreign_load()
    console.print(f"Other processes use {foreign_cores:.2f} cores; the figures mean something near zero.")
    with console.status("an rpc with all interceptors beside a bare echo"):
        hop_figures = hop.measure()
    with console.status("payments end to end, 32 callers"):
        payment_figures = payments.run()
    figures = {
        "measured_time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe() | {"foreign_cores_before": f"{foreign_cores:.2f}"},
        "payments": payment_figures,
        "hop_overhead": hop_figures,
    }
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
    _write_page(_table(figures))
    console.print(_table(figures))


def _table(figures: dict[str, Any]) -> str:
    paid, hops, host = figures["payments"], figures["hop_overhead"], figures["machine"]
    processor = paid["processor_ms_per_payment"]
    lines = [
        (
            f"Measured {figures['measured_time']} on {host['processor']}, {host['cores']} cores, {host['memory']}, "
            f"{host['system']}, Python {host['python']}; others used {host['foreign_cores_before']} cores before."
        ),
        "",
        "| figure | value |",
        "|---|---|",
        f"| payments per second, {paid['callers']} callers | {paid['payments_per_second']} |",
        (
            f"| from Pay to the business callback, p50 / p99 | {paid['pay_to_callback_p50_ms']} ms / "
            f"{paid['pay_to_callback_p99_ms']} ms |"
        ),
        f"| processor time per payment, all processes | {sum(processor.values()):.2f} ms |",
        *(
            f"| – {name} | {value} ms |"
            for name, value in sorted(processor.items(), key=lambda item: -item[1])
        ),
        f"| share of traces recorded | {paid['traced_ratio']:.0%} |",
        f"| rpc with all interceptors, one caller | {hops['full']['milliseconds_alone']} ms |",
        f"| bare grpc.aio echo, one caller | {hops['bare']['milliseconds_alone']} ms |",
        f"| server time per rpc with all interceptors | {hops['full']['server_microseconds_per_call']} µs |",
        f"| server time per bare echo | {hops['bare']['server_microseconds_per_call']} µs |",
        (
            f"| rate with all interceptors beside the bare echo, 32 callers | "
            f"{hops['overhead']['calls_per_second_ratio']} |"
        ),
    ]
    return "\n".join(lines)


def _write_page(table: str) -> None:
    page = PAGE.read_text() if PAGE.exists() else f"# Performance\n\n{_BEGIN}\n{_END}\n"
    head, _, rest = page.partition(_BEGIN)
    tail = rest.partition(_END)[2]
    PAGE.write_text(f"{head}{_BEGIN}\n{table}\n{_END}{tail}")


if __name__ == "__main__":
    main()
