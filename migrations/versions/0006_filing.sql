-- The life of a filing (gateway/registry/workflow.py has the same table; a test compares them), documents,
-- imports that take rows through all steps, allocations, disputes. By SQL alone nobody lets more through:
-- a filing is checked and approved by steps or by an import of two persons, whatever statement is written.

CREATE TABLE documents (
    sha256      bytea PRIMARY KEY CHECK (octet_length(sha256) = 32),
    media_type  text NOT NULL CHECK (media_type IN ('application/pdf', 'image/png', 'image/jpeg')),
    size        integer NOT NULL CHECK (size BETWEEN 1 AND 20 * 1024 * 1024)
);
-- The same octets may be handed in by many; each sees only what it handed in or what a visible row names.
CREATE TABLE document_uses (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256         bytea NOT NULL REFERENCES documents,
    name           text NOT NULL DEFAULT '',
    kind           text NOT NULL CHECK (kind IN ('licence', 'mandate', 'consent', 'filing', 'other')),
    user_id        bigint NOT NULL REFERENCES users,
    institution_id bigint REFERENCES institutions,
    at             timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON document_uses (sha256);

ALTER TABLE institutions ADD COLUMN document_sha256 bytea CHECK (octet_length(document_sha256) = 32);
ALTER TABLE institutions_history ADD COLUMN document_sha256 bytea;

-- One import, or one breaking of the glass. Until a regulator has signed in two named persons may approve.
CREATE TABLE import_runs (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text NOT NULL,
    file_name       text NOT NULL DEFAULT '',
    user_id         bigint DEFAULT my_user(),
    by_session      text NOT NULL DEFAULT session_user,
    checker_id      bigint, -- persons
    approver_id     bigint,
    case_reference  text NOT NULL DEFAULT '',
    opened_at       timestamptz NOT NULL DEFAULT now(),
    closed_at       timestamptz,
    rows            bigint,
    accepted        bigint,
    rejected        bigint,
    acknowledged_by bigint, -- the regulator who has seen a broken glass
    acknowledged_at timestamptz,
    CHECK ((checker_id IS NULL) = (approver_id IS NULL)),
    CHECK (checker_id <> approver_id)
);

CREATE FUNCTION import_run_opened() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.approver_id IS NOT NULL AND NEW.case_reference = '' AND EXISTS (
           SELECT FROM users u JOIN credentials c ON c.user_id = u.id
            WHERE u.role = 'regulator' AND c.signed_in_at IS NOT NULL) THEN
        RAISE EXCEPTION 'a regulator has signed in: approving takes the steps of two persons, or a case'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'import_run_glass', TABLE = 'import_runs';
    END IF;
    IF TG_OP = 'UPDATE' AND (OLD.closed_at IS NOT NULL AND NEW.closed_at IS DISTINCT FROM OLD.closed_at
           OR (NEW.kind, NEW.checker_id, NEW.approver_id, NEW.case_reference, NEW.by_session, NEW.opened_at)
              IS DISTINCT FROM
              (OLD.kind, OLD.checker_id, OLD.approver_id, OLD.case_reference, OLD.by_session, OLD.opened_at)) THEN
        RAISE EXCEPTION 'an import run can only be closed and acknowledged'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'import_run_kept', TABLE = 'import_runs';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER import_run_opened BEFORE INSERT OR UPDATE ON import_runs
    FOR EACH ROW EXECUTE FUNCTION import_run_opened();
ALTER TABLE import_runs ENABLE ALWAYS TRIGGER import_run_opened;
CREATE TRIGGER is_kept BEFORE DELETE OR TRUNCATE ON import_runs FOR EACH STATEMENT EXECUTE FUNCTION is_kept();
ALTER TABLE import_runs ENABLE ALWAYS TRIGGER is_kept;

-- Columns of both, in one order; a step or an import fills the persons.
ALTER TABLE numbers
    ADD COLUMN version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    ADD COLUMN supersedes bigint REFERENCES numbers,
    ADD COLUMN checked_person bigint,
    ADD COLUMN approved_person bigint,
    ADD COLUMN run_id bigint,
    ADD COLUMN filed_by bigint DEFAULT my_user(),
    ADD COLUMN returned_reason text NOT NULL DEFAULT '',
    ADD CHECK (checked_person <> approved_person),
    ADD CHECK ((version = 1) = (supersedes IS NULL)),
    DROP CONSTRAINT numbers_check3; -- two names were compared; now two persons are
ALTER TABLE numbers_history
    ADD COLUMN version integer,
    ADD COLUMN supersedes bigint,
    ADD COLUMN checked_person bigint,
    ADD COLUMN approved_person bigint,
    ADD COLUMN run_id bigint,
    ADD COLUMN filed_by bigint,
    ADD COLUMN returned_reason text;

-- An amendment waits beside what it amends; once approved it has a beginning of its own.
DROP INDEX numbers_once;
CREATE UNIQUE INDEX numbers_once ON numbers (number, institution_id, channels, carrier, effective_from)
    NULLS NOT DISTINCT WHERE status NOT IN ('revoked', 'withdrawn') AND (version = 1 OR status = 'approved');
CREATE UNIQUE INDEX numbers_one_amendment ON numbers (supersedes)
    WHERE supersedes IS NOT NULL AND status IN ('draft', 'submitted', 'returned', 'checked');
-- Pages of one holder, agency or carrier by id; and what a prefix covers.
CREATE INDEX numbers_of_institution ON numbers (institution_id, id);
CREATE INDEX numbers_of_agency ON numbers (agency_id, id) WHERE agency_id IS NOT NULL;
CREATE INDEX numbers_of_carrier ON numbers (carrier, id);
CREATE INDEX numbers_waiting ON numbers (status, id) WHERE status IN ('draft', 'submitted', 'returned', 'checked');
CREATE INDEX numbers_by_digits ON numbers (number COLLATE "C") WHERE status = 'approved';
DROP INDEX numbers_institution_id_idx, numbers_agency_id_idx;

CREATE TABLE number_transitions (
    step        text NOT NULL,
    from_status text NOT NULL,
    to_status   text NOT NULL,
    role        text NOT NULL,
    reasons     boolean NOT NULL DEFAULT false, -- must be given
    four_eyes   boolean NOT NULL DEFAULT false, -- by another person than checked it
    PRIMARY KEY (step, from_status)
);
INSERT INTO number_transitions (step, from_status, to_status, role, reasons, four_eyes) VALUES
    ('submit',   'draft',     'submitted', 'institution', false, false),
    ('submit',   'returned',  'submitted', 'institution', false, false),
    ('return',   'submitted', 'returned',  'carrier',     true,  false),
    ('return',   'checked',   'returned',  'carrier',     true,  false),
    ('check',    'submitted', 'checked',   'carrier',     false, false),
    ('approve',  'checked',   'approved',  'carrier',     false, true),
    ('veto',     'submitted', 'revoked',   'regulator',   true,  false),
    ('veto',     'checked',   'revoked',   'regulator',   true,  false),
    ('revoke',   'approved',  'revoked',   'regulator',   true,  false),
    ('withdraw', 'draft',     'withdrawn', 'institution', false, false),
    ('withdraw', 'returned',  'withdrawn', 'institution', false, false),
    ('withdraw', 'submitted', 'withdrawn', 'institution', false, false),
    ('withdraw', 'checked',   'withdrawn', 'institution', false, false),
    ('withdraw', 'approved',  'withdrawn', 'institution', false, false);
CREATE TRIGGER is_kept BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON number_transitions
    FOR EACH STATEMENT EXECUTE FUNCTION is_kept();
ALTER TABLE number_transitions ENABLE ALWAYS TRIGGER is_kept;

CREATE TABLE number_steps (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number_id   bigint NOT NULL, -- what is kept for good has no foreign keys: nothing cascades into it
    step        text NOT NULL,
    from_status text NOT NULL,
    to_status   text NOT NULL,
    user_id     bigint NOT NULL,
    person_id   bigint NOT NULL,
    by_session  text NOT NULL DEFAULT session_user,
    reason      text NOT NULL DEFAULT '',
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    xid         xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX ON number_steps (number_id, id);
CREATE TRIGGER is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON number_steps
    FOR EACH STATEMENT EXECUTE FUNCTION is_kept();
ALTER TABLE number_steps ENABLE ALWAYS TRIGGER is_kept;

-- INSERT INTO number_steps (number_id, step, reason): everything else is looked up, and checked.
CREATE FUNCTION number_step_checked() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    filing numbers;
    who users;
    rule number_transitions;
BEGIN
    SELECT * INTO filing FROM numbers WHERE id = NEW.number_id FOR UPDATE;
    SELECT * INTO who FROM users WHERE id = my_user() AND status = 'active'; -- whatever the row says
    IF who.id IS NULL OR filing.id IS NULL
       OR who.role = 'institution' AND who.institution_id <> filing.institution_id
       OR who.role = 'carrier' AND who.carrier <> filing.carrier
       OR who.role = 'regulator' AND NOT EXISTS (
              SELECT FROM institutions i
               WHERE i.id = filing.institution_id AND starts_with(i.region, who.territory)) THEN
        RAISE EXCEPTION 'no such number for this user'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'number_step_own', TABLE = 'number_steps';
    END IF;
    SELECT * INTO rule FROM number_transitions
     WHERE step = NEW.step AND from_status = filing.status AND role = who.role;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a % can''t % a number that is %', who.role, NEW.step, filing.status
              USING ERRCODE = 'check_violation', CONSTRAINT = 'number_step_order', TABLE = 'number_steps',
                    DETAIL = filing.status;
    END IF;
    IF NEW.step IN ('submit', 'check', 'approve') AND EXISTS (
           SELECT FROM numbers WHERE id = filing.supersedes AND status <> 'approved') THEN
        RAISE EXCEPTION 'what this version amends stands no more'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'number_step_amends', TABLE = 'number_steps';
    END IF;
    IF rule.reasons AND btrim(NEW.reason) = '' THEN
        RAISE EXCEPTION 'this step needs reasons'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'number_step_reason', TABLE = 'number_steps';
    END IF;
    IF NEW.step IN ('check', 'approve') AND NOT EXISTS (
           SELECT FROM persons WHERE id = who.person_id AND identity_hash IS NOT NULL) THEN
        RAISE EXCEPTION 'the user is bound to no person by identity number'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'number_step_identity', TABLE = 'number_steps';
    END IF;
    IF rule.four_eyes AND filing.checked_person IS NOT DISTINCT FROM who.person_id THEN
        RAISE EXCEPTION 'checked by the same person'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'number_step_persons', TABLE = 'number_steps';
    END IF;
    NEW.from_status := filing.status;
    NEW.to_status := rule.to_status;
    NEW.user_id := who.id;
    NEW.person_id := who.person_id;
    NEW.by_session := session_user;
    NEW.at := clock_timestamp();
    NEW.xid := pg_current_xact_id();
    RETURN NEW;
END $$;

CREATE FUNCTION number_step_taken() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
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
         WHERE id = filing.supersedes AND status = 'approved';
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
    RETURN NULL;
END $$;
CREATE TRIGGER number_step_checked BEFORE INSERT ON number_steps
    FOR EACH ROW EXECUTE FUNCTION number_step_checked();
CREATE TRIGGER number_step_taken AFTER INSERT ON number_steps
    FOR EACH ROW EXECUTE FUNCTION number_step_taken();
ALTER TABLE number_steps ENABLE ALWAYS TRIGGER number_step_checked;
ALTER TABLE number_steps ENABLE ALWAYS TRIGGER number_step_taken;

-- What no statement may do to filings, by whatever hand. Per statement, as an import brings thousands.
CREATE FUNCTION numbers_filed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    bad record;
BEGIN
    SELECT n.number, n.status INTO bad
      FROM new_rows n LEFT JOIN import_runs r ON r.id = n.run_id AND r.closed_at IS NULL
     WHERE n.status NOT IN ('draft', 'submitted')
       AND (n.status <> 'approved' OR r.approver_id IS NULL OR n.checked_person IS DISTINCT FROM r.checker_id
            OR n.approved_person IS DISTINCT FROM r.approver_id)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'number % can''t begin as %: it takes its steps, or an import of two persons', bad.number, bad.status
              USING ERRCODE = 'check_violation', CONSTRAINT = 'numbers_steps', TABLE = 'numbers', DETAIL = bad.status;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION numbers_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
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
                 OR coalesce(n.effective_until, 'infinity') > coalesce(o.effective_until, 'infinity')))
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
CREATE TRIGGER numbers_filed AFTER INSERT ON numbers REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION numbers_filed();
CREATE TRIGGER numbers_changed AFTER UPDATE ON numbers REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION numbers_changed();
ALTER TABLE numbers ENABLE ALWAYS TRIGGER numbers_filed;
ALTER TABLE numbers ENABLE ALWAYS TRIGGER numbers_changed;

