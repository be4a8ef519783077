"""Describes the machine and measures the processor time of processes."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil


def describe() -> dict[str, str]:
    """Processor, cores, memory, system and interpreter of this machine."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def processor_seconds(pid: int) -> float:
    """Processor time that a process and its children have used, living ones and those that ended."""
    total = 0.0
    process = psutil.Process(pid)
    for each in (process, *process.children(recursive=True)):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    own = process.cpu_times()
    return total + own.children_user + own.children_system


def foreign_load() -> float:
    """Cores in use by all processes over a short moment; near zero before a run that means something."""
    return psutil.cpu_percent(interval=1.0) / 100 * (os.cpu_count() or 1)
