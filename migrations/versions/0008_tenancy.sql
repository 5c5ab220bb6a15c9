-- Who may see and do what, by row. The gateway takes on zhengming_<role> for each request and says for whom
-- (0005); nodes, imports and migrations work as the owner, whom these policies do not bind. One policy for a
-- role, command and table, each a plain comparison, so that it is the condition of an index as well.

CREATE PROCEDURE allow(roles text, commands text, table_name text, condition text) LANGUAGE plpgsql AS $$
DECLARE
    role text;
    command text;
BEGIN
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', table_name);
    FOREACH role IN ARRAY string_to_array(roles, ' ')
    LOOP
        FOREACH command IN ARRAY string_to_array(commands, ' ')
        LOOP
            EXECUTE format('CREATE POLICY %I ON %I FOR %s TO %I %s %s',
                           role || '_' || lower(command), table_name, command, 'zhengming_' || role,
                           CASE command WHEN 'INSERT' THEN '' ELSE 'USING (' || condition || ')' END,
                           CASE WHEN command IN ('INSERT', 'UPDATE') THEN 'WITH CHECK (' || condition || ')' ELSE '' END);
            EXECUTE format('GRANT %s ON %I TO %I', command, table_name, 'zhengming_' || role);
        END LOOP;
    END LOOP;
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['regulator', 'carrier', 'institution', 'agency', 'provider', 'auditor', 'admin']
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', 'zhengming_' || name);
        EXECUTE format('GRANT USAGE ON SEQUENCE registry_seq TO %I', 'zhengming_' || name);
        EXECUTE format('GRANT SELECT ON carriers, number_transitions, protected_numbers, registry_keys TO %I', 'zhengming_' || name);
    END LOOP;
END $$;

-- everybody: what is one's own as a user
CALL allow('regulator carrier institution agency provider auditor admin', 'INSERT', 'audit', 'user_id = my_user()');
CALL allow('regulator carrier institution agency provider auditor admin', 'SELECT INSERT UPDATE', 'kept_answers', 'user_id = my_user()');
CALL allow('carrier institution agency provider', 'SELECT', 'users', 'id = my_user()');
CALL allow('regulator carrier institution agency provider admin', 'INSERT', 'alarms', 'true');
CALL allow('regulator carrier institution agency provider', 'SELECT INSERT', 'document_uses', 'user_id = my_user() OR institution_id = my_institution()');
CALL allow('regulator carrier institution agency provider', 'SELECT INSERT', 'documents', 'true'); -- reached by its uses only
CALL allow('auditor', 'SELECT', 'documents', 'true');
CALL allow('auditor', 'SELECT', 'document_uses', 'true');
CALL allow('institution agency provider', 'SELECT INSERT UPDATE', 'quota_uses', 'institution_id = my_institution()');
CALL allow('regulator carrier institution agency provider auditor', 'SELECT', 'nodes', 'true');

-- institutions, mandates, accounts
CALL allow('regulator', 'SELECT INSERT UPDATE', 'institutions', 'starts_with(region, my_territory())');
CALL allow('carrier', 'SELECT INSERT UPDATE', 'institutions', 'true');
CALL allow('auditor', 'SELECT', 'institutions', 'true');
CALL allow('institution', 'SELECT', 'institutions', 'id = my_institution() OR id IN (SELECT agency_id FROM mandates)');
CALL allow('agency', 'SELECT', 'institutions', 'id = my_institution() OR id IN (SELECT institution_id FROM mandates)');
CALL allow('provider', 'SELECT', 'institutions', 'id = my_institution()');
CALL allow('regulator carrier auditor', 'SELECT', 'mandates', 'true');
CALL allow('institution', 'SELECT INSERT UPDATE', 'mandates', 'institution_id = my_institution()');
CALL allow('agency', 'SELECT', 'mandates', 'agency_id = my_institution()');
CALL allow('regulator auditor', 'SELECT', 'accounts', 'true');
CALL allow('carrier', 'SELECT INSERT UPDATE', 'accounts', 'carrier = my_carrier()');
CALL allow('institution agency provider', 'SELECT', 'accounts', 'holder_id = my_institution()');
CALL allow('regulator auditor institution agency provider', 'SELECT', 'account_numbers', 'account_id IN (SELECT id FROM accounts)');
CALL allow('carrier', 'SELECT INSERT UPDATE DELETE', 'account_numbers', 'account_id IN (SELECT id FROM accounts)');

