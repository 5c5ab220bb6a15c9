-- What an ambiguous reply covers once it is decided to be a refusal: what is held, and what the profile's matrix said
-- beyond that for what the number was filed for when the reply came. Its node notes that as flags
-- (policy/reply_scope.py), which stand in the reply's record, too. Older rows have none: what was held stays.
CREATE FUNCTION reply_covers(r replies) RETURNS smallint LANGUAGE sql IMMUTABLE
RETURN r.purposes | CASE WHEN r.kind = 'ambiguous' AND 'covers_collection' = ANY (r.flags) THEN 2 ELSE 0 END::smallint
                  | CASE WHEN r.kind = 'ambiguous' AND 'covers_service' = ANY (r.flags) THEN 4 ELSE 0 END::smallint;

-- As in 0014, and beyond: a decision widens the refusal.
CREATE OR REPLACE FUNCTION reply_decided() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF OLD.decision IS NOT NULL THEN
        RAISE EXCEPTION 'this reply was decided before' USING ERRCODE = 'P0001', CONSTRAINT = 'replies_once';
    END IF;
    IF NEW.decision = 'no_refusal' AND NOT EXISTS (
           SELECT FROM users WHERE id = my_user() AND id = NEW.decided_by AND status = 'active'
              AND role IN ('carrier', 'regulator')) THEN
        RAISE EXCEPTION 'that a reply is no refusal is decided by a carrier or a regulator, by name'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'replies_by_name', TABLE = 'replies';
    END IF;
    IF NEW.decision = 'refusal' THEN
        UPDATE refusals SET undecided_until = NULL, purposes = purposes | reply_covers(NEW)
         WHERE event = NEW.event AND lifted_at IS NULL;
    ELSIF NEW.decision = 'no_refusal' THEN
        UPDATE refusals SET lifted_at = NEW.decided_at,
                            lifted_by = coalesce((SELECT login FROM users WHERE id = NEW.decided_by), session_user)
         WHERE event = NEW.event AND lifted_at IS NULL;
    END IF;
    RETURN NULL;
END $$;
