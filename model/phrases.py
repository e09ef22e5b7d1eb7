"""Lists of words and phrases, read from phrases.toml, their small grammar, and other words for words."""

import random
import re
import tomllib
from pathlib import Path

_TEXT: dict[str, str] = tomllib.loads(Path(__file__).with_name("phrases.toml").read_text())


def phrases(key: str) -> list[str]:
    """The entries of a list; a | inside brackets belongs to the entry."""
    return re.split(r"\n|\|(?![^(]*\))", _TEXT[key].strip())


def expand(pattern: str, r: random.Random) -> str:
    """`(a|b|) c` becomes one of `a c`, `b c`, `c`; groups do not nest."""
    text = re.sub(r"\(([^()]*\|[^()]*)\)", lambda m: r.choice(m.group(1).split("|")), pattern)
    return re.sub(r"\s+", " ", text).strip().replace(" ,", ",")


def _groups() -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for line in _TEXT["synonyms"].strip().splitlines():
        words = line.split("|")
        for word in words:
            groups.setdefault(word, []).extend(w for w in words if w != word)
    return groups


SYNONYMS = _groups()
_ANY = re.compile(r"\b(" + "|".join(sorted(map(re.escape, SYNONYMS), key=len, reverse=True)) + r")\b")


def reword(question: str, r: random.Random, share: float) -> str:
    """Put another word for some of those that have one."""
    return _ANY.sub(lambda m: r.choice(SYNONYMS[m[0]]) if r.random() < share else m[0], question)
