//! Jobs and runs for programs, in the form of the commands' `--json`.

use axum::{
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::{App, answer, failure};
use crate::{
    monitor::Health,
    problems::unknown,
    scheduler::{Doing, NotBegun},
};

/// As many as `warmd history` shows.
const DEFAULT_LIMIT: u32 = 20;

/// About a megabyte.
const LARGEST_LIMIT: u32 = 1000;

/// What the jobs say, what they are doing, and how it went last.
pub(super) async fn jobs(State(app): State<App>) -> Response {
    let scheduler = &app.shared.scheduler;
    let (deployment, standings) = (scheduler.deployment(), scheduler.standings());
    let now = Utc::now();
    let mut history = deployment.history.as_ref();
    let mut unreadable = None;
    let mut listed = Vec::with_capacity(deployment.jobs.len());
    for job in &deployment.jobs {
        let mut shown = job.shown(now);
        let doing = standings.get(&job.name).map_or(Doing::Idle, |standing| standing.doing.clone());
        shown.extend(state(doing, now));
        let newest = match history {
            Some(history) => history.newest(Some(&job.name), 1).await.map(|newest| newest.into_iter().next()),
            None => Ok(None),
        };
        let last = newest.unwrap_or_else(|error| {
            // One that hangs must not be waited for a job after the other.
            (history, unreadable) = (None, Some(format!("{error:#}")));
            None
        });
        let last = match history {
            Some(_) => json!(last),
            // Better than nothing.
            None => json!(app.shared.metrics.last_run(&job.name).as_deref()),
        };
        shown.insert("last_run".to_owned(), last);
        listed.push(shown);
    }
    let known_from = if history.is_some() { "history" } else { "process" };
    let told = json!({ "version": 1, "jobs": listed, "last_runs_from": known_from, "history_error": unreadable });
    answer(StatusCode::OK, &told)
}

fn state(doing: Doing, now: DateTime<Utc>) -> Map<String, Value> {
    let progress = match &doing {
        Doing::Running { since, progress, .. } => {
            let mut shown = json!(progress);
            shown["run_seconds"] = json!((now - since).as_seconds_f64().max(0.0));
            shown
        }
        _ => Value::Null,
    };
    let (name, since, by_hand, waits_for) = match doing {
        Doing::Idle => ("idle", None, false, None),
        Doing::Starting => ("starting", None, false, None),
        Doing::Elsewhere => ("elsewhere", None, false, Some("the run on another instance to end".to_owned())),
        Doing::Waiting(message) => ("waiting", None, false, Some(message)),
        Doing::Running { since, by_hand, waits_for, .. } => ("running", Some(since), by_hand, waits_for),
    };
    let members = [
        ("state", json!(name)),
        ("running_since", json!(since)),
        ("by_hand", json!(by_hand)),
        ("waits_for", json!(waits_for)),
        ("progress", progress),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Records, the newest first.
pub(super) async fn runs(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    let Wanted { job, since, limit } = match wanted(query.as_deref().unwrap_or_default()) {
        Ok(wanted) => wanted,
        Err(why) => return failure(StatusCode::BAD_REQUEST, why),
    };
    let deployment = app.shared.scheduler.deployment();
    let Some(history) = &deployment.history else {
        return failure(StatusCode::NOT_FOUND, "no history is kept");
    };
    match history.newest_since(job.as_deref(), since, limit).await {
        Ok(records) => answer(StatusCode::OK, &json!({ "version": 1, "runs": records })),
        Err(error) => failure(StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}")),
    }
}

/// Which records are asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    job: Option<String>,
    since: Option<DateTime<Utc>>,
    limit: u32,
}

fn wanted(query: &str) -> Result<Wanted, String> {
    let (mut job, mut since, mut limit) = (None, None, DEFAULT_LIMIT);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "job" => job = Some(value.into_owned()),
            "since" => {
                let moment = DateTime::parse_from_rfc3339(&value).map(|moment| moment.to_utc());
                since = Some(moment.map_err(|_| "`since` is a moment such as 2026-01-31T08:00:00Z")?);
            }
            "limit" => {
                let wanted = value.parse().ok().filter(|wanted| (1..=LARGEST_LIMIT).contains(wanted));
                limit = wanted.ok_or_else(|| format!("`limit` is a number from 1 to {LARGEST_LIMIT}"))?;
            }
            other => return Err(unknown("parameter", other, &["job", "since", "limit"])),
        }
    }
    Ok(Wanted { job, since, limit })
}

/// How Redis and the keys of the jobs are, now and over the last hours.
pub(super) async fn health(State(app): State<App>) -> Response {
    let Health { redis, jobs } = app.shared.monitor.health();
    answer(StatusCode::OK, &json!({ "version": 1, "redis": redis, "jobs": jobs }))
}

/// What is wrong, and what was within a day.
pub(super) async fn alerts(State(app): State<App>) -> Response {
    answer(StatusCode::OK, &json!({ "version": 1, "alerts": app.shared.monitor.alerts() }))
}

/// Begins a run by hand, and does not wait for its end.
pub(super) async fn run(
    State(app): State<App>,
    headers: HeaderMap,
    job: Result<Path<String>, PathRejection>,
) -> Response {
    // Before anything is said about what there is.
    if let Err(refused) = app.shared.guard().may_act(&headers) {
        return *refused;
    }
    let Ok(Path(job)) = job else {
        return failure(StatusCode::BAD_REQUEST, "the name of the job is not UTF-8");
    };
    match app.shared.scheduler.run_now(&job).await {
        Ok(()) => {
            tracing::info!("{job}: a run was asked for over HTTP");
            let name: String = form_urlencoded::byte_serialize(job.as_bytes()).collect();
            let look = format!("/api/runs?job={name}&limit=1");
            let told = json!({ "version": 1, "job": job, "state": "running", "record": look });
            let mut response = answer(StatusCode::ACCEPTED, &told);
            response.headers_mut().extend(HeaderValue::from_str(&look).ok().map(|look| (header::LOCATION, look)));
            response
        }
        Err(NotBegun::Unknown(why)) => failure(StatusCode::NOT_FOUND, why),
        Err(NotBegun::Going(why)) => failure(StatusCode::CONFLICT, why),
        Err(NotBegun::Unreachable(why)) => failure(StatusCode::SERVICE_UNAVAILABLE, why),
        Err(NotBegun::Stopping) => failure(StatusCode::SERVICE_UNAVAILABLE, "the daemon ends"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_told_apart_and_none_is_ignored() {
        assert_eq!(wanted(""), Ok(Wanted { job: None, since: None, limit: 20 }));
        let since = "2026-01-31T08:00:00.5Z".parse().ok();
        let all = Wanted { job: Some("a b".to_owned()), since, limit: 1000 };
        assert_eq!(wanted("job=a%20b&limit=1000&since=2026-01-31T09:00:00.5%2B01:00"), Ok(all));
        for wrong in ["since=", "since=yesterday", "since=2026-01-31", "since=2026-01-31T09:00:00.5+01:00"] {
            assert_eq!(wanted(wrong).unwrap_err(), "`since` is a moment such as 2026-01-31T08:00:00Z", "{wrong}");
        }
        for wrong in ["limit=0", "limit=1001", "limit=-1", "limit=", "limit=x"] {
            assert_eq!(wanted(wrong).unwrap_err(), "`limit` is a number from 1 to 1000");
        }
        assert_eq!(wanted("jbo=a").unwrap_err(), "unknown parameter `jbo`, did you mean `job`?");
    }
}
