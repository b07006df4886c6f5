"""Copies of a database with proof: `neoforge db copy`. docs/how-to/copy-a-database.md says how it is used.

A row is one line of PostgreSQL's COPY text on its whole way: the source makes it, the target takes it, and what the
target has is asked for as the same line. So both sides are compared as they are, and between most values of SQLite and
PostgreSQL stands no Python.
"""
