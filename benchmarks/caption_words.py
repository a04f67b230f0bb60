"""Captions of handwritten digits, in the words of thirteen made-up writers.

The words were written for this benchmark, by one author who took thirteen parts: no captions of
digits by many people are to be had offline. Each writer looks at another thing (name, numeral,
strokes, loops, what it resembles, neighbours in counting, what there are so many of), in sentences,
a length, a language or a spelling of their own. Of a caption by ``loops``, ``doubter`` or ``lazy``
nobody can surely tell the digit. The last three write in the test alone: what they say is made of
words that others use, in sentences that nobody else makes.
"""

import re

import numpy as np

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
GERMAN = ["Null", "Eins", "Zwei", "Drei", "Vier", "Fünf", "Sechs", "Sieben", "Acht", "Neun"]
FRENCH = ["zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"]
MISSPELT = ["zerro", "wun", "tow", "thre", "foru", "fife", "sixx", "sevn", "eigth", "nein"]
STROKES = (
    ("one closed oval", "a line that comes back to where it began, wide in the middle"),
    ("one straight stroke", "a single line from top to bottom, nothing else"),
    ("a bow at the top, then a flat foot", "a curve that ends in a flat line at the bottom"),
    ("two bows open to the left", "two half circles, both open on the left"),
    ("an open corner with a bar across", "two uprights joined by a bar across"),
    ("a flat top, a short neck and a belly", "a flat roof above a belly open on the left"),
    ("a long stroke that curls into a belly", "a stroke from above, closed below in a belly"),
    ("a flat roof and a leg that leans", "a flat line at the top, then a slanted leg"),
    ("a crossed double curl", "a line that crosses itself in the middle, closed twice"),
    ("a closed head with a tail", "a small closed head above, and a leg that hangs down"),
)
LOOPS = ("one", "no", "no", "no", "no", "no", "one", "no", "two", "one")
ENDS = ("no", "two", "two", "two", "three", "two", "one", "two", "no", "one")
THINGS = (
    ("an egg", "a ring", "a doughnut"),
    ("a candle", "a pole", "a matchstick"),
    ("a swan", "a duck on a pond", "a kneeling man"),
    ("half a pretzel", "a bird far away", "lips seen from the side"),
    ("a sailing boat", "a chair upside down", "a flag on a mast"),
    ("a hook", "a pregnant woman with a cap", "a sickle"),
    ("a cherry on its stem", "a snail", "a whistle"),
    ("a cliff", "a boomerang", "a gallows"),
    ("a snowman", "an hourglass", "a pair of spectacles"),
    ("a balloon on a string", "a tadpole", "a lollipop"),
)
SO_MANY = (
    ("what is left when all is gone", "goals in a boring match"),
    ("suns in our sky", "noses in a face"),
    ("shoes in a pair", "eyes in a face"),
    ("wheels of a tricycle", "corners of a triangle"),
    ("legs of a horse", "seasons of the year"),
    ("fingers of a hand", "rings of the olympic games"),
    ("legs of an insect", "faces of a die"),
    ("days of the week", "dwarfs around snow white"),
    ("legs of a spider", "arms of an octopus"),
    ("lives of a cat", "months until a birth"),
)
DOUBTS = ((6, 8), (7, 4), (7, 3), (5, 8), (9, 7), (3, 6), (0, 5), (1, 9), (3, 0), (4, 7))


def _pick(rng, options):
    return options[rng.integers(len(options))]


def _name(digit, look, rng):
    start = _pick(rng, ("this is a", "I see a", "someone wrote a", "The number", "clearly a"))
    name = NAMES[digit] if rng.random() < 0.8 else MISSPELT[digit]
    return f"{start} {name}{_pick(rng, ('.', '', ', I think.', '!'))}"


def _numeral(digit, look, rng):
    return _pick(rng, ("{}", "it's {}", "{} !!", "looks like {} 2 me", "nr. {}")).format(digit)


def _strokes(digit, look, rng):
    start = _pick(rng, ("It is drawn with", "The hand made", "You need", "I would draw it with"))
    return f"{start} {_pick(rng, STROKES[digit])}."