-- A carrier's base port that was given to a provider. It passes nothing; numbers are filed inside it.
CREATE TABLE allocations (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    carrier     text NOT NULL REFERENCES carriers (code) ON UPDATE CASCADE,
    number      text NOT NULL CHECK (is_prefix(number)),
    provider_id bigint NOT NULL REFERENCES institutions,
    valid_from  timestamptz,
    valid_until timestamptz,
    created_by  bigint DEFAULT my_user(),
    row_version bigint NOT NULL DEFAULT 0,
    row_xid     xid8 NOT NULL DEFAULT '0',
    changed_at  timestamptz NOT NULL DEFAULT now(),
    CHECK (is_period(valid_from, valid_until)),
    CONSTRAINT allocations_no_overlap EXCLUDE USING gist (
        digits_head(number) WITH &&, digits_tail(number) WITH &&, tstzrange(valid_from, valid_until) WITH &&,
        ('::'::inet + provider_id) inet_ops WITH <>)
);

-- "Already filed": whoever meets an overlap may dispute it, and learns nothing more.
CREATE TABLE disputes (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number          text NOT NULL CHECK (is_prefix(number)),
    institution_id  bigint NOT NULL REFERENCES institutions,
    grounds         text NOT NULL CHECK (btrim(grounds) <> ''),
    document_sha256 bytea CHECK (octet_length(document_sha256) = 32),
    filed_by        bigint NOT NULL DEFAULT my_user() REFERENCES users,
    filed_at        timestamptz NOT NULL DEFAULT now(),
    due             date NOT NULL,
    status          text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'upheld', 'rejected')),
    decided_by      bigint REFERENCES users,
    decided_at      timestamptz,
    decision        text NOT NULL DEFAULT '',
    row_version     bigint NOT NULL DEFAULT 0,
    row_xid         xid8 NOT NULL DEFAULT '0',
    changed_at      timestamptz NOT NULL DEFAULT now(),
    CHECK ((status = 'open') = (decided_by IS NULL))
);
CREATE INDEX ON disputes (institution_id, id);

CALL registry_follow('allocations', 'id');
CALL registry_follow('disputes', 'id');
CALL audit_follow('allocations');
CALL audit_follow('disputes');
