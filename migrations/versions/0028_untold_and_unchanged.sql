-- An institution is not told who complained of it: the refusal that a complaint brought (0016) names its subscriber
-- and the time, so it is none of the institution's rows. That he refuses is told by the verdicts.
ALTER POLICY institution_select ON refusals USING (institution_id = my_institution() AND complaint_id IS NULL);
