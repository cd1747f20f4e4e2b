//! Is it alive, and can it do its work.

use std::time::Duration;

use axum::{extract::State, http::StatusCode, response::Response};
use serde_json::json;

use super::{App, answer};
use crate::scheduler::Scheduler;

/// The heart beats twice a second, and a machine may be busy.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Whoever probes does not wait for long.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is wrong, and with what.
type Reason = (&'static str, String);

/// The process answers, and its scheduler beats. Also while it stops: whoever kills what does not look alive would cut
/// runs off that are about to end.
pub(super) async fn alive(State(app): State<App>) -> Response {
    told("alive", heart(&app.shared.scheduler).into_iter().collect())
}

/// Ticks will run, and their keys have somewhere to go.
pub(super) async fn ready(State(app): State<App>) -> Response {
    let scheduler = &app.shared.scheduler;
    let mut reasons = Vec::new();
    if scheduler.is_stopping() {
        reasons.push(("stopping", "the daemon ends".to_owned()));
    }
    reasons.extend(scheduler.reload_failure().map(|why| ("settings", format!("the last reload failed: {why}"))));
    reasons.extend(heart(scheduler));
    if scheduler.scheduled() == 0 {
        reasons.push(("schedule", "no enabled job has a schedule".to_owned()));
    }
    let deployment = scheduler.deployment();
    match tokio::time::timeout(PATIENCE, deployment.store.answers(&deployment.prefix)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => reasons.push(("redis", error.message)),
        Err(_) => reasons.push(("redis", format!("Redis does not answer within {} s", PATIENCE.as_secs()))),
    }
    told("ready", reasons)
}

fn heart(scheduler: &Scheduler) -> Option<Reason> {
    if scheduler.is_stopping() {
        return None;
    }
    match scheduler.last_beat() {
        Some(ago) if ago <= LONGEST_PAUSE => None,
        Some(ago) => Some(("scheduler", format!("the scheduler has not beaten for {} s", ago.as_secs()))),
        None => Some(("scheduler", "the scheduler has not begun to beat".to_owned())),
    }
}

fn told(what: &str, reasons: Vec<Reason>) -> Response {
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let is_so = reasons.is_empty();
    let reasons: Vec<_> = reasons.iter().map(|(what, why)| json!({ "what": what, "why": why })).collect();
    answer(status, &json!({ "version": 1, what: is_so, "reasons": reasons }))
}
