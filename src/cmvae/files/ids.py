"""Ids of several tables matched: as they are, then as they are spelled, one to one or not at all.

Whatever is read by ids is joined so: files, frames, cells and labels.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cmvae.base.words import counted, joined_words, listed
from cmvae.files.overlap import Match, Matching
from cmvae.files.spellings import (
    ALIKE,
    LOOKS,
    MANY,
    STEPS,
    Step,
    count_parts,
    first_parts,
    normal_ids,
    shown_id,
)

RARE = 0.1  # samples of a modality that are elsewhere, from which on nobody wonders
ENDINGS = "endings"
_DIGITS = re.compile(r"\d+")


def _modality(name: str) -> str:
    return f"modality {name!r}"


def match_ids(
    ids: Mapping[str, Sequence[str]],
    numbered: Collection[str] = (),
    where: Callable[[str], str] = _modality,
) -> Matching:
    """Match the ids of modalities, each with those before it.

    Ids that are the same are one sample. Where this leaves some without a partner on both sides,
    these are compared under the normalisations of :data:`cmvae.files.spellings.STEPS`, the fewest
    and most harmless that join the most; then without their endings, where one side has the whole
    id and the other more (``AAAC`` and ``AAAC-1``). Barcodes and endings must join many.

    Args:
        ids: Modality to the ids of its rows.
        where: Returns what a name is called in messages.
        numbered: Modalities without ids of their own, whose rows are numbered from 0.

    Raises:
        ValueError: For ids of one modality that look the same, normalisations that are not one to
            one, and rows numbered from 0 beside ids that are other numbers; with a pair.
    """
    known: dict[str, str] = {}  # spelling to the first one
    owners: dict[str, str] = {}
    endings: dict[str, tuple[str, list[str]]] = {}
    renamed, matches = {}, []
    for name, own in ids.items():
        every = list(dict.fromkeys(own))
        _check_spelled_once(where(name), every)
        samples = {known[one] for one in every if one in known}
        mine = _Side(where(name), every, [one for one in every if one not in known])
        others = _Side("", list(owners), [one for one in owners if one not in samples])
        found = _matched(mine, others, owners) if mine.alone and others.alone else None
        pairs, match = found or ({}, None)
        if match is not None:
            matches.append(match)
            _check_endings(mine.name, pairs, endings)
        for one in mine.alone:
            known[one] = pairs.get(one, one)
            owners.setdefault(known[one], where(name))
        _check_apart(mine.name, every, known)
        if own_renamed := {one: known[one] for one in every if known[one] != one}:
            renamed[name] = own_renamed
    matching = Matching(renamed, tuple(matches))
    joined = {name: matching.names(name, own) for name, own in ids.items()}
    oddities = [
        *_numbered(ids, joined, numbered),
        *_strangers(joined, ids, where),
        *(word for name, own in ids.items() for word in _alike(where(name), own)),
    ]
    return replace(matching, oddities=tuple(oddities))


@dataclass(frozen=True)
class _Side:
    """Ids to be matched: of one modality, or of those before it.

    Attributes:
        name: The modality, for messages; "" where they are several.
        every: All of them.
        alone: Those that the other side does not have.
        parts: How many parts are compared; 0: all.
    """

    name: str
    every: list[str]
    alone: list[str]
    parts: int = 0

    def keys(self, steps: Sequence[Step], names: Iterable[str]) -> list[str]:
        """Return what is compared of some of the ids."""
        keys = normal_ids(names, steps)
        return [first_parts(key, self.parts) for key in keys] if self.parts else keys


def _matched(
    own: _Side, others: _Side, owners: Mapping[str, str]
) -> tuple[dict[str, str], Match] | None:
    """Return own ids to those of others that they are, and what this comes from."""
    plain, most = _steps(own, others)
    if most < min(len(own.alone), len(others.alone)):
        tried = ((steps, *_without_endings(own, others, steps)) for steps in (plain, STEPS))
        cut = (one for one in tried if one[1].parts or one[2].parts)
        plain, own, others = next(cut, (plain, own, others))
    steps = _fewest(own, others, plain)
    differs = [step.differs for step in steps] + [ENDINGS] * bool(own.parts or others.parts)
    if not differs:
        return None
    there = dict(zip(others.keys(steps, others.alone), others.alone, strict=True))
    keys = zip(own.alone, own.keys(steps, own.alone), strict=True)
    pairs = {one: there[key] for one, key in keys if key in there}
    match = Match(own.name, tuple(differs), len(pairs), next(iter(pairs.items())))
    for side in (own, others):
        if pair := _first_repeated(side.keys(steps, side.every), side.every):
            raise ValueError(_not_one_to_one(match, pair, [side.name or owners[n] for n in pair]))
    return pairs, match


def _not_one_to_one(match: Match, pair: tuple[str, str], owners: Sequence[str]) -> str:
    own, other, first, second = map(shown_id, (*match.example, *pair))
    whose = joined_words(list(dict.fromkeys(owners)))
    return (
        f"{match.where}: {counted(match.count, 'id')} would join others that differ "
        f"only in {joined_words(match.differs)}, such as {own} and {other}; but then {first} and "
        f"{second} of {whose} are one id: spell ids alike in all modalities, or rename one of "
        "these two"
    )


def _steps(own: _Side, others: _Side) -> tuple[tuple[Step, ...], int]:
    """Return normalisations, the most harmless first, that join the most ids; and how many."""
    best: tuple[Step, ...] = ()
    if not _shared(own, others, STEPS):  # nor do some of them join any
        return best, 0
    keys, most = [own.alone, others.alone], 0
    for number, step in enumerate(STEPS, 1):
        keys = [normal_ids(side, [step]) for side in keys]
        gain = len(set(keys[0]).intersection(keys[1])) - most
        if gain >= _least(step.share, own, others):
            best, most = STEPS[:number], most + gain
    return best, most


def _fewest(own: _Side, others: _Side, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the normalisations without those that join nothing, the least harmless first."""
    most = _shared(own, others, steps)
    for step in reversed(steps):
        fewer = tuple(one for one in steps if one is not step)
        if _shared(own, others, fewer) >= most:
            steps = fewer
    return steps


