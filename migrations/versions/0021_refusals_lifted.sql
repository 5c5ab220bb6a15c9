-- A refusal that a file or a person brought in by mistake is ended by a regulator: by name, once, with a reason, and
-- now; who and when is looked up. What the subscriber said himself (a reply, a key press, a complaint to 12321) takes
-- a case as well. A trigger's doing, such as that of a reply which accepts again, needs neither.
ALTER TABLE refusals
    ADD COLUMN lifted_reason text NOT NULL DEFAULT '',
    ADD COLUMN lifted_case text NOT NULL DEFAULT '';
ALTER TABLE refusals_history
    ADD COLUMN lifted_reason text,
    ADD COLUMN lifted_case text;

CREATE FUNCTION said_by_subscriber(r refusals) RETURNS boolean LANGUAGE sql STABLE
RETURN r.node <> '' OR r.complaint_id IS NOT NULL OR r.source IN ('reply', 'voice_key');

-- As in 0015, and beyond: what a regulator has to say.
CREATE OR REPLACE FUNCTION refusals_guarded() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    regulator text;
BEGIN
    IF (NEW.id, NEW.subscriber_hash, NEW.key_id, NEW.institution_id, NEW.number, NEW.refused_at, NEW.event)
       IS DISTINCT FROM
       (OLD.id, OLD.subscriber_hash, OLD.key_id, OLD.institution_id, OLD.number, OLD.refused_at, OLD.event)
       OR OLD.purposes & ~NEW.purposes <> 0 OR OLD.channels & ~NEW.channels <> 0 THEN
        RAISE EXCEPTION 'a refusal is lifted, never rewritten'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'refusals_kept', TABLE = 'refusals';
    END IF;
    IF NEW.lifted_at IS NULL OR pg_trigger_depth() > 1
       OR (NEW.lifted_at, NEW.lifted_by, NEW.lifted_reason, NEW.lifted_case)
          IS NOT DISTINCT FROM (OLD.lifted_at, OLD.lifted_by, OLD.lifted_reason, OLD.lifted_case) THEN
        RETURN NEW;
    END IF;
    regulator := (acting_regulator()).login;
    IF regulator IS NULL THEN
        RAISE EXCEPTION 'a refusal ends when its subscriber accepts again, or by a regulator, by name'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'refusals_regulator', TABLE = 'refusals';
    END IF;
    IF OLD.lifted_at IS NOT NULL THEN
        RAISE EXCEPTION 'this refusal has ended'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'refusals_ended', TABLE = 'refusals';
    END IF;
    IF NEW.lifted_reason !~ '\S' THEN
        RAISE EXCEPTION 'a refusal is ended with a reason'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'refusals_reason', TABLE = 'refusals';
    END IF;
    IF said_by_subscriber(OLD) AND NEW.lifted_case !~ '\S' THEN
        RAISE EXCEPTION 'what a subscriber said himself is ended under a case'
              USING ERRCODE = 'check_violation', CONSTRAINT = 'refusals_case', TABLE = 'refusals';
    END IF;
    NEW.lifted_at := now();
    NEW.lifted_by := regulator;
    RETURN NEW;
END $$;

-- Whose a row is, for who takes out his own rows: codes are public (0006 institution_of), what else is known of an
-- institution is not.
CREATE VIEW codes AS SELECT id, code FROM institutions;
GRANT SELECT ON codes TO zhengming_regulator, zhengming_carrier, zhengming_institution, zhengming_agency,
                         zhengming_provider, zhengming_auditor, zhengming_admin;
