-- The registry key rotates. Of the keys that are not retired the newest takes all new rows, and rows of the older one
-- are moved to it, one subscriber's all at once: at any time all rows of a subscriber are under one key, so that what
-- looks for others of his (an acceptance, a release, an import) finds them by his hash as ever. A row that is moved is
-- the same row: it gets neither a version nor history, and its history moves with it.

CREATE FUNCTION current_key() RETURNS smallint LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public
RETURN (SELECT max(key_id) FROM registry_keys WHERE retired_at IS NULL);

-- How far the rows of a table (by id) have been moved to a key.
CREATE TABLE registry_rekeyed (
    key_id     smallint NOT NULL REFERENCES registry_keys,
    table_name text NOT NULL,
    up_to      bigint NOT NULL,
    PRIMARY KEY (key_id, table_name)
);

ALTER TABLE change_log
    DROP CONSTRAINT change_log_op_check,
    ADD CHECK (op IN ('insert', 'update', 'delete', 'truncate', 'rekey')),
    ADD COLUMN moved_to bigint, -- of a subscriber_key that was moved: where to
    ADD CHECK (moved_to IS NULL OR op = 'rekey');
CREATE INDEX change_log_moved ON change_log (key) WHERE moved_to IS NOT NULL;

-- The secret of a code generator is sealed under a registry key, too.
ALTER TABLE credentials ADD COLUMN key_id smallint REFERENCES registry_keys;
UPDATE credentials SET key_id = current_key() WHERE totp_sealed IS NOT NULL;
DROP TRIGGER signed_out ON credentials;
CREATE TRIGGER signed_out AFTER UPDATE OF password_hash, totp_sealed ON credentials FOR EACH ROW
    -- one that is moved keeps its step; another secret begins at 0
    WHEN (OLD.password_hash <> NEW.password_hash OR OLD.key_id IS NOT DISTINCT FROM NEW.key_id
          OR OLD.key_id IS NULL OR NEW.totp_step < OLD.totp_step)
    EXECUTE FUNCTION signed_out();

-- Whether a row is moved to the newest key, by the owner, and nothing else of it changes; raises when more does.
CREATE FUNCTION is_moved(relation oid, was jsonb, becomes jsonb) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, public AS $$
DECLARE
    keyed CONSTANT text[] := ARRAY['subscriber_hash', 'subscriber_key', 'subscriber_sealed', 'identity_hash',
                                   'identity_sealed', 'key_id'];
BEGIN
    IF (becomes->>'key_id')::smallint <> current_key() OR becomes - keyed <> was - keyed
       OR NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = relation), 'MEMBER') THEN
        RAISE EXCEPTION 'a row of % moves to the newest registry key as it is', relation::regclass
              USING ERRCODE = 'check_violation', CONSTRAINT = 'registry_keys_moved';
    END IF;
    RETURN true;
END $$;

-- As in 0002; a row that is moved is stamped no more than that.
CREATE OR REPLACE FUNCTION registry_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME IN ('refusals', 'consents', 'recipients', 'released', 'replies',
                                              'complaints', 'persons') THEN
        IF NEW.key_id > OLD.key_id AND public.is_moved(TG_RELID, to_jsonb(OLD), to_jsonb(NEW)) THEN
            RETURN NEW;
        END IF;
    END IF;
    NEW.row_version := nextval('public.registry_seq');
    NEW.row_xid := pg_current_xact_id();
    NEW.changed_at := clock_timestamp();
    RETURN NEW;
END $$;

CREATE FUNCTION history_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.key_id > OLD.key_id AND public.is_moved(TG_RELID, to_jsonb(OLD), to_jsonb(NEW)) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% keeps its rows as they are: % refused', TG_TABLE_NAME, TG_OP;
END $$;

DROP TRIGGER refusals_guarded ON refusals;
CREATE TRIGGER refusals_guarded BEFORE UPDATE ON refusals FOR EACH ROW
    WHEN (NOT NEW.key_id > OLD.key_id) EXECUTE FUNCTION refusals_guarded();
