-- A hold on a filing is on every approved version of it, or an amendment would be a way round a regulator. What
-- follows to another version has the first one's cause, author and beginning; lifting one of them lifts all.
CREATE FUNCTION number_hold_follows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_TABLE_NAME = 'number_steps' THEN -- a version is approved: what will stand on the one before when it begins
        INSERT INTO holds (number_id, cause, case_reference, held_by, held_person, valid_from, valid_until)
        SELECT n.id, h.cause, h.case_reference, h.held_by, h.held_person, h.valid_from, h.valid_until
          FROM numbers n JOIN holds h ON h.number_id = n.supersedes
         WHERE n.id = NEW.number_id AND coalesce(h.valid_until > n.effective_from, true);
    ELSIF TG_OP = 'INSERT' THEN -- on a version whose next one is approved and may not have begun
        INSERT INTO holds (number_id, cause, case_reference, held_by, held_person, valid_from, valid_until)
        SELECT n.id, NEW.cause, NEW.case_reference, NEW.held_by, NEW.held_person, NEW.valid_from, NEW.valid_until
          FROM numbers n
         WHERE n.supersedes = NEW.number_id AND n.status = 'approved'
           AND coalesce(NEW.valid_until > n.effective_from, true);
    ELSE
        UPDATE holds
           SET valid_until = least(valid_until, NEW.valid_until), lifted_by = NEW.lifted_by,
               lifted_reason = NEW.lifted_reason
         WHERE lifted_by IS NULL AND (cause, held_by, valid_from) = (NEW.cause, NEW.held_by, NEW.valid_from)
           AND number_id IN (SELECT id FROM numbers WHERE supersedes = NEW.number_id
                             UNION SELECT supersedes FROM numbers WHERE id = NEW.number_id);
    END IF;
    RETURN NULL;
END $$;
-- After number_step_taken, by their names: the version's beginning is known by then.
CREATE TRIGGER number_step_then_held AFTER INSERT ON number_steps
    FOR EACH ROW WHEN (NEW.step = 'approve') EXECUTE FUNCTION number_hold_follows();
CREATE TRIGGER number_hold_placed AFTER INSERT ON holds
    FOR EACH ROW WHEN (NEW.number_id IS NOT NULL) EXECUTE FUNCTION number_hold_follows();
CREATE TRIGGER number_hold_lifted AFTER UPDATE ON holds
    FOR EACH ROW WHEN (NEW.number_id IS NOT NULL AND OLD.lifted_by IS NULL AND NEW.lifted_by IS NOT NULL)
    EXECUTE FUNCTION number_hold_follows();
ALTER TABLE number_steps ENABLE ALWAYS TRIGGER number_step_then_held;
ALTER TABLE holds ENABLE ALWAYS TRIGGER number_hold_placed, ENABLE ALWAYS TRIGGER number_hold_lifted;

-- Amendments that were approved before this: what stands on the version before.
INSERT INTO holds (number_id, cause, case_reference, held_by, held_person, valid_from, valid_until)
SELECT n.id, h.cause, h.case_reference, h.held_by, h.held_person, h.valid_from, h.valid_until
  FROM numbers n JOIN holds h ON h.number_id = n.supersedes
 WHERE n.status = 'approved' AND h.lifted_by IS NULL AND coalesce(h.valid_until > greatest(now(), n.effective_from), true);
