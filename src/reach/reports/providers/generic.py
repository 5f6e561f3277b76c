"""Programs of one's own, for a provider that is not among these: JSON of ours, signed.

It is strict, as all else of ours: who writes it can mend it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from reach.problems import Unprocessable
from reach.reports.model import TEXT_CHARACTERS, Category, Kind, Report
from reach.reports.providers.model import (
    FIRST_CODE,
    LAST_CODE,
    MOST_CHARACTERS,
    Provider,
    Received,
    clues,
    verdict,
)
from reach.reports.providers.standard_webhooks import Signatures
from reach.settings import Settings
from reach.settings.bounces import split
from reach.web.body import parse_json, validate

#: In one request.
MOST_REPORTS = 1000

Line = Annotated[str, StringConstraints(min_length=1, max_length=MOST_CHARACTERS)]
EXAMPLE: dict[str, Any] = {
    "message": "<01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a01@example.com>",
    "kind": "bounced",
    "category": "permanent",
    "recipient": "ada@example.com",
    "smtp_code": 550,
    "enhanced_code": "5.1.1",
    "text": "550 5.1.1 No such user here",
}


class GenericReport(BaseModel):
    """What became of a message: `message` is its id, its Message-ID, or its X-Reach-Message.

    Without a `category`, a bounce is one of which it is not known whose fault it is.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    message: Line
    kind: Kind
    category: Category | None = None
    recipient: Line | None = None
    smtp_code: Annotated[int, Field(ge=FIRST_CODE, le=LAST_CODE, strict=True)] | None = None
    enhanced_code: Annotated[str, Field(pattern=r"^[245]\.[0-9]{1,3}\.[0-9]{1,3}$")] | None = None
    text: Annotated[str, StringConstraints(max_length=TEXT_CHARACTERS)] = ""

    @model_validator(mode="after")
    def _has_category_of_bounce(self) -> Self:
        if self.category is not None and self.kind not in ("bounced", "delayed"):
            raise ValueError("Only what is bounced or delayed has a category.")
        return self


class Generic(Provider):
    """Reads reports of ``REACH_BOUNCES_GENERIC_SECRET``: one, or a list of them."""

    name = "generic"

    def __init__(self, settings: Settings) -> None:
        secrets = split(settings.bounces_generic_secret.get_secret_value())
        self._settings, self._signatures = settings, Signatures(secrets)

    async def reports(self, received: Received) -> Sequence[Report]:
        """Read what came. Of a list with one that is wrong, none is taken."""
        self._signatures.verify(received)
        body = parse_json(received.body)
        if not isinstance(body, list):
            return [self._report(body)]
        if len(body) > MOST_REPORTS:
            raise Unprocessable(f"There may be {MOST_REPORTS} reports at most.")
        return [self._report(one, f"/{place}") for place, one in enumerate(body)]

    def _report(self, value: Any, pointer: str = "") -> Report:
        try:
            found = validate(GenericReport, value, self._settings)
        except Unprocessable as refused:
            refused.members["errors"] = [
                {**error, "pointer": pointer + error["pointer"]}
                for error in refused.members["errors"]  # type: ignore[attr-defined]
            ]
            raise
        one = verdict(
            found.kind,
            found.recipient,
            found.text,
            code=found.smtp_code,
            status=found.enhanced_code,
            otherwise=found.category or "undetermined",
            is_certain=found.category is not None,
        )
        return Report(self.name, clues([found.message]), (one,))
