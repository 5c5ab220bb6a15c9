-- A complaint that 12321 passes on is its subscriber's no: to marketing, by SMS and by call, of the institution
-- that held the number then, or of the number itself where nobody did. It stands as any refusal does, until he
-- accepts again; by whatever hand the complaint came in, and once.
ALTER TABLE refusals
    ADD COLUMN complaint_id bigint UNIQUE REFERENCES complaints,
    ADD CHECK (complaint_id IS NULL OR source = '12321');
ALTER TABLE refusals_history ADD COLUMN complaint_id bigint;

CREATE FUNCTION refuse_by_complaint(c complaints) RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public
BEGIN ATOMIC
    INSERT INTO refusals (event, subscriber_hash, key_id, subscriber_sealed, institution_id, number, purposes,
                          channels, source, refused_at, complaint_id)
    VALUES (substr(sha256(convert_to('complaint ' || c.id, 'UTF8')), 1, 16), c.subscriber_hash, c.key_id,
            c.subscriber_sealed, c.institution_id, CASE WHEN c.institution_id IS NULL THEN c.number END,
            1, 3, c.source, c.happened_at, c.id);
END;
REVOKE EXECUTE ON FUNCTION refuse_by_complaint FROM PUBLIC;

CREATE FUNCTION complaint_refuses() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM refuse_by_complaint(NEW);
    RETURN NULL;
END $$;
CREATE TRIGGER complaint_refuses AFTER INSERT ON complaints FOR EACH ROW WHEN (NEW.source = '12321')
    EXECUTE FUNCTION complaint_refuses();
ALTER TABLE complaints ENABLE ALWAYS TRIGGER complaint_refuses;

SELECT refuse_by_complaint(c) FROM complaints c WHERE c.source = '12321' ORDER BY c.id;
