-- What subscribers' replies do beyond a plain refusal, which stands in refusals alone (0001). A reply is added
-- once, whoever brings it (event), and takes effect as it comes in: what it says is in refusals, consents and
-- recipients in the same transaction. Of two words of a subscriber the newer one holds, in whatever order they
-- come in.

-- While it lies ahead, a person may still decide that it is none; empty: a plain refusal.
ALTER TABLE refusals ADD COLUMN undecided_until timestamptz CHECK (isfinite(undecided_until));
ALTER TABLE refusals_history ADD COLUMN undecided_until timestamptz;

CREATE TABLE replies (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event             bytea NOT NULL UNIQUE CHECK (octet_length(event) = 16),
    record            uuid NOT NULL, -- of the reply in the journal, which has its text
    kind              text NOT NULL CHECK (kind IN ('ambiguous', 'accept', 'wrong_person')),
    subscriber_hash   bytea NOT NULL CHECK (octet_length(subscriber_hash) = 16),
    subscriber_key    bigint NOT NULL GENERATED ALWAYS AS (first_eight(subscriber_hash)) STORED,
    key_id            smallint NOT NULL REFERENCES registry_keys,
    subscriber_sealed bytea NOT NULL,
    institution_id    bigint REFERENCES institutions, -- empty: nobody had filed the number
    number            text NOT NULL CHECK (is_number(number)), -- where it was sent to
    purposes          smallint NOT NULL CHECK (purposes BETWEEN 0 AND 7), -- what is held, as in refusals; 0: nothing
    channels          smallint NOT NULL CHECK (channels BETWEEN 0 AND 3),
    said_at           timestamptz NOT NULL CHECK (isfinite(said_at)),
    undecided_until   timestamptz CHECK (isfinite(undecided_until)),
    flags             text[] NOT NULL DEFAULT '{}',
    node              text NOT NULL DEFAULT '',
    carrier           text NOT NULL DEFAULT '',
    protocol          text NOT NULL DEFAULT '',
    account           text NOT NULL DEFAULT '',
    message_id        bytea NOT NULL DEFAULT '',
    decision          text CHECK (decision IN ('refusal', 'no_refusal')),
    decided_by        bigint REFERENCES users,
    decided_at        timestamptz,
    decided_reason    text NOT NULL DEFAULT '',
    row_version       bigint NOT NULL DEFAULT 0,
    row_xid           xid8 NOT NULL DEFAULT '0',
    changed_at        timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'ambiguous') = (undecided_until IS NOT NULL)),
    CHECK ((kind = 'ambiguous') = (purposes > 0 AND channels > 0)),
    CHECK (decision IS NULL OR kind = 'ambiguous'),
    CHECK ((decision IS NULL) = (decided_at IS NULL))
);
CREATE INDEX replies_subscriber ON replies (subscriber_key);
CREATE INDEX ON replies (institution_id);
CREATE INDEX replies_undecided ON replies (id) WHERE kind = 'ambiguous' AND decision IS NULL;

-- Ends what this acceptance ends: older refusals to its institution, and to its number or one that was that
-- institution's then; what was said to everybody stays. The consent that it is names the record as its proof.
ALTER TABLE consents ADD COLUMN record uuid;
ALTER TABLE consents_history ADD COLUMN record uuid;
CREATE FUNCTION accepted_again(a replies) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    UPDATE refusals r SET lifted_at = a.said_at, lifted_by = 'reply'
     WHERE r.subscriber_key = a.subscriber_key AND r.subscriber_hash = a.subscriber_hash
       AND r.lifted_at IS NULL AND r.refused_at < a.said_at
       AND (r.institution_id = a.institution_id OR r.number = a.number
            OR (holder_at(r.number, 1, a.said_at)).institution_id = a.institution_id);
    IF FOUND AND a.institution_id IS NOT NULL THEN
        INSERT INTO consents (subscriber_hash, key_id, subscriber_sealed, institution_id, source, given_at, record)
        VALUES (a.subscriber_hash, a.key_id, a.subscriber_sealed, a.institution_id, 'reply', a.said_at, a.record)
        ON CONFLICT DO NOTHING;
    END IF;
