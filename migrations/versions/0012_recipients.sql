-- Whom an institution may ask for its money: debtors and guarantors, and strangers, who said that they are
-- neither. Subscribers are looked up by a keyed hash and shown from what is sealed, as in refusals (0001).
CREATE TABLE recipients (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    institution_id    bigint NOT NULL REFERENCES institutions,
    subscriber_hash   bytea NOT NULL CHECK (octet_length(subscriber_hash) = 16),
    key_id            smallint NOT NULL REFERENCES registry_keys,
    subscriber_sealed bytea NOT NULL,
    role              text NOT NULL CHECK (role IN ('debtor', 'guarantor', 'stranger')),
    valid_from        timestamptz NOT NULL CHECK (isfinite(valid_from)),
    valid_until       timestamptz CHECK (isfinite(valid_until)),
    row_version       bigint NOT NULL DEFAULT 0,
    row_xid           xid8 NOT NULL DEFAULT '0',
    changed_at        timestamptz NOT NULL DEFAULT now(),
    CHECK (valid_until > valid_from),
    UNIQUE (subscriber_hash, institution_id, role, valid_from)
);
CREATE INDEX ON recipients (institution_id);

CALL registry_follow('recipients', 'id');
CALL audit_follow('recipients');

ALTER TABLE recipients ENABLE ROW LEVEL SECURITY;
CREATE POLICY regulator_select ON recipients FOR SELECT TO zhengming_regulator USING (true);
CREATE POLICY auditor_select ON recipients FOR SELECT TO zhengming_auditor USING (true);
CREATE POLICY institution_select ON recipients FOR SELECT TO zhengming_institution
    USING (institution_id = my_institution());
GRANT SELECT ON recipients TO zhengming_regulator, zhengming_auditor, zhengming_institution;
