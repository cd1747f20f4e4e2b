//! `warmd schema`: what editors need to know to complete and check files while they are written.

use std::process::ExitCode;

use super::Abort;
use crate::{job, schema, settings::Settings};

#[derive(clap::Args)]
pub(super) struct Options {
    /// The kind of file
    #[arg(value_enum, default_value = "job")]
    of: Of,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Of {
    /// A job file
    Job,
    /// The settings
    Settings,
}

pub(super) fn schema(options: &Options) -> Result<ExitCode, Abort> {
    let schema = match options.of {
        Of::Job => job::schema(),
        Of::Settings => schema::of::<Settings>("Settings of warmd"),
    };
    out!("{}", serde_json::to_string_pretty(&schema).unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}
