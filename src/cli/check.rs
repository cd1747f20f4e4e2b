//! `warmd check`: is everything valid?

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Abort, CONFIGURATION, Global, plan,
    setup::{Setup, settings},
    style, table,
};
use crate::{
    cache::Store,
    job::Job,
    problems::{Problem, Problems},
    reader::Reader,
    record::{Cause, Meter},
    throttle::{Quotas, Throttle, Throttles},
};

#[derive(clap::Args)]
pub(super) struct Options {
    /// Also connect, and have the servers prepare every statement
    #[arg(long)]
    connect: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn check(global: &Global, options: &Options) -> Result<ExitCode, Abort> {
    let (settings, problems) = settings(global)?;
    let no_database = settings.database(None).is_err() && settings.database.url_file.is_none();
    let setup = match Setup::with_problems(settings, problems) {
        Ok(setup) => setup,
        Err(problems) => return Ok(print_problems(&problems, options.json)),
    };
    let jobs: Vec<Arc<Job>> = setup.jobs.iter().cloned().map(Arc::new).collect();
    let mut statements = 0;
    if options.connect {
        let server = setup.settings.redis.server().map_err(Abort::configuration)?;
        let store = Store::connect(&server).await.map_err(Abort::unavailable)?;
        // Whatever takes a connection need not be a Redis.
        store.answers(&setup.settings.redis.key_prefix).await.map_err(Abort::unavailable)?;
        let mut problems = Problems::default();
        for job in &jobs {
            statements += prepare(&setup, job, &mut problems).await?;
        }
        if let Err(problems) = problems.into_result() {
            return Ok(print_problems(&problems, options.json));
        }
    }
    let mut warnings = plan::warnings(&jobs);
    if no_database && jobs.iter().any(|job| job.database.is_none()) {
        warnings.push("no database URL is set; SQL was read as PostgreSQL's".to_owned());
    }
    if options.json {
        out!("{}", json!({ "version": 1, "jobs": jobs.len(), "problems": [], "warnings": warnings }));
        return Ok(ExitCode::SUCCESS);
    }
    for warning in &warnings {
        err!("{} {warning}", style::warning());
    }
    let count = |count: usize, what| table::count(count as u64, what);
    let prepared = match options.connect {
        true => format!(", {} prepared", count(statements, "statement")),
        false => String::new(),
    };
    out!("settings and {} are valid{prepared}", count(jobs.len(), "job"));
    Ok(ExitCode::SUCCESS)
}

/// Has the server prepare every statement of a job, and looks for the columns that the job needs.
async fn prepare(setup: &Setup, job: &Job, problems: &mut Problems) -> Result<usize, Abort> {
    let (database, treatment) = setup.settings.database(job.database.as_deref()).map_err(Abort::configuration)?;
    let limits = treatment.load_limits();
    if limits.is_any() {
        let mut connection = database.connect().await.map_err(Abort::unavailable)?;
        if let Err(error) = connection.overload(&limits).await {
            let why = format!("the database does not tell how busy it is: {error}");
            problems.push("settings".as_ref(), why);
        }
        connection.close().await;
    }
    let reader = Reader::new(
        database,
        treatment.statement_timeout.0,
        Instant::now() + Duration::from_secs(60),
        CancellationToken::new(),
        Arc::new(Throttles::new(&job.name, Quotas::default(), Arc::new(Throttle::new(Quotas::default())))),
        Arc::new(Meter::default()),
    );
    let required = job.required_columns();
    for sql in job.statements() {
        match reader.prepare(sql).await {
            Ok(columns) => {
                for (_, column) in required.iter().filter(|(of, _)| std::ptr::eq(*of, sql)) {
                    if let Err(why) = crate::database::require(&columns, column) {
                        let position = Some(sql.origin.start);
                        problems.0.push(Problem { file: sql.origin.file.clone(), position, message: why });
                    }
                }
            }
            Err(failure) if failure.cause == Cause::DatabaseUnreachable => return Err(failure.into()),
            Err(failure) => problems.push_told(&sql.origin.file, &failure.message),
        }
    }
    reader.close().await;
    Ok(job.statements().len())
}

fn print_problems(problems: &Problems, as_json: bool) -> ExitCode {
    if as_json {
        let list: Vec<_> = problems
            .0
            .iter()
            .map(|problem| {
                let (line, column) = problem.position.unzip();
                json!({ "file": problem.file, "line": line, "column": column, "message": problem.message })
            })
            .collect();
        out!("{}", json!({ "version": 1, "jobs": null, "problems": list, "warnings": [] }));
    } else {
        err!("{problems}");
    }
    ExitCode::from(CONFIGURATION)
}
