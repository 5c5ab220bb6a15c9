-- What is an account holder's own; what an amendment leaves that ends before it began; due dates of penalties, and
-- whom overdue penalties and disputes reach; what casework keeps.

-- Whoever holds an account sees what was refused there, whatever number it showed: a bank whose number nobody filed
-- is told why. An account that came from another holder shows what it sent since.
CREATE FUNCTION my_accounts() RETURNS TABLE (carrier text, protocol text, account text, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT a.carrier, a.protocol, a.account,
           (SELECT max(h.superseded_at) FROM accounts_history h WHERE h.id = a.id AND h.holder_id <> a.holder_id)
      FROM accounts a WHERE a.holder_id = my_institution()
$$;
CREATE FUNCTION over_my_account(carrier text, protocol text, account text, at timestamptz) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT EXISTS (
        SELECT FROM accounts a
         WHERE (a.carrier, a.protocol, a.account) = ($1, $2, $3) AND a.holder_id = my_institution()
           AND $4 >= ALL (SELECT h.superseded_at FROM accounts_history h
                           WHERE h.id = a.id AND h.holder_id <> a.holder_id))
$$;
DROP POLICY institution_select ON intercepts;
CREATE POLICY institution_select ON intercepts FOR SELECT TO zhengming_institution
    USING (institution = my_institution_code() OR over_my_account(carrier, protocol, account, at));
DROP POLICY agency_select ON intercepts;
CREATE POLICY agency_select ON intercepts FOR SELECT TO zhengming_agency
    USING (agency = my_institution_code() OR over_my_account(carrier, protocol, account, at));
-- by which a holder's list is read: those reasons of refusal that leave a number's holder unknown, or another's
CREATE INDEX intercepts_account ON intercepts (account, at)
    WHERE reason IN ('malformed', 'not_judgeable', 'blacklisted', 'unregistered', 'account_mismatch');

-- An approved amendment that is withdrawn or revoked before it begins leaves the version before as it was, for "the
-- old one stays in force until the new one does". One that begins before an amendment which waits takes the place of
-- all of them.
CREATE FUNCTION versions_before(wanted bigint) RETURNS SETOF bigint LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
    WITH RECURSIVE before (id) AS (
        SELECT supersedes FROM numbers WHERE id = wanted AND supersedes IS NOT NULL
        UNION SELECT n.supersedes FROM numbers n JOIN before b ON n.id = b.id WHERE n.supersedes IS NOT NULL)
    SELECT id FROM before
$$;
CREATE FUNCTION end_before_amendments(wanted bigint, OUT is_known boolean, OUT ends timestamptz) LANGUAGE sql STABLE
SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT true, h.effective_until FROM numbers_history h
     WHERE h.id = wanted AND h.status = 'approved'
       AND h.row_xid NOT IN (
           WITH RECURSIVE later (id) AS (
               SELECT id FROM numbers WHERE supersedes = wanted
               UNION SELECT n.id FROM numbers n JOIN later l ON n.supersedes = l.id)
           SELECT s.xid FROM number_steps s JOIN later l ON l.id = s.number_id WHERE s.step = 'approve')
     ORDER BY h.row_version DESC LIMIT 1
$$;
CREATE INDEX numbers_supersedes ON numbers (supersedes) WHERE supersedes IS NOT NULL;

CREATE OR REPLACE FUNCTION number_step_taken() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    who users;
    filing numbers;
    begins timestamptz;
BEGIN
    SELECT * INTO who FROM users WHERE id = NEW.user_id;
    SELECT * INTO filing FROM numbers WHERE id = NEW.number_id;
    begins := filing.effective_from;
    IF NEW.step = 'approve' AND filing.supersedes IS NOT NULL THEN
        begins := greatest(begins, now()); -- greatest() takes no notice of NULL
        -- The old version stands until this one does; one that would never have stood goes.
        UPDATE numbers
           SET status = CASE WHEN effective_from >= begins THEN 'withdrawn' ELSE status END,
               effective_until = CASE WHEN effective_from >= begins THEN effective_until
                                      ELSE least(effective_until, begins) END
         WHERE id IN (SELECT versions_before(NEW.number_id)) AND status = 'approved'
           AND coalesce(effective_until > begins, true);
    END IF;
    UPDATE numbers
       SET status = NEW.to_status,
           effective_from = begins,
           checked_by = CASE NEW.step WHEN 'check' THEN who.login WHEN 'approve' THEN checked_by END,
           checked_person = CASE NEW.step WHEN 'check' THEN who.person_id WHEN 'approve' THEN checked_person END,
           approved_by = CASE NEW.step WHEN 'approve' THEN who.login ELSE approved_by END,
           approved_person = CASE NEW.step WHEN 'approve' THEN who.person_id ELSE approved_person END,
           approved_at = CASE NEW.step WHEN 'approve' THEN now() ELSE approved_at END,
           returned_reason = CASE NEW.step WHEN 'return' THEN NEW.reason WHEN 'submit' THEN '' ELSE returned_reason END
     WHERE id = NEW.number_id;
    IF NEW.from_status = 'approved' AND filing.supersedes IS NOT NULL AND filing.effective_from > now() THEN
        UPDATE numbers n SET effective_until = e.ends
          FROM (SELECT v.id, (end_before_amendments(v.id)).* FROM versions_before(NEW.number_id) v (id)) e
         WHERE n.id = e.id AND e.is_known AND n.status = 'approved' AND n.effective_until = filing.effective_from;
    END IF;
    RETURN NULL;
END $$;

-- As in 0006, but that an amendment's end may give the version before its own end back, and no other one.
CREATE OR REPLACE FUNCTION numbers_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    bad record;
BEGIN
    SELECT n.number, o.status AS old_status, n.status AS new_status,
           n.status <> o.status AS moved INTO bad
      FROM new_rows n
      JOIN old_rows o USING (id)
      LEFT JOIN import_runs r ON r.id = n.run_id AND r.closed_at IS NULL AND n.run_id IS DISTINCT FROM o.run_id
           AND n.checked_person = r.checker_id AND n.approved_person = r.approver_id
     WHERE r.id IS NULL
       AND NOT EXISTS (SELECT FROM number_steps s WHERE s.number_id = n.id AND s.xid = pg_current_xact_id()
                                                    AND s.to_status = n.status AND s.from_status = o.status)
       AND (n.status <> o.status
            AND (n.status IN ('checked', 'approved')
                 OR NOT EXISTS (SELECT FROM number_transitions t
                                 WHERE t.from_status = o.status AND t.to_status = n.status))
            OR o.status NOT IN ('draft', 'returned', 'submitted')
            AND ((n.number, n.extension_digits, n.channels, n.purposes, n.institution_id, n.agency_id,
                  n.signatures, n.carrier, n.effective_from, n.document_sha256, n.checked_person,
                  n.approved_person, n.supersedes)
                 IS DISTINCT FROM
                 (o.number, o.extension_digits, o.channels, o.purposes, o.institution_id, o.agency_id,
                  o.signatures, o.carrier, o.effective_from, o.document_sha256, o.checked_person,
                  o.approved_person, o.supersedes)
                 OR coalesce(n.effective_until, 'infinity') > coalesce(o.effective_until, 'infinity')
                    AND NOT EXISTS (
                        SELECT FROM number_steps s JOIN numbers v ON v.id = s.number_id,
                                    end_before_amendments(n.id) e
                         WHERE s.xid = pg_current_xact_id() AND s.step IN ('withdraw', 'revoke')
                           AND s.from_status = 'approved' AND v.effective_from = o.effective_until
                           AND n.id IN (SELECT versions_before(v.id)) AND e.is_known
                           AND e.ends IS NOT DISTINCT FROM n.effective_until)))
     LIMIT 1;
    IF FOUND AND bad.moved THEN
        RAISE EXCEPTION 'number %: % → % takes a step of the workflow', bad.number, bad.old_status, bad.new_status
              USING ERRCODE = 'check_violation', CONSTRAINT = 'numbers_steps', TABLE = 'numbers', DETAIL = bad.old_status;
    ELSIF FOUND THEN
        RAISE EXCEPTION 'number % is %: a change is a new version', bad.number, bad.old_status
              USING ERRCODE = 'check_violation', CONSTRAINT = 'numbers_versions', TABLE = 'numbers', DETAIL = bad.old_status;
    END IF;
    RETURN NULL;
END $$;

-- A penalty has a day by which it is paid, or what it punishes mended; it is settled by being lifted.
ALTER TABLE penalties
    ADD COLUMN due date NOT NULL DEFAULT (now() AT TIME ZONE 'Asia/Shanghai')::date + 21, -- 15 workdays, at most so many
    ADD COLUMN escalated_to bigint REFERENCES users,
    ADD COLUMN escalated_at timestamptz;
ALTER TABLE penalties_history
    ADD COLUMN due date, ADD COLUMN escalated_to bigint, ADD COLUMN escalated_at timestamptz;
ALTER TABLE disputes ADD COLUMN escalated_to bigint REFERENCES users, ADD COLUMN escalated_at timestamptz;
ALTER TABLE disputes_history ADD COLUMN escalated_to bigint, ADD COLUMN escalated_at timestamptz;
CREATE INDEX penalties_due ON penalties (due) WHERE lifted_at IS NULL;
CREATE INDEX disputes_due ON disputes (due) WHERE status = 'open';

-- As in 0007, with penalties and disputes.
CREATE OR REPLACE FUNCTION escalate_overdue(today date) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    late record;
    other bigint;
    moved bigint := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(6510615555426900572) THEN -- "Zhengmin" and one: overdue matters
        RETURN 0;
    END IF;
    FOR late IN
        SELECT 'complaints' AS name, id, assigned_to, '{}'::bigint[] AS authors FROM complaints
         WHERE escalated_at IS NULL AND status <> 'answered' AND (due < today OR status = 'open' AND forward_due < today)
        UNION ALL
        SELECT 'appeals', id, assigned_to, author_persons FROM appeals
         WHERE escalated_at IS NULL AND status = 'open' AND due < today
        UNION ALL
        SELECT 'cases', id, assigned_to, '{}' FROM cases
         WHERE escalated_at IS NULL AND status <> 'closed' AND due < today
        UNION ALL
        SELECT 'penalties', id, imposed_by, '{}' FROM penalties
         WHERE escalated_at IS NULL AND lifted_at IS NULL AND due < today AND coalesce(valid_until > now(), true)
        UNION ALL
        SELECT 'disputes', id, NULL, '{}' FROM disputes
         WHERE escalated_at IS NULL AND status = 'open' AND due < today
    LOOP
        SELECT u.id INTO other
          FROM users u
         WHERE u.role = 'regulator' AND u.status = 'active' AND u.person_id <> ALL (late.authors)
           AND u.person_id IS DISTINCT FROM (SELECT person_id FROM users WHERE id = late.assigned_to)
         ORDER BY (SELECT count(*) FROM complaints c WHERE c.escalated_to = u.id AND c.status <> 'answered')
                  + (SELECT count(*) FROM appeals a WHERE a.escalated_to = u.id AND a.status = 'open')
                  + (SELECT count(*) FROM cases k WHERE k.escalated_to = u.id AND k.status <> 'closed')
                  + (SELECT count(*) FROM penalties p WHERE p.escalated_to = u.id AND p.lifted_at IS NULL)
                  + (SELECT count(*) FROM disputes d WHERE d.escalated_to = u.id AND d.status = 'open'), u.id
         LIMIT 1;
        CONTINUE WHEN other IS NULL;
        EXECUTE format('UPDATE %I SET escalated_to = $1, escalated_at = now() WHERE id = $2', late.name)
          USING other, late.id;
        INSERT INTO audit (door, act, subject, detail)
        VALUES ('node', late.name || '.escalate', late.name || '/' || late.id, jsonb_build_object('to', other));
        moved := moved + 1;
    END LOOP;
    RETURN moved;
END $$;

-- What a case holds, and that it was referred, stays as it was written; nothing of casework is deleted.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['referrals', 'case_items', 'cases', 'complaints', 'appeals', 'disputes']
    LOOP
        EXECUTE format('CREATE TRIGGER is_kept BEFORE %s DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION is_kept()',
                       CASE WHEN name IN ('referrals', 'case_items') THEN 'UPDATE OR' ELSE '' END, name);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER is_kept', name);
    END LOOP;
END $$;
