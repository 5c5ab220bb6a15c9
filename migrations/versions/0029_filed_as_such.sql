-- An account of scope `authority` is asked for no filing, so its holder is filed as court, police or government. The
-- holder's row is locked, or an account and a change of its holder's kind could pass each other.
CREATE FUNCTION accounts_authority() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM FROM institutions WHERE id = NEW.holder_id AND kind = 'authority' FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'account % has scope authority, and its holder is not filed as an authority', NEW.account
              USING ERRCODE = 'check_violation', CONSTRAINT = 'accounts_authority', TABLE = 'accounts',
                    COLUMN = 'scope', DETAIL = NEW.scope;
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION institutions_authority() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF EXISTS (SELECT FROM accounts WHERE holder_id = NEW.id AND scope = 'authority') THEN
        RAISE EXCEPTION 'institution % holds accounts of scope authority', NEW.code
              USING ERRCODE = 'check_violation', CONSTRAINT = 'institutions_authority', TABLE = 'institutions',
                    COLUMN = 'kind', DETAIL = NEW.kind;
    END IF;
    RETURN NEW;
END $$;

-- Those of before are for the carrier to put right: what they carry would stop, or go on unjudged, without his knowing.
DO $$
DECLARE
    wrong text := (SELECT string_agg(concat_ws(' ', a.carrier, a.protocol, a.account, 'of', i.code), ', ' ORDER BY a.id)
                     FROM accounts a JOIN institutions i ON i.id = a.holder_id
                    WHERE a.scope = 'authority' AND i.kind <> 'authority');
BEGIN
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'accounts of scope authority whose holder is not of kind authority: %; right would be another'
                        ' scope (zhengming account change --scope), or a holder filed as authority (zhengming'
                        ' institution change --kind), and then this upgrade', wrong
              USING ERRCODE = 'check_violation', CONSTRAINT = 'accounts_authority', TABLE = 'accounts';
    END IF;
END $$;

CREATE TRIGGER accounts_authority BEFORE INSERT OR UPDATE OF holder_id, scope ON accounts
    FOR EACH ROW WHEN (NEW.scope = 'authority') EXECUTE FUNCTION accounts_authority();
CREATE TRIGGER institutions_authority BEFORE UPDATE OF kind ON institutions
    FOR EACH ROW WHEN (OLD.kind = 'authority' AND NEW.kind <> 'authority') EXECUTE FUNCTION institutions_authority();
ALTER TABLE accounts ENABLE ALWAYS TRIGGER accounts_authority;
ALTER TABLE institutions ENABLE ALWAYS TRIGGER institutions_authority;

-- A hold on a filing is on every approved version of it (0010), and on whatever else its holder has filed of the same
-- number: a filing that is withdrawn, or ends, and the number filed anew would be a way round a regulator as well.
CREATE FUNCTION is_same_filing(a numbers, b numbers) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN a.institution_id = b.institution_id AND a.number = b.number AND a.id <> b.id -- an amendment keeps these two
   AND (a.channels & b.channels <> 0 OR coalesce(a.supersedes = b.id, false) OR coalesce(b.supersedes = a.id, false));

-- What stands on others of the same is on what is approved now, by steps or by an import: `approved` are their ids.
CREATE FUNCTION hold_as_others(approved bigint[]) RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
    INSERT INTO holds (number_id, cause, case_reference, held_by, held_person, valid_from, valid_until)
    SELECT DISTINCT ON (n.id, h.cause, h.held_by, h.valid_from)
           n.id, h.cause, h.case_reference, h.held_by, h.held_person, h.valid_from, h.valid_until
      FROM holds h JOIN numbers m ON m.id = h.number_id
      JOIN numbers n ON is_same_filing(n, m)
     WHERE n.id = ANY (approved) AND h.lifted_by IS NULL
       AND coalesce(h.valid_until > greatest(n.effective_from, now()), true) -- greatest() takes no notice of NULL
       AND NOT EXISTS (SELECT FROM holds o
                        WHERE o.number_id = n.id AND (o.cause, o.held_by, o.valid_from) = (h.cause, h.held_by, h.valid_from))
     ORDER BY n.id, h.cause, h.held_by, h.valid_from, h.id
$$;
REVOKE EXECUTE ON FUNCTION hold_as_others FROM PUBLIC;

-- Per statement, as an import brings thousands: where no filing is held, it asks for nothing more.
CREATE FUNCTION numbers_held() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM holds WHERE number_id IS NOT NULL AND lifted_by IS NULL) THEN
        RETURN NULL;
    ELSIF TG_OP = 'INSERT' THEN
        PERFORM hold_as_others(ARRAY(SELECT id FROM new_rows WHERE status = 'approved'));
    ELSE
        PERFORM hold_as_others(ARRAY(SELECT n.id FROM new_rows n JOIN old_rows o USING (id)
                                      WHERE n.status = 'approved' AND o.status <> 'approved'));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER numbers_held_filed AFTER INSERT ON numbers REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION numbers_held();
CREATE TRIGGER numbers_held_changed AFTER UPDATE ON numbers REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION numbers_held();
ALTER TABLE numbers ENABLE ALWAYS TRIGGER numbers_held_filed, ENABLE ALWAYS TRIGGER numbers_held_changed;

