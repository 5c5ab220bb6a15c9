"""The statements that bring in and out what is said of subscribers: `loading.py` says what they are like."""

from gateway.registry.loading import LINES, NO_INSTITUTION, TO_COME, Check, Loading, unknown
from gateway.registry.rows import Flaw

_HAS_BEEN = Check("at", "i.at > now() + interval '1 hour'", TO_COME)  # clocks differ a little

_BY_OPERATOR = "my_user() IS NULL"
"""Whoever else brings refusals in is an institution, which is not told who complained of it (migrations
0028): nor by a row of its file that is `unchanged`."""


def _until(start: str) -> str:
    """When a row about a subscriber that begins at `start` ends, no later than his number was given back."""
    return f"""least(i.until, (SELECT min(g.released_at) FROM released g
                  WHERE g.subscriber_hash = i.subscriber_hash AND g.released_at > {start}))"""


OF_SUBSCRIBERS = {
    "refusals": Loading(
        sealed=True,
        checks=(unknown("institution", NO_INSTITUTION), _HAS_BEEN),
        put=f"""
WITH put AS (
    INSERT INTO refusals
           (subscriber_hash, key_id, subscriber_sealed, institution_id, number, purposes, channels, source,
            refused_at, event)
    SELECT i.subscriber_hash, i.key_id, i.subscriber_sealed, o.id, i.number, i.purposes, i.channels, i.source,
           coalesce(i.at, now()),
           substr(sha256(i.subscriber_hash || convert_to(concat_ws(
               '|', coalesce(o.id, 0), i.number, i.purposes, i.channels, i.source,
               extract(epoch FROM coalesce(i.at, clock_timestamp()))), 'UTF8')), 1, 16)
      FROM incoming i LEFT JOIN institutions o ON o.code = i.institution
     WHERE {LINES} AND NOT EXISTS (
           SELECT FROM refusals t
            WHERE t.subscriber_key = first_eight(i.subscriber_hash) AND t.subscriber_hash = i.subscriber_hash
              AND t.institution_id IS NOT DISTINCT FROM o.id AND t.number IS NOT DISTINCT FROM i.number
              AND t.purposes = i.purposes AND t.channels = i.channels AND t.source = i.source
              AND (t.complaint_id IS NULL OR {_BY_OPERATOR})
              AND CASE WHEN i.at IS NULL THEN t.lifted_at IS NULL ELSE t.refused_at = i.at END)
     ORDER BY i.line
    ON CONFLICT (event) DO NOTHING
    RETURNING 1)
SELECT count(*) FROM put""",
        rows="""
SELECT t.subscriber_sealed, o.code, t.purposes, t.channels, t.source, t.refused_at, t.number
  FROM refusals t LEFT JOIN codes o ON o.id = t.institution_id
 WHERE t.lifted_at IS NULL AND coalesce(t.undecided_until <= now(), true)
 ORDER BY t.id""",
    ),
    "consents": Loading(
        sealed=True,
        checks=(
            unknown("institution", NO_INSTITUTION),
            _HAS_BEEN,
            Check(
                "until",
                "i.at IS NULL AND i.until <= now()",
                Flaw(
                    "has ended before it began",
                    "在开始之前已结束",
                    "the time when it was given, too",
                    "同时填写同意时间",
                ),
            ),
        ),
        put=f"""
WITH put AS (
    INSERT INTO consents AS t
           (subscriber_hash, key_id, subscriber_sealed, institution_id, source, given_at, valid_until,
            document_sha256)
    SELECT i.subscriber_hash, i.key_id, i.subscriber_sealed, o.id, i.source,
           coalesce(i.at, before.given_at, now()), {_until("coalesce(i.at, before.given_at, now())")},
           i.document_sha256
      FROM incoming i JOIN institutions o ON o.code = i.institution
      LEFT JOIN LATERAL (
           SELECT c.given_at FROM consents c
            WHERE c.subscriber_hash = i.subscriber_hash AND c.institution_id = o.id AND c.source = i.source
            ORDER BY c.given_at DESC LIMIT 1) before ON i.at IS NULL
     WHERE {LINES} ORDER BY i.line
    ON CONFLICT (subscriber_hash, institution_id, source, given_at) DO UPDATE
       SET valid_until = excluded.valid_until, document_sha256 = excluded.document_sha256
     WHERE (t.valid_until, t.document_sha256)
           IS DISTINCT FROM (excluded.valid_until, excluded.document_sha256)
    RETURNING 1)
SELECT count(*) FROM put""",
        rows="""
SELECT t.subscriber_sealed, o.code, t.source, t.given_at, t.valid_until, t.document_sha256
  FROM consents t JOIN codes o ON o.id = t.institution_id ORDER BY t.id""",
    ),
    "recipients": Loading(
        sealed=True,
        place=1,
        checks=(
            unknown("institution", NO_INSTITUTION),
            Check(
                "until",
                'i."from" IS NULL AND i.until <= now()',
                Flaw(
                    "has ended before it began",
                    "在开始之前已结束",
                    "the time when it began, too",
                    "同时填写开始时间",
                ),
            ),
        ),
        put=f"""
WITH put AS (
    INSERT INTO recipients AS t
           (institution_id, subscriber_hash, key_id, subscriber_sealed, role, valid_from, valid_until)
    SELECT o.id, i.subscriber_hash, i.key_id, i.subscriber_sealed, i.role,
           coalesce(i."from", before.valid_from, now()),
           {_until('coalesce(i."from", before.valid_from, now())')}
      FROM incoming i JOIN institutions o ON o.code = i.institution
      LEFT JOIN LATERAL (
           SELECT r.valid_from FROM recipients r
            WHERE r.subscriber_hash = i.subscriber_hash AND r.institution_id = o.id AND r.role = i.role
            ORDER BY r.valid_from DESC LIMIT 1) before ON i."from" IS NULL
     WHERE {LINES} ORDER BY i.line
    ON CONFLICT (subscriber_hash, institution_id, role, valid_from) DO UPDATE
       SET valid_until = excluded.valid_until
     WHERE t.valid_until IS DISTINCT FROM excluded.valid_until
    RETURNING 1)
SELECT count(*) FROM put""",
        rows="""
SELECT o.code, t.subscriber_sealed, t.role, t.valid_from, t.valid_until
  FROM recipients t JOIN codes o ON o.id = t.institution_id
 WHERE t.role <> 'stranger' ORDER BY t.id""",
    ),
    "released": Loading(
        sealed=True,
        checks=(Check("released_at", "i.released_at > now() + interval '1 hour'", TO_COME),),
        put=f"""
WITH put AS (
    INSERT INTO released (subscriber_hash, key_id, subscriber_sealed, released_at)
    SELECT i.subscriber_hash, i.key_id, i.subscriber_sealed, i.released_at
      FROM incoming i WHERE {LINES} ORDER BY i.line
    ON CONFLICT (subscriber_hash, released_at) DO NOTHING
    RETURNING 1)
SELECT count(*) FROM put""",
        rows="""
SELECT subscriber_sealed, released_at FROM released ORDER BY id""",
    ),
    "complaints": Loading(
        sealed=True,
        checks=(
            Check(
                "at",
                "i.at > now()",
                Flaw("it has not happened yet", "时间在将来", "a time that is past", "过去的时间"),
            ),
        ),
        alone="SELECT pg_advisory_xact_lock(hashtextextended('complaints', 20))",
        # A case for each number of a holder, or the one that is open: as complaints.py does it one by one.
        put=f"""
WITH fresh AS MATERIALIZED (
    SELECT DISTINCT ON (i.source, coalesce(i.reference, i.line::text))
           i.*, CASE i.channel WHEN 'sms' THEN 1 ELSE 2 END AS bit, h.institution_id, h.agency_id
      FROM incoming i, LATERAL holder_at(i.number, CASE i.channel WHEN 'sms' THEN 1 ELSE 2 END, i.at) h
     WHERE {LINES} AND NOT EXISTS (
           SELECT FROM complaints t
            WHERE t.source = i.source
              AND CASE WHEN i.reference IS NULL
                       THEN t.subscriber_hash = i.subscriber_hash AND t.number = i.number
                            AND t.happened_at = i.at
                            AND t.channel = CASE i.channel WHEN 'sms' THEN 1 ELSE 2 END
                       ELSE t.reference = i.reference END)
     ORDER BY i.source, coalesce(i.reference, i.line::text)),
about AS MATERIALIZED (
    SELECT f.number, f.institution_id, standing.case_id IS NULL AS is_new,
           coalesce(standing.case_id, nextval(pg_get_serial_sequence('cases', 'id'))) AS case_id
      FROM (SELECT DISTINCT number, institution_id FROM fresh) f
      LEFT JOIN LATERAL (
           SELECT t.case_id FROM complaints t JOIN cases k ON k.id = t.case_id
            WHERE t.number = f.number AND t.institution_id IS NOT DISTINCT FROM f.institution_id
              AND k.status = 'open' ORDER BY t.id LIMIT 1) standing ON true),
opened AS (
    INSERT INTO cases (id, title, due) OVERRIDING SYSTEM VALUE
    SELECT case_id, concat_ws(' ', '投诉', number, coalesce(code_of(institution_id), '未登记')),
           current_setting('zhengming.due')::date
      FROM about WHERE is_new),
put AS (
    INSERT INTO complaints (source, reference, subscriber_hash, key_id, subscriber_sealed, number, channel,
                            happened_at, content, institution_id, agency_id, case_id, forward_due, due)
    SELECT f.source, f.reference, f.subscriber_hash, f.key_id, f.subscriber_sealed, f.number, f.bit, f.at,
           f.content, f.institution_id, f.agency_id, a.case_id,
           current_setting('zhengming.forward_due')::date, current_setting('zhengming.due')::date
      FROM fresh f
      JOIN about a ON a.number = f.number AND a.institution_id IS NOT DISTINCT FROM f.institution_id
     ORDER BY f.line
    ON CONFLICT (source, reference) DO NOTHING
    RETURNING id, case_id),
tied AS (
    INSERT INTO case_items (case_id, kind, reference) SELECT case_id, 'complaint', id::text FROM put)
SELECT count(*) FROM put""",
        rows="""
SELECT t.subscriber_sealed, t.number, CASE t.channel WHEN 1 THEN 'sms' ELSE 'voice' END, t.happened_at,
       t.content, t.source, t.reference
  FROM complaints t ORDER BY t.id""",
    ),
}
"""By name of the kind."""
