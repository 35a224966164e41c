"""Names that stand for the same thing: countries, languages and currencies, by name or by code (CLDR, through babel), units and
plain colours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from .text import plain
from .units import same_units

_BESIDE = {
    "usa": "US",
    "u.s.": "US",
    "u.s.a.": "US",
    "uk": "GB",
    "u.k.": "GB",
    "britain": "GB",
    "england": "GB",
    "america": "US",
    "holland": "NL",
    "czech republic": "CZ",
    "turkey": "TR",
    "uae": "AE",
    "ivory coast": "CI",
    "burma": "MM",
    "macedonia": "MK",
    "swaziland": "SZ",
    "cape verde": "CV",
    "east timor": "TL",
}
_DEMONYMS = """american US british GB english GB scottish GB french FR german DE austrian AT swiss CH italian IT spanish ES portuguese PT dutch NL belgian BE danish DK
swedish SE norwegian NO finnish FI icelandic IS irish IE polish PL czech CZ slovak SK hungarian HU romanian RO bulgarian BG greek GR turkish TR russian RU ukrainian UA
croatian HR serbian RS slovenian SI estonian EE latvian LV lithuanian LT canadian CA mexican MX brazilian BR argentinian AR argentine AR chilean CL colombian CO peruvian PE
australian AU chinese CN japanese JP korean KR indian IN pakistani PK indonesian ID thai TH vietnamese VN filipino PH malaysian MY israeli IL egyptian EG moroccan MA kenyan KE
nigerian NG"""
_STATES = """alabama AL alaska AK arizona AZ arkansas AR california CA colorado CO connecticut CT delaware DE florida FL georgia GA hawaii HI idaho ID illinois IL
indiana IN iowa IA kansas KS kentucky KY louisiana LA maine ME maryland MD massachusetts MA michigan MI minnesota MN mississippi MS missouri MO montana MT
nebraska NE nevada NV new_hampshire NH new_jersey NJ new_mexico NM new_york NY north_carolina NC north_dakota ND ohio OH oklahoma OK oregon OR pennsylvania PA
rhode_island RI south_carolina SC south_dakota SD tennessee TN texas TX utah UT vermont VT virginia VA washington WA west_virginia WV wisconsin WI wyoming WY
ontario ON quebec QC british_columbia BC alberta AB manitoba MB saskatchewan SK nova_scotia NS new_brunswick NB
hamburg HH bremen HB bavaria BY bayern BY saxony SN hesse HE thuringia TH new_south_wales NSW victoria VIC queensland QLD tasmania TAS"""
"""States and provinces by the codes that addresses give them."""
_MONEY = {
    "dollar": "USD",
    "dollars": "USD",
    "euro": "EUR",
    "euros": "EUR",
    "yen": "JPY",
    "pounds": "GBP",
    "pound": "GBP",
    "rupees": "INR",
    "rupee": "INR",
    "francs": "CHF",
    "$": "USD",
    "€": "EUR",
    "£": "GBP",
    "¥": "JPY",
}
_COINS = "krona kronor krone kroner crown crowns franc francs dollar dollars pound pounds peso pesos rupee rupees lira yen yuan won real reais zloty koruna forint"
_SAME = (
    "film films movie movies",
    "tv television series show shows",
    "image images picture pictures photo photos",
    "car cars automobile",
    "soccer football",
)
"""Kinds of things by several names, as enumerations spell them."""
_COLOURS = {
    "black": "000000",
    "white": "ffffff",
    "red": "ff0000",
    "green": "008000 00ff00",
    "blue": "0000ff",
    "yellow": "ffff00",
    "orange": "ffa500",
    "purple": "800080",
    "pink": "ffc0cb",
    "grey": "808080",
    "gray": "808080",
    "brown": "a52a2a",
    "cyan": "00ffff",
    "magenta": "ff00ff",
    "navy": "000080",
    "teal": "008080",
    "lime": "00ff00",
    "olive": "808000",
    "maroon": "800000",
    "silver": "c0c0c0",
    "gold": "ffd700",
    "turquoise": "40e0d0",
    "violet": "ee82ee",
    "indigo": "4b0082",
    "beige": "f5f5dc",
}
"""Colours of CSS by name, and what else the name is taken for."""


@cache
def _tables() -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    """(names, codes): plain text -> what it can stand for, each as `kind:CODE`."""
    from babel import Locale
    from babel.numbers import get_territory_currencies

    locale = Locale("en")
    by_name: dict[str, set[str]] = {}
    by_code: dict[str, set[str]] = {}
    for kind, table in (
        ("country", locale.territories),
        ("language", locale.languages),
        ("currency", locale.currencies),
    ):
        for code, name in table.items():
            if code.isalpha() and len(code) <= 3:
                meaning = f"{kind}:{code.upper()}"
                by_code.setdefault(code.casefold(), set()).add(meaning)
                by_name.setdefault(plain(name), set()).add(meaning)
                if kind == "currency":
                    by_name.setdefault(plain(name) + "s", set()).add(meaning)
    for kind, beside in (("country", _BESIDE), ("currency", _MONEY)):
        for name, code in beside.items():
            by_name.setdefault(name, set()).add(f"{kind}:{code}")
    for group in _SAME:
        for name in group.split():
            by_name.setdefault(name, set()).add(f"kind:{group.split()[0]}")
    told = _DEMONYMS.split()
    for name, code in zip(told[::2], told[1::2], strict=True):
        by_name.setdefault(name, set()).add(f"country:{code}")
        money = {f"currency:{one}" for one in get_territory_currencies(code)}
        for coin in _COINS.split():
            by_name.setdefault(f"{name} {coin}", set()).update(money)
    told = _STATES.split()
    for name, code in zip(told[::2], told[1::2], strict=True):
        by_name.setdefault(name.replace("_", " "), set()).add(f"state:{code}")
        by_code.setdefault(code.casefold(), set()).add(f"state:{code}")
    for name, codes in _COLOURS.items():
        for code in codes.split():
            by_name.setdefault(name, set()).add(f"colour:{code}")
            by_code.setdefault(code, set()).add(f"colour:{code}")
            by_code.setdefault(f"#{code}", set()).add(f"colour:{code}")
    for name, meaning in same_units():
        by_code.setdefault(name, set()).add(meaning)
        if len(name) > 1:
            by_name.setdefault(name, set()).add(meaning)
    return {k: frozenset(v) for k, v in by_name.items()}, {k: frozenset(v) for k, v in by_code.items()}


def meanings(name: str) -> frozenset[str]:
    """What a name or code can stand for: 'DE' and 'Germany' share `country:DE`; empty if nothing known."""
    by_name, by_code = _tables()
    key = plain(name).strip()
    return by_name.get(key, frozenset()) | by_code.get(key, frozenset())


@cache
def spellings(code: str) -> tuple[str, ...]:
    """What a code is called in words, plain: PT is Portuguese and Portugal, JPY is yen and Japanese yen."""
    by_name, by_code = _tables()
    means = by_code.get(plain(code).strip(), frozenset()) if len(code) <= 3 else frozenset()
    return (
        tuple(name for name, own in by_name.items() if own & means and (len(name) > 2 or not name.isalnum()))[:12]
        if means
        else ()
    )


def mentioned(words: Sequence[str]) -> frozenset[str]:
    """Everything that the words of a text name, taken one to four at a time, as written: codes count only in capitals."""
    by_name, by_code = _tables()
    found: set[str] = set()
    for length in (1, 2, 3, 4):
        for start in range(len(words) - length + 1):
            found |= by_name.get(plain(" ".join(words[start : start + length])), frozenset())
    for word in words:
        if word.isupper():
            found |= by_code.get(word.casefold(), frozenset())
    return frozenset(found)
