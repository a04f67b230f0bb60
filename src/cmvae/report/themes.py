"""Colours of the page, light and dark, with the contrast that WCAG 2.2 asks for."""

from cmvae.report.drawing import PALETTE

GRAPHICS = 3.0  # the least contrast of what is drawn, WCAG 1.4.11; that of text is 4.5, 1.4.3
STEP = 0.05

ROLES = ("page", "surface", "ink", "muted", "line", "accent", "on-accent")
LIGHT = ("#ffffff", "#f6f8fa", "#1b1f24", "#57606a", "#d0d7de", "#0b5cad", "#ffffff")
DARK = ("#0f1419", "#181f27", "#e8edf2", "#a3b0bd", "#39434e", "#79b8ff", "#0f1419")


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours ``#rrggbb``, from 1 to 21, as WCAG 2 defines it."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    """Return the relative luminance of a colour of the sRGB space."""
    shares = [value / 255 for value in _channels(colour)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _legible(colour: str, theme: dict[str, str]) -> str:
    """Move a colour towards that of the text until it stands out from page and surface."""
    mixed, share = colour, 0.0
    while min(contrast(mixed, theme["page"]), contrast(mixed, theme["surface"])) < GRAPHICS:
        share += STEP
        pairs = zip(_channels(colour), _channels(theme["ink"]), strict=True)
        mixed = "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in pairs)
    return mixed


def _themed(colours: tuple[str, ...]) -> dict[str, str]:
    theme = dict(zip(ROLES, colours, strict=True))
    return {**theme, **{f"g{i}": _legible(colour, theme) for i, colour in enumerate(PALETTE)}}


THEMES = {"light": _themed(LIGHT), "dark": _themed(DARK)}


def style_sheet() -> str:
    """Return the colours as CSS variables, by the reader's preference; paper is light."""
    rules = {
        name: ":root{" + "".join(f"--{k}:{v};" for k, v in theme.items()) + "}"
        for name, theme in THEMES.items()
    }
    dark = f"@media screen and (prefers-color-scheme: dark){{{rules['dark']}}}"
    return f"{rules['light']}\n{dark}\n"