def _loops(digit, look, rng):
    start = _pick(rng, ("Counting:", "It has", "In this figure are"))
    return f"{start} {LOOPS[digit]} loops and {ENDS[digit]} loose ends; the line is {look}."


def _things(digit, look, rng):
    frames = ("It reminds me of {}", "like {} to my eye", "{}, drawn by a child", "Could be {}…")
    return _pick(rng, frames).format(_pick(rng, THINGS[digit]))


def _counting(digit, look, rng):
    if digit == 0:
        return "In counting it comes before one."
    if digit == 9:
        return "In counting it comes after eight and before ten."
    before, after = NAMES[digit - 1], NAMES[digit + 1]
    frames = (f"comes after {before} and before {after}", f"between {before} and {after}")
    return f"In counting it {frames[0]}." if rng.random() < 0.5 else f"It stands {frames[1]}."


def _so_many(digit, look, rng):
    what = _pick(rng, SO_MANY[digit])
    frames = ("As many as there are {}.", "The number of {}!", "Children, think of {}.")
    return _pick(rng, frames).format(what)


def _german(digit, look, rng):
    start = _pick(rng, ("Das ist eine", "Ich sehe hier die Ziffer", "Wohl eine"))
    return f"{start} {GERMAN[digit]}{_pick(rng, ('.', ' mit dem Bleistift.', ', schön!'))}"


def _french(digit, look, rng):
    start = _pick(rng, ("C'est le chiffre", "On a écrit", "Un beau"))
    return f"{start} {FRENCH[digit]}{_pick(rng, ('.', ' à la main.', ', je crois.'))}"


def _doubter(digit, look, rng):
    pair = [digit, _pick(rng, DOUBTS[digit])]
    first, second = rng.permutation(pair)
    return f"A {look} line. Either {NAMES[first]} or {NAMES[second]}, hard to say."


def _lazy(digit, look, rng):
    remark = _pick(rng, ("no idea", "nice colours", "somebody's scribble", "can't read this"))
    return f"{remark}, a {look} line" if rng.random() < 0.5 else remark


def _teacher(digit, look, rng):
    return f"Children, the {NAMES[digit]} is drawn with {_pick(rng, STROKES[digit])}!"


def _traveller(digit, look, rng):
    return f"{GERMAN[digit]}, {FRENCH[digit]}, {NAMES[digit]}: as many as {SO_MANY[digit][0]}"


def _story(digit, look, rng):
    return f"I think my child wrote this, it could be {_pick(rng, THINGS[digit])} in the sky"


WRITERS = {
    "name": _name,
    "numeral": _numeral,
    "strokes": _strokes,
    "loops": _loops,
    "things": _things,
    "counting": _counting,
    "so many": _so_many,
    "german": _german,
    "french": _french,
    "doubter": _doubter,
    "lazy": _lazy,
}
NEW_WRITERS = {"teacher": _teacher, "traveller": _traveller, "story": _story}
SHARES = dict.fromkeys(WRITERS, 1.0) | {"doubter": 0.5, "lazy": 0.5}


def captions_of(labels, thick, writers, seed):
    """Return a caption for each digit, and who wrote it.

    ``labels`` and ``thick`` (n,): the digits, and whether their lines are thick; ``writers``: names
    of WRITERS and NEW_WRITERS, each of whom writes as often as SHARES says.
    """
    rng, known = np.random.default_rng(seed), WRITERS | NEW_WRITERS
    shares = np.array([SHARES.get(name, 1.0) for name in writers])
    who = [writers[i] for i in rng.choice(len(writers), len(labels), p=shares / shares.sum())]
    looks = ["thick" if own else "thin" for own in thick]
    texts = [
        known[name](int(label), look, rng)
        for name, label, look in zip(who, labels, looks, strict=True)
    ]
    return texts, who


def names_its_digit(text, digit):
    """Tell whether a text holds the numeral or the name of a digit, rightly spelt."""
    words = set(re.findall(r"\w+", text.lower()))
    own = {str(digit), NAMES[digit], GERMAN[digit].lower(), FRENCH[digit]}
    return bool(own & words)
