"""Numbers are unique across processes, sort by time and tell their kind and shard."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import ids
from runtime.ids import (
    NUMBER_LENGTH,
    SHARD_COUNT,
    NumberKind,
    derive_request_id,
    new_number,
    new_request_id,
    number_kind,
    shard_of_number,
    shard_of_owner,
)

kinds = st.sampled_from(list(NumberKind))
shards = st.integers(0, SHARD_COUNT - 1)


@given(kinds, shards)
def test_a_number_alone_tells_its_kind_and_shard(kind: NumberKind, shard: int) -> None:
    number = new_number(kind, shard=shard)
    assert len(number) == NUMBER_LENGTH <= 32
    assert number.isascii()
    assert number.isalnum()
    assert shard_of_number(number) == shard
    assert number_kind(number) is kind


@given(st.integers(0, 2**50 - 1), st.integers(0, 2**50 - 1), shards, shards)
def test_numbers_sort_by_the_millisecond_they_were_made_in(
    first_ms: int, second_ms: int, first_shard: int, second_shard: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: first_ms * 1_000_000)
        first = new_number(NumberKind.ORDER, shard=first_shard)
        patch.setattr(time, "time_ns", lambda: second_ms * 1_000_000)
        second = new_number(NumberKind.ORDER, shard=second_shard)
    if first_ms != second_ms:
        assert (first < second) == (first_ms < second_ms)


@given(st.text(max_size=30))
def test_a_stranger_is_never_taken_for_a_number(text: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        shard_of_number(text)


@given(kinds, shards, st.integers(0, NUMBER_LENGTH - 1))
def test_a_number_with_a_strange_character_is_refused(kind: NumberKind, shard: int, position: int) -> None:
    number = new_number(kind, shard=shard)
    broken = number[:position] + "!" + number[position + 1 :]
    with pytest.raises(ValueError, match="malformed"):
        number_kind(broken)


def test_a_shard_beyond_the_last_is_no_shard() -> None:
    number = new_number(NumberKind.ORDER, shard=255)
    for digits in ("256", "300", "999"):
        with pytest.raises(ValueError, match="malformed"):
            shard_of_number(number[:-3] + digits)
    for shard in (-1, SHARD_COUNT):
        with pytest.raises(ValueError, match="shard"):
            new_number(NumberKind.ORDER, shard=shard)


def test_a_trailing_line_end_is_not_part_of_a_number() -> None:
    with pytest.raises(ValueError, match="malformed"):
        shard_of_number(new_number(NumberKind.ORDER, shard=1) + "\n")


def test_threads_never_share_a_number() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(numbers: list[str]) -> None:
        numbers.extend(new_number(NumberKind.EVENT, shard=1) for _ in range(20_000))

    threads = [threading.Thread(target=make, args=(numbers,)) for numbers in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({number for numbers in made for number in numbers}) == 80_000


def test_a_forked_process_makes_numbers_of_its_own() -> None:
    script = (
        "import os, runtime.ids as ids\n"
        "ids._random_word()\n"
        "child = os.fork()\n"
        "words = [ids._random_word() for _ in range(100)]\n"
        "os.write(1, (' '.join(map(str, words)) + '\\n').encode())\n"
        "os._exit(0) if child == 0 else os.waitpid(child, 0)\n"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    words = output.split()
    assert len(words) == 200
    assert len(set(words)) == 200


@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=4),
    st.lists(st.text(max_size=8), min_size=1, max_size=4),
)
def test_a_derived_request_id_depends_on_every_part_and_its_place(
    first: list[str], second: list[str]
) -> None:
    assert (derive_request_id(*first) == derive_request_id(*second)) == (first == second)
    assert uuid.UUID(derive_request_id(*first)).version == 5


def test_a_derived_request_id_is_the_same_in_every_release() -> None:
    assert derive_request_id("P123", "submit") == "3a3c16a6-d63e-505d-8b84-8359d239525b"


def test_fresh_request_ids_are_version_7_and_sort_by_time() -> None:
    made = [new_request_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert {uuid.UUID(request_id).version for request_id in made} == {7}
    assert {uuid.UUID(request_id).variant for request_id in made} == {uuid.RFC_4122}
    earlier = new_request_id()
    time.sleep(0.003)
    assert earlier < new_request_id()


def test_owners_keep_their_shard_and_spread_over_all() -> None:
    assert shard_of_owner("M-1001") == 78
    used = {shard_of_owner(f"merchant-{number}") for number in range(5000)}
    assert used == set(range(SHARD_COUNT))


def test_a_number_costs_little() -> None:
    new_number(NumberKind.ORDER, shard=1)
    fastest = min(_time_of_a_thousand() for _ in range(20))
    assert fastest / 1000 < 10e-6


def _time_of_a_thousand() -> float:
    started = time.perf_counter()
    for _ in range(1000):
        ids.new_number(NumberKind.ORDER, shard=1)
    return time.perf_counter() - started
