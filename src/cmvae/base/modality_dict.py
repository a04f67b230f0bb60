"""Modules kept by modality name, whatever the name."""

from collections.abc import Iterator, Mapping
from urllib.parse import quote

from torch import nn


class ModalityDict(nn.Module):
    """A mapping from modality names to modules, in order, whose parameters are registered.

    ``torch.nn.ModuleDict`` refuses names with a dot and names of its own methods, such as
    ``"values"``; tables have such names. A plain name is its own key in the state dict.

    Args:
        modules: Modality name to module.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._names = {name: self._key(name) for name in modules}
        for name, key in self._names.items():
            self.add_module(key, modules[name])

    def _key(self, name: str) -> str:
        key = quote(name, safe=" ").replace(".", "%2E")
        return f"%{ord(key[0]):02X}{key[1:]}" if hasattr(self, key) or key == "_names" else key

    def __getitem__(self, name: str) -> nn.Module:
        return self._modules[self._names[name]]  # type: ignore[return-value]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def keys(self) -> list[str]:
        """Return the modality names."""
        return list(self._names)

    def values(self) -> list[nn.Module]:
        """Return the modules."""
        return [self[name] for name in self._names]

    def items(self) -> list[tuple[str, nn.Module]]:
        """Return pairs of modality name and module."""
        return [(name, self[name]) for name in self._names]