-- As in 0010, for all that are the same; what is approved later is seen to above.
DROP TRIGGER number_step_then_held ON number_steps;
CREATE OR REPLACE FUNCTION number_hold_follows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN -- others that are approved, and may not have begun
        PERFORM hold_as_others(ARRAY(
            SELECT n.id FROM numbers m JOIN numbers n ON is_same_filing(n, m)
             WHERE m.id = NEW.number_id AND n.status = 'approved' AND coalesce(n.effective_until > now(), true)));
    ELSE
        UPDATE holds h
           SET valid_until = least(h.valid_until, NEW.valid_until), lifted_by = NEW.lifted_by,
               lifted_reason = NEW.lifted_reason
          FROM numbers m, numbers n
         WHERE h.lifted_by IS NULL AND (h.cause, h.held_by, h.valid_from) = (NEW.cause, NEW.held_by, NEW.valid_from)
           AND m.id = NEW.number_id AND n.id = h.number_id AND is_same_filing(n, m);
    END IF;
    RETURN NULL;
END $$;

-- What was filed anew under a hold that stands.
DO $$ BEGIN
    PERFORM hold_as_others(ARRAY(
        SELECT n.id FROM holds h JOIN numbers m ON m.id = h.number_id
          JOIN numbers n ON is_same_filing(n, m)
         WHERE h.lifted_by IS NULL AND n.status = 'approved' AND n.approved_at >= h.valid_from
           AND coalesce(n.effective_until > now(), true)));
END $$;

-- As in 0019, and who closed the institution, agency or account's holder, and who put the subscriber's refusal in, or
-- said of his reply that it was one: as a verdict tells a subscriber by his mask alone, by that.
CREATE OR REPLACE FUNCTION verdict_authors(attempt uuid) RETURNS SETOF bigint LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
    WITH judged AS (
        SELECT i.at + interval '1 minute' AS at, i.reason, i.number, i.registration, i.institution, i.agency, i.carrier,
               i.protocol, i.account, i.channel, i.subscriber
          FROM intercepts i WHERE i.id = attempt),
    filing AS (
        SELECT n.id, j.at FROM judged j JOIN numbers n ON n.number = j.registration
         WHERE j.reason = 'not_effective' AND code_of(n.institution_id) = j.institution),
    barred AS (
        SELECT i.id, j.at FROM judged j JOIN institutions i ON i.code IN (j.institution, j.agency) OR i.id IN (
                    SELECT a.holder_id FROM accounts a
                     WHERE (a.carrier, a.protocol, a.account) = (j.carrier, j.protocol, j.account))
         WHERE j.reason = 'institution_barred'),
    versions AS (
        SELECT i.id, i.status, i.changed_at, 'infinity' AS superseded_at FROM institutions i JOIN barred USING (id)
         UNION ALL
        SELECT h.id, h.status, h.changed_at, h.superseded_at FROM institutions_history h JOIN barred USING (id))
    SELECT unnest(ARRAY[b.added_person, b.vouched_person, b.confirmed_person])
      FROM judged j JOIN blacklist b
        ON CASE WHEN b.is_prefix THEN starts_with(j.number, b.number) ELSE b.number = j.number END
     WHERE j.reason = 'blacklisted' AND coalesce(b.confirmed_at, b.added_at) <= j.at
       AND (b.confirmed_at IS NOT NULL OR NOT b.needs_second)
       AND coalesce(b.removed_at > j.at - interval '72 hours', true)
    UNION
    SELECT h.held_person
      FROM judged j JOIN holds h
        ON CASE j.reason
               WHEN 'institution_barred' THEN h.institution_id IN (SELECT id FROM barred)
               WHEN 'not_effective' THEN h.number_id IN (SELECT id FROM filing)
               WHEN 'account_mismatch' THEN h.account_id = account_of(j.carrier, j.protocol, j.account)
               ELSE false
           END
     WHERE h.valid_from <= j.at AND coalesce(h.valid_until > j.at - interval '72 hours', true)
    UNION
    SELECT a.person_id
      FROM barred b JOIN audit a ON a.subject = 'institutions/' || b.id
      JOIN versions v ON v.id = b.id AND v.status = 'closed' AND v.changed_at <= a.at AND a.at < v.superseded_at
     WHERE a.act = 'institution.change' AND a.detail->'fields' ? 'status' AND a.at <= b.at
       AND NOT EXISTS (SELECT FROM versions w WHERE w.id = b.id AND w.status <> 'closed' AND w.changed_at > a.at
                                                AND w.changed_at <= b.at - interval '72 hours')
    UNION
    SELECT s.person_id FROM filing f JOIN number_steps s ON s.number_id = f.id
     WHERE s.step = 'revoke' AND s.at <= f.at
    UNION
    SELECT a.person_id
      FROM judged j JOIN users u ON u.role = 'regulator' -- nobody else answers an appeal
      JOIN audit a ON a.user_id = u.id AND a.act IN ('refusal.add', 'reply.refusal') AND a.detail->>'subscriber' = j.subscriber
     CROSS JOIN LATERAL (SELECT substring(a.subject FROM '/([0-9]{1,18})$')::bigint AS id) s
      JOIN refusals r ON r.id = CASE a.act WHEN 'refusal.add' THEN s.id
                                ELSE (SELECT f.id FROM replies p JOIN refusals f USING (event) WHERE p.id = s.id) END
     WHERE j.reason = 'refused_by_subscriber' AND a.at <= j.at AND r.channels & j.channel <> 0
       AND coalesce(code_of(r.institution_id) = j.institution, true) AND coalesce(r.number = j.registration, true)
       AND coalesce(r.lifted_at > j.at - interval '72 hours', true)
$$;
ALTER TABLE appeals DISABLE TRIGGER appeal_authored;
UPDATE appeals SET author_persons = authors_of(against_kind, against)
 WHERE status = 'open' AND against_kind = 'verdict' AND author_persons <> authors_of(against_kind, against);
ALTER TABLE appeals ENABLE ALWAYS TRIGGER appeal_authored;