END $$;
REVOKE EXECUTE ON FUNCTION accepted_again FROM PUBLIC;

CREATE FUNCTION reply_takes_effect() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF NEW.kind = 'ambiguous' THEN
        INSERT INTO refusals (event, subscriber_hash, key_id, subscriber_sealed, institution_id, number, purposes,
                              channels, source, refused_at, undecided_until, flags, node, carrier, protocol,
                              account, message_id)
        VALUES (NEW.event, NEW.subscriber_hash, NEW.key_id, NEW.subscriber_sealed, NEW.institution_id,
                CASE WHEN NEW.institution_id IS NULL THEN NEW.number END, NEW.purposes, NEW.channels, 'reply',
                NEW.said_at, NEW.undecided_until, NEW.flags, NEW.node, NEW.carrier, NEW.protocol, NEW.account,
                NEW.message_id)
        ON CONFLICT (event) DO NOTHING;
    ELSIF NEW.kind = 'accept' THEN
        PERFORM accepted_again(NEW);
    ELSIF NEW.institution_id IS NOT NULL THEN
        INSERT INTO recipients (institution_id, subscriber_hash, key_id, subscriber_sealed, role, valid_from)
        VALUES (NEW.institution_id, NEW.subscriber_hash, NEW.key_id, NEW.subscriber_sealed, 'stranger', NEW.said_at)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER reply_takes_effect AFTER INSERT ON replies FOR EACH ROW EXECUTE FUNCTION reply_takes_effect();

-- A refusal that comes in after a newer acceptance is over as it comes.
CREATE FUNCTION refusals_accepted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM accepted_again(a) FROM replies a
     WHERE a.kind = 'accept' AND EXISTS (
           SELECT FROM new_rows n WHERE n.subscriber_key = a.subscriber_key AND n.refused_at < a.said_at);
    RETURN NULL;
END $$;
CREATE TRIGGER refusals_accepted AFTER INSERT ON refusals REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION refusals_accepted();

-- A decision ends the waiting, or the refusal; it is taken once.
CREATE FUNCTION reply_decided() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF OLD.decision IS NOT NULL THEN
        RAISE EXCEPTION 'this reply was decided before' USING ERRCODE = 'P0001', CONSTRAINT = 'replies_once';
    END IF;
    IF NEW.decision = 'no_refusal' AND NOT EXISTS (
           SELECT FROM users WHERE id = my_user() AND id = NEW.decided_by AND status = 'active'
              AND role IN ('carrier', 'regulator')) THEN
        RAISE EXCEPTION 'that a reply is no refusal is decided by a carrier or a regulator, by name'
              USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'replies_by_name', TABLE = 'replies';
    END IF;
    IF NEW.decision = 'refusal' THEN
        UPDATE refusals SET undecided_until = NULL WHERE event = NEW.event AND lifted_at IS NULL;
    ELSIF NEW.decision = 'no_refusal' THEN
        UPDATE refusals SET lifted_at = NEW.decided_at,
                            lifted_by = coalesce((SELECT login FROM users WHERE id = NEW.decided_by), session_user)
         WHERE event = NEW.event AND lifted_at IS NULL;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER reply_decided AFTER UPDATE OF decision ON replies FOR EACH ROW EXECUTE FUNCTION reply_decided();

-- When a number was given back and went to somebody else: what the one before agreed to, or owed, is over. What
-- comes in later and is older than the release is over as it comes.
CREATE TABLE released (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscriber_hash   bytea NOT NULL CHECK (octet_length(subscriber_hash) = 16),
    key_id            smallint NOT NULL REFERENCES registry_keys,
    subscriber_sealed bytea NOT NULL,
    released_at       timestamptz NOT NULL CHECK (isfinite(released_at)),
    row_version       bigint NOT NULL DEFAULT 0,
    row_xid           xid8 NOT NULL DEFAULT '0',
    changed_at        timestamptz NOT NULL DEFAULT now(),
    UNIQUE (subscriber_hash, released_at)
);

