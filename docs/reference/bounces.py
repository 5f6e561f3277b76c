"""The tables of what a bounce means, in the guide, from ``reach.reports``."""

from docs.reference.markdown import FOLDER, GENERATED, table
from reach.reports.enhanced_codes import REGISTRY, SENDER_WHEN_TRANSIENT
from reach.reports.rules import NOT_4YZ, RULES, Rule

GUIDE = FOLDER.parent / "guides" / "bounces.md"
BEGIN, END = f"{GENERATED}\n", "<!-- The end of what is written. -->"
#: How the codes of a rule are told.
ANY_CODE, ANY_ENHANCED = Rule.codes, Rule.enhanced


def written() -> str:
    """Write the guide: as it is, with new tables."""
    before, _, rest = GUIDE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    rules = table(("category", "why", "code", "enhanced", "words", "source"), map(_row, RULES))
    codes = table(("enhanced code", "5.y.z", "4.y.z", "name"), map(_code, REGISTRY))
    return f"{before}{BEGIN}\n{rules}\n\nThe registry:\n\n{codes}\n\n{END}{after}"


def _row(rule: Rule) -> tuple[str, ...]:
    code = {ANY_CODE: "any or none", NOT_4YZ: "5xx or none"}.get(rule.codes, rule.codes)
    is_any = rule.enhanced == ANY_ENHANCED
    return (
        f"*{rule.category}*",
        rule.reason,
        code,
        "any or none" if is_any else _alternatives(rule.enhanced),
        ", ".join(f"`{one}`" for one in rule.words),
        rule.source,
    )


def _alternatives(expression: str) -> str:
    told = expression.replace("\\d+", "x").replace("\\", "")
    return " or ".join(one or "none" for one in told.split("|"))


def _code(code: str) -> tuple[str, ...]:
    category, name = REGISTRY[code]
    later = "sender" if code in SENDER_WHEN_TRANSIENT else "transient"
    return f"X.{code}", f"*{category}*", f"*{later}*", name
