import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
import threading

import pytest

from cmvae.base.allocator import freed_memory_kept

# As a step does: blocks that are written to, and freed together. Prints pages that were new.
CODE = """
import json, resource
from cmvae.base.allocator import freed_memory_kept

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        blocks = [b"1" * (1 << 20) for _ in range(128)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

pages()
free, lean = pages(), held()
with freed_memory_kept():
    pages()
    kept, fat = pages(), held()
last = held()
print(json.dumps([free, kept, pages(), fat - lean, last - lean]))
"""
GNU = platform.libc_ver()[0] == "glibc"
OWN = ("MALLOC_", "GLIBC_TUNABLES")


def measured(**variables):
    others = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    lines = subprocess.check_output([sys.executable, "-c", CODE], env={**others, **variables})
    return json.loads(lines)


@pytest.mark.skipif(not GNU, reason="another C library")
@pytest.mark.parametrize("variables", [{}, {"MALLOC_ARENA_MAX": "2"}])
def test_freed_memory_is_kept_within_and_given_back_after(variables):
    whole = 640 * 2**20 // resource.getpagesize()
    free, kept, after, more, at_last = measured(**variables)
    assert free > whole / 2
    assert kept < whole / 20
    assert after > whole / 2
    assert more > 100 * 2**20
    assert at_last < 16 * 2**20


@pytest.mark.skipif(not GNU, reason="another C library")
@pytest.mark.parametrize(
    "variables",
    [
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
    ],
)
def test_what_the_environment_says_of_it_stands(variables):
    free, kept, after, *_ = measured(**variables)
    assert kept > 0.9 * free
    assert after > 0.9 * free


def test_it_ends_with_an_error_too_and_others_are_let_be(monkeypatch):
    told = []

    class Library:
        def mallopt(self, name, value):
            told.append((name, value))

        def malloc_trim(self, pad):
            told.append(pad)

    @freed_memory_kept()
    def fail():
        assert told == [(-3, 2**25), (-1, -1)]
        raise KeyError

    @freed_memory_kept()
    def work():
        pass

    for name in [name for name in os.environ if name.startswith(OWN)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    with pytest.raises(KeyError):
        fail()
    assert told[2:] == [(-1, 2**26), 0]
    del told[:]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    for system, library in (("darwin", Library()), ("win32", Library()), ("linux", object())):
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr(ctypes, "CDLL", lambda _, own=library: own)
        work()
    assert not told
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    work()
    assert told
