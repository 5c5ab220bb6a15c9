-- What regulators do: blacklist with its guard, penalties, complaints, appeals, cases, referrals; and what
-- watches over users: quotas, alarms, kept answers of repeated requests. Due dates are set by the gateway.

-- An entry on a prefix that hits an effective number, or more than 0.1 % of yesterday's traffic, is in force
-- only when a second person has confirmed it.
ALTER TABLE blacklist
    ADD COLUMN added_person bigint,
    ADD COLUMN hits_numbers bigint NOT NULL DEFAULT 0,
    ADD COLUMN hits_share double precision NOT NULL DEFAULT 0,
    ADD COLUMN needs_second boolean NOT NULL DEFAULT false,
    ADD COLUMN confirmed_by text,
    ADD COLUMN confirmed_person bigint,
    ADD COLUMN confirmed_at timestamptz,
    ADD COLUMN removal_proposed_person bigint,
    ADD COLUMN removed_person bigint,
    ADD CHECK ((confirmed_by IS NULL) = (confirmed_at IS NULL)),
    DROP CONSTRAINT blacklist_check3; -- two names; the trigger compares persons, and knows withdrawal
ALTER TABLE blacklist_history
    ADD COLUMN added_person bigint,
    ADD COLUMN hits_numbers bigint,
    ADD COLUMN hits_share double precision,
    ADD COLUMN needs_second boolean,
    ADD COLUMN confirmed_by text,
    ADD COLUMN confirmed_person bigint,
    ADD COLUMN confirmed_at timestamptz,
    ADD COLUMN removal_proposed_person bigint,
    ADD COLUMN removed_person bigint;

CREATE VIEW blacklist_in_force AS
SELECT * FROM blacklist WHERE removed_at IS NULL AND (NOT needs_second OR confirmed_at IS NOT NULL);

