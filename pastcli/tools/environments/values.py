"""Made-up values that look real: what a field holds is told by its name, and which value by a hash.

Every function is pure. `field` is a name in words (`words_of`), `draw` a large number, the hash of seed and place.
"""

from __future__ import annotations

import re
import uuid
from datetime import date, timedelta
from functools import lru_cache
from hashlib import sha256

from ..names import standardize

_WORDS = {
    "city": ["Lisbon", "Oslo", "Kraków", "Valparaíso", "Kyoto", "Ghent", "Durban", "Quito"],
    "country": ["Portugal", "Norway", "Poland", "Chile", "Japan", "Belgium", "South Africa", "Ecuador"],
    "code": ["PRT", "NOR", "POL", "CHL", "JPN", "BEL", "ZAF", "ECU"],
    "currency": ["EUR", "NOK", "PLN", "CLP", "JPY", "USD", "ZAR", "GBP"],
    "language": ["en", "pt", "no", "pl", "es", "ja", "nl", "fr"],
    "person": ["Inês Duarte", "Erik Solberg", "Maja Nowak", "Tomás Rojas", "Aiko Mori", "Lotte Maes", "Ana Vega"],
    "company": ["Harbour & Lane", "Northfield Works", "Bluepeak", "Sorrel Studio", "Ostara Group", "Kestrel Line"],
    "status": ["active", "pending", "completed", "delayed", "confirmed", "available"],
    "category": ["standard", "premium", "classic", "outdoor", "family", "express"],
    "colour": ["red", "navy", "olive", "amber", "teal", "ivory"],
    "weather": ["light rain", "clear sky", "scattered clouds", "strong breeze", "fog in the morning", "snow showers"],
    "profession": ["actor", "director", "writer", "engineer", "teacher", "musician", "editor", "producer"],
    "adjective": ["Silver", "Quiet", "Northern", "Golden", "Hidden", "Second", "Open", "Winter"],
    "noun": ["Harbour", "Garden", "Signal", "Crossing", "Lantern", "Meadow", "Archive", "Horizon"],
}
_HINTS = (
    (r"city|town|place|location|localisation|address|stadium|venue", "city"),
    (r"country|nation|pays", "country"),
    (r"currency", "currency"),
    (r"lang|locale", "language"),
    (r"iso|(?<!bar)code|symbol|abbr|ticker", "code"),
    (r"author|artist|actor|director|player|user|person|coach|(first|last|full|birth)_?name|by$", "person"),
    (r"profession|occupation|(^|_)job", "profession"),
    (r"company|brand|publisher|team|club|operator|carrier|vendor", "company"),
    (r"status|state|availability", "status"),
    (r"type|category|kind|class|genre|tag|level|mode", "category"),
    (r"colou?r", "colour"),
    (r"weather|condition|forecast|sky", "weather"),
)
"""Which words a text field is filled with, by the first pattern its name matches."""

_NUMBERS = (
    (r"(^|_)lat", -60, 60, 4),
    (r"(^|_)lon|lng", -170, 170, 4),
    (r"(birth|born|death).*year|year.*(birth|born|death)", 1930, 2004, 0),
    (r"year|(^|_)(released|founded|established|since)$", 1985, 2026, 0),
    (r"percent|probab|humid|proportion", 1, 99, 1),
    (r"temp|celsius", -4, 31, 1),
    (r"rating|score|stars", 1, 5, 1),
    (r"price|fare|amount|cost|fee|rate$|salary", 4, 480, 2),
    (r"timestamp|epoch", 1672531200, 1798761599, 0),
    (r"month", 1, 12, 0),
    (r"day", 1, 28, 0),
    (r"age$", 18, 80, 0),
    (r"status(_?code)?$", 200, 200, 0),
    (r"wind|speed|km_?h", 3, 64, 0),
    (r"metre|meter|height|depth", 0, 6, 2),
    (r"minute|delay|duration", 2, 95, 0),
    (r"(^|_)id$|number$|identifier", 1000, 99999, 0),
    (r"count|total|nb|num|size|seats|left|page|limit", 1, 40, 0),
    (r"views|followers|fans|population|likes", 900, 90000, 0),
)
"""(pattern of the name, lowest, highest, decimals) of a number field."""


