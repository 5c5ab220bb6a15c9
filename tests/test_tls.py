"""TLS on the ports for senders and on the way to the carrier: sessions are the same as without."""

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from conftest import HouseOf
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playbook import BANNED, HOST, MARKETING, SECRET, TEXT, House, eventually, free_ports

from gateway import config, secured
from gateway.errors import UsageError
from gateway.simulator.carrier import CarrierSim
from gateway.simulator.sender import LoginRefused, SenderSim

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "gateway.example"


class Pair(NamedTuple):
    """PEM files of a certificate and its key."""

    certificate: Path
    key: Path


def certified(
    folder: Path, name: str, by: "tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None" = None
):
    """A certificate for `name`: (its files, itself, its key); by itself, or by an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signer = by[1] if by is not None else key
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by[0].subject if by is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    pair.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return pair, made, key


class Papers(NamedTuple):
    authority: Path
    gateway: Pair
    carrier: Pair
    sender: Pair
    stranger: Pair


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    authority, *signer = certified(folder, "authority.example")
    pairs = [certified(folder, name, signer)[0] for name in (NAME, "carrier.example", "sender.example")]
    return Papers(authority.certificate, *pairs, certified(folder, "stranger.example")[0])


@contextlib.asynccontextmanager
async def tunnel(port: int, target: int, *, inward: ssl.SSLContext | None, outward: ssl.SSLContext | None):
    """From a port to another: by TLS on its way in, or out. As a sender's or a carrier's own terminator."""

    joined: set[asyncio.Task[None] | None] = set()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        joined.add(asyncio.current_task())
        with contextlib.suppress(OSError):
            name = NAME if outward else None
            there, back = await asyncio.open_connection(HOST, target, ssl=outward, server_hostname=name)
            await asyncio.gather(copy(reader, back), copy(there, writer))

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while octets := await reader.read(65536):
                writer.write(octets)
                await writer.drain()

    async with await asyncio.start_server(join, HOST, port, ssl=inward):
        yield
    left = {task for task in joined if task is not None}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def trusting(papers: Papers, shown: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(papers.authority))
    if shown is not None:
        context.load_cert_chain(*shown)
    return context


def serving(papers: Papers, pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    context.load_verify_locations(papers.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class Place(NamedTuple):
    """Ports by TLS: of senders and of the carrier; and of SGIP, where the carrier calls as well."""

    house: House
    port: int
    carrier: int
    sgip: int
    sgip_carrier: int
    callback: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(house_of: HouseOf, papers: Papers) -> AsyncIterator[Place]:
    """A node whose second and third listener speak TLS to both sides, and to each want a certificate."""
    ports = port, carrier, sgip, sgip_carrier, callback = free_ports(5)
    settings = "".join(
        f"""
