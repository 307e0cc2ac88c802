//! What `lakebase dev` becomes. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    lakebase_dev::cli::run(std::env::args_os().collect())
}
