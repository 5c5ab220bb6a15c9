"""A DSN that names a standby first: whoever writes finds the primary behind it."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from debian import debian_server
from playbook import BANNED, MARKETING, TEXT, House, eventually, run_cli

from gateway.registry import migrate, primary


@pytest.fixture
def two_servers() -> Iterator[str]:
    """The DSN of a standby and its primary, in this order, as a carrier writes it."""
    with debian_server() as first:
        with psycopg.connect(first.dsn.replace("/zhengming?", "/postgres?"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE zhengming")
        with debian_server(standby_of=first) as standby:
            yield f"{standby.dsn},{first.folder}"


@pytest.mark.long
async def test_a_dsn_with_a_standby_first_serves_all_who_write(
    two_servers: str, cities: Path, tmp_path: Path
) -> None:
    with psycopg.connect(two_servers) as connection:  # this DSN does lead to the standby
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
    migrate.upgrade(two_servers)
    assert migrate.current(two_servers) == migrate.newest()
    async with House(tmp_path, two_servers, cities) as house:  # imports its registry, checks, feeds
        async with house.sender() as sender:
            subscriber = house.subscriber()
            assert (await sender.submit(MARKETING, [subscriber], TEXT)).result == 0
            assert (await sender.submit(BANNED, [subscriber], TEXT)).result == 103
            assert await house.carrier.deliver(MARKETING, subscriber, "R") == 0
        await eventually(lambda: house.sql("SELECT count(*) FROM intercepts")[0][0] == 1)
        await eventually(lambda: house.sql("SELECT count(*) FROM refusals WHERE source = 'reply'")[0][0] == 1)
        for command in (
            ("blacklist", "add", "10690777", "--reason", "complaint", "--case", "C-1"),
            ("export", "numbers", str(tmp_path / "numbers.csv")),
        ):
            code, out, err = await house.cli(*command)
            assert code == 0, (command, out, err)
        code, out, err = await run_cli("config", "--check", "-c", str(house.path))
        assert code == 0, (out, err)


async def test_a_server_that_takes_connections_and_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a stopped process or a broken firewall leaves it: commands and nodes hung there for ever."""
    monkeypatch.setattr(primary, "CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dsn = f"postgresql://zm@127.0.0.1:{silent.getsockname()[1]}/zm"
        async with asyncio.timeout(30):
            with pytest.raises(TimeoutError, match="no answer within 2 s"):
                await primary.connect(dsn)
            with pytest.raises(psycopg.OperationalError, match="timeout"):
                await asyncio.to_thread(primary.connect_blocking, dsn)
