-- Pages of one holder's rows, or of those that came in through one carrier, by id (as numbers have them since 0006).
-- An index of the holder alone had to be read whole and sorted, or all rows of others were passed over.
DROP INDEX refusals_institution_id_idx, consents_institution_id_idx, replies_institution_id_idx;
CREATE INDEX refusals_of_institution ON refusals (institution_id, id);
CREATE INDEX refusals_of_carrier ON refusals (carrier, id) WHERE carrier <> '';
CREATE INDEX consents_of_institution ON consents (institution_id, id);
CREATE INDEX replies_of_institution ON replies (institution_id, id);
CREATE INDEX replies_of_carrier ON replies (carrier, id) WHERE carrier <> '';
