"""Texts as matplotlib can draw them, in any script that the fonts of the system have."""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import matplotlib
from matplotlib import font_manager
from matplotlib.textpath import text_to_path

__all__ = ["drawable", "shortened", "text_width"]

ELLIPSIS = "…"
OWN_FONT = "DejaVu Sans"  # comes with matplotlib
NO_LETTERS = "Last Resort"  # a font that has a box for every letter


def drawable(texts: Sequence[str]) -> list[str]:
    """Texts as matplotlib can draw them in the figure that is open.

    Dollar signs begin no formula. The fonts of the system are searched for the letters. A text
    with letters that no font has becomes its number in the order given, and its code points.
    """
    missing = [{ord(letter) for letter in text} - _letters() for text in texts]
    wanted = set[int]().union(*missing)
    for name in _fonts_with(frozenset(wanted)) if wanted else ():
        if name not in matplotlib.rcParams["font.family"]:
            matplotlib.rcParams["font.family"] = [*matplotlib.rcParams["font.family"], name]
    drawn = []
    for number, (text, absent) in enumerate(zip(texts, missing, strict=True), 1):
        if absent - _letters():
            points = [f"U+{ord(letter):04X}" for letter in text]
            text = f"{number}: {' '.join(points[:3])}{f' {ELLIPSIS}' if len(points) > 3 else ''}"
        drawn.append(text.replace("$", r"\$"))
    return drawn


def text_width(text: str) -> float:
    """About how wide a text is drawn, in multiples of the font size."""
    return sum(map(_letter_width, text))


def shortened(text: str, widest: float) -> str:
    """A text with an ellipsis for its middle if its :func:`text_width` is above ``widest``.

    Beginning and end stay, because long texts often differ in either only.
    """
    if text_width(text) <= widest:
        return text
    room = (widest - text_width(ELLIPSIS)) / 2
    start, end = _beginning(text, room), _beginning(text[::-1], room)[::-1]
    return f"{start.rstrip()}{ELLIPSIS}{end.lstrip()}"


def _beginning(text: str, widest: float) -> str:
    widths = accumulate(map(_letter_width, text))
    return text[: sum(width <= widest for width in widths)]


@lru_cache(maxsize=4096)
def _letter_width(letter: str) -> float:
    """Width in the font that comes with matplotlib, or a guess for letters that it lacks."""
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):  # drawn onto another, or not at all
        return 0.0
    font = font_manager.FontProperties(family=[OWN_FONT], size=10)
    if ord(letter) in _letters_of(font_manager.findfont(font)):
        return text_to_path.get_text_width_height_descent(letter, font, ismath=False)[0] / 10
    return 1.0 if unicodedata.east_asian_width(letter) in ("W", "F") else 0.7


def _letters() -> set[int]:
    """Code points of the letters that the fonts in use have."""
    found = set[int]()
    for family in matplotlib.rcParams["font.family"]:
        wanted = font_manager.FontProperties(family=[family])
        found |= _letters_of(font_manager.findfont(wanted))
    return found


@lru_cache(maxsize=512)
def _letters_of(file: str) -> frozenset[int]:
    try:
        return frozenset(font_manager.get_font(file).get_charmap())
    except (OSError, RuntimeError):  # a font that FreeType does not read
        return frozenset()


@lru_cache(maxsize=64)
def _fonts_with(letters: frozenset[int]) -> tuple[str, ...]:
    """Names of installed fonts that together have as many of some letters as possible."""
    names: list[str] = []
    left = set(letters)
    fonts = (font for font in font_manager.fontManager.ttflist if NO_LETTERS not in font.name)
    for font in sorted(fonts, key=lambda font: font.fname):
        if found := left & _letters_of(font.fname):
            left -= found
            names.append(font.name)
    return tuple(names)
