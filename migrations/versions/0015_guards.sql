-- What no statement may do to what protects subscribers, by whatever hand: by SQL alone one may hold, penalise,
-- refuse and revoke, but neither lift a hold or a penalty, nor end or delete a refusal, nor lengthen a mandate.

CREATE FUNCTION acting_regulator() RETURNS users LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public RETURN (
    SELECT u FROM users u WHERE u.id = my_user() AND u.role = 'regulator' AND u.status = 'active');

-- A hold is placed and lifted by a regulator, by name; a penalty's goes with the penalty (0007 penalty_holds).
CREATE FUNCTION holds_guarded() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF (NEW.id, NEW.number_id, NEW.institution_id, NEW.account_id, NEW.cause, NEW.held_by, NEW.held_person,
        NEW.valid_from, NEW.penalty_id)
       IS DISTINCT FROM
       (OLD.id, OLD.number_id, OLD.institution_id, OLD.account_id, OLD.cause, OLD.held_by, OLD.held_person,
        OLD.valid_from, OLD.penalty_id)
       OR OLD.lifted_by IS NOT NULL
          AND (NEW.valid_until, NEW.lifted_by) IS DISTINCT FROM (OLD.valid_until, OLD.lifted_by) THEN
        RAISE EXCEPTION 'a hold is lifted, never rewritten'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'holds_kept', TABLE = 'holds';
    END IF;
    IF NEW.lifted_by IS NULL
       AND coalesce(NEW.valid_until, 'infinity') >= coalesce(OLD.valid_until, 'infinity') THEN
        RETURN NEW;
    END IF;
    IF NEW.penalty_id IS NOT NULL
       AND NOT EXISTS (SELECT FROM penalties p WHERE p.id = NEW.penalty_id AND p.lifted_at IS NOT NULL) THEN
        RAISE EXCEPTION 'a penalty''s hold is lifted with penalty %', NEW.penalty_id
              USING ERRCODE = 'check_violation', CONSTRAINT = 'holds_penalty', TABLE = 'holds';
    END IF;
    IF (acting_regulator()).id IS NULL THEN
        RAISE EXCEPTION 'lifting a hold takes a regulator, by name'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'holds_regulator', TABLE = 'holds';
    END IF;
    RETURN NEW;
END $$;

-- A penalty is imposed and lifted, once; who lifts it, and when, is looked up.
CREATE FUNCTION penalties_guarded() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF (NEW.id, NEW.institution_id, NEW.kind, NEW.amount, NEW.cause, NEW.legal_basis, NEW.valid_from,
        NEW.valid_until, NEW.imposed_by, NEW.imposed_at)
       IS DISTINCT FROM
       (OLD.id, OLD.institution_id, OLD.kind, OLD.amount, OLD.cause, OLD.legal_basis, OLD.valid_from,
        OLD.valid_until, OLD.imposed_by, OLD.imposed_at)
       OR OLD.lifted_at IS NOT NULL
          AND (NEW.lifted_at, NEW.lifted_by, NEW.lifted_reason)
              IS DISTINCT FROM (OLD.lifted_at, OLD.lifted_by, OLD.lifted_reason) THEN
        RAISE EXCEPTION 'a penalty is lifted, never rewritten'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'penalties_kept', TABLE = 'penalties';
    END IF;
    IF NEW.lifted_at IS NOT NULL AND OLD.lifted_at IS NULL THEN
        NEW.lifted_by := (acting_regulator()).id;
        NEW.lifted_at := now();
        IF NEW.lifted_by IS NULL THEN
            RAISE EXCEPTION 'lifting a penalty takes a regulator, by name'
                  USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'penalties_regulator', TABLE = 'penalties';
        END IF;
    END IF;
    RETURN NEW;
END $$;

-- A refusal stands until a regulator lifts it by name, or what another row says of its subscriber ends it, such as
-- a reply that accepts again: that is a trigger's doing. It may come to cover more, never less.
CREATE FUNCTION refusals_guarded() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF (NEW.id, NEW.subscriber_hash, NEW.key_id, NEW.institution_id, NEW.number, NEW.refused_at, NEW.event)
       IS DISTINCT FROM
       (OLD.id, OLD.subscriber_hash, OLD.key_id, OLD.institution_id, OLD.number, OLD.refused_at, OLD.event)
       OR OLD.purposes & ~NEW.purposes <> 0 OR OLD.channels & ~NEW.channels <> 0 THEN
        RAISE EXCEPTION 'a refusal is lifted, never rewritten'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'refusals_kept', TABLE = 'refusals';
    END IF;
    IF NEW.lifted_at IS NOT NULL AND (NEW.lifted_at, NEW.lifted_by) IS DISTINCT FROM (OLD.lifted_at, OLD.lifted_by)
       AND (acting_regulator()).id IS NULL AND pg_trigger_depth() = 1 THEN
        RAISE EXCEPTION 'a refusal ends when its subscriber accepts again, or by a regulator, by name'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'refusals_regulator', TABLE = 'refusals';
    END IF;
    RETURN NEW;
END $$;

-- A mandate's parties, scope and beginning stay, and so does its revocation. Its end may be moved on by the
-- institution itself, by name, by an open import, or on another document; any other change is a new row.
CREATE FUNCTION mandates_guarded() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF (NEW.id, NEW.institution_id, NEW.agency_id, NEW.channels, NEW.purposes, NEW.valid_from)
       IS DISTINCT FROM
       (OLD.id, OLD.institution_id, OLD.agency_id, OLD.channels, OLD.purposes, OLD.valid_from)
       OR OLD.status = 'revoked' AND NEW.status <> 'revoked' THEN
        RAISE EXCEPTION 'a mandate is revoked or given anew, never rewritten'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'mandates_kept', TABLE = 'mandates';
    END IF;
    IF coalesce(NEW.valid_until, 'infinity') > coalesce(OLD.valid_until, 'infinity')
       AND (NEW.document_sha256 IS NULL OR NEW.document_sha256 IS NOT DISTINCT FROM OLD.document_sha256)
       AND NOT EXISTS (SELECT FROM users u WHERE u.id = my_user() AND u.status = 'active'
                                             AND u.institution_id = NEW.institution_id)
       AND NOT EXISTS (SELECT FROM import_runs r WHERE r.closed_at IS NULL
                          AND r.id = nullif(current_setting('zhengming.run', true), '')::bigint) THEN
        RAISE EXCEPTION 'a longer mandate takes its institution by name, or another document_sha256'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'mandates_document', TABLE = 'mandates';
    END IF;
    RETURN NEW;
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['holds', 'penalties', 'refusals', 'mandates']
    LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION %I()',
                       name || '_guarded', name, name || '_guarded');
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', name, name || '_guarded');
        CONTINUE WHEN name = 'mandates'; -- without one less is allowed, not more
        EXECUTE format('CREATE TRIGGER is_kept BEFORE DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION is_kept()',
                       name);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER is_kept', name);
    END LOOP;
END $$;
