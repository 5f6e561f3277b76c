#!/usr/bin/env bash
# Python's email: a delivery report that is base64 stays base64, and no call decodes it.
#
# Guess (written down first): RFC 6533 lets message/global-delivery-status be base64 on its way through servers that
# take seven bits. The parser knows the types message/delivery-status and message/global-delivery-status, and for
# a text part get_payload(decode=True) and get_content() decode base64; so a report's recipients can be read, or at
# least its bytes can be had, and a parser that cannot do it notes a defect.
# Seen: under both policies the payload is a list of one message without headers, whose text is the base64;
# get_payload(decode=True) is None; get_content() gives the base64, encoded; there is no defect. A reader that walks
# through the fields finds no recipient, and drops a bounce without a word.
#
# Matters to: anybody who reads bounces of addresses that are not ASCII. src/reach/reports/parts.py finds parts itself.
# Needs: python3 (3.11 or later); nothing is installed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/look.py" <<'PYTHON'
import base64, email, email.policy, platform

REPORT = b"""Reporting-MTA: dns; mx.example.net

Final-Recipient: utf-8; ada@example.net
Action: failed
Status: 5.1.1
"""
HEAD = "Content-Type: {}\nContent-Transfer-Encoding: base64\n\n"
GUESS = {"recipients": ["utf-8; ada@example.net"], "get_payload(decode=True)": REPORT, "get_content()": REPORT}
SEEN = {"recipients": [], "get_payload(decode=True)": None, "get_content()": base64.encodebytes(REPORT)}


def look(kind):
    mail = HEAD.format(kind).encode() + base64.encodebytes(REPORT)
    message = email.message_from_bytes(mail, policy=email.policy.default)
    found = [one["Final-Recipient"] for one in message.get_payload() if one["Final-Recipient"]]
    content = message.get_content()
    assert not message.defects
    return {
        "recipients": found,
        "get_payload(decode=True)": message.get_payload(decode=True),
        "get_content()": content.lstrip(b"\n") if isinstance(content, bytes) else content,
    }


print(f"Python {platform.python_version()}")
text = email.message_from_bytes(HEAD.format("text/plain").encode() + base64.encodebytes(REPORT))
assert text.get_payload(decode=True) == REPORT, "not even of text"
for kind in ("message/delivery-status", "message/global-delivery-status"):
    seen = look(kind)
    for name, value in seen.items():
        print(f"{kind}, {name}: guess: {str(GUESS[name])[:30]}…; seen: {str(value)[:30]}…")
    if seen != SEEN:
        raise SystemExit("it behaves otherwise now")
PYTHON
"${PYTHON:-python3}" "$folder/look.py"
