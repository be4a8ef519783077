"""The `paycenter` command. Invariant: a command that fails says why in one sentence and ends with exit code 1."""

from __future__ import annotations

from typing import Any

import typer
from paycenter_client import PaycenterError
from typer.core import TyperGroup

from clients.cli import center, demo_command, orders, payments, proof
from clients.cli.bill.bill_file import BillInvalid
from clients.cli.demo.scenario import ScenarioInvalid
from clients.cli.failure import CommandFailed, sentence_of
from clients.cli.output import error_console
from runtime.embedded import EmbeddedError

_FAILED = 1


class _Commands(TyperGroup):
    """Turns what a command raises into a sentence; bugs still show where they are."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that was named."""
        try:
            return super().invoke(ctx)
        except PaycenterError as error:
            sentence = sentence_of(error)
        except (CommandFailed, EmbeddedError, BillInvalid, ScenarioInvalid) as error:
            sentence = str(error)
        error_console.print(f"paycenter: {sentence}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(_FAILED)


app = typer.Typer(
    name="paycenter",
    cls=_Commands,
    help="Runs a payment center on this machine, pays through it and shows what happened.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
order_commands = typer.Typer(help="Shows orders.", no_args_is_help=True)
app.add_typer(order_commands, name="order")

app.command()(center.up)
app.command()(center.status)
app.command()(payments.pay)
app.command()(payments.refund)
order_commands.command("show")(orders.show)
app.command()(proof.trace)
app.command()(proof.invariants)
app.command()(demo_command.demo)


if __name__ == "__main__":
    app()