CREATE FUNCTION number_released() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    UPDATE consents t SET valid_until = over.at
      FROM (SELECT c.id, min(n.released_at) AS at FROM new_rows n JOIN consents c USING (subscriber_hash)
             WHERE c.given_at < n.released_at GROUP BY c.id) over
     WHERE t.id = over.id AND coalesce(t.valid_until > over.at, true);
    UPDATE recipients t SET valid_until = over.at
      FROM (SELECT c.id, min(n.released_at) AS at FROM new_rows n JOIN recipients c USING (subscriber_hash)
             WHERE c.valid_from < n.released_at GROUP BY c.id) over
     WHERE t.id = over.id AND coalesce(t.valid_until > over.at, true);
    RETURN NULL;
END $$;
CREATE TRIGGER number_released AFTER INSERT ON released REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION number_released();

-- Argument: the column at which a row of the table begins.
CREATE FUNCTION ends_with_release() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM new_rows) THEN -- nor has the update below changed anything
        RETURN NULL;
    END IF;
    EXECUTE format(
        'UPDATE %1$I t SET valid_until = over.at
           FROM (SELECT n.id, min(r.released_at) AS at FROM new_rows n JOIN released r USING (subscriber_hash)
                  WHERE r.released_at > n.%2$I GROUP BY n.id) over
          WHERE t.id = over.id AND coalesce(t.valid_until > over.at, true)',
        TG_TABLE_NAME, TG_ARGV[0]);
    RETURN NULL;
END $$;
CREATE TRIGGER release_ends_new AFTER INSERT ON consents REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION ends_with_release('given_at');
CREATE TRIGGER release_ends_changed AFTER UPDATE ON consents REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION ends_with_release('given_at');
CREATE TRIGGER release_ends_new AFTER INSERT ON recipients REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION ends_with_release('valid_from');
CREATE TRIGGER release_ends_changed AFTER UPDATE ON recipients REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION ends_with_release('valid_from');

CALL registry_follow('replies', 'subscriber_key');
CALL registry_follow('released', 'id');
CALL audit_follow('replies');
CALL audit_follow('released');

ALTER TABLE replies ENABLE ROW LEVEL SECURITY;
CREATE POLICY regulator_select ON replies FOR SELECT TO zhengming_regulator USING (true);
CREATE POLICY auditor_select ON replies FOR SELECT TO zhengming_auditor USING (true);
CREATE POLICY carrier_select ON replies FOR SELECT TO zhengming_carrier USING (carrier = my_carrier());
CREATE POLICY institution_select ON replies FOR SELECT TO zhengming_institution
    USING (institution_id = my_institution());
CREATE POLICY regulator_update ON replies FOR UPDATE TO zhengming_regulator USING (true) WITH CHECK (true);
CREATE POLICY carrier_update ON replies FOR UPDATE TO zhengming_carrier USING (carrier = my_carrier())
    WITH CHECK (carrier = my_carrier());
-- whom it is about never says that it was none
CREATE POLICY institution_update ON replies FOR UPDATE TO zhengming_institution
    USING (institution_id = my_institution())
    WITH CHECK (institution_id = my_institution() AND decision = 'refusal');
GRANT SELECT ON replies TO zhengming_regulator, zhengming_auditor, zhengming_carrier, zhengming_institution;
GRANT UPDATE (decision, decided_by, decided_at, decided_reason) ON replies
    TO zhengming_regulator, zhengming_carrier, zhengming_institution;

ALTER TABLE released ENABLE ROW LEVEL SECURITY;
CREATE POLICY regulator_select ON released FOR SELECT TO zhengming_regulator USING (true);
CREATE POLICY auditor_select ON released FOR SELECT TO zhengming_auditor USING (true);
GRANT SELECT ON released TO zhengming_regulator, zhengming_auditor;
