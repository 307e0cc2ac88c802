//! `lakebase completions`: a script that teaches a shell the commands.

use crate::terminal;
use clap_complete::Shell;

/// Print completions for a shell
///
/// For bash, put `source <(lakebase completions bash)` into ~/.bashrc; for zsh the same with `zsh` into ~/.zshrc; for fish,
/// write the output to ~/.config/fish/completions/lakebase.fish.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args, command: &mut clap::Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "lakebase", &mut script);
    Ok(terminal::print_raw(&script)?)
}
