"""SPF: whether DNS says who may send for the domain (RFC 7208)."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from reach.checks.dns import Dns, to_publish
from reach.checks.finding import Finding
from reach.settings import Settings
from reach.settings.urls import SmtpUrl

SUBJECT = "spf"
#: RFC 7208 §4.6.4: whoever needs more is not believed.
MOST_LOOKUPS = 10
TERM = re.compile(
    r"(?P<sign>[-+?~]?)(?P<name>all|include|a|mx|ptr|ip4|ip6|exists)(?:(?=[/:])[:/]?(?P<of>\S+))?"
    r"|(?P<modifier>[a-z][\w.-]*)=(?P<value>\S*)",
    re.IGNORECASE,
)
ASKING = frozenset({"include", "a", "mx", "ptr", "exists"})
PLACEHOLDER = "ip4:ADDRESS"


class Fault(Exception):  # noqa: N818 - an expected failure
    """Receivers make nothing of the record; ``args[0]`` says why."""


@dataclass
class Reckoning:
    """What a record comes to, those that it refers to included."""

    dns: Dns
    lookups: int = 0
    #: What lets somebody send.
    passes: int = 0

    async def policy_of(self, record: str) -> str:
        """Follow a record to its end: what becomes of everybody else, or nothing.

        Raises Fault, NotKnown.
        """
        redirect = ""
        for text in record.split()[1:]:
            term = TERM.fullmatch(text)
            if term is None:
                raise Fault(f"`{text}` means nothing")
            if term["modifier"]:
                redirect = term["value"] if term["modifier"].lower() == "redirect" else redirect
                continue
            name = term["name"].lower()
            if name == "all":
                return term["sign"] or "+"
            self.passes += term["sign"] in ("", "+")
            if name in ASKING:
                self._count()
            if name == "include":
                passes = self.passes
                await self._refer(text, term["of"] or "")
                self.passes = passes  # it passes as a whole, or not
            if name in ("ip4", "ip6") and not _is_network(name, term["of"] or ""):
                raise Fault(f"`{text}` means nothing")
        if not redirect:
            return ""
        self._count()
        return await self._refer(f"redirect={redirect}", redirect)

    async def _refer(self, term: str, name: str) -> str:
        if "%" in name:  # it depends on who sends
            return ""
        found = spf_records(await self.dns.texts(name.rstrip("."))) if name else []
        if len(found) != 1:
            raise Fault(f"`{term}` leads to {len(found) or 'no'} records, and must lead to one")
        return await self.policy_of(found[0])

    def _count(self) -> None:
        self.lookups += 1
        if self.lookups > MOST_LOOKUPS:
            raise Fault(f"it needs more than {MOST_LOOKUPS} look-ups, and receivers stop there")


def spf_records(texts: list[str]) -> list[str]:
    """Choose those that are SPF's."""
    return [text for text in texts if re.match(r"v=spf1( |$)", text, re.IGNORECASE)]


async def check_spf(dns: Dns, settings: Settings, domain: str) -> Finding:
    """Whether there is one record, that receivers understand it, and what it says of others.

    Whether it lets the mail server send cannot be known: a relay has addresses of its own.
    Raises NotKnown.
    """
    records = spf_records(await dns.texts(domain))
    if not records:
        return Finding(SUBJECT, f"{domain} has no record", _publish(domain, settings.smtp))
    if len(records) > 1:
        words = f"{domain} has {len(records)} records: receivers believe none of them"
        remedy = "Keep one. All that they say, in one:\n" + to_publish(domain, _merged(records))
        return Finding(SUBJECT, words, remedy)
    (record,) = records
    reckoning = Reckoning(dns)
    try:
        policy = await reckoning.policy_of(record)
    except Fault as fault:
        remedy = "Mend the record, or receivers take it for none."
        return Finding(SUBJECT, f"`{record}` cannot be used: {fault}", remedy)
    return _judged(record, policy, reckoning)


def _judged(record: str, policy: str, reckoning: Reckoning) -> Finding:
    words = f"`{record}`, {reckoning.lookups} of {MOST_LOOKUPS} look-ups"
    if policy == "+":
        return Finding(SUBJECT, words, "It lets the whole world send: let it end in ~all or -all.")
    if not reckoning.passes:
        return Finding(SUBJECT, words, "It lets nobody send: name your mail server's addresses.")
    words += "; whether it names your mail server is not known here"
    if policy in ("", "?"):
        return Finding(SUBJECT, words, advice="It says nothing of others: let it end in ~all.")
    return Finding(SUBJECT, words)


def _is_network(name: str, text: str) -> bool:
    kind = IPv4Network if name == "ip4" else IPv6Network
    try:
        kind(text, strict=False)
    except ValueError:
        return False
    return True


def _merged(records: list[str]) -> str:
    terms = [term for record in records for term in record.split()[1:]]
    kept = [term for term in terms if not re.match(r"[-+?~]?all$|redirect=", term, re.IGNORECASE)]
    redirects = [f"include:{term[9:]}" for term in terms if term.lower().startswith("redirect=")]
    return " ".join(["v=spf1", *dict.fromkeys([*kept, *redirects]), "~all"])


def _publish(domain: str, server: SmtpUrl | None) -> str:
    host = server.host if server else ""
    is_name = "." in host and not re.fullmatch(r"[\d.]+", host)
    source = f"a:{host}" if is_name else PLACEHOLDER
    instead = f"in place of {source}, write what it says" if is_name else "write what it says"
    return (
        f"Publish:\n{to_publish(domain, f'v=spf1 {source} ~all')}\n"
        f"{'' if is_name else 'ADDRESS is the one that your mail server sends from. '}"
        f"If a provider runs your mail server, {instead} (`include:…`, most often)."
    )