-- What a ban on a prefix would hit: effective numbers, and the share of yesterday's attempts (0 to 1).
CREATE FUNCTION prefix_hits(prefix text, OUT hits_numbers bigint, OUT hits_share double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT (SELECT count(*) FROM whitelist w
             WHERE w.number COLLATE "C" >= prefix AND w.number COLLATE "C" < prefix || '~'
                OR w.number COLLATE "C" = ANY (ARRAY(SELECT left(prefix, n) FROM generate_series(2, length(prefix) - 1) n))
               AND length(prefix) <= length(w.number) + w.extension_digits),
           coalesce((SELECT sum(count) FILTER (WHERE starts_with(number, prefix))::double precision
                            / nullif(sum(count), 0)
                       FROM traffic_minute
                      WHERE minute >= (date_trunc('day', now() AT TIME ZONE 'Asia/Shanghai') - interval '1 day')
                                      AT TIME ZONE 'Asia/Shanghai'
                        AND minute < date_trunc('day', now() AT TIME ZONE 'Asia/Shanghai') AT TIME ZONE 'Asia/Shanghai'), 0)
$$;

-- Persons are those of the acting regulator (my_user), or the two of the import that is open (zhengming.run).
-- SQL by hand may ban; it can neither confirm nor remove.
CREATE FUNCTION blacklist_guarded() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
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
        NEW.confirmed_by := NULL;
        NEW.confirmed_person := NULL;
        NEW.confirmed_at := NULL;
        IF NEW.is_prefix THEN
            SELECT * INTO hits FROM prefix_hits(NEW.number);
            NEW.hits_numbers := hits.hits_numbers;
            NEW.hits_share := hits.hits_share;
            NEW.needs_second := hits.hits_numbers > 0 OR hits.hits_share > 0.001;
        END IF;
        IF NEW.needs_second AND run.approver_id IS NOT NULL THEN
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
    IF (NEW.id, NEW.number, NEW.is_prefix, NEW.added_at, NEW.added_by, NEW.added_person, NEW.needs_second)
       IS DISTINCT FROM
       (OLD.id, OLD.number, OLD.is_prefix, OLD.added_at, OLD.added_by, OLD.added_person, OLD.needs_second)
       OR OLD.removed_at IS NOT NULL OR OLD.confirmed_at IS DISTINCT FROM NEW.confirmed_at AND OLD.confirmed_at IS NOT NULL
    THEN
        RAISE EXCEPTION 'a blacklist entry is confirmed, proposed for removal or removed, never rewritten'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'blacklist_kept', TABLE = 'blacklist';
    END IF;
    IF who.id IS NULL AND (NEW.confirmed_at, NEW.removal_proposed_by, NEW.removal_proposed_at, NEW.removed_at)
                          IS DISTINCT FROM
                          (OLD.confirmed_at, OLD.removal_proposed_by, OLD.removal_proposed_at, OLD.removed_at) THEN
        RAISE EXCEPTION 'this takes a regulator, by name'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'blacklist_regulator', TABLE = 'blacklist';
    END IF;
    IF NEW.confirmed_at IS DISTINCT FROM OLD.confirmed_at THEN
        NEW.confirmed_person := who.person_id;
        IF who.person_id = OLD.added_person THEN
            RAISE EXCEPTION 'confirming takes another person than adding'
                  USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'blacklist_persons', TABLE = 'blacklist';
        END IF;
    END IF;
    IF NEW.removal_proposed_at IS DISTINCT FROM OLD.removal_proposed_at THEN
        NEW.removal_proposed_person := who.person_id;
    END IF;
    IF NEW.removed_at IS NOT NULL THEN
        NEW.removed_person := who.person_id;
        IF (CASE WHEN OLD.removal_proposed_at IS NULL
                THEN who.person_id IS DISTINCT FROM OLD.added_person OR now() >= OLD.added_at + interval '30 minutes'
                ELSE coalesce(who.person_id = OLD.removal_proposed_person, true) END) THEN
            RAISE EXCEPTION 'removing takes two persons; the author alone may withdraw within 30 minutes'
                  USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'blacklist_persons', TABLE = 'blacklist';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER blacklist_guarded BEFORE INSERT OR UPDATE ON blacklist
    FOR EACH ROW EXECUTE FUNCTION blacklist_guarded();
ALTER TABLE blacklist ENABLE ALWAYS TRIGGER blacklist_guarded;
CREATE TRIGGER is_kept BEFORE DELETE OR TRUNCATE ON blacklist FOR EACH STATEMENT EXECUTE FUNCTION is_kept();
ALTER TABLE blacklist ENABLE ALWAYS TRIGGER is_kept;

CREATE TABLE penalties (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    institution_id  bigint NOT NULL REFERENCES institutions, -- institution, agency or provider
    kind            text NOT NULL CHECK (kind IN ('fine', 'suspension', 'fine_and_suspension')),
    amount          numeric(14, 2) CHECK (amount > 0),       -- yuan
    cause           text NOT NULL CHECK (btrim(cause) <> ''),
    legal_basis     text NOT NULL DEFAULT '',
    document_sha256 bytea CHECK (octet_length(document_sha256) = 32),
    case_id         bigint,
    valid_from      timestamptz NOT NULL DEFAULT now(),
    valid_until     timestamptz,
    imposed_by      bigint NOT NULL DEFAULT my_user() REFERENCES users,
    imposed_at      timestamptz NOT NULL DEFAULT now(),
    lifted_by       bigint REFERENCES users,
    lifted_at       timestamptz,
    lifted_reason   text NOT NULL DEFAULT '',
    row_version     bigint NOT NULL DEFAULT 0,
    row_xid         xid8 NOT NULL DEFAULT '0',
    changed_at      timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'suspension') = (amount IS NULL)),
    CHECK (is_period(valid_from, valid_until)),
    CHECK ((lifted_by IS NULL) = (lifted_at IS NULL)),
    CHECK (lifted_at IS NULL OR btrim(lifted_reason) <> '')
);
CREATE INDEX ON penalties (institution_id, id);

ALTER TABLE holds ADD COLUMN penalty_id bigint REFERENCES penalties, ADD COLUMN held_person bigint,
                  ADD COLUMN case_reference text NOT NULL DEFAULT '', ADD COLUMN lifted_reason text NOT NULL DEFAULT '';
ALTER TABLE holds_history ADD COLUMN penalty_id bigint, ADD COLUMN held_person bigint,
                          ADD COLUMN case_reference text, ADD COLUMN lifted_reason text;

