"""What a join of several modalities found: who has what, and what was taken for the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cmvae.base.words import joined_words
from cmvae.files.spellings import shown_id


@dataclass(frozen=True)
class Match:
    """Ids of a modality that are those of others in another spelling.

    Attributes:
        where: The modality, for messages.
        differs: What the spellings differ in.
        count: How many ids.
        example: One of them, and the id that it joins.
    """

    where: str
    differs: tuple[str, ...]
    count: int
    example: tuple[str, str]

    def __str__(self) -> str:
        """Say what was joined."""
        ids, differ = ("id", "differs") if self.count == 1 else ("ids", "differ")
        own, other = map(shown_id, self.example)
        return (
            f"{self.where}: {self.count} {ids} joined that {differ} only in "
            f"{joined_words(self.differs)}, such as {own} and {other}"
        )


@dataclass(frozen=True)
class Matching:
    """How ids came together.

    Attributes:
        renamed: Modality to the ids that have another spelling in an earlier one, and that.
        matches: What was joined so.
        oddities: Words on modalities that hardly overlap, and on rows without ids.
    """

    renamed: dict[str, dict[str, str]] = field(default_factory=dict)
    matches: tuple[Match, ...] = ()
    oddities: tuple[str, ...] = ()

    def names(self, modality: str, ids: Iterable[str]) -> list[str]:
        """Return ids of a modality as the first one spells them that has the sample."""
        renamed = self.renamed.get(modality)
        if not renamed:
            return list(ids)
        return [renamed.get(name, name) for name in ids]

    @property
    def remarks(self) -> list[str]:
        """What one is to look at: spellings that were joined, and what is odd."""
        return [*map(str, self.matches), *self.oddities]


AS_THEY_ARE = Matching()  # no id has another spelling


@dataclass(frozen=True)
class Join:
    """How many samples have which modalities, and how their ids came together.

    Attributes:
        modalities: Their names.
        overlap: The modalities that samples have to the number of these samples.
        matching: How their ids came together.
    """

    modalities: tuple[str, ...]
    overlap: dict[tuple[str, ...], int]
    matching: Matching = AS_THEY_ARE

    @classmethod
    def of_masks(cls, masks: Mapping[str, np.ndarray], matching: Matching) -> "Join":
        """Count the samples whose masks, (n,) boolean, are given."""
        names = tuple(masks)
        kinds, counts = np.unique(np.stack(list(masks.values()), 1), axis=0, return_counts=True)
        patterns = [tuple(n for n, seen in zip(names, kind, strict=True) if seen) for kind in kinds]
        return cls(names, dict(zip(patterns, counts.tolist(), strict=True)), matching)

    def __str__(self) -> str:
        """Say how many samples there are in all modalities, and in which others; "" for one."""
        if len(self.modalities) < 2:
            return ""
        whole = self.overlap.get(self.modalities, 0)
        parts = {names: n for names, n in self.overlap.items() if names != self.modalities}
        if len(self.modalities) == 2:
            parts = {(name,): self.overlap.get((name,), 0) for name in self.modalities}
        order = sorted(parts, key=lambda names: -parts[names]) if len(parts) > 2 else list(parts)
        shown = [f"{'only ' * (len(own) == 1)}{joined_words(own)} {parts[own]}" for own in order]
        every = "both" if len(self.modalities) == 2 else f"all {len(self.modalities)}"
        return "; ".join([f"in {every} {whole}", *_shortened(shown)])

    def lines(self, title: str = "Joined on ids") -> list[str]:
        """Return what is shown after a join: the overlap, and what one is to look at."""
        overlap = str(self)
        return [*([f"{title}: {overlap}"] if overlap else []), *self.matching.remarks]

    def to_plain(self) -> dict[str, Any]:
        """Return what a run keeps, as JSON can hold it."""
        overlap = [{"modalities": list(own), "samples": n} for own, n in self.overlap.items()]
        return {"overlap": overlap, "remarks": self.matching.remarks}


def _shortened(parts: list[str], most: int = 6) -> list[str]:
    more = [f"{len(parts) - most} more combinations"] if len(parts) > most + 1 else []
    return [*parts[:most], *more] if more else parts
