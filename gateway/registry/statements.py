"""The statements that bring the rows of each kind in and out. `loading.py` says what they must be like."""

from gateway.registry.loading import (
    ALREADY_FILED,
    APPROVED,
    BANNED,
    LINES,
    NO_ACCOUNT,
    NO_AGENCY,
    NO_CARRIER,
    NO_INSTITUTION,
    OWNS_NONE,
    REGULATORS,
    RESERVED,
    REVOKED,
    SAME_PARTY,
    Check,
    Loading,
    unknown,
)
from gateway.registry.rows import Flaw
from gateway.registry.subscriber_statements import OF_SUBSCRIBERS


def _of_kind(column: str, condition: str, flaw: Flaw) -> Check:
    found = f'SELECT FROM institutions r WHERE r.code = i."{column}" AND {condition}'
    return Check(column, f"EXISTS ({found})", flaw)


_OWNER = _of_kind("institution", "r.kind IN ('agency', 'provider')", OWNS_NONE)
_AGENCY = _of_kind("agency", "r.kind <> 'agency'", NO_AGENCY)
_SHORT = "(length(i.number) <= 6 OR i.number ~ '^(1[12]|100|96110|[+]86(10|2.|[3-9]..)([19]|$))')"
"""What `reserved` need be asked of, out of a million numbers."""
_COVERED = "reserved(i.number, i.extension_digits, institution_of(i.institution)) IS NOT NULL"
_NOT_RESERVED = Check("number", f"{_SHORT} AND {_COVERED}", RESERVED)

_OVERLAP = """EXISTS (SELECT FROM numbers n JOIN institutions o ON o.code = i.institution
    WHERE n.status IN ('submitted', 'checked', 'approved') AND n.institution_id <> o.id
      AND digits(n.number) && digits(i.number)
      AND reach(n.number, n.extension_digits, n.channels) && reach(i.number, i.extension_digits, i.channels)
      AND tstzrange(n.effective_from, n.effective_until) && tstzrange(i.effective_from, i.effective_until))"""

_LEFT_TO_REGULATORS = "(SELECT my_user() IS NOT NULL AND (acting_regulator()).id IS NULL)"
"""As the database guards it (0028); a file of a carrier's without a region leaves the region as it stands."""
_REGION = f"CASE WHEN excluded.region = '' AND {_LEFT_TO_REGULATORS} THEN t.region ELSE excluded.region END"


def _regulators(column: str) -> Check:
    other = (
        f"SELECT FROM institutions r WHERE r.code = i.code AND r.{column} <> i.{column} AND i.{column} <> ''"
    )
    return Check(column, f"{_LEFT_TO_REGULATORS} AND EXISTS ({other})", REGULATORS)


