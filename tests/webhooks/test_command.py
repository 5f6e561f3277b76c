"""`reach webhooks`: each command does what it says, and writes what the reference shows."""

import pytest

from reach.settings import Settings
from tests.support.processes.answers import answer_of
from tests.support.processes.commands import ReachProcess


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_each_command(settings: Settings) -> None:
    """From `add` to `remove`, as JSON; what is misused ends with 2."""

    def ask(*arguments: str) -> dict[str, object]:
        found: dict[str, object] = answer_of("webhooks", *arguments, settings=settings)
        return found

    url = "http://127.0.0.1:9/hooks"
    made = ask("add", url, "--type", "person.signed_up", "--name", "shop")
    webhook = str(made["id"])
    assert (made["url"], made["types"]) == (url, ["person.signed_up"])
    assert str(made["secret"]).startswith("whsec_")
    assert ask("rotate", webhook)["secret"] != made["secret"]
    tested = ask("test", webhook)
    shown = ask("show", webhook)
    assert "secret" not in shown
    assert [one["id"] for one in shown["deliveries"]] == [tested["id"]]  # type: ignore[attr-defined]
    assert ask("replay", webhook, "--since", "1d") == {"count": 0}
    assert ask("replay", webhook, "--event", str(tested["id"])) == {"count": 1}
    assert ask("disable", webhook)["state"] == "disabled"
    assert ask("enable", webhook)["state"] == "enabled"
    assert len(ask("list")) == 1
    assert ask("remove", webhook, "--yes")["id"] == webhook
    for misused in (["add", "http://10.0.0.1/"], ["add", url, "--type", "x"], ["replay", webhook]):
        with ReachProcess("webhooks", *misused, settings=settings) as process:
            assert process.wait() == 2, misused
