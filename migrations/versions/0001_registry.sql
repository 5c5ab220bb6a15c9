-- The registry. Words as in the glossary: a number belongs to an institution and is used by it or by one
-- agency; "channels" is a sum of 1 sms, 2 voice; "purposes" a sum of 1 marketing, 2 collection, 4 service.
-- A period runs from its first instant up to, not including, its last; an empty end means "for good".
-- Telephone numbers are canonical text: +E.164, or the bare digits of a code that has no such form.

CREATE FUNCTION is_number(text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN $1 ~ '^([+][1-9][0-9]{4,14}|(1[0-2]|9[56]|400|800)[0-9]{1,18})$';

CREATE FUNCTION is_prefix(text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN $1 ~ '^([+][1-9][0-9]{1,14}|(1[0-2]|9[56]|400|800)[0-9]{0,18})$';

CREATE FUNCTION is_period(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(isfinite($1), true) AND coalesce(isfinite($2), true) AND coalesce($1 < $2, true);

-- Digits as ranges, so that "one begins with the other" is "the ranges overlap": the first 18 digits (codes
-- without an E.164 form lie 10^18 above it), the digits after them, and how many digits there may be.
CREATE FUNCTION digits_head(text) RETURNS int8range LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN int8range(
    rpad(left(ltrim($1, '+'), 18), 18, '0')::int8 + CASE WHEN left($1, 1) = '+' THEN 0 ELSE 1000000000000000000 END,
    rpad(left(ltrim($1, '+'), 18), 18, '9')::int8 + CASE WHEN left($1, 1) = '+' THEN 0 ELSE 1000000000000000000 END,
    '[]');

CREATE FUNCTION digits_tail(text) RETURNS int4range LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN int4range(
    rpad(substr(ltrim($1, '+'), 19), 6, '0')::int4, rpad(substr(ltrim($1, '+'), 19), 6, '9')::int4, '[]');

CREATE FUNCTION digits_count(text, integer) RETURNS int4range LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN int4range(length(ltrim($1, '+')), length(ltrim($1, '+')) + $2, '[]');

-- The first eight octets of a subscriber's keyed hash, as one integer: what nodes look refusals up by.
CREATE FUNCTION first_eight(bytea) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (get_byte($1, 0)::bigint << 56) | (get_byte($1, 1)::bigint << 48) | (get_byte($1, 2)::bigint << 40)
     | (get_byte($1, 3)::bigint << 32) | (get_byte($1, 4)::bigint << 24) | (get_byte($1, 5)::bigint << 16)
     | (get_byte($1, 6)::bigint << 8) | get_byte($1, 7)::bigint;

-- Milliseconds since 1970, as nodes count.
CREATE FUNCTION millis(timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN floor(extract(epoch FROM $1) * 1000)::bigint;

-- Every row carries its version, transaction and instant; triggers of revision 0002 set them on each change.
CREATE SEQUENCE registry_seq;

CREATE TABLE carriers (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code        text NOT NULL UNIQUE CHECK (code ~ '^[A-Za-z0-9._-]{1,40}$'),
    name        text NOT NULL,
    row_version bigint NOT NULL DEFAULT 0,
    row_xid     xid8 NOT NULL DEFAULT '0',
    changed_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE institutions (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code           text NOT NULL UNIQUE CHECK (code ~ '^[A-Za-z0-9._-]{1,40}$'),
    name           text NOT NULL CHECK (name <> ''),
    kind           text NOT NULL CHECK (kind IN ('bank', 'consumer_finance', 'micro_lender', 'insurer', 'broker',
                                                 'agency', 'provider', 'authority', 'other')),
    licence_number text NOT NULL DEFAULT '',
    licence_scope  smallint NOT NULL DEFAULT 0 CHECK (licence_scope BETWEEN 0 AND 7),
    licence_until  timestamptz CHECK (isfinite(licence_until)),
    verified_until timestamptz CHECK (isfinite(verified_until)),
    region         text NOT NULL DEFAULT '',
    status         text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'closed')),
    row_version    bigint NOT NULL DEFAULT 0,
    row_xid        xid8 NOT NULL DEFAULT '0',
    changed_at     timestamptz NOT NULL DEFAULT now()
);

CREATE VIEW agencies AS SELECT * FROM institutions WHERE kind = 'agency';
CREATE VIEW providers AS SELECT * FROM institutions WHERE kind = 'provider';

CREATE TABLE mandates (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    institution_id  bigint NOT NULL REFERENCES institutions,
    agency_id       bigint NOT NULL REFERENCES institutions,
    channels        smallint NOT NULL CHECK (channels BETWEEN 1 AND 3),
    purposes        smallint NOT NULL CHECK (purposes BETWEEN 1 AND 7),
    valid_from      timestamptz,
    valid_until     timestamptz,
    document_sha256 bytea CHECK (octet_length(document_sha256) = 32),
    status          text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'revoked')),
    row_version     bigint NOT NULL DEFAULT 0,
    row_xid         xid8 NOT NULL DEFAULT '0',
    changed_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (institution_id <> agency_id),
    CHECK (is_period(valid_from, valid_until)),
    UNIQUE NULLS NOT DISTINCT (institution_id, agency_id, channels, purposes, valid_from)
);
CREATE INDEX ON mandates (agency_id);

CREATE TABLE accounts (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    carrier         text NOT NULL REFERENCES carriers (code) ON UPDATE CASCADE,
    protocol        text NOT NULL CHECK (protocol IN ('cmpp', 'sgip', 'smgp', 'smpp', 'sip', 'http')),
    account         text NOT NULL CHECK (account ~ '^[^[:cntrl:]]+$' AND octet_length(account) <= 200),
    holder_id       bigint NOT NULL REFERENCES institutions,
    scope           text NOT NULL DEFAULT 'financial' CHECK (scope IN ('financial', 'authority', 'other')),
    refusal_manner  text NOT NULL DEFAULT 'result' CHECK (refusal_manner IN ('result', 'report')),
    mass_manner     text NOT NULL DEFAULT 'whole' CHECK (mass_manner IN ('whole', 'reduce')),
    signature       text NOT NULL DEFAULT 'in_text' CHECK (signature IN ('in_text', 'by_carrier')),
    line_kind       text NOT NULL DEFAULT 'human' CHECK (line_kind IN ('human', 'robot')),
    upstream        text[] NOT NULL DEFAULT '{}',
    listener        text NOT NULL DEFAULT '',
    callback        text NOT NULL DEFAULT '',
    allowed_ips     cidr[] NOT NULL DEFAULT '{}',
    max_connections integer NOT NULL DEFAULT 0 CHECK (max_connections >= 0),
    row_version     bigint NOT NULL DEFAULT 0,
    row_xid         xid8 NOT NULL DEFAULT '0',
    changed_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (carrier, protocol, account)
);
CREATE INDEX ON accounts (holder_id);

CREATE TABLE account_numbers (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    number      text NOT NULL,
    is_prefix   boolean NOT NULL DEFAULT false,
    valid_from  timestamptz,
    valid_until timestamptz,
    row_version bigint NOT NULL DEFAULT 0,
    row_xid     xid8 NOT NULL DEFAULT '0',
    changed_at  timestamptz NOT NULL DEFAULT now(),
    CHECK (CASE WHEN is_prefix THEN is_prefix(number) ELSE is_number(number) END),
    CHECK (is_period(valid_from, valid_until)),
    UNIQUE NULLS NOT DISTINCT (account_id, number, is_prefix, valid_from)
);

-- A registration. Checking and approving are done by two persons, never by one.
CREATE TABLE numbers (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number           text NOT NULL CHECK (is_number(number)),
    extension_digits smallint NOT NULL DEFAULT 0 CHECK (extension_digits BETWEEN 0 AND 12),
    channels         smallint NOT NULL CHECK (channels BETWEEN 1 AND 3),
    purposes         smallint NOT NULL CHECK (purposes BETWEEN 1 AND 7),
    institution_id   bigint NOT NULL REFERENCES institutions,
    agency_id        bigint REFERENCES institutions,
    signatures       text[] NOT NULL DEFAULT '{}',
    carrier          text REFERENCES carriers (code) ON UPDATE CASCADE,
    effective_from   timestamptz,
    effective_until  timestamptz,
    document_sha256  bytea CHECK (octet_length(document_sha256) = 32),
    status           text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'submitted', 'returned', 'checked',
                                                                     'approved', 'revoked', 'withdrawn')),
    checked_by       text,
    approved_by      text,
    approved_at      timestamptz,
    row_version      bigint NOT NULL DEFAULT 0,
    row_xid          xid8 NOT NULL DEFAULT '0',
    changed_at       timestamptz NOT NULL DEFAULT now(),
    CHECK (length(number) + extension_digits <= 21),
    CHECK (is_period(effective_from, effective_until)),
    CHECK (agency_id <> institution_id),
    CHECK (checked_by <> approved_by),
    CHECK (status <> 'checked' OR checked_by <> ''),
    CHECK (status <> 'approved' OR (checked_by <> '' AND approved_by <> '' AND approved_at IS NOT NULL)),
    -- No two holders' live registrations overlap in digits, length, channel and period; one holder may nest
    -- its own. An address is how core PostgreSQL can say "not the same holder" in a GiST index.
    CONSTRAINT numbers_no_overlap EXCLUDE USING gist (
        digits_head(number) WITH &&,
        digits_tail(number) WITH &&,
        digits_count(number, extension_digits) WITH &&,
        int4range(CASE channels WHEN 2 THEN 2 ELSE 1 END, CASE channels WHEN 1 THEN 1 ELSE 2 END, '[]') WITH &&,
        tstzrange(effective_from, effective_until) WITH &&,
        ('::'::inet + institution_id) inet_ops WITH <>
    ) WHERE (status IN ('submitted', 'checked', 'approved'))
);
CREATE UNIQUE INDEX numbers_once ON numbers (number, institution_id, channels, carrier, effective_from)
    NULLS NOT DISTINCT WHERE status NOT IN ('revoked', 'withdrawn');
