-- A number is itself and as many further digits as were filed with it, so a hold on it (0010, 0029) is on what its holder
-- has filed, or files, inside them, too: a nested filing would be a way round a regulator. Lifting goes the same way,
-- from the wider filing to those inside; one of these may be let go by itself. What a hold on a nested filing says of
-- the wider one's digits is judging's to see (policy/facts.py), as the wider one is not held but for these.

-- Whether `a` is another filing by the holder of `b`, of its number or of one inside its further digits.
CREATE FUNCTION is_filed_within(a numbers, b numbers) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN a.institution_id = b.institution_id AND a.id <> b.id
   AND a.number COLLATE "C" BETWEEN b.number AND b.number || ':' -- what comes after 9: all that begins so
   AND length(a.number) <= length(b.number) + b.extension_digits
   AND (a.channels & b.channels <> 0 OR coalesce(a.supersedes = b.id, false) OR coalesce(b.supersedes = a.id, false));

CREATE OR REPLACE FUNCTION hold_as_others(approved bigint[]) RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
    INSERT INTO holds (number_id, cause, case_reference, held_by, held_person, valid_from, valid_until)
    SELECT DISTINCT ON (n.id, h.cause, h.held_by, h.valid_from)
           n.id, h.cause, h.case_reference, h.held_by, h.held_person, h.valid_from, h.valid_until
      FROM holds h JOIN numbers m ON m.id = h.number_id
      JOIN numbers n ON is_filed_within(n, m)
     WHERE n.id = ANY (approved) AND h.lifted_by IS NULL
       AND coalesce(h.valid_until > greatest(n.effective_from, now()), true) -- greatest() takes no notice of NULL
       AND NOT EXISTS (SELECT FROM holds o
                        WHERE (o.cause, o.held_by, o.valid_from) = (h.cause, h.held_by, h.valid_from)
                          AND (o.number_id = n.id -- or it was let go by itself before it was amended
                               OR o.number_id = n.supersedes AND o.lifted_by IS NOT NULL))
     ORDER BY n.id, h.cause, h.held_by, h.valid_from, h.id
$$;

CREATE OR REPLACE FUNCTION number_hold_follows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    others bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN -- others that are approved, and may not have begun
        others := ARRAY(
            SELECT n.id FROM numbers m JOIN numbers n ON is_filed_within(n, m)
             WHERE m.id = NEW.number_id AND n.status = 'approved' AND coalesce(n.effective_until > now(), true));
        IF others <> '{}' THEN -- an import inside held numbers comes here once a row, mostly for nothing
            PERFORM hold_as_others(others);
        END IF;
    ELSE
        UPDATE holds h
           SET valid_until = least(h.valid_until, NEW.valid_until), lifted_by = NEW.lifted_by,
               lifted_reason = NEW.lifted_reason
          FROM numbers m, numbers n
         WHERE h.lifted_by IS NULL AND (h.cause, h.held_by, h.valid_from) = (NEW.cause, NEW.held_by, NEW.valid_from)
           AND m.id = NEW.number_id AND n.id = h.number_id AND is_filed_within(n, m);
    END IF;
    RETURN NULL;
END $$;
DROP FUNCTION is_same_filing(numbers, numbers);

CREATE INDEX numbers_of_holder_by_digits ON numbers (institution_id, number COLLATE "C");

-- What is nested under a hold that stands.
DO $$ BEGIN
    PERFORM hold_as_others(ARRAY(
        SELECT n.id FROM holds h JOIN numbers m ON m.id = h.number_id
          JOIN numbers n ON is_filed_within(n, m) AND n.number <> m.number
         WHERE h.lifted_by IS NULL AND coalesce(h.valid_until > now(), true)
           AND n.status = 'approved' AND coalesce(n.effective_until > now(), true)));
END $$;
