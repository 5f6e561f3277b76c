"""How many there are, for operators."""

from typing import Any

from fastapi import APIRouter, Depends

from reach.auth.guard import needs, operator_key
from reach.auth.routes import Db, as_json
from reach.bodies.document import OF_KEYS
from reach.bodies.guard import StrictRoute
from reach.people import stats
from reach.people.bodies import StatsBody
from reach.people.routes.operators import Config

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
