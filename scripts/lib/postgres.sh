# PostgreSQL's server programs, and a cluster of them for a while. Sourced.

oldest_postgres=15

# Prints the directory of such programs that are new enough: the places where Local Lakebase looks.
postgres_bindir() {
  local dir major
  for dir in ${LAKEBASE_PG_BINDIR:+"$LAKEBASE_PG_BINDIR"} "$(pg_config --bindir 2>/dev/null || true)" \
    /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
    "$(dirname "$(command -v postgres 2>/dev/null || echo /none/none)")"; do
    [ -x "$dir/initdb" ] || continue
    major=$("$dir/postgres" --version 2>/dev/null | sed -nE 's/^postgres \(PostgreSQL\) ([0-9]+).*/\1/p')
    [ "${major:-0}" -ge "$oldest_postgres" ] && echo "$dir" && return 0
  done
  return 1
}

# Runs a server program: as root as the user that Debian made for it, for PostgreSQL refuses to run as root.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- env LC_ALL=C "$@"); else LC_ALL=C "$@"; fi
}

# Makes and starts a cluster below a directory that exists; its only way in is a socket there, and its only user `postgres`.
cluster_start() { # directory
  local bin
  bin=$(postgres_bindir) || die "no PostgreSQL $oldest_postgres or newer: run scripts/bootstrap"
  mkdir -m 700 "$1/data"
  [ "$(id -u)" != 0 ] || chown postgres "$1" "$1/data"
  as_postgres "$bin/initdb" -U postgres -A trust --no-sync -E UTF8 --locale=C -D "$1/data" >/dev/null
  as_postgres "$bin/pg_ctl" start -w -s -D "$1/data" -l "$1/data/log" \
    -o "-c listen_addresses= -c fsync=off -c unix_socket_directories='$1'" >/dev/null
}

cluster_stop() { # directory
  [ ! -e "$1/data/postmaster.pid" ] || as_postgres "$(postgres_bindir)/pg_ctl" stop -w -s -m immediate -D "$1/data" || true
}