CREATE INDEX ON numbers (institution_id);
CREATE INDEX ON numbers (agency_id) WHERE agency_id IS NOT NULL;

-- Numbers and prefixes that may never pass. An entry leaves only when two persons have said so.
CREATE TABLE blacklist (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number              text NOT NULL,
    is_prefix           boolean NOT NULL DEFAULT false,
    reason              text NOT NULL CHECK (reason <> ''),
    case_reference      text NOT NULL CHECK (case_reference <> ''),
    added_by            text NOT NULL DEFAULT session_user,
    added_at            timestamptz NOT NULL DEFAULT now(),
    removal_proposed_by text,
    removal_proposed_at timestamptz,
    removal_reason      text,
    removed_by          text,
    removed_at          timestamptz,
    row_version         bigint NOT NULL DEFAULT 0,
    row_xid             xid8 NOT NULL DEFAULT '0',
    changed_at          timestamptz NOT NULL DEFAULT now(),
    CHECK (CASE WHEN is_prefix THEN is_prefix(number) ELSE is_number(number) END),
    CHECK (removal_proposed_by IS NULL OR (removal_proposed_at IS NOT NULL AND removal_reason <> '')),
    CHECK ((removed_by IS NULL) = (removed_at IS NULL)),
    CHECK (removed_by IS NULL OR (removal_proposed_by IS NOT NULL AND removed_by <> removal_proposed_by))
);
CREATE UNIQUE INDEX blacklist_once ON blacklist (number, is_prefix) WHERE removed_at IS NULL;

