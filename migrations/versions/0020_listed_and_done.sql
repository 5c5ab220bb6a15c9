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

-- What a change was done to, by whom and under which case, as nodes put it into the evidence for good: words that
-- can be read when the row is gone. Nothing in them is of a subscriber: what is about one names the institution.
ALTER TABLE change_log ADD COLUMN subject text NOT NULL DEFAULT '', ADD COLUMN case_reference text NOT NULL DEFAULT '';

CREATE FUNCTION account_words(wanted bigint) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public RETURN (
    SELECT concat_ws('/', carrier, protocol, account) FROM accounts WHERE id = wanted);

-- By table, the expressions over a row `r` that make these words. They are asked by the trigger below, as the owner.
CREATE FUNCTION act_words(table_name text, OUT subject text, OUT case_reference text) LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE table_name
               WHEN 'carriers' THEN $e$ r.code $e$
               WHEN 'institutions' THEN $e$ r.code $e$
               WHEN 'mandates' THEN $e$ concat_ws('/', code_of(r.institution_id), code_of(r.agency_id)) $e$
               WHEN 'accounts' THEN $e$ concat_ws('/', r.carrier, r.protocol, r.account) $e$
               WHEN 'account_numbers' THEN $e$ concat_ws('/', account_words(r.account_id), r.number || repeat('…', r.is_prefix::int)) $e$
               WHEN 'numbers' THEN $e$ r.number $e$
               WHEN 'allocations' THEN $e$ concat_ws('/', r.carrier, r.number || '…') $e$
               WHEN 'disputes' THEN $e$ concat_ws('/', code_of(r.institution_id), r.number) $e$
               WHEN 'blacklist' THEN $e$ r.number || repeat('…', r.is_prefix::int) $e$
               WHEN 'holds' THEN $e$ coalesce((SELECT n.number FROM numbers n WHERE n.id = r.number_id), code_of(r.institution_id), account_words(r.account_id)) $e$
               WHEN 'penalties' THEN $e$ code_of(r.institution_id) $e$
               WHEN 'cases' THEN $e$ 'cases/' || r.id $e$
               WHEN 'complaints' THEN $e$ concat_ws('/', r.source, r.reference) $e$
               WHEN 'appeals' THEN $e$ concat_ws('/', code_of(r.institution_id), r.against_kind, r.against) $e$
               WHEN 'refusals' THEN $e$ coalesce(code_of(r.institution_id), r.number) $e$
               WHEN 'replies' THEN $e$ coalesce(code_of(r.institution_id), r.number) $e$
               WHEN 'consents' THEN $e$ code_of(r.institution_id) $e$
               WHEN 'recipients' THEN $e$ code_of(r.institution_id) $e$
               WHEN 'persons' THEN $e$ 'persons/' || r.id $e$
               WHEN 'users' THEN $e$ r.login $e$
               WHEN 'tokens' THEN $e$ (SELECT concat_ws('/', u.login, nullif(r.name, '')) FROM users u WHERE u.id = r.user_id) $e$
               WHEN 'profiles' THEN $e$ concat_ws('/', r.name, r.digest) $e$
               WHEN 'profile_activations' THEN $e$ (SELECT concat_ws('/', p.name, p.digest, code_of(r.institution_id), r.number) FROM profiles p WHERE p.id = r.profile_id) $e$
               ELSE $e$ NULL $e$ -- released: of a subscriber alone
           END,
           CASE table_name
               WHEN 'blacklist' THEN $e$ r.case_reference $e$
               WHEN 'holds' THEN $e$ coalesce(nullif(r.case_reference, ''), (SELECT 'cases/' || p.case_id FROM penalties p WHERE p.id = r.penalty_id)) $e$
               WHEN 'penalties' THEN $e$ 'cases/' || r.case_id $e$
               WHEN 'complaints' THEN $e$ 'cases/' || r.case_id $e$
               WHEN 'cases' THEN $e$ 'cases/' || r.id $e$
               ELSE $e$ NULL $e$
           END
$$;

-- Who works in this session: a person by name, the two of an import that is open, else by which door and which role
-- of the database.
CREATE FUNCTION actor_words() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public RETURN coalesce(
    (SELECT u.login || ' (' || p.name || ')' FROM users u JOIN persons p ON p.id = u.person_id WHERE u.id = my_user()),
    (SELECT string_agg(p.name, ', ' ORDER BY p.id = r.approver_id)
       FROM import_runs r JOIN persons p ON p.id IN (r.checker_id, r.approver_id)
      WHERE r.id = nullif(current_setting('zhengming.run', true), '')::bigint AND r.closed_at IS NULL),
    coalesce(nullif(current_setting('zhengming.door', true), ''), 'sql') || ' ' || session_user);

REVOKE EXECUTE ON FUNCTION account_words, actor_words FROM PUBLIC; -- they tell every tenant's logins, and who works

-- As in 0002, with these words; who it is, and under which import's case, is asked once a statement.
CREATE OR REPLACE FUNCTION registry_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    changes bigint := 0;
    found_rows bigint;
    words record;
    who text := actor_words();
    run_case text := coalesce((SELECT case_reference FROM import_runs
                                WHERE id = nullif(current_setting('zhengming.run', true), '')::bigint
                                  AND closed_at IS NULL), '');
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE', 'TRUNCATE') THEN
        EXECUTE format(
            'INSERT INTO %1$I.%2$I SELECT nextval(''registry_seq''), pg_current_xact_id(), clock_timestamp(), %3$L, o.* FROM %4$s o',
            TG_TABLE_SCHEMA, TG_TABLE_NAME || '_history', lower(TG_OP),
            CASE TG_OP WHEN 'TRUNCATE' THEN format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) ELSE 'old_rows' END);
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO change_log (table_name, op, row_version, by_user, case_reference)
        VALUES (TG_TABLE_NAME, 'truncate', nextval('registry_seq'), who, run_case);
        changes := 1;
    ELSE
        words := act_words(TG_TABLE_NAME);
        EXECUTE format(
            'INSERT INTO change_log (table_name, key, op, row_version, by_user, subject, case_reference)'
            ' SELECT %1$L, r.%2$I, %3$L, %4$s, $1, coalesce(%5$s, ''''), coalesce(nullif(%6$s, ''''), $2) FROM %7$I r',
            TG_TABLE_NAME, TG_ARGV[0], lower(TG_OP),
            CASE TG_OP WHEN 'DELETE' THEN 'nextval(''registry_seq'')' ELSE 'r.row_version' END,
            words.subject, words.case_reference, CASE TG_OP WHEN 'DELETE' THEN 'old_rows' ELSE 'new_rows' END)
        USING who, run_case;
        GET DIAGNOSTICS changes = ROW_COUNT;
    END IF;
    IF TG_OP = 'UPDATE' THEN -- a row whose key changed left its old key empty
        EXECUTE format(
            'INSERT INTO change_log (table_name, key, op, row_version, by_user, case_reference)'
            ' SELECT %1$L, gone.%2$I, ''delete'', nextval(''registry_seq''), $1, $2'
            '   FROM (SELECT %2$I FROM old_rows EXCEPT SELECT %2$I FROM new_rows) gone',
            TG_TABLE_NAME, TG_ARGV[0])
        USING who, run_case;
        GET DIAGNOSTICS found_rows = ROW_COUNT;
        changes := changes + found_rows;
    END IF;
    IF changes > 0 THEN
        NOTIFY registry_changes;
    END IF;
    RETURN NULL;
END $$;
