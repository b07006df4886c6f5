"""A database as one file, and back: PostgreSQL's by pg_dump, SQLite's by its online backup."""
