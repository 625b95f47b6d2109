#!/bin/sh
# Dumps the database, tries the dump by restoring it into a database of its own, and removes the oldest dumps.
# The dump gets its name only when the restore was right. PG* name the server; BACKUP_FOLDER and BACKUP_KEEP are required.
set -eu
umask 077
export PGUSER="${PGUSER:-${POSTGRES_USER:-rollbook}}" PGDATABASE="${PGDATABASE:-${POSTGRES_DB:-rollbook}}"
[ -z "${POSTGRES_PASSWORD:-}" ] || export PGPASSWORD="$POSTGRES_PASSWORD"
mkdir -p "$BACKUP_FOLDER"
name=$(date -u +%Y%m%dT%H%M%SZ)
part="$BACKUP_FOLDER/.$name.part"
trial="rollbook_restore_$(date -u +%s)"
trap 'rm -f "$part"; dropdb --if-exists "$trial"' EXIT
trap 'exit 1' INT TERM

ask() { psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }

# The dump and what it is compared with are of one moment: uploads come and go meanwhile.
what="SELECT version_num || ' ' || (SELECT count(*) FROM uploads) || ' ' || (SELECT count(*) FROM members) FROM alembic_version"
recorded=$(ask --set part="$part" <<END
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT pg_export_snapshot() AS snapshot \gset
\setenv SNAPSHOT :snapshot
\setenv PART :part
\! pg_dump --format=custom --snapshot="\$SNAPSHOT" --file="\$PART" >&2
$what;
END
)
createdb "$trial"
pg_restore --exit-on-error --no-owner --dbname "$trial" "$part"
restored=$(ask --dbname "$trial" --command "$what")
if [ "$restored" != "$recorded" ]; then
    echo "The restored dump has schema, uploads and members '$restored', the database '$recorded'. The dump was not kept." >&2
    exit 1
fi
mv "$part" "$BACKUP_FOLDER/$name.dump"
echo "$name.dump was restored to try it: schema, uploads and members $restored."

# By name, which is by time.
ls -1 "$BACKUP_FOLDER" | grep '\.dump$' | sort -r | tail -n "+$((BACKUP_KEEP + 1))" | while read -r old; do
    rm -f "$BACKUP_FOLDER/$old"
    echo "$old was removed: the newest $BACKUP_KEEP are kept."
done
