"""DKIM: whether DNS has the public half of the key that Reach signs with (RFC 6376)."""

from reach.checks.dns import Dns, tags_of, to_publish
from reach.checks.finding import Finding
from reach.mail.dkim import DkimKey

SUBJECT = "dkim"
GOOD_BITS = 2048
UNSIGNED = Finding(
    SUBJECT,
    "Reach signs nothing (no REACH_DKIM_SELECTOR)",
    advice="Big mailbox providers want a signature: see that your mail server signs, or let Reach.",
)


async def check_dkim(dns: Dns, key: DkimKey) -> Finding:
    """Whether receivers find the key, and what keeps them from using it. Raises NotKnown."""
    texts = await dns.texts(key.name)
    publish = f"Publish:\n{to_publish(key.name, key.record)}"
    if not texts:
        return Finding(SUBJECT, f"{key.name} has no record", publish)
    if len(texts) > 1:
        words = f"{key.name} has {len(texts)} records: receivers may take any of them"
        return Finding(SUBJECT, words, f"Keep one. {publish}")
    tags = tags_of(texts[0])
    if (fault := _fault(tags, key)) is not None:
        return Finding(SUBJECT, f"{key.name} {fault}", publish)
    advice = []
    if "y" in _parts(tags.get("t", "")):
        advice.append('The record says t=y, "testing": leave that out for signatures to count.')
    if key.bits < GOOD_BITS:
        advice.append(f"The key has {key.bits} bits: {GOOD_BITS} are the rule today (RFC 8301).")
    words = f"{key.name} has our key, of {key.bits} bits"
    return Finding(SUBJECT, words, advice="\n".join(advice))


def _fault(tags: dict[str, str], key: DkimKey) -> str | None:
    """Say why no receiver would believe our signature."""
    if tags.get("v", "DKIM1") != "DKIM1" or "p" not in tags:
        return "has a record that is no DKIM key"
    if not tags["p"]:
        return "says that the key was revoked (p= is empty)"
    if tags.get("k", "rsa").lower() != "rsa" or not key.is_half_of(tags["p"]):
        return "has another key: what Reach signs would be taken for forged"
    if "sha256" not in _parts(tags.get("h", "sha256")):
        return "does not allow sha256, which Reach signs with (h=)"
    if not {"*", "email"} & _parts(tags.get("s", "*")):
        return "is not for email (s=)"
    return None


def _parts(text: str) -> set[str]:
    return {part.strip().lower() for part in text.split(":")}
