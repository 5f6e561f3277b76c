"""Reads delivery status notifications (RFC 3464, RFC 6533): a verdict for each recipient."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reach.reports.addresses import ADDRESS, from_orcpt, readable, typed
from reach.reports.classify import category
from reach.reports.model import TEXT_CHARACTERS, Kind, Verdict
from reach.reports.parts import Fields, Mail, Part, fields
from reach.reports.replies import ENHANCED, Said, diagnosed, in_text
from reach.reports.texts import for_people

TYPES = {"message/delivery-status", "message/global-delivery-status"}
#: Of these a report may be, whose type somebody changed on the way.
PERHAPS = {"text/plain", "application/octet-stream", "text/delivery-status"}
BEGINS = re.compile(
    r"\s*(Reporting-MTA|Final-Recipient|Original-Recipient|Action)[ \t]*:", re.IGNORECASE
)
HAS_RECIPIENT = re.compile(r"^(Final|Original)-Recipient[ \t]*:", re.IGNORECASE | re.MULTILINE)

ADDRESSES = ("final-recipient", "original-recipient")
FOR_EACH = (*ADDRESSES, "action", "status")
RECIPIENTS = 100
WHOLE_CHARACTERS = 4000

ACTIONS: Mapping[str, Kind] = {
    "failed": "bounced",
    "failure": "bounced",
    "delayed": "delayed",
    "delivered": "delivered",
    "relayed": "delivered",
    "expanded": "delivered",
}
CLASSES: Mapping[str, Kind] = {"2": "delivered", "4": "delayed", "5": "bounced"}
#: OpenSMTPD calls delayed what it has given up.
GIVEN_UP = re.compile(
    r"\b(envelope|message|delivery( time)?|queue( life)?time) (has |is |was )?expired\b"
    r"|\b(?<!before )(?<!not )(?<!is )(?<!be )(gave|given|giving) up\b|\bretry time ?out exceeded\b"
    r"|\b(will not|won't|no longer) be (re)?tried\b|\bno (further|more) (attempts|tries)\b",
    re.IGNORECASE,
)
OK, FAILED = range(200, 300), range(500, 600)


@dataclass(frozen=True)
class Group:
    """The fields of one recipient, or those of the message: each name with all its values."""

    values: Mapping[str, Sequence[str]]

    def first(self, name: str) -> str | None:
        """The first value of a field; None if there is none."""
        return next(iter(self.values.get(name, ())), None)

    @property
    def status(self) -> str | None:
        """The enhanced code in ``Status``; None if there is none."""
        found = ENHANCED.search(self.first("status") or "")
        return found[1] if found else None


def status_part(mail: Mail) -> Part | None:
    """Find the part that is the report: by its type, else by what it begins with."""
    named = (part for part in mail.parts if part.type in TYPES)
    seen = (part for part in mail.parts if part.type in PERHAPS and BEGINS.match(part.text))
    return next(named, next((part for part in seen if HAS_RECIPIENT.search(part.text)), None))


def verdicts(part: Part, text: str) -> tuple[Verdict, ...]:
    """Judge each recipient; ``text`` is what the email says to people."""
    return judged(recipients(part), for_people(text))


def judged(groups: Sequence[Group], text: str) -> tuple[Verdict, ...]:
    """Judge recipients whose fields are known."""
    texts = _by_recipient(text, groups)
    whole = text[:WHOLE_CHARACTERS] if len(groups) == 1 else ""
    return tuple(_judged(group, said, whole) for group, said in zip(groups, texts, strict=True))


def envelope_ids(part: Part) -> tuple[list[str], list[str]]:
    """Give the ids of the message that the report itself has: its own, and its envelope's."""
    read = _fields(part)
    own = [value for name, value in read if name == "x-original-message-id"]
    return own, [value for name, value in read if name == "original-envelope-id"]


def recipients(part: Part) -> Sequence[Group]:
    """Find the fields of each recipient, whatever blank lines there are, or are not."""
    groups: list[dict[str, list[str]]] = [{}]
    for name, value in _fields(part):
        if name and _begins_another(groups[-1], name):
            groups.append({})
        if name:
            groups[-1].setdefault(name, []).append(value)
    named = [Group(one) for one in groups if any(name in one for name in ADDRESSES)]
    others = [Group(one) for one in groups if "action" in one or "status" in one]
    return (named or others)[:RECIPIENTS]