LOADING = {
    "institutions": Loading(
        checks=(_regulators("kind"), _regulators("region")),
        put=f"""
WITH put AS (
    INSERT INTO institutions AS t
           (code, name, kind, licence_number, licence_scope, licence_until, verified_until, region)
    SELECT code, name, kind, licence_number, licence_scope, licence_until, verified_until, region
      FROM incoming i WHERE {LINES} ORDER BY i.line
    ON CONFLICT (code) DO UPDATE
       SET name = excluded.name, kind = excluded.kind, licence_number = excluded.licence_number,
           licence_scope = excluded.licence_scope, licence_until = excluded.licence_until,
           verified_until = excluded.verified_until, region = {_REGION}
     WHERE (t.name, t.kind, t.licence_number, t.licence_scope, t.licence_until, t.verified_until, t.region)
           IS DISTINCT FROM
           (excluded.name, excluded.kind, excluded.licence_number, excluded.licence_scope,
            excluded.licence_until, excluded.verified_until, {_REGION})
    RETURNING 1)
SELECT count(*) FROM put""",
        rows="""
SELECT code, name, kind, licence_number, licence_scope, licence_until, verified_until, region
  FROM institutions ORDER BY id""",
    ),
    "mandates": Loading(
        checks=(
            unknown("institution", NO_INSTITUTION),
            unknown("agency", NO_INSTITUTION),
            Check("agency", "i.agency = i.institution", SAME_PARTY),
            _OWNER,
            _AGENCY,
            Check(
                "valid_from",
                """EXISTS (SELECT FROM mandates t JOIN institutions o ON o.id = t.institution_id
                                   JOIN institutions a ON a.id = t.agency_id
                    WHERE o.code = i.institution AND a.code = i.agency AND t.status = 'revoked'
                      AND t.channels = i.channels AND t.purposes = i.purposes
                      AND t.valid_from IS NOT DISTINCT FROM i.valid_from)""",
                REVOKED,
            ),
        ),
        put=f"""
WITH put AS (
    INSERT INTO mandates AS t
           (institution_id, agency_id, channels, purposes, valid_from, valid_until, document_sha256)
    SELECT o.id, a.id, i.channels, i.purposes, i.valid_from, i.valid_until, i.document_sha256
      FROM incoming i JOIN institutions o ON o.code = i.institution JOIN institutions a ON a.code = i.agency
     WHERE {LINES} ORDER BY i.line
    ON CONFLICT (institution_id, agency_id, channels, purposes, valid_from) DO UPDATE
       SET valid_until = excluded.valid_until, document_sha256 = excluded.document_sha256
     WHERE (t.valid_until, t.document_sha256)
           IS DISTINCT FROM (excluded.valid_until, excluded.document_sha256)
    RETURNING 1)
SELECT count(*) FROM put""",
        rows="""
SELECT o.code, a.code, t.channels, t.purposes, t.valid_from, t.valid_until, t.document_sha256
  FROM mandates t JOIN codes o ON o.id = t.institution_id JOIN codes a ON a.id = t.agency_id
 WHERE t.status = 'active' ORDER BY t.id""",
    ),
    "accounts": Loading(
        checks=(unknown("carrier", NO_CARRIER, "carriers"), unknown("holder", NO_INSTITUTION)),
        put=f"""
WITH put AS (
    INSERT INTO accounts AS t
           (carrier, protocol, account, holder_id, scope, refusal_manner, mass_manner, signature, line_kind,
            upstream, listener, callback, allowed_ips, max_connections)
    SELECT i.carrier, i.protocol, i.account, o.id, i.scope, i.refusal_manner, i.mass_manner, i.signature,
           i.line_kind, i.upstream, i.listener, i.callback, i.allowed_ips::cidr[], i.max_connections
      FROM incoming i JOIN institutions o ON o.code = i.holder
     WHERE {LINES} ORDER BY i.line
    ON CONFLICT (carrier, protocol, account) DO UPDATE
       SET holder_id = excluded.holder_id, scope = excluded.scope, refusal_manner = excluded.refusal_manner,
           mass_manner = excluded.mass_manner, signature = excluded.signature, line_kind = excluded.line_kind,
           upstream = excluded.upstream, listener = excluded.listener, callback = excluded.callback,
           allowed_ips = excluded.allowed_ips, max_connections = excluded.max_connections
     WHERE (t.holder_id, t.scope, t.refusal_manner, t.mass_manner, t.signature, t.line_kind, t.upstream,
            t.listener, t.callback, t.allowed_ips, t.max_connections)
           IS DISTINCT FROM
           (excluded.holder_id, excluded.scope, excluded.refusal_manner, excluded.mass_manner,
            excluded.signature, excluded.line_kind, excluded.upstream, excluded.listener, excluded.callback,
            excluded.allowed_ips, excluded.max_connections)
    RETURNING 1)
SELECT count(*) FROM put""",
        rows="""
SELECT t.carrier, t.protocol, t.account, o.code, t.scope, t.refusal_manner, t.mass_manner, t.signature,
       t.line_kind, t.upstream, t.listener, t.callback, t.allowed_ips::text[], t.max_connections
  FROM accounts t JOIN codes o ON o.id = t.holder_id ORDER BY t.id""",
    ),
    "account_numbers": Loading(
        checks=(
            Check(
                "account",
                """NOT EXISTS (SELECT FROM accounts c
                    WHERE c.carrier = i.carrier AND c.protocol = i.protocol AND c.account = i.account)""",
                NO_ACCOUNT,
            ),
        ),
        put=f"""
WITH put AS (
    INSERT INTO account_numbers AS t (account_id, number, is_prefix, valid_from, valid_until)
    SELECT c.id, i.number, i.is_prefix, i."from", i.until
      FROM incoming i JOIN accounts c USING (carrier, protocol, account)
     WHERE {LINES} ORDER BY i.line
    ON CONFLICT (account_id, number, is_prefix, valid_from) DO UPDATE SET valid_until = excluded.valid_until
     WHERE t.valid_until IS DISTINCT FROM excluded.valid_until
    RETURNING 1)
SELECT count(*) FROM put""",
        rows="""
SELECT c.carrier, c.protocol, c.account, t.number, t.is_prefix, t.valid_from, t.valid_until
  FROM account_numbers t JOIN accounts c ON c.id = t.account_id ORDER BY t.id""",
    ),
    "numbers": Loading(
        checks=(
            unknown("institution", NO_INSTITUTION),
            unknown("agency", NO_INSTITUTION),
            unknown("carrier", NO_CARRIER, "carriers"),
            Check("agency", "i.agency = i.institution", SAME_PARTY),
            _OWNER,
            _AGENCY,
            _NOT_RESERVED,
            Check(
                "number",
                """current_setting('zhengming.status') = 'submitted' AND EXISTS (
                    SELECT FROM numbers t JOIN institutions o ON o.code = i.institution
                           LEFT JOIN institutions a ON a.id = t.agency_id
                     WHERE t.number = i.number AND t.institution_id = o.id AND t.channels = i.channels
                       AND t.carrier IS NOT DISTINCT FROM i.carrier
                       AND t.effective_from IS NOT DISTINCT FROM i.effective_from
                       AND (t.status = 'approved' OR t.status = 'checked' AND t.version = 1)
                       AND (t.extension_digits, t.purposes, a.code, t.signatures, t.effective_until,
                            t.document_sha256)
                           IS DISTINCT FROM
                           (i.extension_digits, i.purposes, i.agency, i.signatures, i.effective_until,
                            i.document_sha256))""",
                APPROVED,
            ),
        ),
        weed=Check("number", _OVERLAP, ALREADY_FILED),
        put=f"""
WITH put AS (
    INSERT INTO numbers AS t
           (number, extension_digits, channels, purposes, institution_id, agency_id, signatures, carrier,
            effective_from, effective_until, document_sha256, status, checked_by, approved_by, approved_at,
            run_id, checked_person, approved_person)
    SELECT i.number, i.extension_digits, i.channels, i.purposes, o.id, a.id, i.signatures, i.carrier,
           i.effective_from, i.effective_until, i.document_sha256, s.status,
           CASE s.status WHEN 'approved' THEN current_setting('zhengming.checked_by') END,
           CASE s.status WHEN 'approved' THEN current_setting('zhengming.by') END,
           CASE s.status WHEN 'approved' THEN now() END, s.id, s.checker_id, s.approver_id
      FROM (SELECT current_setting('zhengming.status') AS status, r.id, r.checker_id, r.approver_id
              FROM import_runs r WHERE r.id = current_setting('zhengming.run')::bigint) s, incoming i
      JOIN institutions o ON o.code = i.institution LEFT JOIN institutions a ON a.code = i.agency
     WHERE {LINES} ORDER BY hashtext(i.number) -- in order, GiST would split its pages badly
    ON CONFLICT (number, institution_id, channels, carrier, effective_from)
       WHERE status NOT IN ('revoked', 'withdrawn') AND (version = 1 OR status = 'approved') DO UPDATE
       SET extension_digits = excluded.extension_digits, purposes = excluded.purposes,
           agency_id = excluded.agency_id, signatures = excluded.signatures,
           effective_until = excluded.effective_until, document_sha256 = excluded.document_sha256,
           status = excluded.status, checked_by = excluded.checked_by, approved_by = excluded.approved_by,
           approved_at = excluded.approved_at, run_id = excluded.run_id,
           checked_person = excluded.checked_person, approved_person = excluded.approved_person
     WHERE (t.extension_digits, t.purposes, t.agency_id, t.signatures, t.effective_until, t.document_sha256)
           IS DISTINCT FROM
           (excluded.extension_digits, excluded.purposes, excluded.agency_id, excluded.signatures,
            excluded.effective_until, excluded.document_sha256)
        OR t.status IN ('draft', 'returned')
        OR excluded.status = 'approved' AND t.status <> 'approved'
    RETURNING 1)
SELECT count(*) FROM put""",
        rows="""
SELECT t.number, t.extension_digits, t.channels, t.purposes, o.code, a.code, t.signatures, t.carrier,
       t.effective_from, t.effective_until, t.document_sha256
  FROM numbers t JOIN codes o ON o.id = t.institution_id LEFT JOIN codes a ON a.id = t.agency_id
 WHERE t.status = 'approved' OR t.status IN ('submitted', 'checked') AND t.version = 1
 ORDER BY t.number, t.id""",
    ),
    "blacklist": Loading(
        put=f"""
WITH put AS (
    INSERT INTO blacklist (number, is_prefix, reason, case_reference, added_by)
    SELECT i.number, i.is_prefix, i.reason, i.case_reference, current_setting('zhengming.checked_by')
      FROM incoming i WHERE {LINES} ORDER BY i.line
    ON CONFLICT (number, is_prefix) WHERE removed_at IS NULL DO NOTHING
    RETURNING 1)
SELECT count(*) FROM put""",
        checks=(
            Check(
                "number",
                """EXISTS (SELECT FROM blacklist b
                    WHERE b.number = i.number AND b.is_prefix = i.is_prefix AND b.removed_at IS NULL
                      AND (b.reason, b.case_reference) IS DISTINCT FROM (i.reason, i.case_reference))""",
                BANNED,
            ),
        ),
        waits="""
SELECT count(*) FROM incoming i JOIN blacklist b ON b.number = i.number AND b.is_prefix = i.is_prefix
 WHERE b.removed_at IS NULL AND b.needs_second AND b.confirmed_at IS NULL""",
        rows="""
SELECT number, is_prefix, reason, case_reference FROM blacklist WHERE removed_at IS NULL ORDER BY id""",
    ),
} | OF_SUBSCRIBERS
"""By name of the kind."""
