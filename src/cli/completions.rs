//! `warmd completions`: what a shell has to know to complete the command line.

use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::{Abort, Cli, Global, print};

#[derive(Args)]
pub(super) struct Options {
    /// The shell
    shell: Shell,
}

pub(super) fn completions(options: &Options) -> Result<ExitCode, Abort> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut visible(&Cli::command()), "warmd", &mut script);
    print::text(String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}

/// The command line without its hidden commands, which the generators would offer like the others.
fn visible(whole: &Command) -> Command {
    let commands = whole.get_subcommands().filter(|command| !command.is_hide_set());
    let command = Command::new("warmd").version(env!("CARGO_PKG_VERSION")).propagate_version(true);
    Global::augment_args(command).subcommands(commands.cloned())
}
