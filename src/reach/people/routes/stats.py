"""How many there are, for operators."""

from typing import Any

from fastapi import APIRouter, Depends

from reach.people import stats
from reach.people.operators import Config
from reach.people.schemas import StatsBody
from reach.web.body import StrictRoute
from reach.web.guard import needs, operator_key
from reach.web.keys import Db, as_json
from reach.web.openapi import OF_KEYS

router = APIRouter(
    tags=["stats"],
    dependencies=[Depends(operator_key)],
    responses=OF_KEYS,
    route_class=StrictRoute,
)

#: It tells about both.
MayRead = [Depends(needs("people:read")), Depends(needs("messages:read"))]


@router.get("/v1/stats", response_model=StatsBody, dependencies=MayRead)
async def get_stats(db: Db, settings: Config) -> Any:
    """Count people, messages by state, and what happened in each of the last 48 hours.

    It is at most 5 s old, and costs the same however many there are.
    """
    return as_json(StatsBody.model_validate(await stats.recent(db, settings)))