-- Keys under which subscribers' numbers are hashed and sealed; the keys themselves are files on the nodes.
CREATE TABLE registry_keys (
    key_id      smallint PRIMARY KEY,
    fingerprint bytea NOT NULL UNIQUE CHECK (octet_length(fingerprint) = 16),
    created_at  timestamptz NOT NULL DEFAULT now(),
    retired_at  timestamptz
);

-- A subscriber's "no". institution_id empty and number empty: to everybody. With a number: to that number,
-- until somebody files it. "event" is the same for the same reply, however often it is delivered.
CREATE TABLE refusals (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscriber_hash   bytea NOT NULL CHECK (octet_length(subscriber_hash) = 16),
    subscriber_key    bigint NOT NULL GENERATED ALWAYS AS (first_eight(subscriber_hash)) STORED,
    key_id            smallint NOT NULL REFERENCES registry_keys,
    subscriber_sealed bytea NOT NULL,
    institution_id    bigint REFERENCES institutions,
    number            text CHECK (is_number(number)),
    purposes          smallint NOT NULL CHECK (purposes BETWEEN 1 AND 7),
    channels          smallint NOT NULL CHECK (channels BETWEEN 1 AND 3),
    source            text NOT NULL CHECK (source <> ''),
    refused_at        timestamptz NOT NULL CHECK (isfinite(refused_at)),
    flags             text[] NOT NULL DEFAULT '{}',
    event             bytea NOT NULL UNIQUE DEFAULT uuid_send(gen_random_uuid()) CHECK (octet_length(event) = 16),
    node              text NOT NULL DEFAULT '',
    carrier           text NOT NULL DEFAULT '',
    protocol          text NOT NULL DEFAULT '',
    account           text NOT NULL DEFAULT '',
    message_id        bytea NOT NULL DEFAULT '',
    lifted_at         timestamptz CHECK (isfinite(lifted_at)),
    lifted_by         text,
    row_version       bigint NOT NULL DEFAULT 0,
    row_xid           xid8 NOT NULL DEFAULT '0',
    changed_at        timestamptz NOT NULL DEFAULT now(),
    CHECK (institution_id IS NULL OR number IS NULL),
    CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
);
CREATE INDEX refusals_subscriber ON refusals (subscriber_key);
CREATE INDEX ON refusals (institution_id) WHERE institution_id IS NOT NULL;