-- filings
CALL allow('regulator', 'SELECT', 'numbers', 'my_territory() = '''' OR institution_id IN (SELECT id FROM institutions)');
CALL allow('auditor', 'SELECT', 'numbers', 'true');
CALL allow('carrier', 'SELECT', 'numbers', '(carrier = my_carrier() OR carrier IS NULL) AND status <> ''draft''');
CALL allow('institution', 'SELECT', 'numbers', 'institution_id = my_institution()');
CALL allow('institution', 'INSERT UPDATE', 'numbers', 'institution_id = my_institution() AND status IN (''draft'', ''returned'')');
CALL allow('agency', 'SELECT', 'numbers', 'agency_id = my_institution()');
CALL allow('agency', 'INSERT UPDATE', 'numbers', 'agency_id = my_institution() AND status IN (''draft'', ''returned'') AND institution_id IN (SELECT institution_id FROM mandates)');
CALL allow('regulator auditor carrier institution agency', 'SELECT', 'number_steps', 'EXISTS (SELECT FROM numbers n WHERE n.id = number_id)');
CALL allow('regulator carrier institution', 'INSERT', 'number_steps', 'EXISTS (SELECT FROM numbers n WHERE n.id = number_id)');
CALL allow('regulator auditor', 'SELECT', 'allocations', 'true');
CALL allow('carrier', 'SELECT INSERT UPDATE', 'allocations', 'carrier = my_carrier()');
CALL allow('provider', 'SELECT', 'allocations', 'provider_id = my_institution()');
CALL allow('regulator', 'SELECT UPDATE', 'disputes', 'true');
CALL allow('auditor', 'SELECT', 'disputes', 'true');
CALL allow('institution', 'SELECT INSERT', 'disputes', 'institution_id = my_institution()');

-- subscribers
CALL allow('regulator', 'SELECT INSERT UPDATE', 'refusals', 'true');
CALL allow('auditor', 'SELECT', 'refusals', 'true');
CALL allow('carrier', 'SELECT', 'refusals', 'carrier = my_carrier()');
CALL allow('institution', 'SELECT INSERT', 'refusals', 'institution_id = my_institution()');
CALL allow('regulator auditor', 'SELECT', 'consents', 'true');
CALL allow('institution', 'SELECT INSERT UPDATE', 'consents', 'institution_id = my_institution()');