def _shared(own: _Side, others: _Side, steps: Sequence[Step]) -> int:
    return len(set(own.keys(steps, own.alone)).intersection(others.keys(steps, others.alone)))


def _without_endings(own: _Side, others: _Side, steps: Sequence[Step]) -> tuple[_Side, _Side]:
    """Return both sides, one of them cut where its ids are those of the other and more."""
    ours, theirs = (set(side.keys(steps, side.alone)) for side in (own, others))
    before = len(ours & theirs)
    least = max(_least(MANY, own, others), MANY * (min(len(ours), len(theirs)) - before))
    found = []
    for place, (longer, shorter) in enumerate([(ours, theirs), (theirs, ours)]):
        for number in sorted(set(map(count_parts, shorter - longer))):
            cut = {first_parts(key, number) for key in longer} & shorter
            found.append((len(cut) - before, place, number))
    gain, place, number = max(found, default=(0, 0, 0), key=lambda one: one[0])
    if gain < least:
        return own, others
    if place:
        return own, replace(others, parts=number)
    return replace(own, parts=number), others


def _least(share: float, own: _Side, others: _Side) -> float:
    """Return how many ids a normalisation must join."""
    alone, every = (min(len(own.alone), len(others.alone)), min(len(own.every), len(others.every)))
    return max(1, share * alone, share / 5 * every)


def _check_spelled_once(where: str, ids: Sequence[str]) -> None:
    if pair := _first_repeated(normal_ids(ids, LOOKS), ids):
        first, second = map(shown_id, pair)
        raise ValueError(
            f"{where}: the ids {first} and {second} look the same: they differ only in blanks, "
            "characters that cannot be seen or the Unicode form; leave one out, or rename it"
        )