CREATE TABLE consents (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscriber_hash   bytea NOT NULL CHECK (octet_length(subscriber_hash) = 16),
    key_id            smallint NOT NULL REFERENCES registry_keys,
    subscriber_sealed bytea NOT NULL,
    institution_id    bigint NOT NULL REFERENCES institutions,
    source            text NOT NULL CHECK (source <> ''),
    given_at          timestamptz NOT NULL CHECK (isfinite(given_at)),
    valid_until       timestamptz CHECK (isfinite(valid_until)),
    document_sha256   bytea CHECK (octet_length(document_sha256) = 32),
    row_version       bigint NOT NULL DEFAULT 0,
    row_xid           xid8 NOT NULL DEFAULT '0',
    changed_at        timestamptz NOT NULL DEFAULT now(),
    CHECK (valid_until > given_at),
    UNIQUE (subscriber_hash, institution_id, source, given_at)
);
CREATE INDEX ON consents (institution_id);

-- A cause that suspends one number, institution (or agency) or account. Several may stand at once.
CREATE TABLE holds (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number_id      bigint REFERENCES numbers,
    institution_id bigint REFERENCES institutions,
    account_id     bigint REFERENCES accounts,
    cause          text NOT NULL CHECK (cause <> ''),
    held_by        text NOT NULL DEFAULT session_user,
    valid_from     timestamptz NOT NULL DEFAULT now(),
    valid_until    timestamptz,
    lifted_by      text,
    row_version    bigint NOT NULL DEFAULT 0,
    row_xid        xid8 NOT NULL DEFAULT '0',
    changed_at     timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(number_id, institution_id, account_id) = 1),
    CHECK (is_period(valid_from, valid_until)),
    CHECK (lifted_by IS NULL OR valid_until IS NOT NULL)
);
CREATE INDEX ON holds (number_id) WHERE number_id IS NOT NULL;
CREATE INDEX ON holds (institution_id) WHERE institution_id IS NOT NULL;
CREATE INDEX ON holds (account_id) WHERE account_id IS NOT NULL;

-- All numbers in force right now.
CREATE VIEW whitelist AS
SELECT n.*
  FROM numbers n
  JOIN institutions i ON i.id = n.institution_id
  LEFT JOIN institutions a ON a.id = n.agency_id
 WHERE n.status = 'approved'
   AND coalesce(n.effective_from <= now(), true) AND coalesce(now() < n.effective_until, true)
   AND i.status = 'active'
   AND coalesce(now() < i.licence_until, true) AND coalesce(now() < i.verified_until, true)
   AND (a.id IS NULL OR a.status = 'active')
   AND NOT EXISTS (
       SELECT FROM holds h
        WHERE (h.number_id = n.id OR h.institution_id IN (n.institution_id, n.agency_id))
          AND h.valid_from <= now() AND coalesce(now() < h.valid_until, true));

INSERT INTO carriers (code, name) VALUES
    ('mobile', '中国移动'), ('unicom', '中国联通'), ('telecom', '中国电信'), ('broadnet', '中国广电');
