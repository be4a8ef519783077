from __future__ import annotations

import socket
from pathlib import Path

import pytest

from runtime.embedded.errors import EmbeddedError
from runtime.embedded.ports import LOOPBACK, PortBook, can_listen


def test_a_name_keeps_its_port_over_restarts(tmp_path: Path) -> None:
    first = PortBook(tmp_path / "ports.json")
    ports = {name: first.claim(name) for name in ("transaction", "payment")}
    first.close()
    second = PortBook(tmp_path / "ports.json")
    assert {name: second.claim(name) for name in ("payment", "transaction")} == ports
    assert second.claim("payment") == ports["payment"]
    second.close()


def test_two_books_never_share_a_port_though_nothing_listens(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    first = PortBook(tmp_path / "ports.json")
    port = first.claim("transaction")
    (tmp_path / "copy" / "ports.json").write_text((tmp_path / "ports.json").read_text())
    second = PortBook(tmp_path / "copy" / "ports.json")
    assert second.claim("transaction") != port
    first.close()
    second.close()


def test_a_remembered_port_that_another_program_took_is_given_up(tmp_path: Path) -> None:
    book = PortBook(tmp_path / "ports.json")
    port = book.claim("transaction")
    book.close()
    with socket.create_server((LOOPBACK, port)):
        assert not can_listen(port)
        again = PortBook(tmp_path / "ports.json")
        assert again.claim("transaction") != port
        again.close()


def test_a_fixed_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"port {port}, chosen for sandbox, is in use"):
            PortBook(tmp_path / "ports.json", fixed={"sandbox": port}).claim("sandbox")


def test_a_damaged_file_is_started_anew(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("{")
    book = PortBook(tmp_path / "ports.json")
    assert book.claim("payment") > 0
    book.close()
