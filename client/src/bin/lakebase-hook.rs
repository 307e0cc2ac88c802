//! Git's post-checkout hook, to be linked to from a hooks directory. Everything is in the library.

fn main() {
    lakebase::hook::run(&std::env::args_os().skip(1).collect::<Vec<_>>())
}
