-- Versions of profiles, and which of them holds from when. A version is never rewritten: its digest stands in
-- records. `text` is what somebody handed in; `content` is that laid over all that it extends, by which nodes
-- judge, so that a later change of what it extends (or of the program) changes nothing here.
CREATE TABLE profiles (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_-]{0,39}$'),
    text         text NOT NULL,
    content      text NOT NULL CHECK (jsonb_typeof(content::jsonb) = 'object'),
    digest       text NOT NULL,
    title        text NOT NULL DEFAULT '',
    note         text NOT NULL DEFAULT '',
    added_by     text NOT NULL,
    added_person bigint,
    added_at     timestamptz NOT NULL DEFAULT now(),
    row_version  bigint NOT NULL DEFAULT 0,
    row_xid      xid8 NOT NULL DEFAULT '0',
    changed_at   timestamptz NOT NULL DEFAULT now(),
    CHECK (digest = left(encode(sha256(convert_to(content, 'UTF8')), 'hex'), 16)),
    UNIQUE (name, digest)
);

-- Of those that are confirmed and have begun, the one that begins last holds; of two that begin at once, the
-- one that was proposed later. Where there is none, a node's own file holds. One for an institution, or for a
-- registered number, makes the rules stricter there and never laxer (policy/overrides.py).
CREATE TABLE profile_activations (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    profile_id       bigint NOT NULL REFERENCES profiles,
    institution_id   bigint, -- refers to institutions, whose TRUNCATE must not take this table along
    number           text CHECK (is_number(number)),
    valid_from       timestamptz NOT NULL CHECK (isfinite(valid_from)),
    reason           text NOT NULL CHECK (btrim(reason) <> ''),
    proposed_by      text NOT NULL,
    proposed_person  bigint NOT NULL,
    proposed_at      timestamptz NOT NULL DEFAULT now(),
    confirmed_by     text,
    confirmed_person bigint,
    confirmed_at     timestamptz,
    withdrawn_by     text,
    withdrawn_at     timestamptz,
    row_version      bigint NOT NULL DEFAULT 0,
    row_xid          xid8 NOT NULL DEFAULT '0',
    changed_at       timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nulls(confirmed_by, confirmed_person, confirmed_at) IN (0, 3)),
    CHECK (num_nulls(withdrawn_by, withdrawn_at) IN (0, 2)),
    CHECK (confirmed_at IS NULL OR withdrawn_at IS NULL),
    CHECK (num_nonnulls(institution_id, number) <= 1)
);
CREATE INDEX ON profile_activations (profile_id);
CREATE UNIQUE INDEX profile_activations_waiting
    ON profile_activations (coalesce(institution_id, 0), coalesce(number, ''))
    WHERE confirmed_at IS NULL AND withdrawn_at IS NULL; -- one waits at a time

