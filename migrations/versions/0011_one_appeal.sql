-- A holder has one open appeal against one thing. Those that were filed before stand, however many they are.
DO $$ BEGIN
    EXECUTE format(
        'CREATE UNIQUE INDEX appeals_once ON appeals (institution_id, against_kind, against)
          WHERE status = ''open'' AND id > %s', (SELECT coalesce(max(id), 0) FROM appeals));
END $$;
