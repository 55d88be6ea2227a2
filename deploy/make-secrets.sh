#!/bin/sh
# Makes what docker-compose.yml and deploy/kubernetes need and nobody else may know, in deploy/secrets: what is there
# already is left as it is. The certificate signs itself: replace tls.crt and tls.key with your own.
#
#   deploy/make-secrets.sh [folder] [name of the host]
set -eu
folder=${1:-$(dirname "$0")/secrets}
host=${2:-localhost}

# Containers of several users read the files; the folder is this user's alone.
mkdir -p "$folder"
chmod 0700 "$folder"
umask 022

random() { openssl rand -hex 24; }
keep() { # name: writes the standard input, unless the file is there
    [ -s "$folder/$1" ] || { cat > "$folder/$1.new" && mv "$folder/$1.new" "$folder/$1"; }
}

random | keep token
random | keep postgres_password
random | keep objects_password
random | keep grafana_password
echo farfunc | keep objects_user
printf 'postgresql://farfunc:%s@postgres/farfunc\n' "$(cat "$folder/postgres_password")" | keep database
# The operator's, which may read the figures of all; better: farfunc tokens create with the role metrics.
cat "$folder/token" | tr -d '\n' | keep metrics_token
if [ ! -s "$folder/tls.key" ] || [ ! -s "$folder/tls.crt" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=$host" \
        -addext "subjectAltName=DNS:$host,DNS:localhost,IP:127.0.0.1" \
        -keyout "$folder/tls.key" -out "$folder/tls.crt" 2>/dev/null
    chmod 0644 "$folder/tls.key"
fi
echo "The secrets are in $folder; the operator's token is in $folder/token."
