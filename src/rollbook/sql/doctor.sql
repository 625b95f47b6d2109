-- name: server
-- What the server is and which settings it has for us.
SELECT current_setting('server_version_num')::integer AS version,
       current_setting('server_version') AS version_text,
       current_setting('server_encoding') AS encoding,
       (SELECT datctype FROM pg_database WHERE datname = current_database()) AS locale,
       lower('É') = 'é' AS knows_letters,
       LEAST(current_setting('max_connections')::integer
                 - current_setting('superuser_reserved_connections')::integer,
             (SELECT NULLIF(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),
             (SELECT NULLIF(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)
       ) AS max_connections,
       current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('statement_timeout') AS statement_timeout,
       pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS is_read_only,
       current_schema() IS NOT NULL
           AND has_schema_privilege(current_schema(), 'CREATE') AS may_create,
       has_database_privilege(current_database(), 'TEMPORARY') AS may_stage,
       to_regclass('alembic_version') IS NOT NULL AS is_migrated,
       clock_timestamp() AS now;

-- name: revision
SELECT version_num FROM alembic_version;

-- name: foreign_tables
-- The tables of ours that another role owns: a migration couldn't change them.
SELECT count(*) AS tables FROM pg_class
WHERE relnamespace = to_regnamespace(current_schema()) AND relkind IN ('r', 'p')
      AND NOT pg_has_role(relowner, 'USAGE');

-- name: note
-- Leave a mark on this session, and say which session of the server it is, and the port from which
-- the server thinks that it is asked; null by a Unix socket.
SELECT set_config('rollbook.probe', %(mark)s, false) AS mark, pg_backend_pid() AS pid,
       inet_client_port() AS port;

-- name: noted
-- The mark of the session that this statement came to.
SELECT current_setting('rollbook.probe', true) AS mark, pg_backend_pid() AS pid;