-- A suspension is a hold on the institution for as long as it stands; lifting it lifts that hold and no other.
CREATE FUNCTION penalty_holds() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.kind <> 'fine' THEN
        INSERT INTO holds (institution_id, cause, held_by, held_person, valid_from, valid_until, penalty_id)
        SELECT NEW.institution_id, 'penalty: ' || NEW.cause, u.login, u.person_id, NEW.valid_from, NEW.valid_until, NEW.id
          FROM users u WHERE u.id = NEW.imposed_by;
    ELSIF TG_OP = 'UPDATE' AND NEW.lifted_at IS NOT NULL AND OLD.lifted_at IS NULL THEN
        UPDATE holds
           SET valid_until = least(valid_until, greatest(clock_timestamp(), valid_from + interval '1 microsecond')),
               lifted_by = (SELECT login FROM users WHERE id = NEW.lifted_by), lifted_reason = NEW.lifted_reason
         WHERE penalty_id = NEW.id AND coalesce(valid_until > clock_timestamp(), true);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER penalty_holds AFTER INSERT OR UPDATE ON penalties FOR EACH ROW EXECUTE FUNCTION penalty_holds();
ALTER TABLE penalties ENABLE ALWAYS TRIGGER penalty_holds;

CREATE TABLE cases (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title       text NOT NULL CHECK (btrim(title) <> ''),
    status      text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'referred', 'closed')),
    opened_by   bigint DEFAULT my_user() REFERENCES users,
    opened_at   timestamptz NOT NULL DEFAULT now(),
    due         date NOT NULL,
    assigned_to bigint REFERENCES users,
    escalated_to bigint REFERENCES users,
    escalated_at timestamptz,
    closed_by   bigint REFERENCES users,
    closed_at   timestamptz,
    outcome     text NOT NULL DEFAULT '',
    row_version bigint NOT NULL DEFAULT 0,
    row_xid     xid8 NOT NULL DEFAULT '0',
    changed_at  timestamptz NOT NULL DEFAULT now(),
    CHECK ((status = 'closed') = (closed_at IS NOT NULL)),
    CHECK (escalated_to <> assigned_to)
);
ALTER TABLE penalties ADD FOREIGN KEY (case_id) REFERENCES cases;

CREATE TABLE case_items ( -- what a case ties together
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    case_id   bigint NOT NULL REFERENCES cases,
    kind      text NOT NULL CHECK (kind IN ('record', 'complaint', 'penalty', 'appeal', 'ban', 'number', 'document')),
    reference text NOT NULL CHECK (reference <> ''),
    note      text NOT NULL DEFAULT '',
    added_by  bigint DEFAULT my_user(),
    added_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (case_id, kind, reference)
);

CREATE TABLE referrals ( -- to the police
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    case_id         bigint NOT NULL REFERENCES cases,
    authority       text NOT NULL CHECK (btrim(authority) <> ''),
    reference       text NOT NULL DEFAULT '', -- theirs
    reason          text NOT NULL CHECK (btrim(reason) <> ''),
    document_sha256 bytea CHECK (octet_length(document_sha256) = 32),
    referred_by     bigint NOT NULL DEFAULT my_user() REFERENCES users,
    referred_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE complaints (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source            text NOT NULL CHECK (source IN ('own', '12321')),
    reference         text, -- theirs, of 12321
    subscriber_hash   bytea NOT NULL CHECK (octet_length(subscriber_hash) = 16),
    key_id            smallint NOT NULL REFERENCES registry_keys,
    subscriber_sealed bytea NOT NULL,
    number            text NOT NULL CHECK (is_number(number)), -- that sent or called
    channel           smallint NOT NULL CHECK (channel IN (1, 2)),
    happened_at       timestamptz NOT NULL CHECK (isfinite(happened_at)),
    content           text NOT NULL DEFAULT '',
    institution_id    bigint REFERENCES institutions, -- whose number it was then; empty: nobody's
    agency_id         bigint REFERENCES institutions,
    case_id           bigint NOT NULL REFERENCES cases,
    received_by       bigint DEFAULT my_user(),
    received_at       timestamptz NOT NULL DEFAULT now(),
    forward_due       date NOT NULL,
    due               date NOT NULL,
    forwarded_at      timestamptz,
    status            text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'forwarded', 'answered')),
    assigned_to       bigint REFERENCES users,
    escalated_to      bigint REFERENCES users,
    escalated_at      timestamptz,
    answer            text NOT NULL DEFAULT '',
    answered_by       bigint REFERENCES users,
    answered_at       timestamptz,
    row_version       bigint NOT NULL DEFAULT 0,
    row_xid           xid8 NOT NULL DEFAULT '0',
    changed_at        timestamptz NOT NULL DEFAULT now(),
    UNIQUE (source, reference),
    CHECK ((status = 'answered') = (answered_at IS NOT NULL)),
    CHECK (escalated_to <> assigned_to)
);
CREATE INDEX ON complaints (subscriber_hash);
CREATE INDEX ON complaints (number);
CREATE INDEX ON complaints (institution_id, id);
CREATE INDEX complaints_due ON complaints (due) WHERE status <> 'answered';

