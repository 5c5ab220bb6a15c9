-- One row of everything that belongs to others: a bank, its agency and a carrier that no user of tests/office.py is of.
INSERT INTO carriers (code, name) VALUES ('elsewhere', 'elsewhere');
INSERT INTO institutions (code, name, kind, licence_scope)
VALUES ('OTHER', '他行', 'bank', 7), ('THEIRS', '他司', 'agency', 7);
INSERT INTO persons (name) VALUES ('stranger');
INSERT INTO users (login, person_id, role, institution_id)
SELECT 'stranger', p.id, 'institution', i.id FROM persons p, institutions i WHERE p.name = 'stranger' AND i.code = 'OTHER';
INSERT INTO tokens (hash, user_id, scopes, expires_at)
SELECT sha256('x'), id, '{read}', now() + interval '1 day' FROM users WHERE login = 'stranger';
INSERT INTO mandates (institution_id, agency_id, channels, purposes)
SELECT b.id, a.id, 3, 7 FROM institutions b, institutions a WHERE b.code = 'OTHER' AND a.code = 'THEIRS';
INSERT INTO accounts (carrier, protocol, account, holder_id, scope)
SELECT 'elsewhere', 'cmpp', '999999', id, 'financial' FROM institutions WHERE code = 'OTHER';
INSERT INTO numbers (number, channels, purposes, institution_id, carrier)
SELECT '10699901', 1, 4, id, 'elsewhere' FROM institutions WHERE code = 'OTHER';
INSERT INTO refusals (subscriber_hash, key_id, subscriber_sealed, institution_id, purposes, channels, source, refused_at)
SELECT decode(repeat('01', 16), 'hex'), 1, '\x01', id, 7, 3, 'import', now() FROM institutions WHERE code = 'OTHER';
INSERT INTO consents (subscriber_hash, key_id, subscriber_sealed, institution_id, source, given_at)
SELECT decode(repeat('01', 16), 'hex'), 1, '\x01', id, 'import', now() FROM institutions WHERE code = 'OTHER';
INSERT INTO replies (event, record, kind, subscriber_hash, key_id, subscriber_sealed, institution_id, number, purposes,
                     channels, said_at, undecided_until, carrier)
SELECT decode(repeat('01', 16), 'hex'), gen_random_uuid(), 'ambiguous', decode(repeat('01', 16), 'hex'), 1, '\x01', id,
       '10698888', 1, 3, now(), now() + interval '3 days', 'telecom' FROM institutions WHERE code = 'OTHER';
INSERT INTO blacklist (number, is_prefix, reason, case_reference, added_by)
VALUES ('10698888', false, 'test', 'C-1', 'sql');
INSERT INTO penalties (institution_id, kind, amount, cause, imposed_by)
SELECT i.id, 'fine', 1, 'test', u.id FROM institutions i, users u WHERE i.code = 'OTHER' AND u.login = 'regulator';
INSERT INTO cases (title, due) VALUES ('test', '2099-01-01');
INSERT INTO complaints (source, subscriber_hash, key_id, subscriber_sealed, number, channel, happened_at, institution_id,
                        case_id, forward_due, due)
SELECT 'own', decode(repeat('01', 16), 'hex'), 1, '\x01', '10699901', 1, now(), i.id, c.id, '2099-01-01', '2099-01-01'
  FROM institutions i, cases c WHERE i.code = 'OTHER';
INSERT INTO appeals (against_kind, against, institution_id, grounds, filed_by, due)
SELECT 'penalty', p.id::text, i.id, 'test', u.id, '2099-01-01' FROM penalties p, institutions i, users u
 WHERE i.code = 'OTHER' AND u.login = 'stranger';
INSERT INTO allocations (carrier, number, provider_id)
SELECT 'elsewhere', '10699', id FROM institutions WHERE code = 'OTHER';
INSERT INTO disputes (number, institution_id, grounds, filed_by, due)
SELECT '10699902', i.id, 'test', u.id, '2099-01-01' FROM institutions i, users u
 WHERE i.code = 'OTHER' AND u.login = 'stranger';
INSERT INTO import_runs (kind, case_reference) VALUES ('numbers', 'C-1');
INSERT INTO alarms (kind) VALUES ('quota');
INSERT INTO documents (sha256, media_type, size) VALUES (decode(repeat('ab', 32), 'hex'), 'image/png', 1);
