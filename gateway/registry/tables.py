"""What a node's replica keeps of each registry table: the query, the packed row, what it is looked up by.

Rules: one entry per table, and nothing else knows a table's columns in the replica. A row is a plain list
as PostgreSQL gave it, packed with msgpack; its first element is the id. Instants are milliseconds. The
readers' side below turns rows into the values of `gateway.model`.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from struct import Struct
from typing import Any, NamedTuple

import msgspec

from gateway.model import (
    FOREVER,
    Account,
    AccountKey,
    AccountNumber,
    Ban,
    Hold,
    Institution,
    Mandate,
    Number,
    Recipient,
    Refusal,
    Span,
)

Row = Sequence[Any]

unpack = msgspec.msgpack.Decoder(list[Any]).decode

pack_id = Struct(">Q").pack
unpack_id = Struct(">Q").unpack


class Table(NamedTuple):
    """`code` begins its keys in the replica; `select` and `where` make the query; `lookup(row)` is what
    readers find the row by. `of_senders`: what is judged once for a sender is made of it."""

    code: bytes
    select: str
    where: str
    lookup: Callable[[Row], bytes]
    of_senders: bool = True

    def query(self, condition: str) -> str:
        """Its rows that nodes need and for which `condition` holds, as SQL."""
        return f"{self.select} WHERE ({self.where}) AND {condition}"


class Activation(NamedTuple):
    """From when (ms) which version of a profile holds; `content` is JSON, as profile_text.py lays it. For one
    institution or one number, where it names one."""

    id: int
    start: int
    name: str
    digest: str
    content: str
    institution: int = 0
    number: str = ""


def _from(column: str) -> str:
    return f"coalesce(millis({column}), 0)"


def _until(column: str) -> str:
    return f"coalesce(millis({column}), {FOREVER})"


def account_lookup(key: AccountKey) -> bytes:
    return "\0".join(key).encode()


STRANGERS = 1 << 63
"""Beside an institution's id: what it did not file itself, but who answered that he is another person."""


def subscriber_lookup(institution: int, subscriber_hash: bytes, *, stranger: bool = False) -> bytes:
    """Of what an institution files about a subscriber; strangers stand apart, as they make no list."""
    return pack_id(institution | (STRANGERS if stranger else 0)) + subscriber_hash[:8]


def hold_lookup(code: bytes, identity: int) -> bytes:
    """Of the holds on the row `identity` of the table `code`."""
    return code + pack_id(identity)


TABLES = {
    "institutions": Table(
        b"i",
        f"""SELECT id, code, name, kind, licence_scope, {_until("licence_until")},
                   {_until("verified_until")}, status FROM institutions""",
        "true",
        lambda row: row[1].encode(),
    ),
    "mandates": Table(
        b"m",
        f"""SELECT id, institution_id, agency_id, channels, purposes, {_from("valid_from")},
                   {_until("valid_until")}, coalesce(encode(document_sha256, 'hex'), ''), status
              FROM mandates""",
        "true",
        lambda row: pack_id(row[1]) + pack_id(row[2]),
    ),
    "accounts": Table(
        b"a",
        """SELECT id, carrier, protocol, account, holder_id, scope, refusal_manner, mass_manner, signature,
                  line_kind, upstream, listener, callback, allowed_ips::text[], max_connections
             FROM accounts""",
        "true",
        lambda row: account_lookup(AccountKey(row[1], row[2], row[3])),
    ),
    "account_numbers": Table(
        b"x",
        f"""SELECT id, account_id, number, is_prefix, {_from("valid_from")}, {_until("valid_until")}
              FROM account_numbers""",
        "true",
        lambda row: pack_id(row[1]),
    ),
    "numbers": Table(
        b"n",
        f"""SELECT id, number, extension_digits, channels, purposes, institution_id, coalesce(agency_id, 0),
                   signatures, coalesce(carrier, ''), status, {_from("effective_from")},
                   {_until("effective_until")} FROM numbers""",
        "status = 'approved' OR (status IN ('revoked', 'withdrawn') AND approved_at IS NOT NULL)",
        lambda row: row[1].encode(),
    ),
    "consents": Table(
        b"c",
        f"""SELECT id, institution_id, subscriber_hash, {_from("given_at")}, {_until("valid_until")}
              FROM consents""",
        "true",
        lambda row: subscriber_lookup(row[1], row[2]),
        of_senders=False,
    ),
    "recipients": Table(
        b"t",
        f"""SELECT id, institution_id, subscriber_hash, role, {_from("valid_from")}, {_until("valid_until")}
              FROM recipients""",
        "true",
        lambda row: subscriber_lookup(row[1], row[2], stranger=row[3] == "stranger"),
        of_senders=False,
    ),
    "blacklist": Table(
        b"b",
        "SELECT id, number, is_prefix, reason, case_reference FROM blacklist",
        "removed_at IS NULL AND (NOT needs_second OR confirmed_at IS NOT NULL)",
        lambda row: row[1].encode(),
    ),
    "holds": Table(
        b"h",
        f"""SELECT id, CASE WHEN number_id IS NOT NULL THEN 'n'
                            WHEN account_id IS NOT NULL THEN 'a' ELSE 'i' END,
                   coalesce(number_id, account_id, institution_id), cause, {_from("valid_from")},
                   {_until("valid_until")} FROM holds""",
        "true",
        lambda row: hold_lookup(row[1].encode(), row[2]),
    ),
    "profile_activations": Table(
        b"p",
        """SELECT id, millis(valid_from),
                  (SELECT p.name FROM profiles p WHERE p.id = profile_id),
                  (SELECT p.digest FROM profiles p WHERE p.id = profile_id),
                  (SELECT p.content FROM profiles p WHERE p.id = profile_id),
                  coalesce(institution_id, 0), coalesce(number, '')
             FROM profile_activations""",
        "confirmed_at IS NOT NULL",
        lambda row: b"",
    ),
}
"""In the order in which a node hears of them: what forbids comes last, and is applied first (feed.py)."""

