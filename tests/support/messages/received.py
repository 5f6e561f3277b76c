"""Mails as those who get them read them."""

import re
from email import message_from_bytes, policy
from email.message import EmailMessage, Message

from reach.mail.compose import Mail

LINK_LINE = re.compile(rb'(?:href=")?https?://[\w.:-]+/\w+\?token=[\w.-]+"?')
LINK = re.compile(r"https?://[\w.:-]+/(\w+)\?token=([\w.-]+)")


def parse(mail: Mail) -> EmailMessage:
    """Read a mail as its reader's program would. Fails if anything about it is wrong."""
    read = message_from_bytes(mail.content, policy=policy.default)
    assert isinstance(read, EmailMessage)
    assert [part.defects for part in read.walk()] == [[]] * 3
    assert [header.defects for part in read.walk() for header in part.values()] == [
        () for part in read.walk() for _ in part.values()
    ]
    return read


def contents(mail: Mail) -> list[str]:
    """Give both parts as they are read, text first."""
    return [part.get_content().replace("\r\n", "\n") for part in parse(mail).iter_parts()]


def lines(mail: Mail) -> list[bytes]:
    """Give the lines of a mail. Fails if one ends in anything but CRLF."""
    found = mail.content.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in found)
    assert found.pop() == b""
    return found


def foldable(mail: Mail) -> list[bytes]:
    """Give the lines of a mail but for links, which nobody could fold."""
    return [line for line in lines(mail) if not LINK_LINE.fullmatch(line)]


def links_in(part: str) -> list[tuple[str, str]]:
    """Give the scope and the token of each link in a part, in order."""
    found: list[tuple[str, str]] = LINK.findall(part)
    return found


def parse_old(mail: Mail) -> Message:
    """Read a mail as an older program would: headers unfolded, and not decoded."""
    read = message_from_bytes(mail.content, policy=policy.compat32)
    for name, value in read.items():
        read.replace_header(name, value.replace("\r\n", ""))
    return read
