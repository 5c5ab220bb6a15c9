-- Every change of a registry table, by whatever hand, leaves a row in change_log, which nodes follow, and its
-- old rows in <table>_history, which is kept for good. Nothing may depend on the order of seq: transactions
-- commit in another order than they number their rows, so nodes compare transactions (xid), not numbers.

CREATE TABLE change_log (
    seq         bigint PRIMARY KEY DEFAULT nextval('registry_seq'),
    xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    table_name  text NOT NULL,
    key         bigint,           -- the row's id; of a refusal its subscriber_key; empty for TRUNCATE
    op          text NOT NULL CHECK (op IN ('insert', 'update', 'delete', 'truncate')),
    row_version bigint NOT NULL,
    by_user     text NOT NULL DEFAULT session_user,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((key IS NULL) = (op = 'truncate'))
);
CREATE INDEX change_log_xid ON change_log (xid, seq);
ALTER SEQUENCE registry_seq OWNED BY change_log.seq;

-- Up to which transaction rows of change_log have been deleted: a node that has not come so far copies afresh.
CREATE TABLE change_log_pruned (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    times    bigint NOT NULL DEFAULT 0,
    up_to    xid8 NOT NULL DEFAULT '0'
);
INSERT INTO change_log_pruned DEFAULT VALUES;

CREATE FUNCTION change_log_deleted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    UPDATE change_log_pruned
       SET times = times + 1, up_to = greatest(up_to, (SELECT xid FROM old_rows ORDER BY xid DESC LIMIT 1))
     WHERE EXISTS (SELECT FROM old_rows);
    RETURN NULL;
END $$;
CREATE TRIGGER change_log_deleted AFTER DELETE ON change_log REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION change_log_deleted();
ALTER TABLE change_log ENABLE ALWAYS TRIGGER change_log_deleted;

CREATE FUNCTION is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% keeps its rows as they are: % refused', TG_TABLE_NAME, TG_OP;
END $$;
CREATE TRIGGER is_kept BEFORE UPDATE OR TRUNCATE ON change_log FOR EACH STATEMENT EXECUTE FUNCTION is_kept();
ALTER TABLE change_log ENABLE ALWAYS TRIGGER is_kept;

CREATE FUNCTION registry_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.row_version := nextval('public.registry_seq');
    NEW.row_xid := pg_current_xact_id();
    NEW.changed_at := clock_timestamp();
    RETURN NEW;
END $$;

-- Argument: the column by which nodes ask for what changed.
CREATE FUNCTION registry_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    changes bigint := 0;
    found_rows bigint;
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE', 'TRUNCATE') THEN
        EXECUTE format(
            'INSERT INTO %1$I.%2$I SELECT nextval(''registry_seq''), pg_current_xact_id(), clock_timestamp(), %3$L, o.* FROM %4$s o',
            TG_TABLE_SCHEMA, TG_TABLE_NAME || '_history', lower(TG_OP),
            CASE TG_OP WHEN 'TRUNCATE' THEN format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) ELSE 'old_rows' END);
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO change_log (table_name, op, row_version)
        VALUES (TG_TABLE_NAME, 'truncate', nextval('registry_seq'));
        changes := 1;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        EXECUTE format(
            'INSERT INTO change_log (table_name, key, op, row_version) SELECT %1$L, n.%2$I, %3$L, n.row_version FROM new_rows n',
            TG_TABLE_NAME, TG_ARGV[0], lower(TG_OP));
        GET DIAGNOSTICS changes = ROW_COUNT;
    END IF;
    IF TG_OP = 'DELETE' THEN
        EXECUTE format(
            'INSERT INTO change_log (table_name, key, op, row_version) SELECT %1$L, o.%2$I, ''delete'', nextval(''registry_seq'') FROM old_rows o',
            TG_TABLE_NAME, TG_ARGV[0]);
        GET DIAGNOSTICS changes = ROW_COUNT;
    END IF;
    IF TG_OP = 'UPDATE' THEN -- a row whose key changed left its old key empty
        EXECUTE format(
            'INSERT INTO change_log (table_name, key, op, row_version) SELECT %1$L, gone.%2$I, ''delete'', nextval(''registry_seq'') FROM (SELECT %2$I FROM old_rows EXCEPT SELECT %2$I FROM new_rows) gone',
            TG_TABLE_NAME, TG_ARGV[0]);
        GET DIAGNOSTICS found_rows = ROW_COUNT;
        changes := changes + found_rows;
    END IF;
    IF changes > 0 THEN
        NOTIFY registry_changes;
    END IF;
    RETURN NULL;
END $$;

-- Puts a table under the log: its history, and the triggers that no session setting switches off.
CREATE PROCEDURE registry_follow(table_name text, key_column text) LANGUAGE plpgsql AS $$
DECLARE
    trigger_name text;
BEGIN
    EXECUTE format(
        'CREATE TABLE %I (superseded_version bigint NOT NULL, superseded_xid xid8 NOT NULL, superseded_at timestamptz NOT NULL, superseded_op text NOT NULL, LIKE %I)',
        table_name || '_history', table_name);
    EXECUTE format('CREATE INDEX ON %I (id, superseded_version)', table_name || '_history');
    EXECUTE format('CREATE INDEX ON %I (superseded_at)', table_name || '_history');
    EXECUTE format(
        'CREATE TRIGGER is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION is_kept()',
        table_name || '_history');
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER is_kept', table_name || '_history');

    EXECUTE format(
        'CREATE TRIGGER registry_stamp BEFORE INSERT OR UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION registry_stamp()',
        table_name);
    EXECUTE format(
        'CREATE TRIGGER registry_inserted AFTER INSERT ON %I REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION registry_changed(%L)',
        table_name, key_column);
    EXECUTE format(
        'CREATE TRIGGER registry_updated AFTER UPDATE ON %I REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION registry_changed(%L)',
        table_name, key_column);
    EXECUTE format(
        'CREATE TRIGGER registry_deleted AFTER DELETE ON %I REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION registry_changed(%L)',
        table_name, key_column);
    EXECUTE format(
        'CREATE TRIGGER registry_truncated BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION registry_changed(%L)',
        table_name, key_column);
    FOREACH trigger_name IN ARRAY ARRAY['registry_stamp', 'registry_inserted', 'registry_updated',
                                        'registry_deleted', 'registry_truncated']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', table_name, trigger_name);
    END LOOP;
END $$;

CALL registry_follow('carriers', 'id');
CALL registry_follow('institutions', 'id');
CALL registry_follow('mandates', 'id');
CALL registry_follow('accounts', 'id');
CALL registry_follow('account_numbers', 'id');
CALL registry_follow('numbers', 'id');
CALL registry_follow('blacklist', 'id');
CALL registry_follow('refusals', 'subscriber_key');
CALL registry_follow('consents', 'id');
CALL registry_follow('holds', 'id');
