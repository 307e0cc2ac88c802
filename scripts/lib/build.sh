# Builds the programs, as it is quickest. Sourced.

# What the tests add to the features of dependencies makes cargo compile most of them a second time: where the tests were built
# before, as by scripts/test, the programs are built with what they need, too.
build_programs() {
  if [ -n "${LAKEBASE_BUILD_AS_TESTS:-}" ]; then
    cargo test --quiet --workspace --locked --no-run
  else
    cargo build --quiet --workspace --locked
  fi
}
