-- What the journals of all nodes hold, as far as pages and reports ask for it; it can be rebuilt from them.
-- The keeper of each node writes here (gateway/evidence/index.py), makes partitions ahead and drops old ones.

-- Up to where the journal of a writer was shipped: the cursor moves in the transaction that brings its rows.
CREATE TABLE shipping (
    node       text NOT NULL,
    writer     text NOT NULL,
    segment    integer NOT NULL,   -- the last one that was read from
    "offset"   bigint NOT NULL,    -- where its last block that was shipped ends
    header     bytea NOT NULL,     -- digest of its header: another journal under this name begins anew
    records    bigint NOT NULL,    -- shipped in all
    shipped_at timestamptz NOT NULL,
    PRIMARY KEY (node, writer)
);

-- One row for each attempt that was refused.
CREATE TABLE intercepts (
    id               uuid NOT NULL,         -- attempt id
    at               timestamptz NOT NULL,
    carrier          text NOT NULL,
    node             text NOT NULL,
    protocol         text NOT NULL,
    account          text NOT NULL,
    channel          smallint NOT NULL,     -- 1 sms, 2 voice
    number           text NOT NULL,         -- as shown
    registration     text NOT NULL,         -- the registered number it was judged by, or empty
    institution      text NOT NULL,         -- code, or empty
    agency           text NOT NULL,         -- code, or empty
    purpose          text NOT NULL,
    region           text NOT NULL,         -- city of the subscriber
    subscriber       text NOT NULL,         -- masked
    subscriber_hash  bytea,                 -- keyed, for look-up; of no other table
    reason           text NOT NULL,
    sub              text NOT NULL,
    findings         jsonb NOT NULL,        -- all rules that held: [[reason, sub-code, enforced], ...]
    profile          text NOT NULL,         -- digest
    registry_version bigint NOT NULL,
    writer           text NOT NULL,         -- where the record lies
    segment          integer NOT NULL,
    "offset"         bigint NOT NULL,       -- of its block
    place            integer NOT NULL,      -- its index in the segment
    PRIMARY KEY (institution, at, id)
) PARTITION BY RANGE (at);

CREATE INDEX intercepts_id ON intercepts (id);
CREATE INDEX intercepts_number ON intercepts (number, at);
CREATE INDEX intercepts_subscriber ON intercepts (subscriber_hash, at);
CREATE INDEX intercepts_at ON intercepts (at);

-- All attempts, passed and refused, by minute.
CREATE TABLE traffic_minute (
    minute      timestamptz NOT NULL,
    carrier     text NOT NULL,
    node        text NOT NULL,
    protocol    text NOT NULL,
    channel     smallint NOT NULL,
    institution text NOT NULL,
    agency      text NOT NULL,
    number      text NOT NULL,         -- registered number; as shown, when it is not registered
    purpose     text NOT NULL,
    region      text NOT NULL,
    verdict     text NOT NULL,
    reason      text NOT NULL,
    count       bigint NOT NULL,
    parts       bigint NOT NULL,
    PRIMARY KEY (minute, institution, number, region, verdict, reason, purpose, agency, carrier, node, protocol,
                 channel)
) PARTITION BY RANGE (minute);

CREATE INDEX traffic_minute_institution ON traffic_minute (institution, minute);

-- The partition of a table for one day of Asia/Shanghai. It is attached when it is whole, which stops neither
-- readers nor writers. Any number of keepers may call this at once; a transaction of its own for each table.
CREATE FUNCTION make_traffic_partition(parent text, day date) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, public AS $$
DECLARE
    name text := parent || '_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass('public.' || name) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('traffic partitions'));
    -- by a query, for to_regclass may remember what it saw before the lock
    IF EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = name) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL)', name, parent);
    EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                   parent, name, day::timestamp AT TIME ZONE 'Asia/Shanghai',
                   (day + 1)::timestamp AT TIME ZONE 'Asia/Shanghai');
END $$;

-- Drop the oldest partition of a table, if it is of a day before `day`; whether one went. Gives up after two
-- seconds behind a long report, rather than have everybody wait behind both.
CREATE FUNCTION drop_traffic_partition(parent text, before date) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, public SET lock_timeout = '2s' AS $$
DECLARE
    name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('traffic partitions'));
    SELECT min(c.relname) INTO name
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = to_regclass('public.' || parent)
       AND to_date(right(c.relname, 8), 'YYYYMMDD') < before;
    IF name IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE public.%I', name);
    RETURN true;
END $$;
