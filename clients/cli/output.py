"""What commands print. Invariant: it fits 100 columns; with `--json` standard output holds one document alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

WIDTH = 100

DataDirectory = Annotated[
    Path,
    typer.Option(
        "--data-directory",
        envvar="PAYCENTER_DATA_DIRECTORY",
        help="Folder that holds everything of one center.",
        show_default=True,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_DATA_DIRECTORY = Path(".paycenter")

console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, emoji=False)
error_console = Console(
    stderr=True, width=None if sys.stderr.isatty() else WIDTH, highlight=False, emoji=False
)


def print_json(content: Any) -> None:
    """Prints one JSON document."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))


def message_json(message: Message) -> dict[str, Any]:
    """A message of the contract as JSON values, with zeros and empty texts; 64-bit figures are texts."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def make_table(title: str, columns: Sequence[str], *, right: Sequence[str] = ()) -> Table:
    """An empty table that keeps to the width; the columns named in `right` hold figures."""
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False
    )
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


class Work:
    """Progress of one long piece of work: a bar at a terminal, now and then a line elsewhere."""

    def __init__(self, title: str, total: int, progress: Progress | None) -> None:
        self._title = title
        self._total = total
        self._done = 0
        self._progress = progress
        self._task: TaskID | None = None
        if progress is not None:
            self._task = progress.add_task(title, total=total)

    def advance(self, what: str = "") -> None:
        """Tells that one more of the total is done."""
        self._done += 1
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=1, description=f"{self._title} {what}")
        elif self._done == self._total or self._done % max(1, self._total // 4) == 0:
            error_console.print(f"{self._title}: {self._done} of {self._total} done")


@contextmanager
def work(title: str, total: int) -> Iterator[Work]:
    """Shows the progress of `total` things while they are done."""
    if not error_console.is_terminal:
        yield Work(title, total, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=error_console, transient=True) as progress:
        yield Work(title, total, progress)
