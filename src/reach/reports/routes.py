"""``POST /v1/bounces/{provider}``: what email providers report of emails that were sent."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from reach.problems import NotFound, Problem
from reach.reports.model import Report
from reach.reports.providers.configured import NAMES
from reach.reports.providers.generic import GenericReport
from reach.reports.providers.model import NotVerified, Provider, Received
from reach.web.body import in_json, read_body
from reach.web.guard import failed_link
from reach.web.openapi import OF_BODIES, problems
from reach.web.responses import as_json
from reach.web.routes import StrictRoute, TakesReports, services_of

router = APIRouter(prefix="/v1/bounces", tags=["Reports"], route_class=StrictRoute)

#: In the document those that there are; one that is not set up here is as unknown as any other.
ProviderName = Annotated[str, Path(alias="provider", json_schema_extra={"enum": [*NAMES]})]


class Counts(BaseModel):
    """How many reports changed something, were told before, or are about no message of ours.

    ``forged`` are those that name a message by a signature of ours that is wrong. What does not
    concern us, such as that an email was opened, is counted nowhere.
    """

    recorded: int = 0
    known: int = 0
    unmatched: int = 0
    forged: int = 0


@router.post(
    "/{provider}",
    response_model=Counts,
    responses=OF_BODIES | problems(401, 404, 429),
    openapi_extra=in_json(GenericReport),
)
async def post_reports(request: Request, provider: ProviderName) -> Any:
    """Take in reports of a provider. A 200 says that all of them are on disk.

    The body is the provider's own, and bears its signature or password. `generic` is for programs
    of yours: a report as in the schema, or a list of them, signed by Standard Webhooks. A provider
    that is not set up here is not found.
    """
    services = services_of(request)
    one: Provider | None = services.bounces.get(provider)
    if one is None:
        raise NotFound
    body = await read_body(request, services.body_seconds, one.types, one.most_bytes)
    try:
        reports = await one.reports(Received(_headers(request), body))
    except NotVerified:
        await failed_link(request)
        raise
    assert services.intake is not None
    return as_json(Counts(**await _take_in(services.intake, reports)))


async def _take_in(intake: TakesReports, reports: Sequence[Report]) -> Mapping[str, int]:
    """Hand all over at once, so that they share commits. Raises what one of them raises.

    Then the provider sends all of them again: those that were recorded are known.
    """
    calls = [intake.take_in(report, is_verified=True) for report in reports]
    taken = await asyncio.gather(*calls, return_exceptions=True)
    for one in taken:
        if isinstance(one, BaseException) and not isinstance(one, Problem):
            raise one
    for one in taken:
        if isinstance(one, Problem):
            raise one
    return Counter(one for one in taken if isinstance(one, str))


def _headers(request: Request) -> Mapping[str, str]:
    """Give the headers; of several with one name, the first."""
    fields = reversed(request.scope["headers"])
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