-- supervision
CALL allow('regulator', 'SELECT INSERT UPDATE', 'blacklist', 'true');
CALL allow('auditor', 'SELECT', 'blacklist', 'true');
CALL allow('carrier institution agency provider', 'SELECT', 'blacklist', 'removed_at IS NULL AND (NOT needs_second OR confirmed_at IS NOT NULL)');
CALL allow('regulator', 'SELECT INSERT UPDATE', 'holds', 'true');
CALL allow('auditor', 'SELECT', 'holds', 'true');
CALL allow('carrier institution agency', 'SELECT', 'holds', 'EXISTS (SELECT FROM numbers n WHERE n.id = number_id) OR institution_id = my_institution() OR account_id IN (SELECT id FROM accounts)');
CALL allow('provider', 'SELECT', 'holds', 'institution_id = my_institution() OR account_id IN (SELECT id FROM accounts)'); -- has no numbers
CALL allow('regulator', 'SELECT INSERT UPDATE', 'penalties', 'my_territory() = '''' OR institution_id IN (SELECT id FROM institutions)');
CALL allow('auditor', 'SELECT', 'penalties', 'true');
CALL allow('institution agency provider', 'SELECT', 'penalties', 'institution_id = my_institution()');
CALL allow('regulator', 'SELECT INSERT UPDATE', 'cases', 'true');
CALL allow('regulator', 'SELECT INSERT', 'case_items', 'true');
CALL allow('regulator', 'SELECT INSERT', 'referrals', 'true');
CALL allow('regulator', 'SELECT INSERT UPDATE', 'complaints', 'true');
CALL allow('auditor', 'SELECT', 'cases', 'true');
CALL allow('auditor', 'SELECT', 'case_items', 'true');
CALL allow('auditor', 'SELECT', 'referrals', 'true');
CALL allow('auditor', 'SELECT', 'complaints', 'true');
CALL allow('institution', 'SELECT', 'complaints', 'institution_id = my_institution()');
CALL allow('regulator', 'SELECT UPDATE', 'appeals', 'true');
CALL allow('auditor', 'SELECT', 'appeals', 'true');
CALL allow('institution agency provider', 'SELECT INSERT', 'appeals', 'institution_id = my_institution()');
CALL allow('regulator', 'SELECT UPDATE', 'alarms', 'true');
CALL allow('auditor admin', 'SELECT', 'alarms', 'true');
CALL allow('regulator', 'SELECT UPDATE', 'import_runs', 'true');
CALL allow('auditor admin', 'SELECT', 'import_runs', 'true');

-- traffic: by the code of the institution, as records have it
CALL allow('regulator auditor', 'SELECT', 'intercepts', 'true');
CALL allow('carrier', 'SELECT', 'intercepts', 'carrier = my_carrier()');
CALL allow('institution', 'SELECT', 'intercepts', 'institution = my_institution_code()');
CALL allow('agency', 'SELECT', 'intercepts', 'agency = my_institution_code()');
CALL allow('regulator auditor', 'SELECT', 'traffic_minute', 'true');
CALL allow('carrier', 'SELECT', 'traffic_minute', 'carrier = my_carrier()');
CALL allow('institution', 'SELECT', 'traffic_minute', 'institution = my_institution_code()');
CALL allow('agency', 'SELECT', 'traffic_minute', 'agency = my_institution_code()');

-- administration; sessions, and reading credentials, are the owner's alone
CALL allow('admin', 'SELECT INSERT UPDATE', 'users', 'true');
CALL allow('regulator auditor', 'SELECT', 'users', 'true');
CALL allow('admin', 'SELECT INSERT UPDATE', 'persons', 'true');
CALL allow('regulator auditor', 'SELECT', 'persons', 'true');
CALL allow('admin', 'SELECT INSERT UPDATE', 'tokens', 'true');
CALL allow('admin auditor regulator', 'SELECT', 'audit', 'true');
GRANT SELECT ON audit_chain TO zhengming_admin, zhengming_auditor, zhengming_regulator;
CALL allow('admin', 'INSERT UPDATE', 'credentials', 'true');
CREATE POLICY admin_select ON credentials FOR SELECT TO zhengming_admin USING (true);
GRANT SELECT (user_id) ON credentials TO zhengming_admin; -- to say whose is changed, no more
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;

-- Whether a body may act now is public, as its numbers stop with it; why, and who said so, is not.
CREATE FUNCTION body_of(wanted bigint, OUT code text, OUT status text, OUT licence_scope smallint,
                        OUT licence_until timestamptz, OUT verified_until timestamptz, OUT held boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT i.code, i.status, i.licence_scope, i.licence_until, i.verified_until,
           EXISTS (SELECT FROM holds h WHERE h.institution_id = i.id AND h.valid_from <= now()
                                         AND coalesce(now() < h.valid_until, true))
      FROM institutions i WHERE i.id = wanted
$$;

-- Codes are public, rows are not: whom a mandate, a filing or a complaint names.
CREATE FUNCTION code_of(wanted bigint) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public RETURN (SELECT code FROM institutions WHERE id = wanted);
CREATE FUNCTION institution_of(wanted text) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public RETURN (SELECT id FROM institutions WHERE code = wanted);

ALTER VIEW whitelist SET (security_invoker = true);
ALTER VIEW blacklist_in_force SET (security_invoker = true);
GRANT SELECT ON whitelist, blacklist_in_force TO zhengming_regulator, zhengming_auditor, zhengming_carrier,
    zhengming_institution, zhengming_agency;
DROP PROCEDURE allow;
