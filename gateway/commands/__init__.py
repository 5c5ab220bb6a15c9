"""What the commands of `zhengming` do, one module a subject, imported only when it is called.

Each function takes its parsed arguments and returns the exit code. Reading commands look at the node's own
files (replica, journal) and work with the database stopped; writing ones talk to the database. They print
for a person, or one JSON value with `--json`.
"""
