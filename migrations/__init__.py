"""The schema of the database, as a chain of revisions; each is a `.sql` file that a DBA can read."""
