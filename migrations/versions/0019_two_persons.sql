-- What takes two persons takes two identity numbers, as checking and approving a filing do (0006): who is known by
-- name only, or by no name, can't be told from somebody else.
CREATE FUNCTION is_proven(person bigint) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public
RETURN EXISTS (SELECT FROM persons WHERE id = person AND identity_hash IS NOT NULL);
REVOKE EXECUTE ON FUNCTION is_proven FROM PUBLIC;

-- An entry that waits, and whose author can't be told from others (SQL by hand, an operator, an import without
-- --approve), needs two regulators: the first who confirms it answers for it in the author's place.
ALTER TABLE blacklist ADD COLUMN vouched_by text, ADD COLUMN vouched_person bigint,
                      ADD CHECK ((vouched_by IS NULL) = (vouched_person IS NULL));
ALTER TABLE blacklist_history ADD COLUMN vouched_by text, ADD COLUMN vouched_person bigint;

-- As in 0007, by persons that can be told apart.
CREATE OR REPLACE FUNCTION blacklist_guarded() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    hits record;
    who users;
    run import_runs;
BEGIN
    SELECT * INTO who FROM users WHERE id = my_user() AND role = 'regulator' AND status = 'active';
    IF TG_OP = 'INSERT' THEN
        SELECT * INTO run FROM import_runs
         WHERE id = nullif(current_setting('zhengming.run', true), '')::bigint AND closed_at IS NULL;
        NEW.added_person := coalesce(who.person_id, run.checker_id);
        NEW.added_by := coalesce(who.login, NEW.added_by);
        NEW.added_at := now();
        NEW.needs_second := false;
        NEW.vouched_by := NULL;
        NEW.vouched_person := NULL;
        NEW.confirmed_by := NULL;
        NEW.confirmed_person := NULL;
        NEW.confirmed_at := NULL;
        IF NEW.is_prefix THEN
            SELECT * INTO hits FROM prefix_hits(NEW.number);
            NEW.hits_numbers := hits.hits_numbers;
            NEW.hits_share := hits.hits_share;
            NEW.needs_second := hits.hits_numbers > 0 OR hits.hits_share > 0.001;
        END IF;
        -- An approved import names both, as for filings: before there is a regulator, or with a case that each is shown.
        IF NEW.needs_second AND run.approver_id <> NEW.added_person THEN
            NEW.confirmed_by := (SELECT name FROM persons WHERE id = run.approver_id);
            NEW.confirmed_person := run.approver_id;
            NEW.confirmed_at := now();
        END IF;
        IF NEW.removed_at IS NOT NULL OR NEW.removal_proposed_by IS NOT NULL THEN
            RAISE EXCEPTION 'an entry begins in force, or waiting for a second person'
                  USING ERRCODE = 'check_violation', CONSTRAINT = 'blacklist_kept', TABLE = 'blacklist';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.id, NEW.number, NEW.is_prefix, NEW.added_at, NEW.added_by, NEW.added_person, NEW.needs_second,
        NEW.vouched_by, NEW.vouched_person)
       IS DISTINCT FROM
       (OLD.id, OLD.number, OLD.is_prefix, OLD.added_at, OLD.added_by, OLD.added_person, OLD.needs_second,
        OLD.vouched_by, OLD.vouched_person)
       OR OLD.removed_at IS NOT NULL OR OLD.confirmed_at IS DISTINCT FROM NEW.confirmed_at AND OLD.confirmed_at IS NOT NULL
    THEN
        RAISE EXCEPTION 'a blacklist entry is confirmed, proposed for removal or removed, never rewritten'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'blacklist_kept', TABLE = 'blacklist';
    END IF;
    IF (NEW.confirmed_at, NEW.removal_proposed_by, NEW.removal_proposed_at, NEW.removed_at)
       IS NOT DISTINCT FROM
       (OLD.confirmed_at, OLD.removal_proposed_by, OLD.removal_proposed_at, OLD.removed_at) THEN
        RETURN NEW;
    END IF;
    IF who.id IS NULL THEN
        RAISE EXCEPTION 'this takes a regulator, by name'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'blacklist_regulator', TABLE = 'blacklist';
    END IF;
    IF NEW.removed_at IS NOT NULL AND OLD.removal_proposed_at IS NULL THEN -- withdrawn, by one person
        NEW.removed_person := who.person_id;
        IF who.person_id IS DISTINCT FROM OLD.added_person OR now() >= OLD.added_at + interval '30 minutes' THEN
            RAISE EXCEPTION 'removing takes two persons; the author alone may withdraw within 30 minutes'
                  USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'blacklist_persons', TABLE = 'blacklist';
        END IF;
        RETURN NEW;
    END IF;
    IF NOT is_proven(who.person_id) THEN
        RAISE EXCEPTION 'the user is bound to no person by identity number'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'blacklist_identity', TABLE = 'blacklist';
    END IF;
    IF NEW.confirmed_at IS DISTINCT FROM OLD.confirmed_at THEN
        IF who.person_id IN (OLD.added_person, OLD.vouched_person) THEN
            RAISE EXCEPTION 'confirming takes another person than adding'
                  USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'blacklist_persons', TABLE = 'blacklist';
        END IF;
        NEW.confirmed_person := who.person_id;
        IF NOT is_proven(OLD.added_person) AND OLD.vouched_person IS NULL THEN
            NEW.vouched_by := who.login;
            NEW.vouched_person := who.person_id;
            NEW.confirmed_by := NULL;
            NEW.confirmed_person := NULL;
            NEW.confirmed_at := NULL;
        END IF;
    END IF;
    IF NEW.removal_proposed_at IS DISTINCT FROM OLD.removal_proposed_at THEN
        NEW.removal_proposed_person := who.person_id;
    END IF;
    IF NEW.removed_at IS NOT NULL THEN
        NEW.removed_person := who.person_id;
        IF coalesce(who.person_id = OLD.removal_proposed_person, true) THEN
            RAISE EXCEPTION 'removing takes two persons; the author alone may withdraw within 30 minutes'
                  USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'blacklist_persons', TABLE = 'blacklist';
        END IF;
    END IF;
    RETURN NEW;
