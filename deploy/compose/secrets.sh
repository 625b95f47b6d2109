#!/bin/sh
# Makes up the secrets of compose.yaml, in deploy/compose/secrets. What is there already stays.
set -eu
folder=${1:-$(dirname "$0")/secrets}
if [ -e "$folder/rollbook.env" ]; then
    echo "$folder holds secrets already; they are left as they are." >&2
    exit 0
fi
umask 077
mkdir -p "$folder"

secret() { od -An -N 24 -tx1 /dev/urandom | tr -d ' \n'; }
postgres=$(secret) valkey=$(secret) access=$(secret) store=$(secret)

cat > "$folder/postgres.env" <<EOF
POSTGRES_USER=rollbook
POSTGRES_DB=rollbook
POSTGRES_PASSWORD=$postgres
EOF
cat > "$folder/valkey.env" <<EOF
VALKEY_PASSWORD=$valkey
REDISCLI_AUTH=$valkey
EOF
cat > "$folder/grafana.env" <<EOF
GF_SECURITY_ADMIN_PASSWORD=$(secret)
EOF
cat > "$folder/store.json" <<EOF
{"identities": [{"name": "rollbook",
  "credentials": [{"accessKey": "$access", "secretKey": "$store"}],
  "actions": ["Read", "Write", "List"]}]}
EOF
cat > "$folder/alertmanager.yml" <<EOF
# Alerts are collected and go nowhere until a receiver has an address:
# https://prometheus.io/docs/alerting/latest/configuration/#receiver
route:
  receiver: operators
  group_by: [alertname]
receivers:
  - name: operators
#   email_configs:
#     - to: operators@example.org
#       from: rollbook@example.org
#       smarthost: mail.example.org:587
#       auth_username: rollbook@example.org
#       auth_password: ...
EOF
# Their services' own users have to read them; the folder is closed to everybody else.
chmod 644 "$folder/store.json" "$folder/alertmanager.yml"
cat > "$folder/rollbook.env" <<EOF
DATABASE_URL=postgresql://rollbook:$postgres@postgres:5432/rollbook
REDIS_URL=redis://:$valkey@valkey:6379/0
AWS_ACCESS_KEY_ID=$access
AWS_SECRET_ACCESS_KEY=$store
ROLLBOOK_SECRET_KEY=$(secret)
EOF
echo "Secrets are in $folder. Keep a copy of it where your backups are."
