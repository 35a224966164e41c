"""Words as judges compare them: case, accents, plural and verb endings taken off; sentences and clauses."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])(?![A-Z]s\b)")
STOPWORDS = frozenset(
    """a an the of to in on at by for from with and or but is are was were be been being it its this that these those there
    here i you he she we they me my your our their his her them as so if then than too very can could will would shall
    should may might must do does did done have has had not no yes what which who whom whose when where why how please
    about into over under between up down out off again also any all some each every both few more most other such only own same
    just now get give show tell find want need like know let""".split()
)


_IRREGULAR = {
    "won": "win",
    "wins": "win",
    "winning": "win",
    "sold": "sell",
    "sent": "send",
    "built": "build",
    "bought": "buy",
    "written": "write",
    "wrote": "write",
    "driven": "drive",
    "children": "child",
    "people": "person",
    "women": "woman",
    "men": "man",
}


@lru_cache(maxsize=65536)
def plain(text: str) -> str:
    """Lower case without accents; typographic quotes and dashes as the plain ones."""
    text = text.translate({0x2019: "'", 0x2018: "'", 0x2212: "-", 0x2013: "-", 0x2014: "-", 0xA0: " ", 0x202F: " "})
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()


@lru_cache(maxsize=65536)
def words(text: str) -> tuple[str, ...]:
    """The words of a text, plain; `departureTime` and `departure_time` are two, `Oslo's` is Oslo."""
    found = _WORD.findall(plain(_CAMEL.sub(" ", text).replace("_", " ")))
    return tuple(word.removesuffix("'s") for word in found)


def phrase(text: str) -> str:
    """The words of a text in a row, to be found in another's as whole words: `phrase(a) in phrase(b)`."""
    return f" {' '.join(words(text))} "


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """A word without its English ending: delayed, delays and delay are one. Numbers stay."""
    word = _IRREGULAR.get(word, word)
    if len(word) <= 3 or not word.isalpha():
        return word
    for ending, put in (("ies", "y"), ("ing", ""), ("edly", ""), ("ed", ""), ("ly", ""), ("es", ""), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + put
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def stems(text: str) -> list[str]:
    return [stem(word) for word in words(text)]


def content(text: str) -> list[str]:
    """The stems that carry meaning; all of them if none would be left."""
    found = [stem(word) for word in words(text) if word not in STOPWORDS]
    return found or stems(text)


def sentences(text: str) -> list[str]:
    """The sentences of a text; a full stop inside a number or an abbreviation of one letter ends none."""
    parts = re.split(
        r"(?<=[.!?])(?<!\b[^\W\d]\.)(?<!^\d\.)(?<!\b(?:Dr|Mr|Ms|St|vs)\.)(?<!\bMrs\.)(?<!\bProf\.)\s+|\n+",
        text,
        flags=re.MULTILINE,
    )
    return [part.strip() for part in parts if part.strip()]


def clauses(text: str) -> list[str]:
    """The clauses of a text: what a negation reaches, and what a number stands beside."""
    pieces: list[str] = []
    for sentence in sentences(text):
        pieces += re.split(
            r";\s|:\s(?!(?:true|false|yes|no|\d)\b)|\s[-–—]\s|,?\s(?:but|although|though|while|whereas|however)\s|,\s(?=and\s)",
            sentence,
        )
    return [piece.strip() for piece in pieces if piece and piece.strip()]