END $$;

-- What was proposed by who can't be told from others, a removal or an activation, is proposed anew.
ALTER TABLE blacklist DISABLE TRIGGER blacklist_guarded;
UPDATE blacklist SET removal_proposed_by = NULL, removal_proposed_at = NULL, removal_proposed_person = NULL
 WHERE removed_at IS NULL AND removal_proposed_at IS NOT NULL AND NOT is_proven(removal_proposed_person);
ALTER TABLE blacklist ENABLE ALWAYS TRIGGER blacklist_guarded;

ALTER TABLE profile_activations DISABLE TRIGGER profile_activations_guarded;
UPDATE profile_activations SET withdrawn_by = 'migration 0019', withdrawn_at = now()
 WHERE confirmed_at IS NULL AND withdrawn_at IS NULL AND NOT is_proven(proposed_person);
ALTER TABLE profile_activations ENABLE ALWAYS TRIGGER profile_activations_guarded;

-- As in 0013: both persons are known by identity number.
CREATE FUNCTION profile_activations_proven() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NOT is_proven(NEW.proposed_person)
       OR TG_OP = 'UPDATE' AND NEW.confirmed_at IS NOT NULL
          AND NOT (is_proven(NEW.confirmed_person) AND is_proven(OLD.proposed_person)) THEN
        RAISE EXCEPTION 'the user is bound to no person by identity number'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'profile_activations_identity',
                    TABLE = 'profile_activations';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER profile_activations_proven BEFORE INSERT OR UPDATE ON profile_activations -- after _guarded, by name
    FOR EACH ROW EXECUTE FUNCTION profile_activations_proven();
ALTER TABLE profile_activations ENABLE ALWAYS TRIGGER profile_activations_proven;