ALTER TABLE refusals ENABLE ALWAYS TRIGGER refusals_guarded;

-- Nothing comes in under an older key, not even by a transaction that was open when the newest one came: whoever adds
-- a key waits for those (FOR UPDATE), and who comes then waits here for him.
CREATE FUNCTION under_newest_key() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM FROM registry_keys WHERE key_id IN (SELECT DISTINCT n.key_id FROM new_rows n) FOR KEY SHARE;
    IF EXISTS (SELECT FROM new_rows n WHERE n.key_id <> current_key()) THEN
        RAISE EXCEPTION 'a newer registry key has come: rows of % are added under that one', TG_TABLE_NAME
              USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'registry_keys_newest';
    END IF;
    RETURN NULL;
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['refusals', 'consents', 'recipients', 'released', 'replies', 'complaints', 'persons']
    LOOP
        EXECUTE format('CREATE TRIGGER under_newest_key AFTER INSERT ON %I REFERENCING NEW TABLE AS new_rows'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION under_newest_key()', name);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER under_newest_key', name);
        EXECUTE format('CREATE INDEX ON %I (%I)', name || '_history',
                       CASE name WHEN 'persons' THEN 'identity_hash' ELSE 'subscriber_hash' END);
        EXECUTE format('DROP TRIGGER is_kept ON %I', name || '_history');
        EXECUTE format('CREATE TRIGGER is_kept BEFORE DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION is_kept()',
                       name || '_history');
        EXECUTE format('CREATE TRIGGER history_moved BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION history_moved()',
                       name || '_history');
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER is_kept', name || '_history');
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER history_moved', name || '_history');
    END LOOP;
END $$;

