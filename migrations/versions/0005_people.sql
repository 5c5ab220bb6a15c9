-- Who acts: persons (by identity number), their users, credentials, sessions and tokens; and the audit, to
-- which rows are only ever added, chained by hash. A session of the gateway says who it acts for by settings
-- (my_user and the others below); a session that says nothing is SQL by hand, and is audited under its name.

CREATE FUNCTION my_user() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
RETURN nullif(current_setting('zhengming.user', true), '')::bigint;
CREATE FUNCTION my_institution() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
RETURN nullif(current_setting('zhengming.institution', true), '')::bigint;
CREATE FUNCTION my_institution_code() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN nullif(current_setting('zhengming.institution_code', true), '');
CREATE FUNCTION my_carrier() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN nullif(current_setting('zhengming.carrier', true), '');
CREATE FUNCTION my_territory() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(current_setting('zhengming.territory', true), '');

-- One role of the database for each role of the domain; the gateway takes it on for each request.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['regulator', 'carrier', 'institution', 'agency', 'provider', 'auditor', 'admin']
    LOOP
        name := 'zhengming_' || name;
        IF to_regrole(name) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database of this server was faster
            END;
        END IF;
        IF NOT pg_has_role(current_user, name, 'MEMBER') THEN -- a superuser is a member of every role
            EXECUTE format('GRANT %I TO CURRENT_USER', name);
        END IF;
    END LOOP;
END $$;

CREATE TABLE persons (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL CHECK (name <> ''),
    identity_hash   bytea UNIQUE CHECK (octet_length(identity_hash) = 16), -- empty: known by name only
    identity_sealed bytea,
    key_id          smallint REFERENCES registry_keys,
    row_version     bigint NOT NULL DEFAULT 0,
    row_xid         xid8 NOT NULL DEFAULT '0',
    changed_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nulls(identity_hash, identity_sealed, key_id) IN (0, 3))
);
CREATE UNIQUE INDEX persons_by_name ON persons (name) WHERE identity_hash IS NULL;

CREATE TABLE users (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    login          text NOT NULL UNIQUE CHECK (login ~ '^[a-z0-9][a-z0-9._@-]{0,59}$'),
    person_id      bigint NOT NULL REFERENCES persons,
    role           text NOT NULL CHECK (role IN ('regulator', 'carrier', 'institution', 'agency', 'provider',
                                                 'auditor', 'admin')),
    carrier        text REFERENCES carriers (code) ON UPDATE CASCADE,
    institution_id bigint REFERENCES institutions,
    territory      text NOT NULL DEFAULT '', -- beginning of institutions.region; empty: the whole province
    status         text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    row_version    bigint NOT NULL DEFAULT 0,
    row_xid        xid8 NOT NULL DEFAULT '0',
    changed_at     timestamptz NOT NULL DEFAULT now(),
    CHECK ((role = 'carrier') = (carrier IS NOT NULL)),
    CHECK ((role IN ('institution', 'agency', 'provider')) = (institution_id IS NOT NULL))
);

-- What changes with each sign-in, and secrets: not followed, no history.
CREATE TABLE credentials (
    user_id       bigint PRIMARY KEY REFERENCES users,
    password_hash text NOT NULL DEFAULT '', -- argon2id, PHC string; empty: no console
    totp_sealed   bytea,
    totp_step     bigint NOT NULL DEFAULT 0, -- the last time step that was used: no code twice
    failed        integer NOT NULL DEFAULT 0,
    locked_until  timestamptz,
    signed_in_at  timestamptz               -- on the console; a token does not count
);

CREATE TABLE sessions (
    hash       bytea PRIMARY KEY CHECK (octet_length(hash) = 32), -- SHA-256 of the cookie
    user_id    bigint NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    address    text NOT NULL DEFAULT ''
);
CREATE INDEX ON sessions (user_id);

-- Who has a new password, or a new code generator, signs in anew.
CREATE FUNCTION signed_out() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    DELETE FROM sessions WHERE user_id = NEW.user_id;
    RETURN NULL;
END $$;
CREATE TRIGGER signed_out AFTER UPDATE OF password_hash, totp_sealed ON credentials
    FOR EACH ROW EXECUTE FUNCTION signed_out();
CREATE INDEX ON sessions (expires_at);

CREATE TABLE tokens (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash        bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32), -- SHA-256; a token has 256 random bits
    user_id     bigint NOT NULL REFERENCES users,
    name        text NOT NULL DEFAULT '',
    scopes      text[] NOT NULL CHECK (scopes <@ ARRAY['read', 'write', 'attempts', 'judge', 'reveal', 'admin']),
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL CHECK (isfinite(expires_at)),
    revoked_at  timestamptz,
    row_version bigint NOT NULL DEFAULT 0,
    row_xid     xid8 NOT NULL DEFAULT '0',
    changed_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON tokens (user_id);

