# The clients that others wrote: where they are installed, and how. Sourced, with $root set.

here=$root/local-lakebase/tests/clients
target=${CARGO_TARGET_DIR:-$root/target}
tools=$target/clients
mkdir -p "$tools"

# Runs an installation unless the files it was made from are the same as last time.
install_once() {
  local stamp=$tools/$1.stamp sum
  sum=$(cat "${@:3}" | cksum)
  if [ "$(cat "$stamp" 2>/dev/null || true)" != "$sum" ]; then
    note "clients: installing those for $1"
    "$2"
    printf '%s' "$sum" >"$stamp"
  fi
}
install_python() {
  python3 -m venv --clear "$tools/venv"
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/python/requirements.txt"
}
install_node() {
  mkdir -p "$tools/node"
  cp "$here/node/package.json" "$here/node/package-lock.json" "$tools/node/"
  # The package's own dependency asks for a newer Node than it needs; npm would warn at each run.
  (cd "$tools/node" && npm ci --no-audit --no-fund --loglevel=error)
}
