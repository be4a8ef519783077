"""`paycenter order show`: the whole family of any number. Invariant: a record whose parent is missing is shown, too."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter.type.v1 import family_pb2
from paycenter_client import AsyncPaycenterClient, format_money
from rich.text import Text

from clients.cli.connection import with_center
from clients.cli.output import (
    DEFAULT_DATA_DIRECTORY,
    WIDTH,
    AsJson,
    DataDirectory,
    console,
    message_json,
    print_json,
)
from runtime.embedded import Endpoints

_DETAILS_INDENT = 24


def show(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Any number of the family.")],
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Shows the whole family of any number.

    Order, merchant's order, attempt, payment, channel order, channel transaction, refund, journal, notification.
    """

    async def work(_endpoints: Endpoints, client: AsyncPaycenterClient) -> transaction.GetOrderFamilyResponse:
        return await client.transaction.GetOrderFamily(transaction.GetOrderFamilyRequest(number=number))

    family = with_center(data_directory, work)
    if as_json:
        print_json(message_json(family))
    else:
        console.print(family_text(family))


def family_text(family: transaction.GetOrderFamilyResponse) -> Text:
    """A family as a tree of 100 columns: one line for each record, what it says in words below."""
    text = Text()
    text.append(f"Business case {family.business_id}\n", style="bold")
    text.append(_columns("record", "number", "state", "amount", "time (UTC)") + "\n", style="bold")
    for depth, member in _walk(family.members):
        indent = "  " * (depth - 1) + "└ " if depth else ""
        amount = format_money(member.amount) if member.HasField("amount") else ""
        time = member.create_time.ToDatetime().strftime("%H:%M:%S.%f")[:-3]
        text.append(_columns(indent + member.kind, member.number, member.state, amount, time) + "\n")
        details = " · ".join(part for part in (member.external_number, member.summary) if part)
        for line in textwrap.wrap(details, WIDTH - _DETAILS_INDENT):
            text.append(" " * _DETAILS_INDENT + line + "\n", style="dim")
    text.rstrip()
    return text


def _columns(record: str, number: str, state: str, amount: str, time: str) -> str:
    return f"{record:<23} {number:<25} {state:<17} {amount:>18}  {time:<12}"


def _walk(members: Sequence[family_pb2.FamilyMember]) -> Iterator[tuple[int, family_pb2.FamilyMember]]:
    """Yields every member once with its depth, parents before children, older before younger."""
    known = {member.number for member in members}
    children: defaultdict[str, list[family_pb2.FamilyMember]] = defaultdict(list)
    for member in sorted(members, key=lambda each: each.create_time.ToNanoseconds()):
        has_parent = member.parent_number in known and member.parent_number != member.number
        children[member.parent_number if has_parent else ""].append(member)
    shown: set[str] = set()

    def below(parent_number: str, depth: int) -> Iterator[tuple[int, family_pb2.FamilyMember]]:
        for member in children[parent_number]:
            if member.number not in shown:
                shown.add(member.number)
                yield depth, member
                yield from below(member.number, depth + 1)

    yield from below("", 0)
    for member in members:
        if member.number not in shown:
            shown.add(member.number)
            yield 0, member
