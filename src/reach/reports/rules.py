"""What the words of a mail server mean for a bounce, as data: the first rule that fits decides.

Words come before codes: servers say 5.1.1 of a blocked client, 5.7.1 of an unknown user, and 5.0.0
of everything. What no rule knows is decided by its enhanced code, see ``enhanced_codes``, then by
the reply's own. ``docs/guides/bounces.md`` shows this table; ``make reference`` writes it.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from reach.reports.model import Category


@dataclass(frozen=True)
class Rule:
    """Which bounces are of a category, why, and who says so.

    One of ``words``, regular expressions, begins a word somewhere in what was said, in any case;
    addresses, links and hosts' names are taken out of it before. ``codes`` and ``enhanced`` match
    the whole of a code; one that matches "" fits where there is none.
    """

    category: Category
    reason: str
    source: str
    words: tuple[str, ...]
    codes: str = r"|[245]\d\d"
    enhanced: str = r"|[245]\.\d+\.\d+"

    def fits(self, code: str, enhanced: str, text: str) -> bool:
        """Whether this was said."""
        return (
            re.fullmatch(self.codes, code) is not None
            and re.fullmatch(self.enhanced, enhanced) is not None
            and self._words.search(text) is not None
        )

    @cached_property
    def _words(self) -> re.Pattern[str]:
        return re.compile("|".join(rf"\b(?:{one})" for one in self.words), re.IGNORECASE)


#: What a 4yz is, or what says no code at all.
NOT_5YZ = r"|4\d\d"
#: What a 5yz is, or what says no code at all.
NOT_4YZ = r"|[25]\d\d"
NOT_4YZ_ENHANCED = r"|[25]\.\d+\.\d+"

#: In order. Who adds a rule says where such words were documented or seen.
RULES: tuple[Rule, ...] = (
    Rule(
        "transient",
        "Greylisting, of whatever it speaks",
        "RFC 6647; Postfix with postgrey: 450 4.7.1 Recipient address rejected: Greylisted",
        ("gr[ea]y[- ]?list",),
    ),
    Rule(
        "sender",
        "The address or the account that is wrong is the sender's: ours",
        "Postfix: 550 5.1.0 Sender address rejected: User unknown in virtual mailbox table; "
        "Exchange Online: 5.1.8 Access denied, bad outbound sender; 5.2.252 SendAsDenied",
        (
            (
                "sender('s)? ((e-?mail )?(address|domain|account) )?(is |was |has been )?(not )?"
                "(rejected|denied|invalid|blocked|refused|unknown|verif|allowed|authorized|"
                "accepted)"
            ),
            "(bad|invalid|unknown|unverified|blocked|unauthenticated) (outbound )?senders?",
            "(domain of )?sender address .{0,80}(does ?n[o']t exist|not exist|not found)",
            "sender.{0,60}(not authenticated|not in .{0,20}(allowed|accepted))",
            "(cannot|could not|can't|unable to) verify (the )?sender",
            "your (account|domain|mailbox|address)\\b.{0,60}(disabled|suspended|blocked|denied)",
            "send ?as ?denied",
            r"storedrv\.(client)?submi",
            "not (allowed|permitted|authorized) to send",
            "(only accepts|accepts only|restricted to) .{0,60}senders?",
        ),
    ),
    Rule(
        "sender",
        "Our server is on a list, or has a bad name",
        "Postfix with a list: 554 5.7.1 Service unavailable; Client host blocked using; Outlook: "
        "550 5.7.1 part of their network is on our block list (S3150); Gmail: 421 4.7.0 IP or "
        "domain has a very low reputation; Yahoo: 553 5.7.1 [BL21]; 421 4.7.0 [TSS04]",
        (
            "(black|block|deny)[- ]?list",
            "(dnsbl|rbl|spamhaus|spamcop|sorbs|invaluement|psbl)\\b",
            "blocked (using|by|at|due|because|for|from|-)",
            "(?<!not )listed (at|in|by|on)\\b",
            "reputation",
            "(tss|ts)\\d\\d\\b",
            "(poor|bad) (ip|sender|domain)",
            "banned? (sending )?(ip|client|host)",
            (
                "(client|sending|your|connecting|source|sender)('s)? (ip|ip[- ]address|host|"
                "server|mta|helo|network|address)\\b.{0,80}"
                "(blocked|rejected|denied|refused|banned|not (allowed|accepted|permitted|"
                "authorized))"
            ),
            "this (ip|host|server|network)\\b.{0,80}(blocked|rejected|denied|refused|banned|not )",
            "client host rejected",
            "user complaints",
            "(ip|domain) (address )?(is |has been |was )?(temporarily )?(blocked|banned|deferred)",
        ),
    ),
    Rule(
        "sender",
        "What our domain or our server lacks: SPF, DKIM, DMARC, a reverse name, TLS, a login",
        "Gmail: 550 5.7.26 This mail has been blocked because the sender is unauthenticated; "
        "550 5.7.25; 530 5.7.0 Must issue a STARTTLS command first; GMX: 554 Bad DNS PTR record",
        (
            "(spf|dkim|dmarc|arc)\\b",
            "unauthenticated",
            "(sender|e-?mail|mail|message) (is |was )?not authenticated",
            "authenticat(e|ion) (is )?(required|checks?|failed|first)",
            "auth(entication)? required",
            "(reverse|forward[- ]confirmed|ptr|rdns)\\b.{0,30}(dns|record|lookup|hostname|name)?",
            "(bad|missing|no) (dns )?ptr",
            "helo command rejected",
            "(bad|invalid) (helo|ehlo)",
            "(must issue|requires?|need) .{0,20}(starttls|tls|encryption)",
            "(starttls|tls|encryption) (is )?(required|needed|failed|not available)",
            "rfc ?\\d{3,4}.{0,40}(complian|violat)",
        ),
    ),
    Rule(
        "sender",
        "Too much of us at once",
        "Gmail: 421 4.7.28 unusual rate of unsolicited mail; 550 5.4.5 Daily user sending limit "
        "exceeded; Exchange Online: 5.1.90, 5.7.232",
        (
            "rate[- ]?(limit|exceed)",
            "unusual rate",
            (
                "(sending|submission|relay|outbound|daily|hourly) (user )?"
                "(sending |relay |message )?(rate|quota|limits?)"
            ),
            (
                "too many (new |concurrent )*(e-?mails|messages|mails|connections|sessions) "
                "(from|for this (session|connection)|in)"
            ),
            "throttl",
            "(messages|e-?mails?|mails) per (second|minute|hour|day)",
        ),
        enhanced=r"|[45]\.[03-9]\.\d+|5\.1\.90",
    ),
    Rule(
        "sender",
        "The size of the email",
        "Postfix: 552 5.3.4 message size exceeds size limit; Exim: 552 message size exceeds "
        "maximum permitted; Exchange: 5.2.3 RESOLVER.RST.RecipSizeLimit",
        (
            (
                "(message|mail|e-?mail|content|body|attachment)s?'?s? "
                "((file )?size |length |is |was )*"
                "(exceeds|exceeded|too (big|large|long)|over)\\b(?!.{0,30}(quota|storage))"
            ),
            "(message|mail|fixed|maximum|max|recip)[- ]?(message )?size[- ]?(limit|exceed)?",
            "(?<!mailbox )(?<!storage )size limit",
            "too (big|large) (a )?(message|mail|e-?mail)",
            "maximum permitted",
            "permitted size",
        ),
        enhanced=r"|[45]\.[03-9]\.\d+|[45]\.[12]\.[03-9]|[45]\.2\.3",
    ),
    Rule(
        "transient",
        "The mailbox is full",
        "Gmail: 452 4.2.2, 552 5.2.2 The recipient's inbox is out of storage space; Dovecot: Quota "
        "exceeded (mailbox for user is full); Yahoo: 552 1 Requested mail action aborted, mailbox "
        "not found / over quota; qmail: Mailbox quota exceeded; Exim: mailbox is full",
        (
            (
                "(mail ?box|mailfolder|inbox|account|user|recipient|maildir|folder)('s)?\\b"
                ".{0,50}\\b(is |are |was )?(almost )?(full|over ?quota)\\b"
            ),
            "full (mail|in)box",
            "over (the |its |their |his |disk |storage |the allowed )*quota",
            "overquota",
            "quota ?(has been |is |was |would be )?exce",
            "exceed(s|ed|ing)?\\b.{0,40}(quota|storage)",
            "out of (storage|space|disk)",
            (
                "(insufficient|not enough|no) ((system|disk|free|storage|mailbox) )*"
                "(storage|space|quota)"
            ),
            "storage (space )?(allocation|limit|is full|quota)",
            "disk (quota|full|space)",
            "mailbox (size )?limit",
            "(disk|quota) full",
            "postfach .{0,30}voll",
            "bo[iî]te .{0,30}pleine",
        ),
    ),
    Rule(
        "transient",
        "The recipient gets too much at once",
        "Gmail: 450 4.2.1 The user is receiving mail too quickly",
        ("receiving (e-?mail|mail|messages) (too|at a rate)", "too many messages"),
    ),
    Rule(
        "transient",
        "The mailbox is closed for now",
        "Exim: 451 Temporary local problem; Dovecot: 4.2.0 Temporarily unavailable",
        (
            (
                "temporar(y|ily) .{0,30}(disabled|unavailable|locked|suspended|problem|fail|"
                "error|closed)"
            ),
            "(disabled|unavailable|locked|suspended|closed) temporar",
        ),
    ),
    Rule(
        "permanent",
        "There is no such mailbox",
        "Postfix: 550 5.1.1 User unknown; Exchange Online: 5.1.10 RESOLVER.ADR.RecipientNotFound, "
        "5.4.1 Recipient address rejected: Access denied; Gmail: 550 5.1.1 The email account that "
        "you tried to reach does not exist; Yahoo: 554 This user doesn't have a yahoo.com account; "
        "GMX, Outlook: 550 Requested action not taken: mailbox unavailable; qmail: Sorry, no "
        "mailbox here by that name; Domino: User not listed in public Name & Address Book; Exim: "
        "Unrouteable address",
        (
            (
                "(user|recipient|mailbox|account|address(ee)?|alias|local[- ]part|rcpt|person)s?\\b"
                ".{0,60}\\b(un|not )(known|recogni[sz]ed|route?able)\\b(?! (error|reason))"
            ),
            (
                "(unknown|invalid|bad|non[- ]?existent|unrouteable|nonexisting|undeliverable) "
                "(or (illegal|invalid) |local |destination |virtual |recipient )*"
                "(user|recipients?|mailbox|account|address|alias|local[- ]?part|rcpt)"
            ),
            (
                "(no such|not an? (valid|known|existing|active)) "
                "(local |virtual )?(user|recipient|mailbox|account|address|person|alias|e-?mail)"
            ),
            (
                "(user|recipient|mailbox|account|(?<!ip )(?<!from )(?<!sender )address|person)"
                "\\b.{0,60}(do(es)? ?n[o']t exist|not found|could ?n[o']t be found|has moved|"
                "no longer (exists?|valid|available|active|accept|in use|here|work)|"
                "\\b(not |in)valid)"
            ),
            (
                "(no|there is no) (mailbox|user|account|one|recipient)s? "
                "(here|there|by|with|of|for|named)"
            ),
            "(recipient|rcpt|recip) ?not ?found",
            "does ?n[o']t have an? .{0,60}account",
            "(is )?not (one of )?our customer",
            "mailbox (is )?(currently )?(unavailable|not available)",
            "(account|address) (is )?(currently )?(unavailable|not available)",
            "not listed in .{0,40}(address book|directory|domino)",
            "user (doesn.t|does not) (exist|have)",
            "(unbekannt|existiert nicht|nicht gefunden)",
            "(inconnu|n'existe pas|desconocid|no existe)",
            "this (address|user|mailbox) no longer",
            "person .{0,30}no longer",
            "no longer (with|at|works?|employed)",
        ),
        codes=NOT_4YZ,
        enhanced=NOT_4YZ_ENHANCED,
    ),
    Rule(
        "permanent",
        "The address is refused, and no reason is given that is ours",
        "Exchange Online, of an address that its directory does not know: 550 5.4.1 Recipient "
        "address rejected: Access denied; Exchange: 550 5.1.0 Address rejected",
        (
            "address(es)? rejected(?!.{0,60}(polic|spam|relay|client|sender))",
            "recipients? (was |has been )?(rejected|refused)(?!.{0,60}(polic|spam|relay|client))",
        ),
        codes=NOT_4YZ,
        enhanced=r"|5\.0\.0|5\.1\.\d+|5\.4\.1|5\.5\.0",
    ),
    Rule(
        "permanent",
        "The mailbox is closed, and no mail is taken for it",
        "RFC 3463 §3.3 (X.2.1); Gmail: 550 5.2.1 The email account that you tried to reach is "
        "disabled; Yahoo: 554 delivery error: This mailbox is disabled",
        (
            (
                "(user|recipient|mailbox|account|address)s?\\b.{0,50}"
                "(disabled|inactive|deactivated|(?<!connection )closed|terminated|"
                "discontinued|suspended|deleted|removed|cancell?ed)"
            ),
            (
                "(disabled|inactive|deactivated|closed|suspended|expired) "
                "(user|recipient|mailbox|account|address)"
            ),
        ),
        codes=NOT_4YZ,
        enhanced=r"|[25]\.[0-6]\.\d+",
    ),
    Rule(
        "permanent",
        "The domain does not exist, or takes no mail",
        "Postfix: 5.4.4 Host or domain name not found; 5.1.10 Domain does not accept mail "
        "(nullMX); Exchange Online: 5.4.310 DNS domain does not exist; Sendmail: Host unknown; "
        "Exim: an MX or SRV record indicated no SMTP service",
        (
            (
                "(host|domain)( or domain)?( name)?\\b.{0,40}(not found|does ?n[o']t exist|unknown|"
                "not accept (e-?)?mail|is invalid)(?!.{0,20}try again)"
            ),
            "(unknown|invalid|non-?existent|bad|no such) (host|domain)(?!.{0,20}try again)",
            "null ?mx",
            "indicated no smtp service",
            "nxdomain",
            "all relevant mx records point to non-existent hosts",
        ),
        codes=NOT_4YZ,
        enhanced=r"|[25]\.[0-6]\.\d+",
    ),
    Rule(
        "transient",
        "It was tried for days, or its server is not to be reached",
        "RFC 3463 §3.5 (X.4.7); OpenSMTPD: `Envelope expired`; Exim: retry timeout exceeded; "
        "Exchange: QUEUE.Expired; Postfix: connect to: Connection refused, lost connection",
        (
            (
                "(envelope|message|delivery( time)?|queue( time| lifetime)?|mail) "
                "(has |is |was )?expired"
            ),
            r"queue\.expired",
            "(retry|delivery) time(out)? ?(not reached|exceeded|has expired)?",
            "could not be delivered .{0,30}(days|hours)",
            "(given|giving|gave) up",
            "connection (refused|timed out|reset|was closed|lost|dropped)",
            "(lost|no|bad) connection",
            "(timed out|timeout|time-out)",
            "(network|host) (is )?unreachable",
            "no route to host",
            "(name|dns) (service|server|resolution)\\b.{0,60}(error|try again|fail)",
            "(routing|mail|forwarding|message) loop|too many hops|loops back to myself",
        ),
    ),
    Rule(
        "sender",
        "Our content, or a policy about it",
        "Gmail: 550 5.7.1 likely unsolicited mail; SpamAssassin: 550 message looks like spam; "
        "Mimecast: 554 Email rejected due to security policies; Yahoo: 554 5.7.9 Message not "
        "accepted for policy reasons; Proofpoint: 550 5.7.0 Local Policy Violation",
        (
            "(spam|junk|bulk|(uce|ube)\\b|phish|malware|virus|infected|unsolicited|unwanted)",
            (
                "(content|message|mail|e-?mail|header|url|link|attachment)s? .{0,40}"
                "(rejected|refused|blocked|denied|not accepted|prohibited|forbidden|filter)"
            ),
            (
                "(security|local|organi[sz]ation|mail|message|content|site|policy) "
                "(polic|reasons?|rules)"
            ),
            "polic(y|ies)",
            "(administrative|administratively) (prohibit|denied|reject)",
            "prohibit",
            "(relaying|relay access|relay not|unable to relay|not permitted to relay|rcpthosts)",
            "access denied",
            "transport rules?",
            "not authori[sz]ed",
            "listed as",
        ),
    ),
    Rule(
        "transient",
        "Not now, and no reason is given that is ours",
        "RFC 5321 §4.2.1; Exim: 451 Temporary local problem - please try later",
        ("try (again|it again|later)", "temporar(y|ily)"),
    ),
)