-- Who made what an appeal attacks; of a verdict, who made the entry, hold, penalty or decision that it followed from.
-- A node may judge by news that is three days old (registry.max_age), and its clock may be a minute behind: what ended
-- or began within that time counts.
CREATE FUNCTION verdict_authors(attempt uuid) RETURNS SETOF bigint LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
    WITH judged AS (
        SELECT i.at + interval '1 minute' AS at, i.reason, i.number, i.registration, i.institution, i.agency, i.carrier, i.protocol, i.account
          FROM intercepts i WHERE i.id = attempt),
    filing AS (
        SELECT n.id, j.at FROM judged j JOIN numbers n ON n.number = j.registration
         WHERE j.reason = 'not_effective' AND code_of(n.institution_id) = j.institution)
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
               WHEN 'institution_barred' THEN h.institution_id IN (
                    SELECT i.id FROM institutions i WHERE i.code IN (j.institution, j.agency)
                     UNION SELECT a.holder_id FROM accounts a
                            WHERE (a.carrier, a.protocol, a.account) = (j.carrier, j.protocol, j.account))
               WHEN 'not_effective' THEN h.number_id IN (SELECT id FROM filing)
               WHEN 'account_mismatch' THEN h.account_id = account_of(j.carrier, j.protocol, j.account)
               ELSE false
           END
     WHERE h.valid_from <= j.at AND coalesce(h.valid_until > j.at - interval '72 hours', true)
    UNION
    SELECT s.person_id FROM filing f JOIN number_steps s ON s.number_id = f.id
     WHERE s.step = 'revoke' AND s.at <= f.at
$$;
CREATE FUNCTION authors_of(kind text, attacked text) RETURNS bigint[] LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    target bigint := CASE WHEN attacked ~ '^[0-9]{1,18}$' THEN attacked::bigint END;
    attempt uuid := CASE WHEN attacked ~ '^[0-9a-f]{32}$' THEN attacked::uuid END;
BEGIN
    RETURN coalesce(array_remove(CASE kind
        WHEN 'verdict' THEN ARRAY(SELECT verdict_authors(attempt))
        WHEN 'penalty' THEN ARRAY(SELECT u.person_id FROM penalties p JOIN users u ON u.id = p.imposed_by WHERE p.id = target)
        WHEN 'ban' THEN (SELECT ARRAY[added_person, vouched_person, confirmed_person] FROM blacklist WHERE id = target)
        WHEN 'hold' THEN (SELECT ARRAY[held_person] FROM holds WHERE id = target)
        WHEN 'number' THEN ARRAY(SELECT person_id FROM number_steps
                                  WHERE number_id = target AND step IN ('return', 'check', 'approve', 'veto', 'revoke'))
    END, NULL), '{}');
END $$;
REVOKE EXECUTE ON FUNCTION verdict_authors, authors_of FROM PUBLIC;

CREATE OR REPLACE FUNCTION appeal_authored() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    who users;
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.author_persons := authors_of(NEW.against_kind, NEW.against);
        RETURN NEW;
    END IF;
    NEW.author_persons := OLD.author_persons;
    IF NEW.answered_at IS DISTINCT FROM OLD.answered_at THEN
        SELECT * INTO who FROM users WHERE id = my_user() AND role = 'regulator' AND status = 'active';
        NEW.answered_by := who.id;
        NEW.answered_person := who.person_id; -- nobody: refused by the table's check
        IF cardinality(OLD.author_persons) > 0 AND who.id IS NOT NULL AND NOT is_proven(who.person_id) THEN
            RAISE EXCEPTION 'the user is bound to no person by identity number'
                  USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'appeals_identity', TABLE = 'appeals';
        END IF;
    END IF;
    RETURN NEW;
END $$;
ALTER TABLE appeals DISABLE TRIGGER appeal_authored;
UPDATE appeals SET author_persons = authors_of(against_kind, against)
 WHERE status = 'open' AND against_kind = 'verdict' AND author_persons <> authors_of(against_kind, against);
ALTER TABLE appeals ENABLE ALWAYS TRIGGER appeal_authored;

-- The protected number that `wanted`, with up to `further` digits behind it, would be or would cover. What begins with
-- a code of five digits is its holder's too (1008611, 12110571: the plan gives away nothing behind a code); codes of
-- three digits begin others'. Those that have lines in every city (100xx, 123xx, 96110) are reached behind its area
-- code, too.
CREATE FUNCTION protected_in(wanted text, further integer) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public RETURN (
    SELECT p.number
      FROM protected_numbers p,
           (SELECT (regexp_match(wanted, '^[+]86(10|2[0-9]|(?!400|800|95[06-9]|96)[3-9][0-9]{2})(.*)$'))[2] AS digits) local
     WHERE starts_with(p.number, wanted) AND length(p.number) <= length(wanted) + further
        OR length(p.number) >= 5 AND starts_with(wanted, p.number)
        OR p.number ~ '^(100|123|96110)'
           AND (starts_with(p.number, local.digits) AND length(p.number) <= length(local.digits) + further
                OR starts_with(local.digits, p.number)
                OR further >= 10 AND wanted ~ '^[+](8(6(1|2|[3-9][0-9]?)?)?)?$')
     ORDER BY p.number LIMIT 1);

