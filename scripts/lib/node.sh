# A Node.js that the front end's tools run on: the machine's own if it is new enough, else one from npm's registry. Sourced.

oldest_ui_node=20.19
own_node=22.23.3
own_npm=10.9.9

# Is the first version at least the second?
version_is_at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Puts such a Node.js first into PATH. The machine's npm, however old, installs it below the directory of the argument.
use_node() {
  local found place platform
  found=$(node --version 2>/dev/null | sed 's/^v//') || true
  if [ -n "$found" ] && [ -z "${LAKEBASE_OWN_NODE:-}" ] && version_is_at_least "$found" "$oldest_ui_node"; then return 0; fi
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) platform=linux-x64 ;;
    Linux-aarch64) platform=linux-arm64 ;;
    *) die "Node.js ${found:-(none)} is too old for the front end: install $oldest_ui_node or newer" ;;
  esac
  place=$1/node-$own_node
  if [ "$("$place/node_modules/node-$platform/bin/node" --version 2>/dev/null)" != "v$own_node" ]; then
    note "front end: Node.js ${found:-(none)} is too old; installing $own_node below $place"
    mkdir -p "$place"
    npm install --prefix "$place" --no-save --no-audit --no-fund --loglevel=error \
      "node-$platform@$own_node" "npm@$own_npm" >/dev/null
  fi
  export PATH="$place/node_modules/node-$platform/bin:$place/node_modules/.bin:$PATH"
}

# Installs what the front end is made of, unless it is there. Called at the repository's root.
use_node_modules() {
  # npm writes the first of these last.
  [ ! store-app/ui/node_modules/.package-lock.json -nt store-app/ui/package-lock.json ] || return 0
  note "front end: npm ci"
  (cd store-app/ui && npm ci --no-audit --no-fund --loglevel=error)
}
