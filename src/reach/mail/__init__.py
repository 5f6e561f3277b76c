"""Emails: templates, headers and signatures."""

from typing import Literal

#: What of an email a preview shows.
Form = Literal["html", "text", "subject", "source"]
