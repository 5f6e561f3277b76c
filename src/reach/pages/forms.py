"""What a form shows when it comes back with something wrong."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from reach.pages.render import REASON, public_detail
from reach.people.robots import SendAgain
from reach.problems import Problem, Unavailable


def faults_of(problem: Problem | None, labels: Mapping[str, str], request: Request) -> Any:
    """Values for a form's template: what is wrong, above the form and beside each field.

    A fault of no field (or of one that the form lacks) stands above the form only.
    """
    members: dict[str, Any] = dict(problem.members) if problem else {}
    faults = [(e["pointer"].strip("/"), e["detail"]) for e in members.get("errors", [])]
    order = ["", *labels]
    faults.sort(key=lambda fault: order.index(fault[0]) if fault[0] in order else len(order))
    if problem is not None:
        request.scope[REASON] = problem.detail
    return {
        "labels": labels,
        "faults": faults,
        "errors": {name: detail for name, detail in reversed(faults) if name in labels},
        "title": None if problem is None else public_detail(problem) or problem.title,
        "may_repeat": isinstance(problem, Unavailable),
        "is_fine": isinstance(problem, SendAgain),
    }
