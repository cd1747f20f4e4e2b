//! The command line: one file per command.

use std::{error::Error as _, fmt, path::PathBuf, process::ExitCode};

use clap::{
    Args, ColorChoice, Parser, Subcommand,
    error::{ContextKind, ContextValue},
};

use crate::{
    problems::{Problems, without_url},
    record::{Cause, Failure},
    telemetry, traces,
};

#[macro_use]
mod print;

mod advise;
mod check;
mod completions;
mod demo;
mod history;
mod init;
mod jobs;
mod man;
mod plan;
mod plot;
mod progress;
mod run;
mod schema;
mod setup;
mod status;
mod style;
mod table;
mod wait;
mod warm;

/// Keeps a Redis cache warm from a SQL database.
#[derive(Parser)]
#[command(name = "warmd", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Args)]
struct Global {
    /// Settings file [default: /etc/warmd/warmd.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of job files
    #[arg(long, global = true, value_name = "DIR")]
    jobs_dir: Option<PathBuf>,
    /// URL of the database: postgres://, mysql://, mariadb:// or sqlite:
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
    /// URL of Redis: redis://, rediss://, redis+unix:// or memory:
    #[arg(long, global = true, value_name = "URL")]
    redis: Option<String>,
    /// What to log: error, warn, info, debug, trace or a filter
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<String>,
    /// Colours: on a terminal, always or never
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
}

#[derive(Subcommand)]
enum Command {
    /// Run all jobs on schedule: the daemon
    Run(run::Options),
    /// Run jobs now, once
    Warm(warm::Options),
    /// Show what a run would do, and write nothing
    Plan(plan::Options),
    /// Validate settings, jobs and SQL parameters without a network
    Check(check::Options),
    /// List jobs with their next ticks and last outcomes
    Jobs(jobs::Options),
    /// List past runs
    History(history::Options),
    /// Show how a daemon is, as it tells over HTTP
    Status(status::Options),
    /// Wait until the keys are there
    Wait(wait::Options),
    /// Say whether the keys of jobs are read, and what to change
    Advise(advise::Options),
    /// Look at a database and write a first set of jobs for it
    Init(init::Options),
    /// Make a shop on embedded parts and warm it, to see how it works
    Demo(demo::Options),
    /// Print the JSON Schema of job files or of settings, for editors
    Schema(schema::Options),
    /// Print the script with which a shell completes commands and options
    Completions(completions::Options),
    /// Write the manual pages
    #[command(hide = true)]
    Man(man::Options),
}

/// Why a command ended without doing its work: a text for stderr and an exit code.
#[derive(Debug)]
pub struct Abort {
    code: u8,
    message: String,
}

/// Something was not warmed.
const NOT_WARMED: u8 = 1;
/// EX_USAGE
const USAGE: u8 = 64;
/// EX_UNAVAILABLE
const UNAVAILABLE: u8 = 69;
/// EX_IOERR: what a command prints cannot be written.
const OUTPUT: u8 = 74;
/// EX_TEMPFAIL
const HELD: u8 = 75;
/// EX_CONFIG
const CONFIGURATION: u8 = 78;

impl Abort {
    fn usage(message: impl fmt::Display) -> Self {
        Self { code: USAGE, message: message.to_string() }
    }

    fn configuration(message: impl fmt::Display) -> Self {
        Self { code: CONFIGURATION, message: message.to_string() }
    }

    fn unavailable(message: impl fmt::Display) -> Self {
        Self { code: UNAVAILABLE, message: message.to_string() }
    }
}

impl From<Problems> for Abort {
    fn from(problems: Problems) -> Self {
        Self::configuration(problems)
    }
}

impl From<anyhow::Error> for Abort {
    fn from(error: anyhow::Error) -> Self {
        Self { code: NOT_WARMED, message: format!("{error:#}") }
    }
}

impl From<Failure> for Abort {
    fn from(failure: Failure) -> Self {
        match failure.cause {
            Cause::DatabaseUnreachable | Cause::RedisUnreachable => Self::unavailable(failure),
            _ => Self { code: NOT_WARMED, message: failure.message },
        }
    }
}

/// What is wrong with a command line, without the passwords of URLs that stand in a wrong place of it.
fn without_urls(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(word)) = error.get(kind) {
            let word = without_url(word);
            error.insert(kind, ContextValue::String(word));
        }
    }
    // What an option's own parser says may repeat the word.
    match error.source().map(ToString::to_string) {
        Some(why) if why.contains("://") => clap::Error::raw(error.kind(), format!("{}\n", without_url(&why))),
        _ => error,
    }
}

/// Reads the command line and does what it says.
pub async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => {
            style::choose(cli.global.color);
            cli
        }
        Err(error) => {
            style::choose(style::wanted(std::env::args_os()));
            let error = without_urls(error);
            if error.use_stderr() {
                // There is nobody else to tell.
                let _ = error.print();
                return ExitCode::from(USAGE);
            }
            print::keep(error.print());
            return end(print::ended(ExitCode::SUCCESS));
        }
    };
    let result = match cli.command {
        Command::Run(options) => run::run(&cli.global, &options).await,
        Command::Warm(options) => warm::warm(&cli.global, &options).await,
        Command::Plan(options) => plan::plan(&cli.global, &options).await,
        Command::Check(options) => check::check(&cli.global, &options).await,
        Command::Jobs(options) => jobs::jobs(&cli.global, &options).await,
        Command::History(options) => history::history(&cli.global, &options).await,
        Command::Status(options) => status::status(&cli.global, &options).await,
        Command::Wait(options) => wait::wait(&cli.global, &options).await,
        Command::Advise(options) => advise::advise(&cli.global, &options).await,
        Command::Init(options) => init::init(&cli.global, &options).await,
        Command::Demo(options) => demo::demo(&cli.global, &options).await,
        Command::Schema(options) => schema::schema(&options),
        Command::Completions(options) => completions::completions(&options),
        Command::Man(options) => man::man(&options),
    };
    traces::finish().await;
    end(result.and_then(print::ended))
}

/// Says why a command did not do its work.
fn end(result: Result<ExitCode, Abort>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(abort) => {
            // The journal takes what stands there for information otherwise.
            let level = if telemetry::stderr_is_the_journal() { "<3>" } else { "" };
            abort.message.lines().for_each(|line| err!("{level}{line}"));
            ExitCode::from(abort.code)
        }
    }
}
