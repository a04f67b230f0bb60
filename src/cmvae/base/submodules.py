"""All modules within one."""

from torch import nn


def submodules(module: nn.Module) -> list[nn.Module]:
    """Return a module and all within it; one that is held in two places is there twice.

    ``torch.nn.Module.modules`` also makes their names, which takes as long as a small layer.
    """
    found = [module]
    for own in found:  # which grows on the way
        found.extend(part for part in own._modules.values() if part is not None)
    return found
