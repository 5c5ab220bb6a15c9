-- Who is disabled signs in anew when he is let in again: a cookie that somebody kept does not work once more.
CREATE FUNCTION signed_out_user() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    DELETE FROM sessions WHERE user_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER signed_out AFTER UPDATE OF status ON users
    FOR EACH ROW WHEN (NEW.status <> 'active') EXECUTE FUNCTION signed_out_user();
