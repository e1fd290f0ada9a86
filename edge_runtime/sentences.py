"""A stream of text, cut into sentences that can be spoken: no markup, nothing half finished."""

from __future__ import annotations

import html
import re
import unicodedata

LONGEST = 300
"""Characters: a longer sentence is cut at a comma or between words."""
BLOCK = 1000
"""Characters of a long text that are looked at at a time."""
LONG_WORD = 30
"""Characters: no abbreviation has so many."""

_CLOSING = (
    "\"'\N{RIGHT DOUBLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{LEFT DOUBLE QUOTATION MARK}»)\\]*_`~"
)
_WIDE_ENDS = (
    "\N{IDEOGRAPHIC FULL STOP}\N{FULLWIDTH EXCLAMATION MARK}\N{FULLWIDTH QUESTION MARK}"
    "\N{DEVANAGARI DANDA}\N{ARABIC QUESTION MARK}"
)
"""No space follows, or none that is needed to know."""
_MARKS = f".!?…:;{_WIDE_ENDS}"
_END = re.compile(
    rf"\n(?:\s*\n)?|(?<![.!?…])(?P<stop>[.!?…]+)[{_CLOSING}]*(?=\s+\S)|[{_WIDE_ENDS}]+[」』]*"
)
"""A full stop counts when the next sentence has begun: `3.` may go on as `3.5`. A search begins
only at the first of a row: at each of a thousand it would run through all the others."""
_LAST_WORD = re.compile(r"[^\s(\[\"'*_`]+$")
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st sr jr vs approx fig vol gen col lt sgt capt rev hon dept est min max "
    "ca bzw nr str tel hr fr evtl ggf inkl mme mlle".split()
)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]|(?!I)[A-ZÄÖÜ]")
"""`e.g`, `U.S`, `J`: letters each with its own full stop. `I` ends sentences."""
_MAY_END = frozenset({"a.m", "p.m"})
_ORDINAL_ITEM = re.compile(r"\s*(?P<number>\d{1,3})[.)]\s+(?=\S)")
_SECOND_ITEM = re.compile(r"\n[ \t]*2[.)]\s")
_ITEM = re.compile(r"^\s*(?:#{1,6}\s+|>\s?|[-*+•]\s+(?=\S))+")
_SIGN = re.compile(r"\s*(?P<sign>[-+](?=\s)|>)\s*(?=\d)")
"""Where a text has one line: `- 5 °C` is no item of a list, `> 5 kW` nobody else's words."""
_RULE = re.compile(r"\s*(?:[-*_=]\s*){3,}|\s*(?:```|~~~)[\w+-]*|[\s|:-]*\|[\s|:-]*")
_MARKUP = (
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\]\([^)\s]*\)"), ""),
    (re.compile(r"https?://(?:www\.)?([^\s/)>]+)[^\s)>]*?(?=[.,;:!?]*(?:[\s)>]|$))"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>]*>"), ""),
    (re.compile(r"[*_]{2,}|~~|`+"), ""),
    (re.compile(r"(?<![\w*])[*_](?=\S)|(?<=\S)[*_](?![\w*])"), ""),
    (re.compile(r"^\s*\|\s*|\s*\|\s*$"), ""),
    (re.compile(r"\s*\|\s*"), ", "),
    (re.compile(r"^\[(?=[^\]]*$)|\\(?=[^\w\s])"), ""),
)
_KEPT = "^°©®№℃℉\N{ZERO WIDTH NON-JOINER}"


