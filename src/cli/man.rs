//! `warmd man`: the manual pages, made of the same texts as `--help`. For those who make packages.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::CommandFactory;

use super::{Abort, Cli};

#[derive(clap::Args)]
pub(super) struct Options {
    /// Folder for the pages; made when it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn man(options: &Options) -> Result<ExitCode, Abort> {
    let folder = &options.folder;
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("{}: the pages cannot be written", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