FORMAT = sha256("\0".join(table.query("") for table in TABLES.values()).encode()).digest()
"""Of what a replica holds: one that was made by other queries has to be copied afresh."""


def institution(row: Row, holds: tuple[Hold, ...]) -> Institution:
    identity, code, name, kind, scope, licence_until, verified_until, status = row
    licence, verified = Span(0, licence_until), Span(0, verified_until)
    return Institution(identity, code, name, kind, scope, licence, verified, status, holds)


def mandate(row: Row) -> Mandate:
    identity, holder, agency, channels, purposes, start, end, document, status = row
    return Mandate(identity, holder, agency, channels, purposes, Span(start, end), document, status)


def account(row: Row, holds: tuple[Hold, ...]) -> Account:
    identity, carrier, protocol, name, holder, scope, refusal, mass, signature, line, *places = row
    key = AccountKey(carrier, protocol, name)
    upstream, listener, callback, allowed_ips, most = places
    manners = (holder, scope, refusal, mass, signature, line)
    return Account(
        identity, key, *manners, tuple(upstream), listener, callback, tuple(allowed_ips), most, holds
    )


def account_number(row: Row) -> AccountNumber:
    return AccountNumber(row[2], row[3], Span(row[4], row[5]))


def number(row: Row, holds: tuple[Hold, ...]) -> Number:
    identity, text, extension, channels, purposes, holder, agency, signatures, carrier, status, *span = row
    filing = (identity, text, extension, channels, purposes, holder, agency)
    return Number(*filing, tuple(signatures), carrier, status, Span(*span), holds)


def consent(row: Row) -> Span:
    return Span(row[3], row[4])


def recipient(row: Row) -> Recipient:
    return Recipient(row[3], Span(row[4], row[5]))


def activation(row: Row) -> Activation:
    return Activation(*row)


def ban(row: Row) -> Ban:
    return Ban(*row)


def hold(row: Row) -> Hold:
    return Hold(row[3], Span(row[4], row[5]))


def refusals(octets: bytes) -> tuple[Refusal, ...]:
    """Those of a subscriber. Not by a decoder of Refusal: where model.py is compiled its annotations say no
    more than `type`."""
    read = []
    for institution, number, purposes, channels, at, *later in unpack(octets):
        undecided = later[0] if later else 0
        events = later[1] if len(later) > 1 else None  # written before there were any
        known = None if events is None else tuple(events)
        read.append(Refusal(institution, number, purposes, channels, at, undecided, known))
    return tuple(read)
