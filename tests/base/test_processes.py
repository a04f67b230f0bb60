import pytest
import torch

from cmvae.base.processes import (
    FAULT,
    FaultElsewhereError,
    agreed,
    by_first,
    exchange,
    gather,
    launched,
    raise_together,
    whose,
)
from forked import in_processes, join


@pytest.mark.parametrize(
    ("variables", "found", "said"),
    [
        ({}, ("", 1, 0), ""),
        ({"WORLD_SIZE": "4", "RANK": "3"}, ("WORLD_SIZE", 4, 3), "process 3 of 4: "),
        ({"WORLD_SIZE": "4", "RANK": "0"}, ("WORLD_SIZE", 4, 0), ""),
        (
            {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"},
            ("SLURM_STEP_NUM_TASKS", 2, 1),
            "process 1 of 2: ",
        ),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, ("", 1, 0), ""),  # a script without srun
    ],
)
def test_a_process_knows_its_place(monkeypatch, variables, found, said):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched() == found
    assert whose() == said


def fail_in(places, error=ValueError):
    def work(place):
        def own():
            if place in places:
                raise error(f"bad in {place}")
            return place

        join()
        return agreed(2, own)

    return work


def test_a_fault_is_raised_in_all_each_its_own():
    assert in_processes(fail_in(())) == [0, 1]
    assert in_processes(fail_in((1,))) == [
        ("ValueError", "process 1 of 2: bad in 1"),
        ("ValueError", "bad in 1"),
    ]
    assert in_processes(fail_in((0, 1))) == [("ValueError", "bad in 0"), ("ValueError", "bad in 1")]
    found = in_processes(fail_in((0,), MemoryError))
    assert found == [("MemoryError", "bad in 0"), ("RuntimeError", "process 0 of 2: bad in 0")]


def test_what_the_first_has_done_is_what_all_have():
    def work(place):
        join()
        return by_first(2, lambda: {"done by": place}), exchange(place, "cpu")

    assert in_processes(work) == [({"done by": 0}, [0, 1])] * 2


def test_one_that_waits_for_others_hears_of_their_fault():
    def work(place):
        join()
        fault = None
        if place:
            fault = ValueError("mine")
            assert exchange(FAULT, "cpu") == [3, FAULT]
        else:
            try:
                gather(torch.zeros(3, 2))
            except FaultElsewhereError as error:
                fault = error
        raise_together(2, fault)

    assert in_processes(work) == [("ValueError", "process 1 of 2: mine"), ("ValueError", "mine")]
