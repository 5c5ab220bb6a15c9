-- A row that a request is about to change is held still from before it is read until the request is done, so
-- that If-Match is about the row that is changed: nobody's change is lost to another's. Steps of filings and
-- decisions on replies change rows that their actor may not update himself, and FOR UPDATE would ask for that;
-- called in the select list of a query on the table, it holds what row security shows him and nothing else.
CREATE FUNCTION held_still(table_name text, wanted bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    EXECUTE format('SELECT FROM %I WHERE id = $1 FOR NO KEY UPDATE', table_name) USING wanted;
END $$;

-- Who could take 110 out of this table could ban it with the next statement. More may be put in.
CREATE TRIGGER is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON protected_numbers
    FOR EACH STATEMENT EXECUTE FUNCTION is_kept();
ALTER TABLE protected_numbers ENABLE ALWAYS TRIGGER is_kept;
