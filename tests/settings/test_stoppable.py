"""Which emails people may stop is for the maker to say, but for those that they are owed."""

import pytest

from reach.settings import BadSettings, load
from reach.settings.types import OWED


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("news, Offers", "must be names of templates"),
        ("x" * 64, "must be names of templates"),
        *((f"news {name}", f"must not name {name}: people asked for") for name in OWED),
    ],
)
def test_what_people_are_owed_cannot_be_stopped(
    monkeypatch: pytest.MonkeyPatch, names: str, words: str
) -> None:
    """Every template of Reach's own is refused at the start; a maker's own are taken."""
    monkeypatch.setenv("REACH_UNSUBSCRIBE_TEMPLATES", names)
    with pytest.raises(BadSettings, match=f"REACH_UNSUBSCRIBE_TEMPLATES: {words}"):
        load()
    monkeypatch.setenv("REACH_UNSUBSCRIBE_TEMPLATES", "news, offers news")
    assert load().stoppable == ["news", "offers"]