CREATE TABLE appeals (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    against_kind    text NOT NULL CHECK (against_kind IN ('verdict', 'penalty', 'ban', 'hold', 'number')),
    against         text NOT NULL CHECK (against <> ''), -- attempt id, or the row's id
    institution_id  bigint NOT NULL REFERENCES institutions,
    author_persons  bigint[] NOT NULL DEFAULT '{}', -- of what is attacked; empty: a rule, or SQL by hand
    grounds         text NOT NULL CHECK (btrim(grounds) <> ''),
    document_sha256 bytea CHECK (octet_length(document_sha256) = 32),
    filed_by        bigint NOT NULL DEFAULT my_user() REFERENCES users,
    filed_at        timestamptz NOT NULL DEFAULT now(),
    due             date NOT NULL,
    status          text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'upheld', 'rejected')),
    assigned_to     bigint REFERENCES users,
    escalated_to    bigint REFERENCES users,
    escalated_at    timestamptz,
    answer          text NOT NULL DEFAULT '',
    answered_by     bigint REFERENCES users,
    answered_person bigint,
    answered_at     timestamptz,
    row_version     bigint NOT NULL DEFAULT 0,
    row_xid         xid8 NOT NULL DEFAULT '0',
    changed_at      timestamptz NOT NULL DEFAULT now(),
    CHECK ((status = 'open') = (answered_at IS NULL)),
    CHECK ((answered_at IS NULL) = (answered_person IS NULL)),
    CONSTRAINT appeals_author CHECK (answered_person <> ALL (author_persons)),
    CHECK (escalated_to <> assigned_to)
);
CREATE INDEX ON appeals (institution_id, id);
CREATE INDEX appeals_due ON appeals (due) WHERE status = 'open';

-- Who made what is attacked, and who answers, are looked up: the party that appeals may not see the former.
CREATE FUNCTION appeal_authored() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    target bigint := CASE WHEN NEW.against ~ '^[0-9]{1,18}$' THEN NEW.against::bigint END;
    who users;
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.author_persons := array_remove(CASE NEW.against_kind
            WHEN 'penalty' THEN ARRAY(SELECT u.person_id FROM penalties p JOIN users u ON u.id = p.imposed_by WHERE p.id = target)
            WHEN 'ban' THEN (SELECT ARRAY[added_person, confirmed_person] FROM blacklist WHERE id = target)
            WHEN 'hold' THEN (SELECT ARRAY[held_person] FROM holds WHERE id = target)
            WHEN 'number' THEN ARRAY(SELECT person_id FROM number_steps
                                      WHERE number_id = target AND step IN ('return', 'check', 'approve', 'veto', 'revoke'))
            ELSE '{}'
        END, NULL);
        NEW.author_persons := coalesce(NEW.author_persons, '{}');
        RETURN NEW;
    END IF;
    NEW.author_persons := OLD.author_persons;
    IF NEW.answered_at IS DISTINCT FROM OLD.answered_at THEN
        SELECT * INTO who FROM users WHERE id = my_user() AND role = 'regulator' AND status = 'active';
        NEW.answered_by := who.id;
        NEW.answered_person := who.person_id; -- nobody: refused by the check above
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER appeal_authored BEFORE INSERT OR UPDATE ON appeals FOR EACH ROW EXECUTE FUNCTION appeal_authored();
ALTER TABLE appeals ENABLE ALWAYS TRIGGER appeal_authored;

