from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path

import nats
import psycopg
import pytest

from runtime.embedded import DirectoryInUse, EmbeddedError, Parts, ProcessFailed, read_status
from runtime.embedded.postgres import PostgresOptions
from tests.runtime.embedded.embedded_support import (
    QUICK_POSTGRES,
    end_owner,
    family_of,
    start_owner,
    wait_until_gone,
)


def libpq(url: str) -> str:
    return url.replace("+psycopg", "")


def stream_names(url: str) -> list[str]:
    async def ask() -> list[str]:
        connection = await nats.connect(url)
        names = [info.config.name or "" for info in await connection.jetstream().streams_info()]
        await connection.close()
        return names

    return asyncio.run(ask())


def make_stream(url: str) -> None:
    async def make() -> None:
        connection = await nats.connect(url)
        await connection.jetstream().add_stream(name="TEST", subjects=["test.>"])
        await connection.jetstream().publish("test.one", b"1")
        await connection.close()

    asyncio.run(make())


def test_each_role_owns_its_database_and_reaches_no_other(running_parts: Parts) -> None:
    for name, url in running_parts.database_urls.items():
        with psycopg.connect(libpq(url), autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS probe (value integer)")
            connection.execute("INSERT INTO probe VALUES (1)")
        other = "payment" if name != "payment" else "channel"
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(libpq(url).replace(f"/{name}", f"/{other}"))


def test_the_readonly_role_reads_all_four_and_writes_none(running_parts: Parts) -> None:
    for name, url in running_parts.database_urls.items():
        with psycopg.connect(libpq(url), autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS probe (value integer)")
        with psycopg.connect(
            libpq(running_parts.readonly_database_urls[name]), autocommit=True
        ) as connection:
            connection.execute("SELECT * FROM probe")
            connection.execute("SET default_transaction_read_only = off")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("INSERT INTO probe VALUES (2)")


def test_a_wrong_password_is_refused(running_parts: Parts) -> None:
    url = libpq(running_parts.database_urls["payment"])
    wrong = url.split(":")[0] + "://paycenter_payment:wrong@" + url.split("@")[1]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_the_settings_are_in_force(running_parts: Parts) -> None:
    with psycopg.connect(running_parts._administrator_url("postgres")) as connection:
        values = {
            name: connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            for name in ("jit", "max_connections", "listen_addresses", "unix_socket_directories", "TimeZone")
        }
    assert values == {
        "jit": ("off",),
        "max_connections": ("200",),
        "listen_addresses": ("127.0.0.1",),
        "unix_socket_directories": ("",),
        "TimeZone": ("UTC",),
    }


def test_postgres_is_durable_unless_told_otherwise() -> None:
    assert PostgresOptions().settings()["synchronous_commit"] == "on"
    assert PostgresOptions().settings()["fsync"] == "on"
    assert QUICK_POSTGRES.settings()["fsync"] == "off"


def test_secrets_are_readable_by_their_owner_only(running_parts: Parts) -> None:
    directory = running_parts.layout.data_directory
    for file in [
        *running_parts.layout.keys.iterdir(),
        directory / "nats" / "nats.conf",
        directory / "stack.json",
    ]:
        assert file.stat().st_mode & 0o077 == 0, file
    assert running_parts.layout.keys.stat().st_mode & 0o077 == 0


def test_a_recreated_database_is_empty(running_parts: Parts) -> None:
    url = libpq(running_parts.database_urls["channel"])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE left_over (value integer)")
        running_parts.recreate_database("channel")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('left_over')").fetchone() == (None,)
    with pytest.raises(EmbeddedError, match="there is no database 'postgres'"):
        running_parts.recreate_database("postgres")


def test_killed_postgres_recovers_on_its_port_with_what_was_committed(running_parts: Parts) -> None:
    url = libpq(running_parts.database_urls["accounting"])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
        running_parts.kill("postgres")
        assert not running_parts.status()["postgres"].is_running
        running_parts.start_process("postgres")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)


def test_streams_survive_a_kill_and_not_a_wipe(running_parts: Parts) -> None:
    make_stream(running_parts.nats_url)
    running_parts.kill("nats")
    running_parts.start_process("nats")
    assert stream_names(running_parts.nats_url) == ["TEST"]
    running_parts.wipe_nats()
    assert stream_names(running_parts.nats_url) == []


def test_nats_asks_for_the_password(running_parts: Parts) -> None:
    async def connect() -> None:
        await nats.connect(
            "nats://" + running_parts.nats_url.split("@")[1], allow_reconnect=False, connect_timeout=2
        )

    with pytest.raises(nats.errors.Error):
        asyncio.run(connect())


def test_a_second_start_on_the_folder_is_refused_and_names_the_holder(running_parts: Parts) -> None:
    directory = running_parts.layout.data_directory
    with pytest.raises(DirectoryInUse, match=rf"already in use by process {os.getpid()} .*choose another"):
        Parts(directory).start()
    with pytest.raises(AssertionError, match="DirectoryInUse"):
        start_owner("parts", directory)
    assert running_parts.status()["postgres"].is_running


def test_parts_started_from_a_thread_outlive_the_thread(data_directory: Path) -> None:
    parts = Parts(data_directory, postgres=QUICK_POSTGRES)
    thread = threading.Thread(target=parts.start)
    thread.start()
    thread.join()
    with psycopg.connect(libpq(parts.database_urls["payment"])) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    parts.stop()


def test_data_and_addresses_survive_a_stop(data_directory: Path) -> None:
    with Parts(data_directory, postgres=QUICK_POSTGRES) as parts:
        before = (parts.database_urls, parts.nats_url)
        with psycopg.connect(libpq(parts.database_urls["payment"]), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
        family = family_of([status.pid or 0 for status in parts.status().values()])
    assert wait_until_gone(family, timeout_seconds=0) == []
    assert not read_status(data_directory).is_running
    with Parts(data_directory, postgres=QUICK_POSTGRES) as parts:
        assert (parts.database_urls, parts.nats_url) == before
        with psycopg.connect(libpq(parts.database_urls["payment"])) as connection:
            assert connection.execute("SELECT value FROM kept").fetchone() == (1,)


def test_two_at_once_have_different_ports_and_data(running_parts: Parts, data_directory: Path) -> None:
    with Parts(data_directory, postgres=QUICK_POSTGRES) as second:
        assert second.database_urls["payment"] != running_parts.database_urls["payment"]
        with psycopg.connect(libpq(second.database_urls["payment"]), autocommit=True) as connection:
            connection.execute("CREATE TABLE only_here (value integer)")
        with psycopg.connect(libpq(running_parts.database_urls["payment"])) as connection:
            assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)
    assert running_parts.status()["postgres"].is_running
    with psycopg.connect(libpq(running_parts.database_urls["payment"])) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_lost_passwords_are_said_plainly(data_directory: Path) -> None:
    with Parts(data_directory, postgres=QUICK_POSTGRES):
        pass
    (data_directory / "keys" / "passwords.json").unlink()
    with pytest.raises(EmbeddedError, match=r"other passwords than keys/passwords.json holds"):
        Parts(data_directory, postgres=QUICK_POSTGRES).start()
    assert not read_status(data_directory).is_running


def test_a_part_that_cannot_start_is_named_with_its_last_lines(data_directory: Path) -> None:
    options = PostgresOptions(extra_settings={"shared_buffers": "nonsense"})
    with pytest.raises(ProcessFailed, match="postgres ended with exit code 1") as caught:
        Parts(data_directory, postgres=options).start()
    assert any("shared_buffers" in line for line in caught.value.last_log_lines)
    assert not (data_directory / "stack.json").exists()


def test_a_pid_file_that_names_another_program_is_no_obstacle(data_directory: Path) -> None:
    with Parts(data_directory, postgres=QUICK_POSTGRES) as parts:
        parts.kill("postgres")
        placed = (
            json.loads((data_directory / "postgres.json").read_text())["folder"] if os.geteuid() == 0 else ""
        )
        pid_file = (Path(placed) if placed else data_directory / "postgres") / "data" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        parts.start_process("postgres")
        assert parts.status()["postgres"].is_running


def test_a_killed_owner_leaves_nothing_and_the_next_start_recovers(data_directory: Path) -> None:
    owner, pids = start_owner("parts", data_directory)
    family = family_of(list(pids.values()))
    assert len(family) > 2
    owner.kill()
    end_owner(owner)
    assert wait_until_gone(family) == []
    with Parts(data_directory, postgres=QUICK_POSTGRES) as parts:
        assert parts.status()["postgres"].is_running


def test_a_start_right_after_the_owner_was_killed_waits_for_its_processes(data_directory: Path) -> None:
    owner, pids = start_owner("parts", data_directory)
    family = family_of(list(pids.values()))
    owner.kill()
    end_owner(owner)
    with Parts(data_directory, postgres=QUICK_POSTGRES) as parts:
        assert wait_until_gone(family, timeout_seconds=0) == []
        assert parts.status()["nats"].is_running