def _check_endings(
    where: str, pairs: Mapping[str, str], endings: dict[str, tuple[str, list[str]]]
) -> None:
    """Refuse ids that would join one without their endings, where these are other numbers.

    Args:
        where: The modality, for the message.
        pairs: Its ids to those that they join.
        endings: An id to another that joined it so, and the numbers at its end; is added to.
    """
    keys = normal_ids(pairs, STEPS), normal_ids(pairs.values(), STEPS)
    for (one, there), longer, shorter in zip(pairs.items(), *keys, strict=True):
        numbers = _DIGITS.findall(longer[len(shorter) :]) if longer.startswith(shorter) else []
        if not numbers:
            continue
        other, before = endings.setdefault(there, (one, numbers))
        if before != numbers:
            raise ValueError(
                f"{where}: {shown_id(one)} would join {shown_id(there)} without its ending, and "
                f"so would {shown_id(other)} of another modality, which ends in another number: "
                "these may be two samples; spell ids alike in all modalities"
            )


def _check_apart(where: str, ids: Sequence[str], known: Mapping[str, str]) -> None:
    """Refuse two ids of one modality that others have as one."""
    if pair := _first_repeated([known[one] for one in ids], ids):
        first, second = map(shown_id, pair)
        raise ValueError(
            f"{where}: it has both {first} and {second}, which were joined as one id of the "
            "modalities before it: spell ids alike in all modalities, or rename one of these two"
        )


def _alike(where: str, ids: Sequence[str]) -> Iterator[str]:
    """Yield a word on ids of one modality that one would join, were they of two."""
    own = list(dict.fromkeys(ids))
    keys = normal_ids(own, ALIKE)
    if pair := _first_repeated(keys, own):
        first, second = map(shown_id, pair)
        number = len(own) - len(set(keys))
        yield (
            f"{where}: {counted(number, 'id')} taken for other samples though spelled as others "
            f"nearly, such as {second} beside {first}"
        )


def _first_repeated(keys: Sequence[str], names: Sequence[str]) -> tuple[str, str] | None:
    """Return the first two ids of one key."""
    if len(set(keys)) == len(keys):
        return None
    seen: dict[str, str] = {}
    for key, name in zip(keys, names, strict=True):
        if key in seen:
            return seen[key], name
        seen[key] = name
    return None


def _numbered(
    ids: Mapping[str, Sequence[str]],
    joined: Mapping[str, Sequence[str]],
    numbered: Collection[str],
) -> Iterator[str]:
    """Yield words on rows numbered from 0 beside ids that are other numbers.

    Refused where there are as many: the rows may be the same, in the same order.
    """
    for name, own in ids.items():
        if list(own) != list(map(str, range(len(own)))):
            continue
        for other, theirs in ids.items():
            shared = len(set(joined[name]).intersection(joined[other]))
            is_same_size = len(own) == len(theirs)
            if not 0 < shared < max(len(own), len(theirs)):
                continue
            what = f"the rows of {name!r} are numbered from 0; {other!r} has "
            what += f"{counted(len(theirs), 'row')} with the ids {listed(theirs, 3)}"
            if name in numbered and other not in numbered and is_same_size:
                raise ValueError(
                    f"{what}, of which only {shared} are such numbers: give {name!r} the ids of "
                    "its rows (a column or an index with a name), or leave the ids out of both"
                )
            if is_same_size or name in numbered:
                yield f"{what}, and {shared} were joined with these numbers"


def _strangers(
    joined: Mapping[str, Sequence[str]],
    ids: Mapping[str, Sequence[str]],
    where: Callable[[str], str],
) -> Iterator[str]:
    """Yield words on modalities of which some samples are in another, but hardly any."""
    counts = Counter(one for own in joined.values() for one in dict.fromkeys(own))
    for name, own in joined.items():
        shared = sum(counts[one] > 1 for one in own)
        if 0 < shared < RARE * len(own):
            alone = next(one for one, key in zip(ids[name], own, strict=True) if counts[key] == 1)
            there = next(one for n, all_ in joined.items() if n != name for one in all_)
            yield (
                f"{where(name)}: only {shared} of {counted(len(own), 'id')} are elsewhere; "
                f"is {alone!r} spelled otherwise there, where the first id is {there!r}?"
            )
