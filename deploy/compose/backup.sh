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

ask() { psql --no-psqlrc --tuples-only --no-align --set ON_ERROR_STOP=1 --dbname "$1" --command "$2"; }

pg_dump --format=custom --file="$part"
createdb "$trial"
pg_restore --exit-on-error --no-owner --dbname "$trial" "$part"

# What happened since the dump isn't in it: uploads are compared up to its last one.
last=$(ask "$trial" "SELECT coalesce(max(ordinal), 0) FROM uploads")
restored=$(ask "$trial" "SELECT version_num || ' ' || (SELECT count(*) FROM uploads) FROM alembic_version")
recorded=$(ask "$PGDATABASE" "SELECT version_num || ' ' || (SELECT count(*) FROM uploads WHERE ordinal <= $last) FROM alembic_version")
if [ "$restored" != "$recorded" ]; then
    echo "The restored dump has schema and uploads '$restored', the database '$recorded'. The dump was not kept." >&2
    exit 1
fi
members=$(ask "$trial" "SELECT count(*) FROM members")
mv "$part" "$BACKUP_FOLDER/$name.dump"
echo "$name.dump was restored to try it: schema and uploads $restored, $members members."

# By name, which is by time.
ls -1 "$BACKUP_FOLDER" | grep '\.dump$' | sort -r | tail -n "+$((BACKUP_KEEP + 1))" | while read -r old; do
    rm -f "$BACKUP_FOLDER/$old"
    echo "$old was removed: the newest $BACKUP_KEEP are kept."
done