class Sentences:
    """Takes text in pieces of any size; gives back each sentence as soon as it is complete.

    With `closed`, what is left at the end is a sentence, too, and gets the full stop it lacks.
    """

    def __init__(self, closed: bool = True) -> None:
        self._closed = closed
        self._rest = ""
        self._fresh_line = True
        self._next_item = 1
        self._ended = self._begun = False

    def feed(self, text: str) -> list[str]:
        """The sentences that are complete now."""
        self._rest += text
        found = []
        while (end := self._end()) is not None:
            if spoken := self._take(end):
                found.append(spoken)
        return found

    def flush(self) -> str:
        """What is left, perhaps several sentences; empty if nothing."""
        self._ended = True
        rest = [*self.feed(""), self._take(len(self._rest))]
        return " ".join(filter(None, rest))

    def _take(self, end: int) -> str:
        in_list, sign = self._in_list, self._sign()
        piece, self._rest = self._rest[:end], self._rest[end:].lstrip(" \t")
        if self._fresh_line and in_list and (item := self._item(piece)):
            self._next_item += 1
            piece = piece[item.end() :]
        self._fresh_line = piece.endswith("\n") or (self._fresh_line and not piece.strip())
        self._begun = self._begun or bool(piece.strip())
        spoken = speakable(piece[sign.end() :]) if sign else speakable(piece)
        if sign and spoken:
            spoken = f"{sign['sign']}{spoken}"
        complete = piece.endswith("\n") or (self._closed and not self._rest)
        return f"{spoken}." if complete and spoken[-1:].isalnum() else spoken

    def _sign(self) -> re.Match[str] | None:
        """That of the number with which a text of one line begins, as far as it is known."""
        one_line = not self._begun and "\n" not in self._rest.strip()
        return _SIGN.match(self._rest) if one_line else None

    def _item(self, text: str) -> re.Match[str] | None:
        """The number before a list's item. Only in a row from one: `42. Why?` is an answer."""
        item = _ORDINAL_ITEM.match(text)
        return item if item and int(item["number"]) == self._next_item else None

    @property
    def _in_list(self) -> bool:
        """Whether the next number in its row is an item's: `1. Mai` is a day where no `2.` follows
        on a line of its own."""
        return self._next_item > 1 or bool(_SECOND_ITEM.search(self._rest[:LONGEST]))

    def _end(self) -> int | None:
        item = self._item(self._rest) if self._fresh_line else None
        undecided = len(self._rest) <= LONGEST and not self._ended
        if undecided and ((item and not self._in_list) or self._sign()):
            return None
        start = item.end() if item else 0
        for match in _END.finditer(self._rest, start):
            if match.start() > LONGEST:
                break
            if (match["stop"] or "!")[-1] not in ".…" or self._is_end(match):
                return match.end()
        return _cut(self._rest) if len(self._rest) > LONGEST else None

    def _is_end(self, match: re.Match[str]) -> bool:
        """Whether this full stop ends a sentence, not only an abbreviation."""
        following = self._rest[match.end() :].lstrip()[:1]
        stop = match.start()
        before = _LAST_WORD.search(self._rest, max(0, stop - LONG_WORD), stop)
        word = before.group() if before else ""
        if following.islower() or word.lower() in _ABBREVIATIONS:
            return False
        if word.lower() == "no" and following.isdigit():
            return False
        return word in _MAY_END or not _INITIALS.fullmatch(word)


class Pieces:
    """The sentences of a text that comes in pieces, of any size: what is cut in the middle of a
    sentence, or of a word, waits for the rest. A piece that ends a sentence waits for nothing."""

    def __init__(self) -> None:
        self._sentences = Sentences(closed=False)

    def sentences(self, text: str, ends: bool) -> list[str]:
        """Those that are whole with this piece; `ends`: it is the last."""
        blocks = (text[start : start + BLOCK] for start in range(0, len(text), BLOCK))
        found = [sentence for block in blocks for sentence in self._sentences.feed(block)]
        if ends or _ends_a_sentence(text):
            rest, self._sentences = self._sentences.flush(), Sentences(closed=False)
            found += [rest] if rest else []
        return found


def _ends_a_sentence(text: str) -> bool:
    """With its line, or with a mark that is none of `3.5` or `Dr. Li`."""
    if text.rstrip(" \t").endswith("\n"):
        return True
    text = text.rstrip().rstrip(_CLOSING)
    word = _LAST_WORD.search(text[-LONG_WORD:-1])
    if text[-1:] not in tuple(_MARKS) or word is None:
        return False
    return not word[0][-1].isdigit() and word[0].lower() not in _ABBREVIATIONS


def spoken(text: str) -> list[str]:
    """The sentences of a whole text; none if there is nothing to say."""
    return Pieces().sentences(text, ends=True)


def speakable(text: str) -> str:
    """One piece of text without markup, in one line; empty if there is nothing to say."""
    if _RULE.fullmatch(text.strip()):
        return ""
    text = _ITEM.sub("", text)
    for pattern, instead in _MARKUP:
        text = pattern.sub(instead, text)
    text = " ".join("".join(filter(_has_sound, html.unescape(text))).split())
    text = re.sub(r" (?=[.,;!?](?:\s|$))", "", text)
    return text if any(map(str.isalnum, text)) else ""


def _has_sound(character: str) -> bool:
    """Not so for emoji, what joins and colours them, and control characters."""
    if character in _KEPT or character.isspace():
        return True
    if character == "\N{VARIATION SELECTOR-16}":
        return False
    return unicodedata.category(character) not in ("So", "Sk", "Cc", "Cf", "Co", "Cs")


def _cut(text: str) -> int:
    """Where to break a sentence that does not end."""
    for mark in (r"[;:,]\s", r"\s"):
        places = [match.end() for match in re.finditer(mark, text[:LONGEST])]
        if places and places[-1] > LONGEST // 3:
            return places[-1]
    return LONGEST