-- Both persons are regulators, by name; the second one is another person. SQL by hand can do neither. What is
-- confirmed late begins when it is confirmed: the past stays as it was judged.
CREATE FUNCTION profile_activations_guarded() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    who users;
BEGIN
    SELECT * INTO who FROM users WHERE id = my_user() AND role = 'regulator' AND status = 'active';
    IF who.id IS NULL THEN
        RAISE EXCEPTION 'this takes a regulator, by name'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'profile_activations_regulator',
                    TABLE = 'profile_activations';
    END IF;
    IF TG_OP = 'INSERT' THEN
        NEW.proposed_by := who.login;
        NEW.proposed_person := who.person_id;
        NEW.proposed_at := now();
        NEW.confirmed_by := NULL;
        NEW.confirmed_person := NULL;
        NEW.confirmed_at := NULL;
        NEW.withdrawn_by := NULL;
        NEW.withdrawn_at := NULL;
        RETURN NEW;
    END IF;
    IF (NEW.id, NEW.profile_id, NEW.institution_id, NEW.number, NEW.valid_from, NEW.reason, NEW.proposed_by,
        NEW.proposed_person, NEW.proposed_at)
       IS DISTINCT FROM
       (OLD.id, OLD.profile_id, OLD.institution_id, OLD.number, OLD.valid_from, OLD.reason, OLD.proposed_by,
        OLD.proposed_person, OLD.proposed_at)
       OR OLD.confirmed_at IS NOT NULL OR OLD.withdrawn_at IS NOT NULL
    THEN
        RAISE EXCEPTION 'an activation is confirmed or withdrawn, never rewritten'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'profile_activations_kept', TABLE = 'profile_activations';
    END IF;
    IF NEW.confirmed_at IS NOT NULL THEN
        IF who.person_id = OLD.proposed_person THEN
            RAISE EXCEPTION 'confirming takes another person than proposing'
                  USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'profile_activations_persons',
                        TABLE = 'profile_activations';
        END IF;
        NEW.confirmed_by := who.login;
        NEW.confirmed_person := who.person_id;
        NEW.confirmed_at := now();
        NEW.valid_from := greatest(OLD.valid_from, now());
    ELSIF NEW.withdrawn_at IS NOT NULL THEN
        NEW.withdrawn_by := who.login;
        NEW.withdrawn_at := now();
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER profile_activations_guarded BEFORE INSERT OR UPDATE ON profile_activations
    FOR EACH ROW EXECUTE FUNCTION profile_activations_guarded();
ALTER TABLE profile_activations ENABLE ALWAYS TRIGGER profile_activations_guarded;

-- Its author is who adds it, by whatever name he calls himself.
CREATE FUNCTION profiles_signed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    who users;
BEGIN
    SELECT * INTO who FROM users WHERE id = my_user();
    NEW.added_by := coalesce(who.login, session_user);
    NEW.added_person := who.person_id;
    NEW.added_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER profiles_signed BEFORE INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION profiles_signed();
ALTER TABLE profiles ENABLE ALWAYS TRIGGER profiles_signed;

CREATE TRIGGER is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON profiles FOR EACH STATEMENT EXECUTE FUNCTION is_kept();
ALTER TABLE profiles ENABLE ALWAYS TRIGGER is_kept;
CREATE TRIGGER is_kept BEFORE DELETE OR TRUNCATE ON profile_activations
    FOR EACH STATEMENT EXECUTE FUNCTION is_kept();
ALTER TABLE profile_activations ENABLE ALWAYS TRIGGER is_kept;

CALL registry_follow('profiles', 'id');
CALL audit_follow('profiles');
CALL registry_follow('profile_activations', 'id');
CALL audit_follow('profile_activations');

-- A province's rules are public; regulators write them. What was made stricter for one holder alone is for him.
ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE profile_activations ENABLE ROW LEVEL SECURITY;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['profiles', 'profile_activations']
    LOOP
        EXECUTE format('GRANT SELECT ON %I TO zhengming_regulator, zhengming_auditor, zhengming_carrier,'
                       ' zhengming_institution, zhengming_agency, zhengming_provider, zhengming_admin', name);
        EXECUTE format('CREATE POLICY regulator_insert ON %I FOR INSERT TO zhengming_regulator WITH CHECK (true)', name);
        EXECUTE format('GRANT INSERT ON %I TO zhengming_regulator', name);
    END LOOP;
END $$;
CREATE POLICY everybody_select ON profiles FOR SELECT USING (true);
CREATE POLICY everybody_select ON profile_activations FOR SELECT USING (institution_id IS NULL AND number IS NULL);
CREATE POLICY watcher_select ON profile_activations FOR SELECT TO zhengming_regulator, zhengming_auditor USING (true);
CREATE POLICY holder_select ON profile_activations FOR SELECT TO zhengming_institution, zhengming_agency, zhengming_carrier
    USING (institution_id = my_institution() OR number IN (SELECT n.number FROM numbers n));
CREATE POLICY regulator_update ON profile_activations FOR UPDATE TO zhengming_regulator USING (true) WITH CHECK (true);
GRANT UPDATE ON profile_activations TO zhengming_regulator;
