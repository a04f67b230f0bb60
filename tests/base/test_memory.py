import resource

import pytest

from cmvae.base import memory


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (5 * 2**30 + 1, "5 GiB"),
        (2**50, "1 PiB"),
        (2**90, "more than 10^6 PiB"),
    ],
)
def test_bytes_are_said_in_the_largest_unit(number, said):
    assert memory.said_bytes(number) == said


def test_what_is_larger_than_memory_is_refused_with_the_way(monkeypatch):
    monkeypatch.setattr(memory, "memory_limit", lambda: 2**30)
    memory.check_memory("N = 3", 2**30, "lower N")
    refusal = r"^N = 9 would take 2 GiB of memory, there are 1 GiB: lower N$"
    with pytest.raises(ValueError, match=refusal):
        memory.check_memory("N = 9", 2**31, "lower N")
    monkeypatch.setattr(memory, "memory_limit", lambda: None)
    memory.check_memory("N = 9", 2**80, "lower N")


def test_the_limit_of_the_process_counts(monkeypatch):
    machine = memory.memory_limit()
    assert machine > 2**28
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2**28, -1))
    assert memory.memory_limit() == 2**28
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, -1))
    assert memory.memory_limit() == machine
