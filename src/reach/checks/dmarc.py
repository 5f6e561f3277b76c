"""DMARC: whether DNS says what to do with what others send in the domain's name (RFC 7489)."""

from reach.checks.dns import Dns, tags_of, to_publish
from reach.checks.finding import Finding

SUBJECT = "dmarc"
POLICIES = ("none", "quarantine", "reject")


async def check_dmarc(dns: Dns, domain: str, signer: str) -> Finding:
    """Whether the domain, or one above it, has a policy, and counts ``signer``'s signature.

    ``signer`` is the domain of our signature, if there is one. Raises NotKnown.
    """
    names = _names(domain)
    for place in names:
        name = f"_dmarc.{place}"
        records = [text for text in await dns.texts(name) if _is_dmarc(text)]
        if len(records) > 1:
            words = f"{name} has {len(records)} records: receivers believe none of them"
            return Finding(SUBJECT, words, "Keep one.")
        if records:
            return _judged(name, records[0], domain, signer)
    words = "no record at " + " or ".join(f"_dmarc.{place}" for place in names)
    return Finding(SUBJECT, words, _publish(domain))


def _names(domain: str) -> list[str]:
    """Name the domain, then those above it that somebody may own."""
    labels = domain.split(".")
    return [".".join(labels[n:]) for n in range(max(1, len(labels) - 1))]


def _is_dmarc(text: str) -> bool:
    return text.split(";", maxsplit=1)[0].replace(" ", "").lower() == "v=dmarc1"


def _judged(name: str, record: str, domain: str, signer: str) -> Finding:
    tags = tags_of(record)
    is_inherited = name != f"_dmarc.{domain}"
    policy = (tags.get("sp") if is_inherited else None) or tags.get("p", "")
    words = f"{name} has `{record}`"
    if policy.lower() not in POLICIES:
        remedy = f"It must have p= with one of {', '.join(POLICIES)}. {_publish(domain)}"
        return Finding(SUBJECT, words, remedy)
    if signer and signer != domain and tags.get("adkim", "r").lower() == "s":
        remedy = (
            f"With adkim=s a signature of {signer} does not count for {domain}: write adkim=r, "
            "or set REACH_DKIM_DOMAIN to that of REACH_MAIL_FROM."
        )
        return Finding(SUBJECT, words, remedy)
    if policy.lower() == "none":
        advice = (
            "p=none asks receivers to let through what others send in your name. Once reports "
            "(rua=mailto:…) show that all of your own mail passes: p=quarantine, then p=reject."
        )
        return Finding(SUBJECT, words, advice=advice)
    return Finding(SUBJECT, words)


def _publish(domain: str) -> str:
    return "Publish:\n" + to_publish(f"_dmarc.{domain}", "v=DMARC1; p=none")
