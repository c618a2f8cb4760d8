#!/bin/sh
# Makes the cluster that the variables ask for, then becomes the command it was given.
set -eu
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chown -R postgres "$PGDATA"
    # setpriv and not su: the server must become process 1 to get its signals.
    exec setpriv --reuid=postgres --regid=postgres --clear-groups sh "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?must be set}"
    user=${POSTGRES_USER:-postgres}
    name=${POSTGRES_DB:-$user}
    umask 077
    printf '%s' "$POSTGRES_PASSWORD" > /tmp/password
    initdb --username="$user" --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 --locale=C
    rm /tmp/password
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    # The packages' LLVM is left out of the image.
    printf "listen_addresses = '*'\njit = off\nunix_socket_directories = '/tmp'\n" \
        >> "$PGDATA/postgresql.conf"
    if [ "$name" != postgres ]; then
        echo "CREATE DATABASE \"$name\"" | postgres --single -j postgres
    fi
fi
exec "$@"
