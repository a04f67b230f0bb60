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
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120
    )
    assert found.stdout.split() == ["1", "2"], found.stderr
