"""The table of what mail servers say, in the guide, from ``reach.smtp.replies``."""

from docs.reference.markdown import FOLDER, GENERATED, table
from reach.smtp.replies import ANY, HEARD, RULES, Meaning, Rule

GUIDE = FOLDER.parent / "guides" / "mail-servers.md"
BEGIN, END = f"{GENERATED}\n", "<!-- The end of what is written. -->"
NAMES = {
    Meaning.SESSION_OVER: "session over",
    Meaning.UNAVAILABLE: "unavailable",
    Meaning.TOO_MUCH: "too much",
    Meaning.DEFERRED: "deferred",
    Meaning.REJECTED: "rejected",
    Meaning.SUSPECT: "suspect",
}


def written() -> str:
    """Write the guide: as it is, with new tables."""
    before, _, rest = GUIDE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    meanings = table(("meaning", "the message"), ((f"*{NAMES[m]}*", m.value) for m in Meaning))
    rules = table(
        ("in answer to", "code", "enhanced", "and words", "meaning", "why", "source"),
        map(_row, RULES),
    )
    written = f"\n{meanings}\n\nThe first row that fits decides:\n\n{rules}\n\n"
    return before + BEGIN + written + END + after


def _row(rule: Rule) -> tuple[str, ...]:
    stages = {ANY: "any", HEARD: "RCPT, DATA, dot"}.get(tuple(rule.stages))
    enhanced = "any or none" if rule.enhanced is None else _alternatives(rule.enhanced)
    return (
        stages or ", ".join(rule.stages),
        _alternatives(rule.codes.replace(".", "x")),
        enhanced.replace("\\d+", "x").replace("\\", ""),
        ", ".join(f"`{one}`" for one in rule.words),
        f"*{NAMES[rule.meaning]}*",
        rule.reason,
        rule.source,
    )


def _alternatives(expression: str) -> str:
    return " or ".join(one or "none" for one in expression.split("|"))
