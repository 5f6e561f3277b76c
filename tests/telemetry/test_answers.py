"""The test of the expressions finds what is wrong with one."""

import pytest

from tests.support.clock import eventually
from tests.support.processes.ports import free_port
from tests.support.servers.prometheus import NoPrometheus, running_prometheus
from tests.support.telemetry.expressions import Answers, Asked

#: Of one target, which is down.
WRONG = {
    "sum(no_such_metric) or vector(0)": "there is no metric no_such_metric",
    'up{nobody="x"} or vector(0)': "up has no label ['nobody']",
    'up{job="other"} or vector(0)': 'nothing matches up{job="other"}',
    "sum by (shape) (up)": "groups by ['shape'], which no metric in it has",
    "up / 0": "is not a number: [nan]",
    "up > 5": "has no answer",
    "up": "was 0 all the time",
}


async def test_what_is_wrong_with_an_expression_is_said() -> None:
    """Though Prometheus itself takes it, and ``or vector(0)`` has it give a number."""
    try:
        with running_prometheus({"reach": [free_port()]}) as prometheus:
            await eventually(lambda: prometheus.query("up"))
            asked = [Asked(expression, expression, moves=True) for expression in WRONG]
            good = Asked("good", "1 + sum by (job) (up)", moves=True)
            found = Answers(prometheus, [*asked, good], set()).complaints()
    except NoPrometheus as reason:
        pytest.skip(str(reason))
    assert {where: complaints[0] for where, complaints in found.items()} == WRONG