CREATE OR REPLACE FUNCTION blacklist_protected() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    covered text := protected_in(NEW.number, CASE WHEN NEW.is_prefix THEN 20 ELSE 0 END);
BEGIN
    IF covered IS NOT NULL AND (TG_OP = 'INSERT' OR (NEW.number, NEW.is_prefix) IS DISTINCT FROM (OLD.number, OLD.is_prefix)) THEN
        RAISE EXCEPTION 'blacklist entry % would cover the protected number %', NEW.number, covered
              USING ERRCODE = 'check_violation', CONSTRAINT = 'blacklist_protected', TABLE = 'blacklist',
                    DETAIL = covered;
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION reserved(wanted text, extension integer, holder bigint) RETURNS text LANGUAGE sql STABLE
SECURITY DEFINER SET search_path = pg_catalog, public RETURN (
    SELECT protected_in(wanted, extension)
     WHERE NOT EXISTS (SELECT FROM institutions i WHERE i.id = holder AND i.kind = 'authority'));

-- Whether a filing is narrow enough: with 106 and twelve further digits one holder would have filed all others' numbers
-- before them. What is filed with further digits is more than a block of the numbering plan: four
-- digits of a code, six behind a country's.
CREATE FUNCTION is_narrow(number text, extension integer) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN extension = 0 OR length($1) >= CASE WHEN $1 ~ '^[+]' THEN 9 ELSE 4 END;
CREATE FUNCTION numbers_narrow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'number % with % further digits would cover other holders'' numbers', NEW.number, NEW.extension_digits
          USING ERRCODE = 'check_violation', CONSTRAINT = 'numbers_narrow', TABLE = 'numbers';
END $$;
CREATE TRIGGER numbers_narrow BEFORE INSERT OR UPDATE OF number, extension_digits ON numbers
    FOR EACH ROW WHEN (NOT is_narrow(NEW.number, NEW.extension_digits)) EXECUTE FUNCTION numbers_narrow();
ALTER TABLE numbers ENABLE ALWAYS TRIGGER numbers_narrow;

-- What a regulator revokes is revoked with the versions that amend it, or the number would be back on the day on which
-- its amendment begins. Those that wait are vetoed.
CREATE FUNCTION number_step_versions() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN -- one of these steps has nothing left to do
        INSERT INTO number_steps (number_id, step, reason)
        WITH RECURSIVE later (id, status) AS (
            SELECT id, status FROM numbers WHERE supersedes = NEW.number_id
             UNION SELECT n.id, n.status FROM numbers n JOIN later l ON n.supersedes = l.id)
        SELECT id, CASE status WHEN 'approved' THEN 'revoke' ELSE 'veto' END, NEW.reason FROM later
         WHERE status IN ('approved', 'submitted', 'checked') ORDER BY id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER number_step_versions AFTER INSERT ON number_steps -- after number_step_taken, by name
    FOR EACH ROW WHEN (NEW.step = 'revoke') EXECUTE FUNCTION number_step_versions();
ALTER TABLE number_steps ENABLE ALWAYS TRIGGER number_step_versions;

-- Who of an authority did something is for authorities; a holder is told which authority it was.
CREATE FUNCTION authority(login text) RETURNS text LANGUAGE sql STABLE
RETURN CASE WHEN login IS NOT NULL AND current_user IN ('zhengming_institution', 'zhengming_agency', 'zhengming_provider')
            THEN 'regulator' ELSE login END;

-- The auditor reads everything.
CREATE POLICY auditor_select ON tokens FOR SELECT TO zhengming_auditor USING (true);
GRANT SELECT ON tokens TO zhengming_auditor;
