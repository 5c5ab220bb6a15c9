-- An institution is not told who complained of it: the refusal that a complaint brought (0016) names its subscriber
-- and the time, so it is none of the institution's rows. That he refuses is told by the verdicts.
ALTER POLICY institution_select ON refusals USING (institution_id = my_institution() AND complaint_id IS NULL);

-- Carriers register institutions and keep their licences; what an institution is, whose territory it lies in, and
-- that one which was closed acts again, is a regulator's word, by name. SQL by hand is the operator's (0005).
CREATE FUNCTION institutions_guarded() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF my_user() IS NOT NULL AND (acting_regulator()).id IS NULL THEN
        RAISE EXCEPTION 'a closed institution is opened, and kind or region of one changed, by a regulator, by name'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'institutions_regulator', TABLE = 'institutions',
                    COLUMN = CASE WHEN NEW.kind <> OLD.kind THEN 'kind' WHEN NEW.region <> OLD.region THEN 'region'
                                  ELSE 'status' END;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER institutions_guarded BEFORE UPDATE ON institutions FOR EACH ROW
    WHEN (NEW.kind <> OLD.kind OR NEW.region <> OLD.region OR OLD.status = 'closed' AND NEW.status <> 'closed')
    EXECUTE FUNCTION institutions_guarded();
ALTER TABLE institutions ENABLE ALWAYS TRIGGER institutions_guarded;
