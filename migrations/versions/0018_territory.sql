-- A regulator's territory holds for all that belongs to somebody, as it did for institutions, numbers and penalties:
-- a row is of the territory in which its institution lies; a mandate is of both parties', an account and an
-- allocation of the holder's, a hold of what it stands on. What has no institution is for those without a territory;
-- only what was refused without one, over an account that is held in the territory, is of that territory.
-- Each condition is a set that a statement makes once (a hashed subplan), as for numbers (0008).

-- A territory's own users: its regulators, and those of its institutions.
CREATE FUNCTION territory_users() RETURNS SETOF bigint LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT u.id FROM users u
     WHERE u.role = 'regulator' AND starts_with(u.territory, my_territory())
        OR u.institution_id IN (SELECT i.id FROM institutions i);
END;

-- Since when an account has been its holder's; empty: always. What an earlier holder sent is his.
CREATE FUNCTION held_since(wanted bigint) RETURNS timestamptz LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public RETURN (
    SELECT max(h.superseded_at) FROM accounts_history h JOIN accounts a ON a.id = h.id
     WHERE h.id = wanted AND h.holder_id <> a.holder_id);
CREATE FUNCTION account_of(carrier text, protocol text, account text) RETURNS bigint LANGUAGE sql STABLE
RETURN (SELECT a.id FROM accounts a WHERE (a.carrier, a.protocol, a.account) = ($1, $2, $3));

-- A condition on what somebody with a territory reads and writes of a table; who has none is bound by nothing more.
CREATE PROCEDURE within(commands text, table_name text, condition text) LANGUAGE plpgsql AS $$
DECLARE
    command text;
    bound text := 'my_territory() = '''' OR ' || condition;
BEGIN
    FOREACH command IN ARRAY string_to_array(commands, ' ')
    LOOP
        EXECUTE format('ALTER POLICY %I ON %I %s %s', 'regulator_' || lower(command), table_name,
                       CASE command WHEN 'INSERT' THEN '' ELSE 'USING (' || bound || ')' END,
                       CASE command WHEN 'SELECT' THEN '' ELSE 'WITH CHECK (' || bound || ')' END);
    END LOOP;
END $$;

CALL within('SELECT', 'mandates', 'institution_id IN (SELECT id FROM institutions) OR agency_id IN (SELECT id FROM institutions)');
CALL within('SELECT', 'accounts', 'holder_id IN (SELECT id FROM institutions)');
CALL within('SELECT', 'allocations', 'provider_id IN (SELECT id FROM institutions)');
CALL within('SELECT UPDATE', 'disputes', 'institution_id IN (SELECT id FROM institutions)');
CALL within('SELECT INSERT UPDATE', 'refusals', 'institution_id IN (SELECT id FROM institutions)');
CALL within('SELECT', 'consents', 'institution_id IN (SELECT id FROM institutions)');
CALL within('SELECT', 'recipients', 'institution_id IN (SELECT id FROM institutions)');
CALL within('SELECT UPDATE', 'replies', 'institution_id IN (SELECT id FROM institutions)');
CALL within('SELECT UPDATE', 'appeals', 'institution_id IN (SELECT id FROM institutions)');
CALL within('SELECT INSERT UPDATE', 'holds',
            'institution_id IN (SELECT id FROM institutions) OR account_id IN (SELECT id FROM accounts)'
            ' OR EXISTS (SELECT FROM numbers n WHERE n.id = number_id)');
CALL within('SELECT', 'traffic_minute', 'institution IN (SELECT code FROM institutions)');
CALL within('SELECT', 'intercepts', 'institution IN (SELECT code FROM institutions)'
            ' OR institution = '''' AND (carrier, protocol, account) IN (SELECT a.carrier, a.protocol, a.account FROM accounts a)'
            ' AND coalesce(at >= held_since(account_of(carrier, protocol, account)), true)');

-- Who takes in a complaint sees it, whoever is complained of, and so do his colleagues; a case is of the territory
-- in which it was opened, and of that of each complaint and penalty in it, or of the person who was given it.
CALL within('INSERT', 'complaints', 'received_by = my_user()');
CALL within('SELECT UPDATE', 'complaints',
            'institution_id IN (SELECT id FROM institutions) OR received_by IN (SELECT territory_users())');
CALL within('INSERT', 'cases', 'opened_by = my_user()');
CALL within('SELECT UPDATE', 'cases',
            'my_user() IN (assigned_to, escalated_to) OR opened_by IN (SELECT territory_users())'
            ' OR id IN (SELECT case_id FROM complaints) OR id IN (SELECT case_id FROM penalties)');
