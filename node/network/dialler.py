"""Reaching a peer at one of several addresses, some of which may be out of date."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from banyan.node.network.addresses import Address
from banyan.node.network.connection import Connection
from banyan.node.network.errors import NetworkError, PeerUnreachable, RefusedByPeer
from banyan.security.errors import Refused

#: Head start of an address over the next one, in seconds, as in RFC 8305.
HEAD_START: Final = 0.25


async def race(
    addresses: Sequence[Address], establish: Callable[[Address], Awaitable[Connection]], timeout: float
) -> tuple[Connection, Address]:
    """The first connection that stands; the attempts still under way are given up.

    The next address is tried as soon as the previous one failed, or has taken a quarter of a second: a dead
    address costs a moment, not a time-out. Raises RefusedByPeer if a peer answered and refused us and no
    other accepted, otherwise PeerUnreachable with the reason for every address.
    """
    failures: list[str] = []
    refusal: RefusedByPeer | None = None
    winner: tuple[Connection, Address] | None = None

    async def attempt(address: Address, over: trio.Event) -> None:
        nonlocal refusal, winner
        try:
            with trio.fail_after(timeout):
                connection = await establish(address)
        except RefusedByPeer as error:
            refusal = error
        except trio.TooSlowError:
            failures.append(f"{_place(address)}: no answer within {timeout:g} s")
        except (NetworkError, Refused) as error:
            failures.append(f"{_place(address)}: {error.what}")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            failures.append(f"{_place(address)}: what answers there is no Banyan node")
        except OSError as error:
            failures.append(f"{_place(address)}: {_cause(error)}")
        else:
            if winner is None:
                winner = connection, address
                nursery.cancel_scope.cancel()
            elif winner[0] is not connection:
                connection.close()
        over.set()

    async with trio.open_nursery() as nursery:
        for address in addresses:
            over = trio.Event()
            nursery.start_soon(attempt, address, over)
            with trio.move_on_after(HEAD_START):
                await over.wait()
    if winner is not None:
        return winner
    if refusal is not None:
        raise refusal
    raise PeerUnreachable(
        f"No peer answered ({'; '.join(failures) or 'no address is known'})",
        "Check that the peer runs, that its address is current, and that no firewall stands between",
    )


def _place(address: Address) -> str:
    return f"{address.host} port {address.port}"


def _cause(error: OSError) -> str:
    if isinstance(error.__cause__, BaseExceptionGroup):  # trio: one exception per address of the name
        inner = error.__cause__.exceptions[0]
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
    return error.strerror or str(error) or type(error).__name__