_IMAGES = re.compile(r"image|img|photo|poster|icon|logo|thumb|avatar|picture")
_ID = re.compile(r"reference|number|slug|(^|_)key$")
_ENGLISH = re.compile(r"(ac|b|br|cand|cov|dro|flu|gr|hum|hybr|inval|k|liqu|pa|pyram|rap|sa|sol|splend|squ|val|vo)id$")
"""Words that end in `id` and name nothing."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_EPOCH = date(2023, 1, 1)
_BORN = date(1950, 1, 1)
_DAYS = 4 * 365
"""Days lie in the four years from here: every one of them exists."""


@lru_cache(maxsize=16_384)
def words_of(name: str) -> str:
    """A name in lower-case words, camel case split.

    >>> words_of("imdbIDList"), words_of("created-at")
    ('imdb_id_list', 'created_at')
    """
    return standardize(_CAMEL.sub("_", name))


def draw_of(seed: str, place: str) -> int:
    """A number of 64 bits for one place of one answer: fields do not depend on one another."""
    return int.from_bytes(sha256(f"{seed}\0{place}".encode("utf-8", "replace")).digest()[:8])


def check_digits(text: str) -> int:
    """Two digits that end an identifier made here, so that it is known again without having been kept."""
    return 10 + int.from_bytes(sha256(f"past id {text}".encode("utf-8", "replace")).digest()[:4]) % 90


def was_made_here(identifier: str) -> bool:
    """True for an identifier this module makes; about one in ninety others passes too."""
    text = re.fullmatch(r"([A-Z]\d{4})-(\d{2})", identifier)
    if text:
        return check_digits(text[1]) == int(text[2])
    if re.fullmatch(r"[1-9]\d{3,5}", identifier):
        return check_digits(identifier[:-2]) == int(identifier[-2:])
    if re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", identifier):
        return f"{check_digits(identifier[:-2])}" == identifier[-2:]
    return False


@lru_cache(maxsize=16_384)
def is_identifier(field: str) -> bool:
    """True for `id`, `order_id`, `uuid`, and for `imdbid`, whose words nobody set apart."""
    last = field.rpartition("_")[2]
    return last in ("id", "uuid", "guid") or (last.endswith("id") and len(last) > 4 and not _ENGLISH.search(last))


def integer(field: str, draw: int, low: float | None = None, high: float | None = None) -> int:
    """A whole number as the field's name suggests, within the bounds given (inclusive)."""
    if is_identifier(field):
        stem = 10 + draw % 9990
        number = stem * 100 + check_digits(str(stem))
        if (low is None or number >= low) and (high is None or number <= high):
            return number
    first, last, _ = _range(field)
    first, last = _within(first, last, low, high)
    first = int(-(-first // 1))
    return first + draw % max(int(last) - first + 1, 1)


def number(field: str, draw: int, low: float | None = None, high: float | None = None) -> float:
    """A number with a fraction, within the bounds given."""
    first, last, digits = _range(field)
    first, last = _within(first, last, low, high)
    value = round(first + (draw % 10**6) / 10**6 * (last - first), digits or 1)
    return min(max(value, first), last)


@lru_cache(maxsize=16_384)
def _range(field: str) -> tuple[float, float, int]:
    return next(((a, b, d) for hint, a, b, d in _NUMBERS if re.search(hint, field)), (1, 900, 2))


def _within(first: float, last: float, low: float | None, high: float | None) -> tuple[float, float]:
    """The range a name suggests, moved into the bounds a schema sets."""
    if low is not None and high is not None and not (low <= first and last <= high):
        return (low, high) if last < low or first > high else (max(first, low), min(last, high))
    if low is not None and first < low:
        first, last = low, max(last, low + (last - first))
    if high is not None and last > high:
        first, last = min(first, high - (last - first)), high
    return first, last


def day(draw: int, first: date = _EPOCH) -> date:
    """A day in the four years from `first`, or in the fifty years from the first birthday."""
    return first + timedelta(days=draw // 4 % (_DAYS if first == _EPOCH else 50 * 365))


def text(field: str, draw: int, format: str = "") -> str:
    """A text as the field's name, or JSON Schema's `format`, suggests."""
    name = f"{_WORDS['adjective'][draw % 8]} {_WORDS['noun'][draw // 8 % 8]}"
    slug = name.lower().replace(" ", "-")
    clock = f"{draw // 5 % 24:02d}:{draw // 120 % 12 * 5:02d}"
    made = _formatted(format, draw, slug, clock) if format else ""
    return made or _by_name(field, draw, name, slug, clock)


def _formatted(format: str, draw: int, slug: str, clock: str) -> str:
    if format == "uuid":
        made = str(uuid.UUID(int=(draw << 64 | draw * 0x9E3779B97F4A7C15 % 2**64) % 2**128, version=4))
        return f"{made[:-2]}{check_digits(made[:-2])}"
    known = {
        "date": f"{day(draw)}",
        "date-time": f"{day(draw)}T{clock}:00Z",
        "time": f"{clock}:00Z",
        "email": f"{slug}@example.com",
        "uri": f"https://example.com/{slug}",
        "url": f"https://example.com/{slug}",
        "hostname": f"{slug}.example.com",
        "ipv4": f"192.0.2.{draw % 254 + 1}",
        "ipv6": f"2001:db8::{draw % 65535 + 1:x}",
        "duration": f"PT{draw % 59 + 1}M",
    }
    return known.get(format, "")


def _by_name(field: str, draw: int, name: str, slug: str, clock: str) -> str:
    def pick(words: str) -> str:
        return _WORDS[words][draw // 97 % len(_WORDS[words])]

    if _IMAGES.search(field):
        return f"https://example.com/{slug}.jpg"
    if re.search(r"url|link|uri|href|website", field):
        return f"https://example.com/{slug}"
    if re.search(r"e_?mail", field):
        return f"{slug}@example.com"
    if re.search(r"phone|mobile|fax", field):
        return f"+1-555-{draw % 900 + 100}-{draw // 900 % 9000 + 1000}"
    if re.search(r"date_?time|timestamp|(^|_)(created|updated|published|modified)_at$", field):
        return f"{day(draw)}T{clock}:00Z"
    if "year" in field:
        return str(integer(field, draw))
    if re.search(r"(^|_)(birth_?(day|date)|date_of_birth|dob|born)$", field):
        return f"{day(draw, _BORN)}"
    if re.search(r"date|updated|created|published|released|(^|_)day$|birthday", field):
        return f"{day(draw)}"
    if re.search(r"time|hour|depart|arriv|_at$|opens|closes|water", field):
        return clock
    if is_identifier(field) or _ID.search(field):
        stem = f"{field[:1].upper() if field[:1].isascii() and field[:1].isalpha() else 'N'}{draw % 9000 + 1000}"
        return f"{stem}-{check_digits(stem)}"
    if re.search(r"price|fare|amount|cost|rate$|count|total|score", field):
        return str(number(field, draw))
    if re.search(
        r"description|summary|text|message|(^|_)bio|overview|synopsis|plot|content|body|comment|note|info", field
    ):
        return f"{name}: {pick('category')}, {pick('status')} since {day(draw)}."
    if "version" in field:
        return f"{1 + draw % 4}.{draw // 4 % 12}.{draw // 48 % 20}"
    words = next((words for hint, words in _HINTS if re.search(hint, field)), None)
    return pick(words) if words else name
