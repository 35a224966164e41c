"""Manual pages as they lie in man1 to man9: the macros of man(7), and enough of mdoc(7), without running roff.

Fonts and layout go, words stay. Conditions and macro definitions are skipped: they choose between printers.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from ..errors import UsageError
from .blocks import CODE, HEADING, TEXT, Block
from .decode import decode
from .markup import Titled

PAGE = re.compile(rb"^[.'][ \t]*(TH|Dd)\b", re.MULTILINE)
"""What every page begins with, after its comments."""

_HEADINGS = ("SH", "SS", "Sh", "Ss")
_BREAKS = ("PP", "LP", "P", "TP", "TQ", "IP", "HP", "Pp", "It", "sp", "br", "RS", "RE", "Bl", "El")
_FONTS = ("B", "I", "R", "SM", "SB")
_ALTERNATING = ("BI", "BR", "IB", "IR", "RB", "RI")
_CODE, _TEXT_AGAIN = ("nf", "EX", "Bd"), ("fi", "EE", "Ed")
_OPTION = "Fl"
_MDOC = frozenset(
    "Ad An Ar Cd Cm Dq Dv Em Er Ev Fa Fl Fn Ft Ic Li Lk Ms Mt Nd Nm Ns Oc Oo Op Ot Pa Pq Ql Qq Sq St Sx Sy Tn Va Vt Xr".split()
)

_SPECIAL = {
    "aq": "'",
    "cq": "’",
    "oq": "‘",
    "dq": '"',
    "lq": "“",
    "rq": "”",
    "bu": "•",
    "em": "—",
    "en": "–",
    "hy": "-",
    "co": "©",
    "rg": "®",
    "tm": "™",
    "ti": "~",
    "ha": "^",
    "ga": "`",
    "rs": "\\",
    "->": "→",
    "<-": "←",
    "mu": "×",
    "+-": "±",
}
_ESCAPE = re.compile(
    r"""\\(?: \((?P<two>..) | \[(?P<long>[^\]]*)\] | \*(?:\(..|\[[^\]]*\]|(?P<string>.)) | [fFmMgkn](?:\(..|\[[^\]]*\]|[+-]?.)
    | s[+-]?(?:\(..|\[[^\]]*\]|\d{1,2}) | [hvwCNXDlLbo](?P<quote>.).*?(?P=quote) | (?P<one>.) )""",
    re.VERBOSE,
)
_ONE = {"-": "-", "e": "\\", "\\": "\\", "~": " ", " ": " ", "0": " ", ".": ".", "'": "'", "`": "`", "t": "\t"}


def read_man(path: Path) -> Titled:
    """(title, blocks) of a page: its title is its name and what NAME says of it."""
    data = path.read_bytes()
    text, _ = decode(data)
    if text is None or not PAGE.search(data):
        raise UsageError("no manual page: it has neither .TH nor .Dd", "other text is read as .txt")
    page = _Page()
    for line in text.replace("\r\n", "\n").replace("\\\n", "").split("\n"):
        page.take(line)
    page.end()
    return page.title, page.blocks


class _Page:
    """Blocks so far, and the paragraph or code being read."""

    def __init__(self) -> None:
        self.title, self.blocks = "", list[Block]()
        self._lines: list[str] = []
        self._code = self._named = False
        self._skipping, self._depth, self._name = "", 0, ""

    def take(self, line: str) -> None:
        if self._skipped(line):
            return
        if not line.startswith((".", "'")) or line.startswith("'\""):
            self._text(_plain(line.split('\\"')[0] if not line.startswith("'\"") else ""))
            return
        name, _, rest = line[1:].strip().partition(" ")
        arguments = _arguments(rest)
        if name in ("TH", "Dt"):
            self.title = " ".join(arguments[:1]).lower()
        elif name in _HEADINGS:
            self._heading(" ".join(arguments))
        elif name in _CODE or name in _TEXT_AGAIN or name in _BREAKS:
            self.end()
            self._code = name in _CODE or (self._code and name not in _TEXT_AGAIN)
            if name in ("IP", "It") and arguments:
                self._text(" ".join(_spoken(arguments) if name == "It" else arguments[:1]))
        elif name in _ALTERNATING:
            self._text("".join(arguments))
        elif name in _FONTS or name in ("UR", "MT"):
            self._text(" ".join(arguments))
        elif name in _MDOC:
            if name == "Nm":
                self._name = " ".join(_spoken(arguments)) or self._name
                arguments = arguments or [self._name]
            self._text(re.sub(r" ([.,;:)])(?= |$)", r"\1", " ".join(_spoken([name, *arguments]))))

    def _skipped(self, line: str) -> bool:
        """Whether a line belongs to a definition or a condition."""
        if self._skipping:
            self._skipping = "" if line.startswith(self._skipping) else self._skipping
            return True
        if self._depth or re.match(r"[.'][ \t]*(if|ie|el)\b", line):
            self._depth += line.count("\\{") - line.count("\\}")
            return True
        if re.match(r"[.'][ \t]*(de1?|am|ig)\b", line):
            self._skipping = ".."
            return True
        return False

    def _text(self, text: str) -> None:
        if not text.strip() and not self._code:
            self.end()
        elif self._code or text.strip():
            self._lines.append(text.rstrip() if self._code else text.strip())

    def _heading(self, text: str) -> None:
        self.end()
        self._code, self._named = False, text.strip().upper() == "NAME"
        self.blocks.append(Block(HEADING, text))

    def end(self) -> None:
        """Close the paragraph."""
        text = "\n".join(self._lines) if self._code else " ".join(self._lines)
        if text.strip():
            self.blocks.append(Block(CODE if self._code else TEXT, text))
            if self._named:
                self.title, self._named = text.strip(), False
        self._lines = []


def _arguments(rest: str) -> list[str]:
    """The words of a request, quoted ones whole, their escapes read."""
    rest = rest.split('\\"')[0]
    lexer = shlex.shlex(rest, posix=False)
    lexer.whitespace_split, lexer.commenters, lexer.quotes = True, "", '"'
    try:
        words = list(lexer)
    except ValueError:  # a quote that is never closed goes to the end of the line
        words = rest.split()
    return [_plain(word[1:-1] if len(word) > 1 and word[0] == word[-1] == '"' else word.strip('"')) for word in words]


def _spoken(words: list[str]) -> list[str]:
    """What mdoc's macros in a line say: names of macros go, options get their dash."""
    said: list[str] = []
    dash = False
    for word in words:
        if word in _MDOC:
            dash = word == _OPTION
            continue
        said.append(f"-{word}" if dash else word)
        dash = False
    return said


def _plain(text: str) -> str:
    def said(match: re.Match[str]) -> str:
        name = match["two"] or match["long"]
        if name:
            point = re.fullmatch(r"u([0-9A-F]{4,6})", name)
            return chr(int(point[1], 16)) if point and int(point[1], 16) < 0x110000 else _SPECIAL.get(name, "")
        return _ONE.get(match["one"] or "", "")

    return _ESCAPE.sub(said, text)
