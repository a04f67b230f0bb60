"""What becomes of a try of the campaign."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What became of one try.

    Attributes:
        part: The part of the campaign, such as ``kill -9``.
        of: The command, member or kind of file: a row of the table.
        case: What was tried, enough to repeat it.
        fault: What went otherwise than promised, or nothing.
    """

    part: str
    of: str
    case: str
    fault: str
