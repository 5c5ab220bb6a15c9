-- An account of scope `authority` is asked for no filing, so its holder is filed as court, police or government. The
-- holder's row is locked, or an account and a change of its holder's kind could pass each other.
CREATE FUNCTION accounts_authority() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM FROM institutions WHERE id = NEW.holder_id AND kind = 'authority' FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'account % has scope authority, and its holder is not filed as an authority', NEW.account
              USING ERRCODE = 'check_violation', CONSTRAINT = 'accounts_authority', TABLE = 'accounts',
                    COLUMN = 'scope', DETAIL = NEW.scope;
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION institutions_authority() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF EXISTS (SELECT FROM accounts WHERE holder_id = NEW.id AND scope = 'authority') THEN
        RAISE EXCEPTION 'institution % holds accounts of scope authority', NEW.code
              USING ERRCODE = 'check_violation', CONSTRAINT = 'institutions_authority', TABLE = 'institutions',
                    COLUMN = 'kind', DETAIL = NEW.kind;
    END IF;
    RETURN NEW;
END $$;

-- Those of before are for the carrier to put right: what they carry would stop, or go on unjudged, without his knowing.
DO $$
DECLARE
    wrong text := (SELECT string_agg(concat_ws(' ', a.carrier, a.protocol, a.account, 'of', i.code), ', ' ORDER BY a.id)
                     FROM accounts a JOIN institutions i ON i.id = a.holder_id
                    WHERE a.scope = 'authority' AND i.kind <> 'authority');
BEGIN
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'accounts of scope authority whose holder is not of kind authority: %; right would be another'
                        ' scope (zhengming account change --scope), or a holder filed as authority (zhengming'
                        ' institution change --kind), and then this upgrade', wrong
              USING ERRCODE = 'check_violation', CONSTRAINT = 'accounts_authority', TABLE = 'accounts';
    END IF;
END $$;

CREATE TRIGGER accounts_authority BEFORE INSERT OR UPDATE OF holder_id, scope ON accounts
    FOR EACH ROW WHEN (NEW.scope = 'authority') EXECUTE FUNCTION accounts_authority();
CREATE TRIGGER institutions_authority BEFORE UPDATE OF kind ON institutions
    FOR EACH ROW WHEN (OLD.kind = 'authority' AND NEW.kind <> 'authority') EXECUTE FUNCTION institutions_authority();
ALTER TABLE accounts ENABLE ALWAYS TRIGGER accounts_authority;
ALTER TABLE institutions ENABLE ALWAYS TRIGGER institutions_authority;
