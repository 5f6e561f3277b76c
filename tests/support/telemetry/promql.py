"""What a PromQL expression names: metrics with their labels. Reads tokens, and evaluates nothing.

promtool and Prometheus say whether an expression is one; neither (in Debian's version) says what
it names.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

TOKEN = re.compile(
    r"""
      (?P<space>\s+|\#[^\n]*)
    | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
    | (?P<duration>(?:\d+(?:ms|[smhdwy]))+)
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)
    | (?P<word>[a-z_][\w:]*)
    | (?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){}\[\],:@])
    """,
    re.VERBOSE | re.IGNORECASE,
)
COMPARISONS = frozenset(("==", "!=", ">", "<", ">=", "<="))
MATCHES = frozenset(("=", "!=", "=~", "!~"))
#: Followed by labels in parentheses.
GROUPING = frozenset(("by", "without", "on", "ignoring", "group_left", "group_right"))
OTHER_WORDS = frozenset(("and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"))


class NotUnderstood(Exception):
    """The expression has something in it that is not read here."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word or sign, what it is (``kind``), and where it begins."""

    kind: str
    text: str
    begins: int


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric and the labels it must have: ``text`` is as written, and a query by itself."""

    metric: str
    labels: frozenset[str]
    text: str


def tokens(expression: str) -> Sequence[Token]:
    """Take an expression apart. Raises NotUnderstood."""
    found, position = [], 0
    while position < len(expression):
        match = TOKEN.match(expression, position)
        if match is None or match.lastgroup is None:
            raise NotUnderstood(f"{expression[position:]!r} of {expression!r}")
        if match.lastgroup != "space":
            found.append(Token(match.lastgroup, match.group(), position))
        position = match.end()
    return found


def selectors(expression: str) -> Sequence[Selector]:
    """List the metrics that an expression names. Raises NotUnderstood."""
    found = []
    words = tokens(expression)
    for number, token in enumerate(words):
        if _is_metric(words, number):
            labels, last = _matchers(words, number)
            text = expression[token.begins : last.begins + len(last.text)]
            found.append(Selector(token.text, frozenset(labels), text))
        elif token.text == "{" and (number == 0 or words[number - 1].kind != "word"):
            raise NotUnderstood(f"a selector without a metric's name, in {expression!r}")
    return found


def grouped_by(expression: str) -> frozenset[str]:
    """Name the labels by which an expression adds up or matches."""
    words = tokens(expression)
    return frozenset(
        word.text for number, word in enumerate(words) if _is_grouping_label(words, number)
    )


def with_bool(expression: str) -> str:
    """Have each comparison give 1 or 0 instead of dropping what it is not true of."""
    words = tokens(expression)
    text, position = "", 0
    for number, token in enumerate(words):
        following = words[number + 1].text if number + 1 < len(words) else ""
        if token.text in COMPARISONS and following != "bool" and not _is_in_braces(words, number):
            end = token.begins + len(token.text)
            text, position = f"{text}{expression[position:end]} bool ", end
    return text + expression[position:]


def _is_metric(words: Sequence[Token], number: int) -> bool:
    token = words[number]
    following = words[number + 1].text.lower() if number + 1 < len(words) else ""
    return (
        token.kind == "word"
        and token.text.lower() not in GROUPING | OTHER_WORDS
        and following != "("  # a function
        and following not in ("by", "without")  # an aggregation
        and not _is_in_braces(words, number)
        and not _is_grouping_label(words, number)
    )


def _matchers(words: Sequence[Token], number: int) -> tuple[Sequence[str], Token]:
    """Read what follows a metric, ``{a="b",c=~"d"}``: the labels, and the last token of it all."""
    if number + 1 == len(words) or words[number + 1].text != "{":
        return [], words[number]
    labels = []
    place = number + 2
    while words[place].text != "}":
        label, sign, value, after = words[place : place + 4]
        if (label.kind, value.kind) != ("word", "string") or sign.text not in MATCHES:
            raise NotUnderstood(f"the labels of {words[number].text}")
        labels.append(label.text)
        place += 4 if after.text == "," else 3
    return labels, words[place]


def _is_in_braces(words: Sequence[Token], number: int) -> bool:
    before = [word.text for word in words[:number] if word.kind == "sign"]
    return before.count("{") > before.count("}")


def _is_grouping_label(words: Sequence[Token], number: int) -> bool:
    return words[number].kind == "word" and any(
        opening > 0 and words[opening - 1].text.lower() in GROUPING
        for opening in _open_parentheses(words, number)
    )


def _open_parentheses(words: Sequence[Token], number: int) -> Iterator[int]:
    """Say where the innermost parenthesis around a word opens."""
    depth = 0
    for place in range(number - 1, -1, -1):
        depth += (words[place].text == ")") - (words[place].text == "(")
        if depth < 0:
            yield place
            return
