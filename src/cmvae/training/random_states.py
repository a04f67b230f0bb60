"""Random generators of several processes, in the checkpoint that one of them writes."""

import torch
from torch import Tensor

States = dict[str, Tensor]


def states_of_all(number: int) -> list[States]:
    """Return the states of the generators of all processes, in the order of their places."""
    own = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        own["cuda"] = torch.cuda.get_rng_state()
    found: list[States] = [{} for _ in range(number)]
    torch.distributed.all_gather_object(found, own)
    return found


def put_back(states: States) -> None:
    """Put the generators of this process into the states that they had."""
    torch.set_rng_state(states["cpu"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())