CALL within('SELECT INSERT', 'case_items', 'case_id IN (SELECT id FROM cases)');
CALL within('SELECT INSERT', 'referrals', 'case_id IN (SELECT id FROM cases)');
CREATE INDEX complaints_case ON complaints (case_id);
CREATE INDEX penalties_case ON penalties (case_id) WHERE case_id IS NOT NULL;

-- Users of other territories' institutions, and what they did, are theirs. A broken glass is shown to all.
CALL within('SELECT', 'users', 'institution_id IS NULL OR institution_id IN (SELECT id FROM institutions)');
CALL within('SELECT', 'persons', 'id IN (SELECT person_id FROM users)');
CALL within('SELECT', 'audit', 'user_id IN (SELECT territory_users())');
CALL within('SELECT UPDATE', 'alarms',
            'institution_id IN (SELECT id FROM institutions) OR user_id IN (SELECT territory_users())');
CALL within('SELECT UPDATE', 'import_runs', 'case_reference <> '''' OR user_id IN (SELECT territory_users())');

-- The province's rules are changed by who has the whole of it; a territory's regulators make them stricter there.
ALTER POLICY watcher_select ON profile_activations TO zhengming_auditor;
CREATE POLICY regulator_select ON profile_activations FOR SELECT TO zhengming_regulator USING (true);
CALL within('SELECT INSERT', 'profile_activations',
            'institution_id IN (SELECT id FROM institutions)'
            ' OR EXISTS (SELECT FROM numbers n WHERE n.number = profile_activations.number)');
ALTER POLICY regulator_update ON profile_activations WITH CHECK ( -- what he sees, and may not confirm, says so
    my_territory() = '' OR institution_id IN (SELECT id FROM institutions)
    OR EXISTS (SELECT FROM numbers n WHERE n.number = profile_activations.number));
DROP PROCEDURE within;

-- As in 0017; what is overdue reaches only who sees it.
CREATE FUNCTION region_of(wanted bigint) RETURNS text LANGUAGE sql STABLE
RETURN (SELECT region FROM institutions WHERE id = wanted);
CREATE FUNCTION territory_of(wanted bigint) RETURNS text LANGUAGE sql STABLE
RETURN (SELECT territory FROM users WHERE id = wanted AND role = 'regulator');
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
        SELECT 'complaints' AS name, t.id, t.assigned_to, '{}'::bigint[] AS authors,
               ARRAY[region_of(t.institution_id), territory_of(t.received_by)] AS regions
          FROM complaints t
         WHERE t.escalated_at IS NULL AND t.status <> 'answered'
           AND (t.due < today OR t.status = 'open' AND t.forward_due < today)
        UNION ALL
        SELECT 'appeals', id, assigned_to, author_persons, ARRAY[region_of(institution_id)] FROM appeals
         WHERE escalated_at IS NULL AND status = 'open' AND due < today
        UNION ALL
        SELECT 'cases', k.id, k.assigned_to, '{}',
               ARRAY(SELECT territory_of(k.opened_by)
                      UNION SELECT region_of(t.institution_id) FROM complaints t WHERE t.case_id = k.id
                      UNION SELECT territory_of(t.received_by) FROM complaints t WHERE t.case_id = k.id
                      UNION SELECT region_of(p.institution_id) FROM penalties p WHERE p.case_id = k.id)
          FROM cases k
         WHERE k.escalated_at IS NULL AND k.status <> 'closed' AND k.due < today
        UNION ALL
        SELECT 'penalties', id, imposed_by, '{}', ARRAY[region_of(institution_id)] FROM penalties
         WHERE escalated_at IS NULL AND lifted_at IS NULL AND due < today AND coalesce(valid_until > now(), true)
        UNION ALL
        SELECT 'disputes', id, NULL, '{}', ARRAY[region_of(institution_id)] FROM disputes
         WHERE escalated_at IS NULL AND status = 'open' AND due < today
    LOOP
        SELECT u.id INTO other
          FROM users u
         WHERE u.role = 'regulator' AND u.status = 'active' AND u.person_id <> ALL (late.authors)
           AND u.person_id IS DISTINCT FROM (SELECT person_id FROM users WHERE id = late.assigned_to)
           AND (u.territory = '' OR EXISTS (SELECT FROM unnest(late.regions) r WHERE starts_with(r, u.territory)))
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