-- Moves all rows of these subscribers (and persons) to a key, with their history: by the old hash, to the new one and
-- to what is sealed anew. How many rows that were.
CREATE FUNCTION rekey(old_hashes bytea[], new_hashes bytea[], sealed bytea[], new_key smallint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, public SET enable_seqscan = off SET enable_mergejoin = off
SET enable_hashjoin = off AS $$
DECLARE
    name text;
    who text;
    by_key text;
    moved bigint;
    rows bigint := 0;
BEGIN
    FOREACH name IN ARRAY ARRAY['refusals', 'replies', 'consents', 'recipients', 'released', 'complaints', 'persons']
    LOOP
        who := CASE name WHEN 'persons' THEN 'identity' ELSE 'subscriber' END;
        by_key := CASE WHEN name IN ('refusals', 'replies') THEN ' AND t.subscriber_key = first_eight(m.old)' END;
        EXECUTE format('UPDATE %1$I t SET %2$I = m.new, %3$I = m.sealed, key_id = $4'
                       '  FROM unnest($1, $2, $3) AS m (old, new, sealed) WHERE t.%2$I = m.old%4$s',
                       name, who || '_hash', who || '_sealed', by_key)
          USING old_hashes, new_hashes, sealed, new_key;
        GET DIAGNOSTICS moved = ROW_COUNT;
        rows := rows + moved;
        EXECUTE format('UPDATE %1$I t SET %2$I = m.new, %3$I = m.sealed, key_id = $4%4$s'
                       '  FROM unnest($1, $2, $3) AS m (old, new, sealed) WHERE t.%2$I = m.old',
                       name || '_history', who || '_hash', who || '_sealed',
                       CASE WHEN by_key IS NOT NULL THEN ', subscriber_key = first_eight(m.new)' END)
          USING old_hashes, new_hashes, sealed, new_key;
    END LOOP;
    RETURN rows;
END $$;
REVOKE EXECUTE ON FUNCTION rekey FROM PUBLIC;

-- As in 0020; rows that were moved are told so, and where a subscriber's are now.
CREATE OR REPLACE FUNCTION registry_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    changes bigint := 0;
    found_rows bigint;
    words record;
    who text := actor_words();
    run_case text := coalesce((SELECT case_reference FROM import_runs
                                WHERE id = nullif(current_setting('zhengming.run', true), '')::bigint
                                  AND closed_at IS NULL), '');
    some_moved boolean;
    all_moved boolean;
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME IN ('refusals', 'consents', 'recipients', 'released', 'replies', 'complaints',
                                              'persons')
       AND (SELECT count(*) > 1 FROM registry_keys WHERE retired_at IS NULL) THEN
        SELECT bool_or(n.key_id > o.key_id), bool_and(n.key_id > o.key_id) INTO some_moved, all_moved
          FROM old_rows o JOIN new_rows n USING (id);
        IF some_moved AND NOT all_moved THEN
            RAISE EXCEPTION 'rows of % move to another registry key in a statement of their own', TG_TABLE_NAME;
        ELSIF some_moved THEN
            EXECUTE format(
                'INSERT INTO change_log (table_name, key, op, row_version, by_user, moved_to)'
                ' SELECT DISTINCT ON (o.%2$I) %1$L, o.%2$I, ''rekey'', nextval(''registry_seq''), $1, %3$s'
                '   FROM old_rows o JOIN new_rows n USING (id)',
                TG_TABLE_NAME, TG_ARGV[0],
                CASE TG_ARGV[0] WHEN 'id' THEN 'NULL::bigint' ELSE format('n.%I', TG_ARGV[0]) END)
            USING who;
            NOTIFY registry_changes;
            RETURN NULL;
        END IF;
    END IF;
    IF TG_OP IN ('UPDATE', 'DELETE', 'TRUNCATE') THEN
        EXECUTE format(
            'INSERT INTO %1$I.%2$I SELECT nextval(''registry_seq''), pg_current_xact_id(), clock_timestamp(), %3$L, o.* FROM %4$s o',
            TG_TABLE_SCHEMA, TG_TABLE_NAME || '_history', lower(TG_OP),
            CASE TG_OP WHEN 'TRUNCATE' THEN format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) ELSE 'old_rows' END);
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO change_log (table_name, op, row_version, by_user, case_reference)
        VALUES (TG_TABLE_NAME, 'truncate', nextval('registry_seq'), who, run_case);
        changes := 1;
    ELSE
        words := act_words(TG_TABLE_NAME);
        EXECUTE format(
            'INSERT INTO change_log (table_name, key, op, row_version, by_user, subject, case_reference)'
            ' SELECT %1$L, r.%2$I, %3$L, %4$s, $1, coalesce(%5$s, ''''), coalesce(nullif(%6$s, ''''), $2) FROM %7$I r',
            TG_TABLE_NAME, TG_ARGV[0], lower(TG_OP),
            CASE TG_OP WHEN 'DELETE' THEN 'nextval(''registry_seq'')' ELSE 'r.row_version' END,
            words.subject, words.case_reference, CASE TG_OP WHEN 'DELETE' THEN 'old_rows' ELSE 'new_rows' END)
        USING who, run_case;
        GET DIAGNOSTICS changes = ROW_COUNT;
    END IF;
    IF TG_OP = 'UPDATE' THEN -- a row whose key changed left its old key empty
        EXECUTE format(
            'INSERT INTO change_log (table_name, key, op, row_version, by_user, case_reference)'
            ' SELECT %1$L, gone.%2$I, ''delete'', nextval(''registry_seq''), $1, $2'
            '   FROM (SELECT %2$I FROM old_rows EXCEPT SELECT %2$I FROM new_rows) gone',
            TG_TABLE_NAME, TG_ARGV[0])
        USING who, run_case;
        GET DIAGNOSTICS found_rows = ROW_COUNT;
        changes := changes + found_rows;
    END IF;
    IF changes > 0 THEN
        NOTIFY registry_changes;
    END IF;
    RETURN NULL;
END $$;