-- What is overdue on `today` goes to another active regulator, the one with the fewest such matters, and an
-- appeal to none who made what it attacks; how many went. Whoever comes second finds nothing to do.
CREATE FUNCTION escalate_overdue(today date) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
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
    LOOP
        SELECT u.id INTO other
          FROM users u
         WHERE u.role = 'regulator' AND u.status = 'active' AND u.person_id <> ALL (late.authors)
           AND u.person_id IS DISTINCT FROM (SELECT person_id FROM users WHERE id = late.assigned_to)
         ORDER BY (SELECT count(*) FROM complaints c WHERE c.escalated_to = u.id AND c.status <> 'answered')
                  + (SELECT count(*) FROM appeals a WHERE a.escalated_to = u.id AND a.status = 'open')
                  + (SELECT count(*) FROM cases k WHERE k.escalated_to = u.id AND k.status <> 'closed'), u.id
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

-- Whose number this was: by the filings that the registry had then; if it had none, by what has been filed
-- since for that time.
CREATE INDEX numbers_history_by_digits ON numbers_history (number COLLATE "C") WHERE status = 'approved';
CREATE FUNCTION holder_at(wanted text, on_channel integer, moment timestamptz,
                          OUT institution_id bigint, OUT agency_id bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH beginnings AS (SELECT ARRAY(SELECT left(wanted, n) FROM generate_series(3, length(wanted)) n) AS digits)
    SELECT f.institution_id, f.agency_id
      FROM (SELECT n.number, n.extension_digits, n.channels, n.institution_id, n.agency_id, n.effective_from,
                   n.effective_until, n.changed_at, 'infinity'::timestamptz AS superseded_at
              FROM numbers n, beginnings b
             WHERE n.number COLLATE "C" = ANY (b.digits) AND n.status = 'approved'
            UNION ALL
            SELECT n.number, n.extension_digits, n.channels, n.institution_id, n.agency_id, n.effective_from,
                   n.effective_until, n.changed_at, n.superseded_at
              FROM numbers_history n, beginnings b
             WHERE n.number COLLATE "C" = ANY (b.digits) AND n.status = 'approved') f
     WHERE length(wanted) <= length(f.number) + f.extension_digits AND f.channels & on_channel <> 0
       AND coalesce(f.effective_from <= moment, true) AND coalesce(moment < f.effective_until, true)
     ORDER BY f.changed_at <= moment AND moment < f.superseded_at DESC, f.superseded_at DESC,
              length(f.number) DESC
     LIMIT 1
$$;

CREATE TABLE alarms (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text NOT NULL CHECK (kind IN ('enumeration', 'quota', 'break_glass', 'lock_out')),
    institution_id  bigint,
    user_id         bigint,
    at              timestamptz NOT NULL DEFAULT now(),
    detail          jsonb NOT NULL DEFAULT '{}',
    acknowledged_by bigint,
    acknowledged_at timestamptz
);
CREATE INDEX alarms_open ON alarms (id) WHERE acknowledged_at IS NULL;

CREATE TABLE quota_uses ( -- judge and scrub, by day of Asia/Shanghai
    day            date NOT NULL,
    institution_id bigint NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('judge', 'scrub')),
    used           bigint NOT NULL,
    PRIMARY KEY (day, institution_id, kind)
);

-- The answer that a create was given, to be given again for a day.
CREATE TABLE kept_answers (
    user_id bigint NOT NULL,
    key     text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    request bytea NOT NULL CHECK (octet_length(request) = 32), -- SHA-256 of method, path and body
    status  smallint,
    headers jsonb,
    body    bytea,
    at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key)
);
CREATE INDEX ON kept_answers (at);

-- Where each node's web process is asked for records of its journal.
CREATE TABLE nodes (
    name    text PRIMARY KEY,
    carrier text NOT NULL,
    url     text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);

CALL registry_follow('penalties', 'id');
CALL registry_follow('cases', 'id');
CALL registry_follow('complaints', 'id');
CALL registry_follow('appeals', 'id');
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['penalties', 'cases', 'complaints', 'appeals', 'referrals', 'import_runs']
    LOOP
        CALL audit_follow(name);
    END LOOP;
END $$;