def _fields(part: Part) -> Fields:
    """Read the fields; also where the blank line before them is missing, or an encoding is not."""
    for text in (part.text, part.raw.decode("utf-8", "replace")):
        if HAS_RECIPIENT.search(text):
            return fields(text)
    return fields(part.text)


def _begins_another(group: Mapping[str, object], name: str) -> bool:
    if name not in FOR_EACH:
        return False
    is_told = any(one in group for one in ADDRESSES) and ("action" in group or "status" in group)
    return name in group or (is_told and name in ADDRESSES)


def _judged(group: Group, text: str, whole: str) -> Verdict:
    """Judge a recipient by the text about them; ``whole`` is all of it, if there is no other."""
    said = diagnosed(group.values.get("diagnostic-code", ()))
    if not said.is_reply:
        said = _more(said, in_text(text))
    kind = _kind(group, said, is_given_up=bool(GIVEN_UP.search(f"{said.text}\n{whole}")))
    codes = (said.enhanced, group.status)
    is_bad = kind in {"bounced", "delayed"}
    return Verdict(
        kind,
        category(said.code, said.text, *codes) if is_bad else None,
        recipient=typed(group.first("final-recipient")),
        original_recipient=from_orcpt(group.first("original-recipient")),
        smtp_code=said.code,
        enhanced_code=next((one for one in codes if one), None),
        text=said.text[:TEXT_CHARACTERS] if is_bad or said.is_reply else "",
    )


def _more(diagnosis: Said, said: Said) -> Said:
    """Choose between a diagnosis without a reply and the text: what has a reply, or else words."""
    return said if said.is_reply or not diagnosis.text else diagnosis


def _kind(group: Group, said: Said, *, is_given_up: bool) -> Kind:
    status = (group.status or said.enhanced or "")[:1]
    match = re.match(r"\W*([a-z]+)", (group.first("action") or "").lower())
    action = ACTIONS.get(match[1]) if match else None
    if action == "delayed":
        return "bounced" if is_given_up else "delayed"
    if action == "bounced":
        is_ok = said.code in OK and status == "2"
        return "delivered" if is_ok else "bounced"
    if said.code in FAILED or (action == "delivered" and status == "5"):
        return "bounced"
    return action or CLASSES.get(status) or CLASSES.get(str(said.code or "")[:1], "bounced")


def _by_recipient(text: str, groups: Sequence[Group]) -> list[str]:
    """Cut the text for people into what it says of each recipient.

    Of the only recipient it says all; what is said of several begins with the address of each.
    """
    if len(groups) == 1:
        return [_about_the_only(text, groups[0])]
    owners = {
        address.casefold(): number
        for number, group in enumerate(groups)
        for name in reversed(ADDRESSES)
        if (address := typed(group.first(name)))
    }
    cut = _cut(readable(text), owners)
    return [next(_telling(cut, number), "") for number in range(len(groups))]


def _about_the_only(text: str, group: Group) -> str:
    """Say where a text comes to the recipient; all of it, if it does not, or not to a reply."""
    text = readable(text)
    names = {one.casefold() for name in ADDRESSES if (one := typed(group.first(name)))}
    for found in ADDRESS.finditer(text):
        if found[1].rstrip(".:").casefold() in names:
            part = text[found.end() :]
            paragraph = part.lstrip(" \t:>").partition("\n\n")[0].strip()
            if in_text(paragraph).is_reply or GIVEN_UP.search(paragraph):
                return paragraph
            return part if in_text(part).is_reply else (paragraph or text)
    return text


def _cut(text: str, owners: Mapping[str, int]) -> list[tuple[int, str]]:
    """Cut a text where it comes to another recipient: whose each piece is, and the piece."""
    cut: list[tuple[int, str]] = []
    at, owner = 0, -1
    for found in ADDRESS.finditer(text):
        number = owners.get(found[1].rstrip(".:").casefold(), owner)
        if number != owner:
            cut.append((owner, text[at : found.start()]))
            at, owner = found.end(), number
    return [*cut, (owner, text[at:])]


def _telling(cut: Sequence[tuple[int, str]], number: int) -> Iterator[str]:
    """List the pieces about one recipient: those with a reply, then what others begin with."""
    own = [piece.strip(" \t:>\n") for owner, piece in cut if owner == number]
    begun = [piece.partition("\n\n")[0] for piece in own if piece]
    yield from (piece for piece in (*begun, *own) if in_text(piece).is_reply)
    yield from begun
