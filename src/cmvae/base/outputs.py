"""The container in which models and networks return named results."""

from collections.abc import Iterator
from typing import Any


class ModelOutput(dict[str, Any]):
    """Named results, readable by attribute and by key, in the order in which they were given.

    It is a ``dict``, so it unpacks, compares and collates like one; ``output.loss`` is
    ``output["loss"]``.

    Example:
        >>> output = ModelOutput(loss=0.5, clusters=[1, 2])
        >>> output.loss == output["loss"]
        True
        >>> list(output)
        ['loss', 'clusters']
    """

    def __getattr__(self, name: str) -> Any:
        """Return field ``name``; ``AttributeError`` lists the fields there are."""
        try:
            return self[name]
        except KeyError:
            fields = ", ".join(map(repr, self)) or "none"
            raise AttributeError(f"no field {name!r} in this output; it has: {fields}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set field ``name``."""
        self[name] = value

    def __delattr__(self, name: str) -> None:
        """Remove field ``name``."""
        if name not in self:
            raise AttributeError(f"no field {name!r} in this output")
        del self[name]

    def __dir__(self) -> Iterator[str]:
        """List the fields beside the methods, for completion."""
        return iter([*super().__dir__(), *map(str, self)])
