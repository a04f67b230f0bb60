import ctypes
import json
import os
import platform
import resource
import subprocess
import sys

import pytest

from cmvae.base.allocator import freed_memory_kept

# As a step does: blocks that are written to, and freed together. Prints pages that were new.
CODE = """
import json, resource
from cmvae.base.allocator import freed_memory_kept

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        blocks = [b"1" * (1 << 20) for _ in range(64)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

pages()
free, lean = pages(), held()
with freed_memory_kept():
    pages()
    kept, fat = pages(), held()
print(json.dumps([free, kept, pages(), fat - lean, held() - lean]))
"""
GNU = platform.libc_ver()[0] == "glibc"


def measured(**variables):
    lines = subprocess.check_output([sys.executable, "-c", CODE], env={**os.environ, **variables})
    return json.loads(lines)


@pytest.mark.skipif(not GNU, reason="another C library")
def test_freed_memory_is_kept_within_and_given_back_after():
    whole = 640 * 2**20 // resource.getpagesize()
    free, kept, after, more, at_last = measured()
    assert free > whole / 2
    assert kept < whole / 20
    assert after > whole / 2
    assert more > 50 * 2**20
    assert at_last < 16 * 2**20


@pytest.mark.skipif(not GNU, reason="another C library")
def test_what_the_environment_says_of_it_stands():
    free, kept, after, *_ = measured(MALLOC_TRIM_THRESHOLD_="131072")
    assert kept > 0.9 * free
    assert after > 0.9 * free


def test_it_ends_with_an_error_too_and_others_are_let_be(monkeypatch):
    told = []

    class Library:
        def mallopt(self, name, value):
            told.append((name, value))

        def malloc_trim(self, pad):
            told.append(pad)

    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())

    @freed_memory_kept()
    def fail():
        assert told == [(-3, 2**25), (-1, 2**31 - 1)]
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert told[2:] == [(-1, 2**26), 0]
    del told[:]
    for platform_, library in (("darwin", Library()), ("win32", Library()), ("linux", object())):
        monkeypatch.setattr(sys, "platform", platform_)
        monkeypatch.setattr(ctypes, "CDLL", lambda _, own=library: own)
        with freed_memory_kept():
            pass
    assert not told
