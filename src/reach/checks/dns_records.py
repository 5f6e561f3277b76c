"""What DNS says of the domain that emails come from: without it they are taken for junk.

checkdmarc, an extra, reads SPF (RFC 7208) and DMARC (RFC 9989) as receivers do, and follows what
they refer to. The questions are asked here, so that they go to the right servers within a limit.
"""

import asyncio
import re
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import dns.exception
import dns.name
import dns.nameserver
import dns.resolver

from reach.checks.report import Finding
from reach.mail.dkim import DkimKey
from reach.network.hosts import is_loopback
from reach.settings import BadSettings, Settings
from reach.settings.urls import SmtpUrl, parse_mailbox

#: All that is asked takes no longer than this together, and one look-up no longer than that.
BUDGET_SECONDS, LOOKUP_SECONDS = 8.0, 3.0
#: What every name server and every network lets through (dnsflagday.net/2020).
DATAGRAM_BYTES = 1232
EXPLANATION_SECONDS = 1.0
RECORD_STRING_BYTES = 255
#: What checkdmarc asks besides has no bearing on a receiver's verdict (the retired type SPF), or
#: is no business of ours (a CNAME beside the TXT record).
ASKED = ("TXT", "MX", "A", "AAAA")
#: The version is as written, whatever else is not (RFC 9989 §4.8).
NOT_COUNTED = (
    "With adkim=s a signature of {} does not count for {}: write adkim=r, "
    "or set REACH_DKIM_DOMAIN to that of REACH_MAIL_FROM."
)
DMARC = re.compile(r"[vV][ \t]*=[ \t]*DMARC1[ \t]*(;|$)")
#: Names that the world's DNS does not have, and is not to have (RFC 6761, 6762, 9476, ICANN).
NOWHERE = (".test", ".example", ".invalid", ".local", ".internal", ".alt", ".onion")
GOOD_BITS = 2048
NOT_KNOWN = (
    "Let this machine ask DNS, then check again; REACH_DNS_SERVERS names other servers to ask."
)
EXTRA = (
    "To have it checked, install the extra: pip install 'reach[dns]', or, where `make run` "
    "installed Reach, .venv/bin/python -m pip install --require-hashes --requirement "
    "requirements/dns.txt"
)
UNSIGNED = Finding(
    "dkim",
    "Reach signs nothing (no REACH_DKIM_SELECTOR)",
    advice="Big mailbox providers want a signature: see that your mail server signs, or let Reach.",
)


class NotKnown(Exception):
    """DNS has not said; ``args[0]`` is why. No kind of what checkdmarc takes for "no record"."""


class Resolver(dns.resolver.Resolver):
    """The name servers that ``settings`` name, or the system's; ask them within the budget."""

    def __init__(self, settings: Settings) -> None:
        """Begin the budget. Raises NotKnown if the system has no name servers."""
        try:
            super().__init__(configure=not settings.name_servers)
        except dns.exception.DNSException:
            raise NotKnown("this system names no name servers") from None
        if settings.name_servers:
            self.nameservers = [dns.nameserver.Do53Nameserver(*at) for at in settings.name_servers]
        self.use_edns(0, 0, DATAGRAM_BYTES)
        self._ends_at = time.monotonic() + BUDGET_SECONDS

    def resolve(self, qname: Any, rdtype: Any = "A", *_: Any, **__: Any) -> dns.resolver.Answer:
        """Ask one question. Raises NXDOMAIN or NoAnswer, which are answers; NotKnown if none came.

        checkdmarc calls it, with limits of its own that do not count.
        """
        if rdtype not in ASKED:
            raise dns.resolver.NoAnswer
        seconds = min(LOOKUP_SECONDS, self._ends_at - time.monotonic())
        if seconds <= 0:
            raise NotKnown(f"no time was left to ask for {qname}")
        try:
            return super().resolve(dns.name.from_text(qname), rdtype, lifetime=seconds)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            raise
        except dns.exception.Timeout:
            raise NotKnown(f"no name server answered for {qname} in {seconds:.0f} s") from None
        except dns.resolver.NoNameservers:
            raise NotKnown(f"name servers cannot tell about {qname} (SERVFAIL, say)") from None
        except dns.exception.DNSException as error:
            raise NotKnown(f"{qname} cannot be asked for ({type(error).__name__})") from None

    def records(self, name: str, kind: str) -> list[Any]:
        """Find the records of a name, if there are any. Raises NotKnown."""
        try:
            return list(self.resolve(name, kind))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []

    def texts(self, name: str) -> list[str]:
        """Find the TXT records of a name, each in one piece, fit for a terminal."""
        whole = (b"".join(record.strings).decode("latin-1") for record in self.records(name, "TXT"))
        return [re.sub(r"[^ -~]", "?", text) for text in whole]


