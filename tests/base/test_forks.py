import os
import subprocess
import sys

import pytest

# Two threads calculate before the fork; without care the child waits for one that it has not.
SCRIPT = """
import os, torch, cmvae.models.cmvae
torch.set_num_threads(2)
numbers = torch.ones(2000, 2000)
numbers.exp().sum()
child = os.fork()
if not child:
    numbers.exp().sum()
    os._exit(torch.get_num_threads())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), torch.get_num_threads())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on Windows")
def test_a_forked_process_calculates_alone():
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert found.stdout.split() == ["1", "2"], found.stderr


# One thread trains while another forks; without care the child waits for the end of that training.
WHILE_TRAINING = """
import os, threading
from cmvae.training.fit import ONE_AT_A_TIME
held, done = threading.Event(), threading.Event()
def train():
    with ONE_AT_A_TIME:
        held.set()
        done.wait()
threading.Thread(target=train).start()
held.wait()
child = os.fork()
if not child:
    os._exit(int(ONE_AT_A_TIME.acquire(timeout=5)))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), ONE_AT_A_TIME.acquire(timeout=0))
done.set()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on Windows")
def test_a_process_that_is_forked_off_while_a_thread_trains_can_train():
    found = subprocess.run(
        [sys.executable, "-c", WHILE_TRAINING], capture_output=True, text=True, timeout=1800
    )
    assert found.stdout.split() == ["1", "False"], found.stderr
