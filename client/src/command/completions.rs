//! `lakebase completions`: a script that teaches a shell the commands.

use clap_complete::Shell;
use std::io::{self, Write};

/// How to load them: bash: `source <(lakebase completions bash)` in ~/.bashrc; zsh: the same in ~/.zshrc; fish:
/// `lakebase completions fish > ~/.config/fish/completions/lakebase.fish`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args, command: &mut clap::Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "lakebase", &mut script);
    io::stdout().write_all(&script)?;
    Ok(())
}