async def check_mail_dns(settings: Settings) -> list[Finding]:
    """Whether receivers can know our mail for ours: DKIM, SPF, DMARC, and where answers go."""
    domain = parse_mailbox(settings.mail_from).domain.lower()
    envelope = settings.envelope_from.rpartition("@")[2].lower()
    key, dkim = None, UNSIGNED
    try:
        key = DkimKey.of(settings)
    except BadSettings as error:
        dkim = Finding("dkim", "cannot be used", str(error))
    if (reason := _not_asked(settings, domain)) is not None:
        signs = f"emails are signed as {key.name}" if key else "no email is signed"
        told = Finding("dkim", f"{signs}; DNS was not asked: {reason}")
        return [dkim if dkim.remedy else told]
    try:
        resolver = Resolver(settings)
    except NotKnown as unknown:
        return [Finding("dns", f"not known: {unknown}", NOT_KNOWN)]
    checks: dict[str, Callable[[], Finding]] = {
        "sender": lambda: check_sender(resolver, domain),
        # SPF is about the sender of the envelope (RFC 7208 §2.4).
        "spf": lambda: check_spf(resolver, envelope, settings.smtp),
        "dkim": lambda: check_dkim(resolver, key) if key else dkim,
        "dmarc": lambda: check_dmarc(resolver, domain, key.domain if key else ""),
    }
    return list(
        await asyncio.gather(
            *(asyncio.to_thread(_known, subject, check) for subject, check in checks.items())
        )
    )


def _not_asked(settings: Settings, domain: str) -> str | None:
    """Say why nobody in the world would ask DNS about this sender."""
    if settings.smtp is None:
        return "the embedded mailbox of `reach up` takes all"
    if is_loopback(domain) or "." not in domain or f".{domain}".endswith(NOWHERE):
        return f"{domain} is no domain of the world's"
    if domain.startswith("["):
        return f"{domain} is an address"
    return None


