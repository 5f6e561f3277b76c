"""The sender of envelopes and the headers that a provider wants are whose settings say so."""

import pytest

from reach.mail.compose import Composer
from reach.settings import BadSettings
from tests.support.messages import a_composer, a_key, a_message, is_believed, lines, parse
from tests.support.messages import usual_settings as settings_with

HEADERS = "X-PM-Message-Stream: outbound; X-SES-CONFIGURATION-SET: reach"


def test_the_envelope_has_a_sender_of_its_own() -> None:
    """Readers see whom the email comes from, and answers go there."""
    mail = a_composer(envelope_sender="bounces@mail.example.org").compose(a_message())
    assert mail.sender == "bounces@mail.example.org"
    assert "bounces@" not in str(parse(mail)["From"])
    usual = a_composer().compose(a_message())
    assert usual.sender in str(parse(usual)["From"])
    with pytest.raises(BadSettings, match="REACH_ENVELOPE_SENDER"):
        a_composer(envelope_sender=f"{'a' * 65}@example.org")


def test_a_provider_gets_its_headers_and_may_take_them_out() -> None:
    """They are whole lines among ours, and no signature breaks when they are gone."""
    key = a_key()
    mail = Composer(settings_with(mail_headers=HEADERS), key).compose(a_message())
    read = parse(mail)
    assert (read["X-PM-Message-Stream"], read["X-SES-CONFIGURATION-SET"]) == ("outbound", "reach")
    assert is_believed(mail.content, key)
    left = [line for line in lines(mail) if not line.startswith((b"X-PM-", b"X-SES-"))]
    assert len(left) == len(lines(mail)) - 2
    assert is_believed(b"\r\n".join(left) + b"\r\n", key)
