//! The command line. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    lakebase::cli::run(std::env::args_os().collect())
}