def _known(subject: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except NotKnown as unknown:
        return Finding(subject, f"not known: {unknown}", NOT_KNOWN)
    except ModuleNotFoundError:
        return Finding(subject, "not checked", advice=EXTRA, is_well=False)


def check_sender(resolver: Resolver, domain: str) -> Finding:
    """Whether the domain takes mail: many receivers refuse a sender that could not be answered."""
    found = resolver.records(domain, "MX")
    servers = sorted(record.exchange.to_text(omit_final_dot=True).strip(".") for record in found)
    if any(servers):
        return Finding("sender", f"{domain} takes mail at {', '.join(servers)}")
    if servers:
        advice = "Answers to emails and notices of failure go nowhere; some receivers mind."
        return Finding("sender", f"{domain} says that it takes no mail (null MX)", advice=advice)
    if resolver.records(domain, "A") or resolver.records(domain, "AAAA"):
        return Finding("sender", f"{domain} has an address and no MX")
    advice = "Many receivers refuse senders whose domain has neither: publish an MX record."
    return Finding("sender", f"{domain} has neither MX nor address", advice=advice)


def check_spf(resolver: Resolver, domain: str, server: SmtpUrl | None) -> Finding:
    """Whether there is one record, that receivers understand it, and what it says of others.

    Whether it lets the mail server send cannot be known: a relay has addresses of its own.
    Raises NotKnown; ModuleNotFoundError without the extra.
    """
    spf = _checkdmarc("spf")
    texts = resolver.texts(domain)
    records = [text for text in texts if re.match(r"v=spf1( |$)", text, re.IGNORECASE)]
    if not records:
        return Finding("spf", f"{domain} has no record", _spf_to_publish(domain, server))
    if len(records) > 1:
        words = f"{domain} has {len(records)} records: receivers believe none of them"
        remedy = "Keep one. All that they say, in one:\n" + to_publish(domain, _merged(records))
        return Finding("spf", words, remedy)
    (record,) = records
    try:
        # It reads no `V=SPF1`, though receivers do; and its look-up of an explanation (exp=)
        # forgets the resolver, so the servers and a limit are named once more.
        found = spf.parse_spf_record(
            f"v=spf1{record[6:]}",
            domain,
            resolver=resolver,
            nameservers=resolver.nameservers,
            timeout=EXPLANATION_SECONDS,
        )
    except spf.SPFError as fault:
        remedy = "Mend the record, or receivers take it for none."
        return Finding("spf", f"`{record}` cannot be used: {fault}", remedy)
    return _judged_spf(record, found)


def _judged_spf(record: str, found: Any) -> Finding:
    """Say what a record that can be read lets others do."""
    words = f"`{record}`, {found['dns_lookups']} of 10 look-ups"
    advice = "\n".join(found["warnings"])
    if found["parsed"]["all"] == "pass":
        remedy = "It lets the whole world send: let it end in ~all or -all."
        return Finding("spf", words, remedy, advice)
    if not _lets_send(found["parsed"]):
        remedy = "It lets nobody send: name your mail server's addresses."
        return Finding("spf", words, remedy, advice)
    words += "; whether it names your mail server is not known here"
    if found["parsed"]["all"] == "neutral":
        advice = f"It says nothing of others: let it end in ~all.\n{advice}"
    return Finding("spf", words, advice=advice)


def _checkdmarc(name: str) -> Any:
    """Load the part that reads one kind of record. Raises ModuleNotFoundError: it is an extra."""
    import_module("checkdmarc.utils").DNS_CACHE.clear()  # else it would answer for half an hour
    return import_module(f"checkdmarc.{name}")


def _lets_send(parsed: Any) -> bool:
    """Whether anything in a record, or in the one that it redirects to, lets somebody send."""
    if any(one["action"] == "pass" for one in parsed["mechanisms"]):
        return True
    redirect = parsed["redirect"]
    # A macro's target depends on who sends.
    return redirect is not None and (redirect["parsed"] is None or _lets_send(redirect["parsed"]))


def _merged(records: list[str]) -> str:
    terms = [term for record in records for term in record.split()[1:]]
    kept = [term for term in terms if not re.match(r"[-+?~]?all$|redirect=", term, re.IGNORECASE)]
    redirects = [f"include:{term[9:]}" for term in terms if term.lower().startswith("redirect=")]
    return " ".join(["v=spf1", *dict.fromkeys([*kept, *redirects]), "~all"])


def _spf_to_publish(domain: str, server: SmtpUrl | None) -> str:
    host = server.host if server else ""
    is_name = "." in host and not re.fullmatch(r"[\d.]+", host)
    source = f"a:{host}" if is_name else "ip4:ADDRESS"
    instead = f"in place of {source}, write what it says" if is_name else "write what it says"
    return (
        f"Publish:\n{to_publish(domain, f'v=spf1 {source} ~all')}\n"
        f"{'' if is_name else 'ADDRESS is the one that your mail server sends from. '}"
        f"If a provider runs your mail server, {instead} (`include:…`, most often)."
    )


def check_dmarc(resolver: Resolver, domain: str, signer: str) -> Finding:
    """Whether the domain, or one above it, has a policy, and counts ``signer``'s signature.

    ``signer`` is the domain of our signature, if there is one.
    Raises NotKnown; ModuleNotFoundError without the extra.
    """
    dmarc = _checkdmarc("dmarc")
    places = _and_above(domain)
    publish = "Publish:\n" + to_publish(f"_dmarc.{domain}", "v=DMARC1; p=none")
    for place in places:
        texts = resolver.texts(f"_dmarc.{place}")
        if records := [text for text in texts if DMARC.match(text)]:
            break
    else:
        words = "no record at " + " or ".join(f"_dmarc.{place}" for place in places)
        return Finding("dmarc", words, publish)
    if len(records) > 1:
        words = f"_dmarc.{place} has {len(records)} records: receivers believe none of them"
        return Finding("dmarc", words, "Keep one.")
    words = f"_dmarc.{place} has `{records[0]}`"
    try:
        # It asks, besides, whether the addresses for reports (rua, ruf) take them.
        read = dmarc.parse_dmarc_record(
            records[0], place, resolver=resolver, ignore_unrelated_records=True
        )
    except dmarc.DMARCError as fault:
        return Finding("dmarc", words, f"{fault}. {publish}")
    tags = {name: tag["value"] for name, tag in read["tags"].items()}
    advice = list(read["warnings"])
    if signer and signer != domain and tags["adkim"] == "s":
        return Finding("dmarc", words, NOT_COUNTED.format(signer, domain), "\n".join(advice))
    if tags["p" if place == domain else "sp"] == "none":
        advice.append(
            "p=none asks receivers to let through what others send in your name. Once reports "
            "(rua=mailto:…) show that all of your own mail passes: p=quarantine, then p=reject."
        )
    return Finding("dmarc", words, advice="\n".join(advice))


def _and_above(domain: str) -> list[str]:
    """List the domain and those above it, but for the last label alone."""
    labels = domain.split(".")
    return [".".join(labels[n:]) for n in range(max(1, len(labels) - 1))]


def check_dkim(resolver: Resolver, key: DkimKey) -> Finding:
    """Whether receivers find the key, and what keeps them from using it. Raises NotKnown."""
    texts = resolver.texts(key.name)
    publish = f"Publish:\n{to_publish(key.name, key.record)}"
    if not texts:
        return Finding("dkim", f"{key.name} has no record", publish)
    if len(texts) > 1:
        words = f"{key.name} has {len(texts)} records: receivers may take any of them"
        return Finding("dkim", words, f"Keep one. {publish}")
    parts = (part.partition("=") for part in reversed(texts[0].split(";")))
    tags = {name.strip().lower(): value.strip() for name, sign, value in parts if sign}
    if (fault := _fault(tags, key)) is not None:
        return Finding("dkim", f"{key.name} {fault}", publish)
    advice = []
    if "y" in _options(tags.get("t", "")):
        advice.append('The record says t=y, "testing": leave that out for signatures to count.')
    if key.bits < GOOD_BITS:
        advice.append(f"The key has {key.bits} bits: {GOOD_BITS} are the rule today (RFC 8301).")
    words = f"{key.name} has our key, of {key.bits} bits"
    return Finding("dkim", words, advice="\n".join(advice))


def _fault(tags: dict[str, str], key: DkimKey) -> str | None:
    """Say why no receiver would believe our signature (RFC 6376 §3.6.1)."""
    if tags.get("v", "DKIM1") != "DKIM1" or "p" not in tags:
        return "has a record that is no DKIM key"
    if not tags["p"]:
        return "says that the key was revoked (p= is empty)"
    if tags.get("k", "rsa").lower() != "rsa" or not key.is_half_of(tags["p"]):
        return "has another key: what Reach signs would be taken for forged"
    if "sha256" not in _options(tags.get("h", "sha256")):
        return "does not allow sha256, which Reach signs with (h=)"
    if not {"*", "email"} & _options(tags.get("s", "*")):
        return "is not for email (s=)"
    return None


def _options(text: str) -> set[str]:
    return {part.strip().lower() for part in text.split(":")}


def to_publish(name: str, value: str) -> str:
    """Write a TXT record as zone files have it, in strings that are short enough for one."""
    strings = (
        value[n : n + RECORD_STRING_BYTES].replace("\\", "\\\\").replace('"', '\\"')
        for n in range(0, len(value), RECORD_STRING_BYTES)
    )
    return f"{name}. TXT " + " ".join(f'"{string}"' for string in strings)
