-- What the whitelist shows is what judging lets stand (gateway/policy/sender_rules.py): until now it asked neither
-- for mandates, nor for the purposes of a licence, nor for the dates of an agency.

-- Bodies that may act now, and for what: open, held by nobody, within licence and yearly check. That is public, as
-- it is in body_of() (0008); why one may not is not.
CREATE FUNCTION standing_bodies() RETURNS TABLE (id bigint, licence_scope smallint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT i.id, i.licence_scope
      FROM institutions i
     WHERE i.status = 'active'
       AND coalesce(now() < i.licence_until, true) AND coalesce(now() < i.verified_until, true)
       AND i.id NOT IN (SELECT h.institution_id FROM holds h
                         WHERE h.institution_id IS NOT NULL
                           AND h.valid_from <= now() AND coalesce(now() < h.valid_until, true))
$$;

CREATE OR REPLACE VIEW whitelist WITH (security_invoker = true) AS
WITH mandated AS (
    SELECT m.institution_id, m.agency_id,
           coalesce(bit_or(m.purposes) FILTER (WHERE m.channels & 1 <> 0), 0) AS by_sms,
           coalesce(bit_or(m.purposes) FILTER (WHERE m.channels & 2 <> 0), 0) AS by_voice
      FROM mandates m
     WHERE m.status = 'active'
       AND coalesce(m.valid_from <= now(), true) AND coalesce(now() < m.valid_until, true)
     GROUP BY m.institution_id, m.agency_id)
SELECT n.*
  FROM numbers n
  JOIN standing_bodies() i ON i.id = n.institution_id AND n.purposes & ~i.licence_scope = 0
  LEFT JOIN standing_bodies() a ON a.id = n.agency_id
  LEFT JOIN mandated m ON m.institution_id = n.institution_id AND m.agency_id = n.agency_id
 WHERE n.status = 'approved'
   AND coalesce(n.effective_from <= now(), true) AND coalesce(now() < n.effective_until, true)
   AND (n.agency_id IS NULL
        OR a.id IS NOT NULL
           AND (n.channels & 1 <> 0 AND n.purposes & ~m.by_sms = 0
                OR n.channels & 2 <> 0 AND n.purposes & ~m.by_voice = 0))
   AND NOT EXISTS (
       SELECT FROM holds h
        WHERE h.number_id = n.id
          AND h.valid_from <= now() AND coalesce(now() < h.valid_until, true));

COMMENT ON VIEW whitelist IS
'All numbers in force right now. A filing is here exactly when, on at least one of its channels and for all of its
purposes together, no rule about the sender refuses a message that it governs: unregistered, institution_barred (the
institution and the agency), mandate_missing, not_effective. It says nothing of the account that shows the number, of
that account''s holder, of the blacklist (blacklist_in_force outranks it), or of the message. Where one holder has
several filings of the same number in force on one channel, each is looked at by itself here, while the one that began
last governs a message.';
