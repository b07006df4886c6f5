-- Runs once, on an empty data directory, as the superuser: two roles and the database.
-- `neoforge` owns the schema and migrates; `neoforge_app` is what the processes are: it reads and writes rows, and has no DDL.
\set ON_ERROR_STOP on
\set owner `cat "${SECRETS_DIR:-/run/secrets}/owner_password"`
\set app `cat "${SECRETS_DIR:-/run/secrets}/app_password"`

CREATE ROLE neoforge LOGIN PASSWORD :'owner';
CREATE ROLE neoforge_app LOGIN PASSWORD :'app';
CREATE DATABASE neoforge OWNER neoforge TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE neoforge FROM PUBLIC;
GRANT CONNECT ON DATABASE neoforge TO neoforge_app;

\connect neoforge
ALTER SCHEMA public OWNER TO neoforge;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO neoforge_app;
ALTER DEFAULT PRIVILEGES FOR ROLE neoforge IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO neoforge_app;
ALTER DEFAULT PRIVILEGES FOR ROLE neoforge IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO neoforge_app;
