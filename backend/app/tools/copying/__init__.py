"""From SQLite to PostgreSQL with proof: `neoforge db copy`. docs/how-to/sqlite-to-postgresql.md says how it is used.

A row is one line of PostgreSQL's COPY text on its whole way: SQLite makes it, PostgreSQL reads it, and what PostgreSQL
has is asked for as the same line. So both sides are compared as they are, and no Python touches most values.
"""
