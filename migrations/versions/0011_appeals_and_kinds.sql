-- A holder has one open appeal against one thing. Those that were filed before stand, however many they are.
DO $$ BEGIN
    EXECUTE format(
        'CREATE UNIQUE INDEX appeals_once ON appeals (institution_id, against_kind, against)
          WHERE status = ''open'' AND id > %s', (SELECT coalesce(max(id), 0) FROM appeals));
END $$;

-- Whoever names an agency or a provider means one; kinds are as public as codes are.
CREATE FUNCTION kind_of(wanted text) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public RETURN (SELECT kind FROM institutions WHERE code = wanted);

-- The protected number that a filing of this holder's would be: 110 is the police's, whoever sends from it. Only
-- an authority may have one.
CREATE FUNCTION reserved(wanted text, extension integer, holder bigint) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public RETURN (
    SELECT p.number FROM protected_numbers p
     WHERE starts_with(p.number, wanted) AND length(p.number) <= length(wanted) + extension
       AND NOT EXISTS (SELECT FROM institutions i WHERE i.id = holder AND i.kind = 'authority')
     ORDER BY p.number LIMIT 1);
