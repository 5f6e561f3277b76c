"""The door: what page and API have in common before anybody signs up."""

from collections.abc import Awaitable, Callable

from reach.people.bodies import DoorSignUp
from reach.people.disposable import DisposableDomains
from reach.people.robots import Robots

SignUpFunction = Callable[[DoorSignUp], Awaitable[None]]


def at_door(
    sign_up: SignUpFunction, robots: Robots, disposable: DisposableDomains
) -> SignUpFunction:
    """Keep robots from ``sign_up``: nothing of theirs is stored, and nothing tells them so.

    What it makes raises Unprocessable for a disposable address and for an old form.
    """

    async def knock(form: DoorSignUp) -> None:
        disposable.refuse(form.email)
        if not robots.turn_away(form):
            await sign_up(form)

    return knock
