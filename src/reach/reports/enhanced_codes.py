"""The registry of enhanced status codes, and what each means for a bounce of ours, as data.

https://www.iana.org/assignments/smtp-enhanced-status-codes: every code that is registered there,
by its subject and detail (X.1.1 is "1.1"), with its name. What a code of the class 4 means is
``transient``, but for what is about us: that is ``sender`` under either class.
"""

from collections.abc import Mapping

from reach.reports.model import Category

PERMANENT: Category = "permanent"
TRANSIENT: Category = "transient"
SENDER: Category = "sender"
UNDETERMINED: Category = "undetermined"

#: What a 5.y.z means: the category, and the registry's name.
REGISTRY: Mapping[str, tuple[Category, str]] = {
    "0.0": (UNDETERMINED, "Other undefined status"),
    "1.0": (UNDETERMINED, "Other address status"),
    "1.1": (PERMANENT, "Bad destination mailbox address"),
    "1.2": (PERMANENT, "Bad destination system address"),
    "1.3": (PERMANENT, "Bad destination mailbox address syntax"),
    "1.4": (UNDETERMINED, "Destination mailbox address ambiguous"),
    "1.5": (UNDETERMINED, "Destination address valid"),
    "1.6": (PERMANENT, "Destination mailbox has moved, no forwarding address"),
    "1.7": (SENDER, "Bad sender's mailbox address syntax"),
    "1.8": (SENDER, "Bad sender's system address"),
    "1.9": (UNDETERMINED, "Message relayed to non-compliant mailer"),
    "1.10": (PERMANENT, "Recipient address has null MX"),
    "2.0": (UNDETERMINED, "Other or undefined mailbox status"),
    "2.1": (PERMANENT, "Mailbox disabled, not accepting messages"),
    "2.2": (TRANSIENT, "Mailbox full"),
    "2.3": (SENDER, "Message length exceeds administrative limit"),
    "2.4": (TRANSIENT, "Mailing list expansion problem"),
    "3.0": (UNDETERMINED, "Other or undefined mail system status"),
    "3.1": (TRANSIENT, "Mail system full"),
    "3.2": (TRANSIENT, "System not accepting network messages"),
    "3.3": (SENDER, "System not capable of selected features"),
    "3.4": (SENDER, "Message too big for system"),
    "3.5": (TRANSIENT, "System incorrectly configured"),
    "3.6": (SENDER, "Requested priority was changed"),
    "4.0": (TRANSIENT, "Other or undefined network or routing status"),
    "4.1": (TRANSIENT, "No answer from host"),
    "4.2": (TRANSIENT, "Bad connection"),
    "4.3": (TRANSIENT, "Directory server failure"),
    "4.4": (TRANSIENT, "Unable to route"),
    "4.5": (TRANSIENT, "Mail system congestion"),
    "4.6": (TRANSIENT, "Routing loop detected"),
    "4.7": (TRANSIENT, "Delivery time expired"),
    "5.0": (UNDETERMINED, "Other or undefined protocol status"),
    "5.1": (SENDER, "Invalid command"),
    "5.2": (SENDER, "Syntax error"),
    "5.3": (SENDER, "Too many recipients"),
    "5.4": (SENDER, "Invalid command arguments"),
    "5.5": (SENDER, "Wrong protocol version"),
    "5.6": (SENDER, "Authentication exchange line is too long"),
    "6.0": (SENDER, "Other or undefined media error"),
    "6.1": (SENDER, "Media not supported"),
    "6.2": (SENDER, "Conversion required and prohibited"),
    "6.3": (SENDER, "Conversion required but not supported"),
    "6.4": (SENDER, "Conversion with loss performed"),
    "6.5": (SENDER, "Conversion failed"),
    "6.6": (SENDER, "Message content not available"),
    "6.7": (SENDER, "Non-ASCII addresses not permitted for that sender/recipient"),
    "6.8": (SENDER, "UTF-8 string reply is required, but not permitted by the SMTP client"),
    "6.9": (SENDER, "UTF-8 header message cannot be transferred to one or more recipients"),
    "6.10": (SENDER, "Duplicate of X.6.8, not to be used"),
    "7.0": (SENDER, "Other or undefined security status"),
    "7.1": (SENDER, "Delivery not authorized, message refused"),
    "7.2": (SENDER, "Mailing list expansion prohibited"),
    "7.3": (SENDER, "Security conversion required but not possible"),
    "7.4": (SENDER, "Security features not supported"),
    "7.5": (SENDER, "Cryptographic failure"),
    "7.6": (SENDER, "Cryptographic algorithm not supported"),
    "7.7": (SENDER, "Message integrity failure"),
    "7.8": (SENDER, "Authentication credentials invalid"),
    "7.9": (SENDER, "Authentication mechanism is too weak"),
    "7.10": (SENDER, "Encryption needed"),
    "7.11": (SENDER, "Encryption required for requested authentication mechanism"),
    "7.12": (SENDER, "A password transition is needed"),
    "7.13": (SENDER, "User account disabled"),
    "7.14": (SENDER, "Trust relationship required"),
    "7.15": (SENDER, "Priority level is too low"),
    "7.16": (SENDER, "Message is too big for the specified priority"),
    "7.17": (PERMANENT, "Mailbox owner has changed"),
    "7.18": (PERMANENT, "Domain owner has changed"),
    "7.19": (SENDER, "RRVS test cannot be completed"),
    "7.20": (SENDER, "No passing DKIM signature found"),
    "7.21": (SENDER, "No acceptable DKIM signature found"),
    "7.22": (SENDER, "No valid author-matched DKIM signature found"),
    "7.23": (SENDER, "SPF validation failed"),
    "7.24": (SENDER, "SPF validation error"),
    "7.25": (SENDER, "Reverse DNS validation failed"),
    "7.26": (SENDER, "Multiple authentication checks failed"),
    "7.27": (SENDER, "Sender address has null MX"),
    "7.28": (SENDER, "Mail flood detected"),
    "7.29": (SENDER, "ARC validation failure"),
    "7.30": (SENDER, "REQUIRETLS support required"),
}

#: What the codes of a subject mean that are not registered: servers make up their own.
SUBJECTS: Mapping[str, Category] = {
    "0": UNDETERMINED,
    "1": UNDETERMINED,
    "2": UNDETERMINED,
    "3": TRANSIENT,
    "4": TRANSIENT,
    "5": UNDETERMINED,
    "6": SENDER,
    "7": SENDER,
}

#: What is about us also where the server says "not now": it says so of every email of ours.
SENDER_WHEN_TRANSIENT = {"1.7", "1.8", *(f"7.{detail}" for detail in range(20, 30))}


def category_of(enhanced: str) -> Category:
    """Say what an enhanced code (``4.2.2``, ``5.1.1``) means by itself."""
    kind, _, code = enhanced.partition(".")
    if kind == "4":
        return SENDER if code in SENDER_WHEN_TRANSIENT else TRANSIENT
    if kind != "5":
        return UNDETERMINED
    if code in REGISTRY:
        return REGISTRY[code][0]
    return SUBJECTS.get(code.partition(".")[0], UNDETERMINED)