-- One act of a person, or of somebody with SQL; the last word of its transaction.
CREATE TABLE audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    user_id    bigint DEFAULT my_user(),
    person_id  bigint,
    by_session text NOT NULL DEFAULT session_user,
    door       text NOT NULL DEFAULT 'sql' CHECK (door IN ('api', 'console', 'cli', 'import', 'node', 'sql')),
    act        text NOT NULL CHECK (act <> ''),        -- number.approve, blacklist.add, subscriber.reveal, …
    subject    text NOT NULL DEFAULT '',               -- numbers/17
    reason     text NOT NULL DEFAULT '',
    detail     jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_subject ON audit (subject, id);
CREATE INDEX audit_user ON audit (user_id, id);
CREATE TRIGGER is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION is_kept();
ALTER TABLE audit ENABLE ALWAYS TRIGGER is_kept;

-- Each act's place in the chain: hash = SHA-256(hash before it, text of the act). Places are given at commit,
-- under a lock that is held for the commit alone, so a long transaction keeps nobody waiting.
CREATE TABLE audit_chain (
    seq      bigint PRIMARY KEY,
    audit_id bigint NOT NULL UNIQUE REFERENCES audit,
    hash     bytea NOT NULL CHECK (octet_length(hash) = 32)
);
CREATE TRIGGER is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain
    FOR EACH STATEMENT EXECUTE FUNCTION is_kept();
ALTER TABLE audit_chain ENABLE ALWAYS TRIGGER is_kept;

-- What is hashed: a JSON array with ", " between members; `at` in microseconds since 1970.
CREATE FUNCTION audit_text(a audit) RETURNS text LANGUAGE sql STABLE
RETURN jsonb_build_array(a.id, floor(extract(epoch FROM a.at) * 1000000)::bigint, a.user_id, a.person_id,
                         a.by_session, a.door, a.act, a.subject, a.reason, a.detail)::text;

CREATE FUNCTION audit_linked() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    last audit_chain;
BEGIN
    PERFORM pg_advisory_xact_lock(6510615555426900571); -- "Zhengmin" less one: the chain
    SELECT * INTO last FROM audit_chain ORDER BY seq DESC LIMIT 1;
    INSERT INTO audit_chain (seq, audit_id, hash)
    VALUES (coalesce(last.seq, 0) + 1, NEW.id,
            sha256(coalesce(last.hash, '\x'::bytea) || convert_to(audit_text(NEW), 'UTF8')));
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER audit_linked AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION audit_linked();
ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_linked;

-- The first place at which the chain does not hold; NULL when it does.
CREATE FUNCTION audit_broken() RETURNS bigint LANGUAGE sql STABLE
RETURN (SELECT min(seq)
          FROM (SELECT c.seq, c.hash, a,
                       lag(c.hash, 1, '\x'::bytea) OVER (ORDER BY c.seq) AS before,
                       lag(c.seq, 1, 0::bigint) OVER (ORDER BY c.seq) AS previous
                  FROM audit_chain c LEFT JOIN audit a ON a.id = c.audit_id) linked
         WHERE (linked.a).id IS NULL OR linked.seq <> linked.previous + 1
            OR linked.hash <> sha256(linked.before || convert_to(audit_text(linked.a), 'UTF8')));

-- Statements by hand are acts too. Nodes and imports say what they are (zhengming.door) and audit themselves.
CREATE FUNCTION audited_by_hand() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    rows bigint := 0;
BEGIN
    IF my_user() IS NULL AND coalesce(current_setting('zhengming.door', true), '') = '' THEN
        IF TG_OP = 'INSERT' THEN
            SELECT count(*) INTO rows FROM new_rows;
        ELSIF TG_OP IN ('UPDATE', 'DELETE') THEN
            SELECT count(*) INTO rows FROM old_rows;
        END IF;
        IF rows > 0 OR TG_OP = 'TRUNCATE' THEN
            INSERT INTO audit (act, subject, detail)
            VALUES ('sql.' || lower(TG_OP), TG_TABLE_NAME, jsonb_build_object('rows', rows));
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE PROCEDURE audit_follow(table_name text) LANGUAGE plpgsql AS $$
DECLARE
    op text;
    rows_of text;
BEGIN
    FOREACH op IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate']
    LOOP
        rows_of := CASE op WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows' WHEN 'truncate' THEN ''
                           ELSE 'REFERENCING OLD TABLE AS old_rows' END;
        EXECUTE format('CREATE TRIGGER %I AFTER %s ON %I %s FOR EACH STATEMENT EXECUTE FUNCTION audited_by_hand()',
                       'audited_' || op, op, table_name, rows_of);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', table_name, 'audited_' || op);
    END LOOP;
END $$;

CALL registry_follow('persons', 'id');
CALL registry_follow('users', 'id');
CALL registry_follow('tokens', 'id');
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['carriers', 'institutions', 'mandates', 'accounts', 'account_numbers', 'numbers',
                                'blacklist', 'refusals', 'consents', 'holds', 'persons', 'users', 'tokens']
    LOOP
        CALL audit_follow(name);
    END LOOP;
END $$;
