"""`paycenter order show`: the whole family of any number. Invariant: a record whose parent is missing is shown, too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from google.protobuf import json_format
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter.type.v1 import family_pb2
from paycenter_client import AsyncPaycenterClient, format_money
from rich.table import Table

from clients.cli.connection import with_center
from clients.cli.output import DEFAULT_DATA_DIRECTORY, AsJson, DataDirectory, console, make_table, print_json
from runtime.embedded import Endpoints


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
        print_json(json_format.MessageToDict(family, preserving_proto_field_name=True))
    else:
        console.print(family_table(family))


def family_table(family: transaction.GetOrderFamilyResponse) -> Table:
    """A family as a tree, drawn in the first column of a table."""
    title = f"Business case {family.business_id}"
    table = make_table(title, ("record", "number", "state", "amount", "time (UTC)"), right=("amount",))
    for depth, member in _walk(family.members):
        indent = "  " * (depth - 1) + "└ " if depth else ""
        table.add_row(
            f"{indent}{member.kind}",
            member.number,
            member.state,
            format_money(member.amount) if member.HasField("amount") else "",
            member.create_time.ToDatetime().strftime("%H:%M:%S.%f")[:-3],
        )
        details = " · ".join(text for text in (member.external_number, member.summary) if text)
        if details:
            table.add_row("", f"[dim]{details}", "", "", "")
    return table


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
