"""A thousand odd calls of the estimator and of the model, each of which works or is refused."""

import logging
import os
import random
import resource
import warnings
from collections.abc import Iterator, Sequence
from contextlib import chdir
from itertools import zip_longest
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import fuzz_estimator
import fuzz_model
from judging import SECONDS, Case, judge
from outcome import Outcome

PART = "odd calls"
CALLS = 1000
MEMORY = 2 << 30  # bytes that a call may take
SIDE_BY_SIDE = 2


def attack(share: float, work: Path, seed: int) -> Iterator[Outcome]:
    """Try so large a share of the calls, of every member one at least.

    Args:
        share: 1 for all.
        work: A folder for files.
        seed: What is drawn.
    """
    with chdir(work), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tried = chosen([*fuzz_estimator.cases(), *fuzz_model.cases()], round(share * CALLS), seed)
        for case, fault in _judged(tried):
            yield Outcome(PART, case.of, case.case, fault)


def chosen(cases: Sequence[Case], number: int, seed: int) -> list[Case]:
    """Draw so many cases, as evenly over members as there are, one of each at least."""
    generator, by_member = random.Random(seed), dict[str, list[Case]]()
    for case in generator.sample(cases, len(cases)):
        by_member.setdefault(case.of, []).append(case)
    turns = [case for turn in zip_longest(*by_member.values()) for case in turn if case]
    return turns[: max(number, len(by_member))]


def _judged(cases: Sequence[Case]) -> Iterator[tuple[Case, str]]:
    """Judge cases in processes side by side; one that dies is a fault, and is replaced."""
    context = get_context("fork")
    parts = [list(cases[place::SIDE_BY_SIDE]) for place in range(SIDE_BY_SIDE)]
    running: dict[Any, tuple[Any, list[Case]]] = {}

    def start(rest: list[Case]) -> None:
        if rest:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(rest, theirs))
            process.start()
            theirs.close()
            running[ours] = process, rest

    for part in parts:
        start(part)
    while running:
        ready = wait(list(running), timeout=3 * SECONDS)
        for ours in ready or list(running):
            process, rest = running.pop(ours)
            try:
                fault = ours.recv() if ready else "it does not return"
            except EOFError:
                process.join()
                fault = f"the process ends with {process.exitcode}"
            yield rest[0], fault
            if fault.startswith(("the process ends", "it does not return")):
                process.kill()
                start(rest[1:])
            elif rest[1:]:
                running[ours] = process, rest[1:]


def _work(cases: Sequence[Case], results: Connection) -> None:
    """Judge cases in a process of little memory, whose output is of no interest."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    logging.disable(logging.ERROR)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for case in cases:
        results.send(judge(case))
