"""A font with the measures of mathematics, without which browsers let limits and braces collide.

STIX Two Math (SIL Open Font License), from the package ziamath; the characters of formulas alone.
"""

from importlib.resources import files
from io import BytesIO

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

NAME = "fonts/math.woff"
FONT = files("ziamath.fonts") / "STIXTwoMath-Regular.ttf"
# ASCII, accents, Greek, punctuation, letter-like signs to operators, brackets, alphabets.
_RANGES = (
    *((0x20, 0xFF), (0x2B0, 0x36F), (0x370, 0x3FF), (0x2000, 0x206F)),
    *((0x2100, 0x23FF), (0x27C0, 0x27FF), (0x1D400, 0x1D7FF)),
)


def on_files(site: Files, config: MkDocsConfig) -> Files:
    """Add the font to the site, for ``style.css``."""
    site.append(File.generated(config, NAME, content=math_font()))
    return site


def math_font() -> bytes:
    """Return the font as WOFF, with its larger forms of brackets and sums."""
    font = TTFont(BytesIO(FONT.read_bytes()), recalcTimestamp=False)
    subsetter = Subsetter(Options(flavor="woff", layout_features=["ssty", "flac", "dtls"]))
    subsetter.populate(
        unicodes=[code for first, last in _RANGES for code in range(first, last + 1)]
    )
    subsetter.subset(font)
    font.flavor = "woff"
    out = BytesIO()
    font.save(out)
    return out.getvalue()