[[sms]]
protocol = "{protocol}"
listen = "{HOST}:{listen}"
upstream = ["{HOST}:{upstream}"]
{more}
tls_certificate = "{papers.gateway.certificate}"
tls_key = "{papers.gateway.key}"
tls_client_ca = "{papers.authority}"
upstream_tls = true
upstream_tls_ca = "{papers.authority}"
upstream_tls_name = "carrier.example"
upstream_tls_certificate = "{papers.gateway.certificate}"
upstream_tls_key = "{papers.gateway.key}"
"""
        for protocol, listen, upstream, more in (
            ("cmpp", port, carrier, ""),
            ("sgip", sgip, sgip_carrier, f'callback_listen = "{HOST}:{callback}"'),
        )
    )
    async with house_of(settings=settings) as house:
        yield Place(house, *ports)


@contextlib.asynccontextmanager
async def session(
    place: Place, papers: Papers, *, sender: Pair | None = None, carrier: Pair | None = None
) -> AsyncIterator[SenderSim]:
    (plain,) = free_ports(1)
    context = trusting(papers, sender or papers.sender)
    async with (
        tunnel(
            place.carrier,
            place.house.carrier.port,
            inward=serving(papers, carrier or papers.carrier),
            outward=None,
        ),
        tunnel(plain, place.port, inward=None, outward=context),
        SenderSim(HOST, plain, "900001", SECRET) as sim,
    ):
        yield sim


async def test_a_session_by_tls_is_judged_and_answered_as_any_other(place: Place, papers: Papers) -> None:
    async with session(place, papers) as sender:
        before = len(place.house.carrier.submits)
        answers = [await sender.submit(MARKETING, [place.house.subscriber()], TEXT) for _ in range(20)]
        assert {answer.result for answer in answers} == {0}
        assert (await sender.submit(BANNED, ["13800000001"], TEXT)).result == 103
        assert len(place.house.carrier.submits) == before + 20
    await place.house.counts_are_true()


async def test_much_goes_through_whole(place: Place, papers: Papers) -> None:
    """More than the buffers of a pair of sockets hold, at once."""
    async with session(place, papers) as sender:
        to = [place.house.subscriber() for _ in range(600)]
        answers = await asyncio.gather(*(sender.submit(MARKETING, [one], TEXT) for one in to))
        assert [answer.result for answer in answers] == [0] * 600


async def test_who_is_not_certified_does_not_come_in(place: Place, papers: Papers) -> None:
    async with place.house.counted("connections_closed_total", cause="no_tls"):
        with pytest.raises(LoginRefused):
            async with session(place, papers, sender=papers.stranger):
                pass
    async with place.house.counted("connections_closed_total", cause="no_tls"):
        with pytest.raises(LoginRefused):  # plain text
            async with SenderSim(HOST, place.port, "900001", SECRET):
                pass


async def test_a_carrier_that_is_another_gets_nothing(place: Place, papers: Papers) -> None:
    seen = len(place.house.carrier.logins)
    async with place.house.counted("connections_closed_total", cause="no_upstream"):
        with pytest.raises(LoginRefused) as refused:
            async with session(place, papers, carrier=papers.sender):
                pass
        assert refused.value.status
    assert len(place.house.carrier.logins) == seen


async def test_who_calls_and_who_is_called_do_so_by_tls(place: Place, papers: Papers) -> None:
    """SGIP: four connections, on each of which both sides show who they are."""
    plain, listener, heard, calls, stranger = free_ports(5)
    house = place.house
    await house.bring(
        "accounts",
        "carrier,protocol,account,holder,scope,listener\n"
        f"mobile,sgip,called,BANK,financial,{HOST}:{listener}\n",
    )
    ((version,),) = house.sql("SELECT max(row_version) FROM accounts")

    async def known() -> bool:
        return await house.metric("registry_version") >= version

    await eventually(known)

    def caller(pair: Pair) -> ssl.SSLContext:
        return trusting(papers, pair)

    async with (
        CarrierSim(
            HOST, protocol="sgip", secret=SECRET, report_after=0.0, callback=f"{HOST}:{calls}"
        ) as carrier,
        tunnel(place.sgip_carrier, carrier.port, inward=serving(papers, papers.carrier), outward=None),
        tunnel(plain, place.sgip, inward=None, outward=caller(papers.sender)),
        tunnel(listener, heard, inward=serving(papers, papers.sender), outward=None),
        tunnel(calls, place.callback, inward=None, outward=caller(papers.carrier)),
        tunnel(stranger, place.callback, inward=None, outward=caller(papers.stranger)),
        SenderSim(HOST, plain, "called", SECRET, protocol="sgip", called_at=(HOST, heard)) as sender,
    ):
        subscriber = house.subscriber()
        assert (await sender.submit(MARKETING, [subscriber], TEXT, report=True)).result == 0
        await sender.until(lambda: sender.counts["reports"] == 1)
        assert await carrier.deliver(MARKETING, subscriber, "你好", account="called") == 0
        async with house.counted("connections_closed_total", protocol="sgip", cause="no_tls"):
            _, writer = await asyncio.open_connection(HOST, stranger)
            writer.close()


async def test_both_sides_learn_of_the_end(place: Place, papers: Papers) -> None:
    async with session(place, papers) as sender:
        assert (await sender.submit(MARKETING, [place.house.subscriber()], TEXT)).result == 0
        sender.end.abort()
    await eventually(lambda: not place.house.carrier.ends)


async def test_a_renewed_certificate_is_shown_to_the_next_sender(place: Place, papers: Papers) -> None:
    shown = await asyncio.to_thread(ssl.get_server_certificate, (HOST, place.port))
    assert shown == papers.gateway.certificate.read_text()
    kept = [path.read_bytes() for path in papers.gateway]
    for half in ("half a file", papers.sender.certificate.read_text()):  # whose key has not come yet
        papers.gateway.certificate.write_text(half)
        assert await asyncio.to_thread(ssl.get_server_certificate, (HOST, place.port)) == shown
    for path, fresh in zip(papers.gateway, papers.sender, strict=True):
        path.write_bytes(fresh.read_bytes())
    renewed = await asyncio.to_thread(ssl.get_server_certificate, (HOST, place.port))
    assert renewed == papers.sender.certificate.read_text()
    for path, octets in zip(papers.gateway, kept, strict=True):
        path.write_bytes(octets)


async def test_a_drain_says_goodbye_by_tls_too(place: Place, papers: Papers) -> None:
    async with session(place, papers) as sender:
        assert (await sender.submit(MARKETING, [place.house.subscriber()], TEXT)).result == 0
        assert await place.house.stop() == 0
        await sender.until(lambda: sender.cause is not None)
        assert sender.cause is not None
        assert sender.cause.cause == "terminated"
    assert place.house.carrier.counts["closed_terminated"] >= 1
    assert [line for line in place.house.log_lines() if line["what"] == "part did not stop, killed"] == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"tls_certificate": "missing.pem"}, "No such file"),
        ({"tls_key": "stranger.example.key"}, "belong together"),
        ({"tls_client_ca": "gateway.example.key"}, "belong together"),
        ({"upstream_tls": True, "upstream_tls_ca": "missing.pem"}, "No such file"),
    ],
)
async def test_without_its_files_a_node_does_not_start(
    papers: Papers, wrong: dict[str, object], told: str
) -> None:
    folder = papers.authority.parent
    files = {"tls_certificate": f"{NAME}.pem", "tls_key": f"{NAME}.key"} | wrong
    settings = {name: str(folder / file) if isinstance(file, str) else file for name, file in files.items()}
    [problem] = secured.problems([config.Sms(protocol="cmpp", **settings)])
    assert problem.startswith("sms.0.")
    assert told in problem
    with pytest.raises(UsageError):
        (secured.for_carrier if "upstream_tls" in settings else secured.for_senders)(
            config.Sms(protocol="cmpp", **settings)
        )
