# A scratch world: its own daemon, Local Lakebase and repositories, in a directory that is removed at the end. Sourced.
# Nothing of the user's own configuration is read or changed.

# Sets up $scratch, with the programs of $bin first in PATH, and the environment that leads every program into it.
scratch_open() {
  # PostgreSQL runs as another user when we are root, so the directory must be open to pass through.
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/lakebase-$1.XXXXXX")
  scratch=$(cd "$scratch" && pwd -P)
  chmod 755 "$scratch"
  local name
  for name in $(compgen -e | grep -E '^(DATABRICKS|PG|LAKEBASE|GIT_|XDG_|STORE_)' | grep -v '^LAKEBASE_PG_BINDIR$' || true) DATABASE_URL; do
    unset "$name"
  done
  export LAKEBASE_SOCKET="$scratch/run/l.sock" LAKEBASE_STATE_DIR="$scratch/state" LAKEBASE_LOCAL_DIR="$scratch/local"
  export LAKEBASE_LOCAL_USER="jane.doe@example.com" DATABRICKS_CONFIG_FILE="$scratch/no-databricks-config"
  export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
  export GIT_AUTHOR_NAME=Jane GIT_AUTHOR_EMAIL=jane@example.com GIT_COMMITTER_NAME=Jane GIT_COMMITTER_EMAIL=jane@example.com
  export PATH="$bin:$PATH"
}

# Ends what runs in it and removes it. Fails when something goes on all the same.
scratch_close() {
  [ -n "${scratch:-}" ] && [ -d "$scratch" ] || return 0
  lakebase down >/dev/null 2>&1 || true
  # Whatever still runs out of the scratch directory is ours.
  pkill -9 -f "$scratch/" 2>/dev/null || true
  cd /
  rm -rf "$scratch"
  wait_for 5 "the end of all that ran in $scratch: see \`ps\`" scratch_is_quiet
}

# Does nothing run that was started in the scratch world? Where the system tells.
scratch_is_quiet() {
  [ -d /proc/self ] || return 0
  # Itself without the variable.
  ! LAKEBASE_STATE_DIR='' grep -qz "^LAKEBASE_STATE_DIR=$scratch/" /proc/[0-9]*/environ 2>/dev/null
}

# Prints the value of a key in Local Lakebase's Databricks configuration file.
scratch_databricks() { sed -nE "s/^$1 *= *//p" "$scratch/local/databrickscfg" | head -n 1; }

# Waits until a command succeeds; dies after so many seconds, saying what was waited for.
wait_for() {
  local seconds=$1 what=$2 deadline
  shift 2
  deadline=$(($(now_ms) + seconds * 1000))
  until "$@" >/dev/null 2>&1; do
    [ "$(now_ms)" -lt "$deadline" ] || die "waited $seconds s in vain for: $what"
    sleep 0.02
  done
}

# Starts the store of a worktree and waits until it has its database.
start_store() { # worktree
  local log="$scratch/store-$1.log"
  # Under a name by which scratch_close finds it.
  (cd "$scratch/$1" && exec -a "$scratch/store-$1" store-app serve --addr 127.0.0.1:0 >"$log" 2>&1) &
  # Nobody needs to hear of its end.
  disown
  wait_for 30 "the store in $1" grep -q '^listening on ' "$log"
  wait_for 30 "the store's database in $1" curl -sf "$(store_url "$1")/api/health/ready"
}
store_url() { sed -nE 's/^listening on //p' "$scratch/store-$1.log"; }
