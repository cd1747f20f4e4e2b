//! How things stand, for people.

use anstyle::Style;

use super::told::{Alert, Health, Job, Told};
use crate::{
    cli::{
        advise::percent,
        jobs::{ago, roughly, until},
        style::{self, BAD, DOUBTFUL, GOOD, QUIET, paint},
        table,
    },
    problems::in_words,
};

/// The whole page, without a line's end at its end.
pub(super) fn page(told: &Told, place: &str) -> String {
    let mut lines = vec![format!("{}: {}", in_words(place), heading(told))];
    let reasons = told.readiness.reasons.iter();
    lines.extend(reasons.map(|reason| format!("{}: {}", in_words(&reason.what), in_words(&reason.why))));
    if !told.jobs.is_empty() {
        lines.extend([String::new(), jobs(told)]);
    }
    let mut below: Vec<String> = told.alerts.iter().map(|alert| alert_words(told, alert)).collect();
    below.extend(told.jobs.iter().flat_map(|job| troubles(told, job)));
    below.extend(told.history_error.as_ref().map(|why| format!("the history: {}", in_words(why))));
    if !below.is_empty() {
        lines.push(String::new());
        lines.extend(below);
    }
    lines.join("\n")
}

fn heading(told: &Told) -> String {
    let ready = if told.readiness.ready { paint(GOOD, "ready") } else { paint(BAD, "not ready") };
    let mut words = vec![ready];
    words.extend(told.health.as_ref().map(redis_words));
    words.join("; ")
}

fn redis_words(health: &Health) -> String {
    if let Some(error) = &health.redis.error {
        return paint(BAD, &format!("Redis: {}", in_words(error)));
    }
    let Some(latest) = &health.redis.latest else { return "nothing is known of Redis yet".to_owned() };
    let mut words = Vec::new();
    words.extend(latest.hit_rate.map(|rate| format!("hit rate {}", table::share(rate))));
    words.extend(latest.used_memory_bytes.map(|used| {
        let most = latest.max_memory_bytes.map(|most| format!(" of {}", table::bytes(most))).unwrap_or_default();
        let share = latest.memory_share.map(|share| format!(" ({})", table::share(share))).unwrap_or_default();
        format!("memory {}{most}{share}", table::bytes(used))
    }));
    words.extend(latest.response_seconds.map(|seconds| format!("answers in {:.1}ms", seconds * 1e3)));
    format!("Redis: {}", words.join(", "))
}

fn jobs(told: &Told) -> String {
    let mut table = table::new(&["job", "state", "next", "last run", "coverage", "read", "keys/s"], &[4, 5, 6]);
    let unknown = || "-".to_owned();
    for job in &told.jobs {
        let next = match (&job.schedule, job.next_ticks.first()) {
            (None, _) => "by hand".to_owned(),
            (Some(_), Some(next)) => until(told.at, *next),
            (Some(_), None) => unknown(),
        };
        let none = if told.forgets_runs { "unknown" } else { "never" };
        let last = job.last().map_or(none.to_owned(), |run| {
            format!("{} {}", paint(of_outcome(&run.outcome), &in_words(&run.outcome)), ago(told.at, run.finished))
        });
        let health = told.health.as_ref().and_then(|health| health.jobs.get(&job.job));
        let speed = job.last().filter(|run| run.written > 0).map(|run| run.keys_per_second.round() as u64);
        table.add_row([
            in_words(&job.job),
            state(job),
            next,
            last,
            health.and_then(|health| health.coverage).map_or_else(unknown, table::share),
            job.reads().share().map_or_else(unknown, percent),
            speed.map_or_else(unknown, table::number),
        ]);
    }
    table.to_string()
}

fn of_outcome(outcome: &str) -> Style {
    match outcome {
        "ok" => GOOD,
        "failed" | "refused" => BAD,
        _ => DOUBTFUL,
    }
}

fn state(job: &Job) -> String {
    if job.waits_in_vain().is_some() {
        return paint(BAD, "waiting");
    }
    let by_hand = if job.by_hand { " by hand" } else { "" };
    match (&*job.state, &job.progress) {
        ("idle", _) => paint(QUIET, "idle"),
        ("running", Some(progress)) if progress.keys > 0 => {
            let (done, keys) = (progress.done, progress.keys);
            let share = match progress.complete {
                true => format!(", {}", table::share(done as f64 / keys as f64)),
                false => " or more".to_owned(),
            };
            format!("running{by_hand}, {} of {} keys{share}", table::number(done), table::number(keys))
        }
        ("running", _) => format!("running{by_hand}"),
        (other, _) => in_words(other),
    }
}

fn alert_words(told: &Told, alert: &Alert) -> String {
    let severity = if alert.severity == "critical" { BAD } else { DOUBTFUL };
    let what = if alert.message.is_empty() { &alert.alert } else { &alert.message };
    let job = alert.job.as_ref().map(|job| format!("{job}: ")).unwrap_or_default();
    // Most messages name it themselves.
    let job = if what.starts_with(&job) { String::new() } else { in_words(&job) };
    let since = alert.since.map(|since| (told.at - since).num_seconds().max(0).unsigned_abs());
    let since = since.map(|seconds| format!(", for {}", roughly(seconds))).unwrap_or_default();
    format!("{}: {job}{}{since}", paint(severity, &in_words(&alert.severity)), in_words(what))
}

/// What a job waits for, and what kept its last run from `ok`.
fn troubles(told: &Told, job: &Job) -> Vec<String> {
    let name = in_words(&job.job);
    let waits = job.waits_in_vain().map(|what| format!("{name}: {} for {}", paint(BAD, "waits"), in_words(what)));
    let failed = job.last().filter(|run| run.outcome != "ok").and_then(|run| {
        let outcome = paint(of_outcome(&run.outcome), &in_words(&run.outcome));
        Some(format!("{name}: {outcome} {}: {}", ago(told.at, run.finished), in_words(run.first_error.as_ref()?)))
    });
    waits.into_iter().chain(failed).collect()
}

/// The page of a daemon that does not answer any more.
pub(super) fn out_of_reach(page: &str, why: &str) -> String {
    format!("{}\n\nas it was:\n\n{page}", paint(style::BAD, why))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::status::told::Answers;

    fn told(answers: Answers) -> Told {
        let at = "2026-11-26T10:00:00Z".parse().unwrap();
        let mut told = Told::new(at, answers).unwrap();
        for job in &mut told.jobs {
            job.runs = job.last_run.iter().cloned().collect();
        }
        told
    }

    fn plain(told: &Told) -> String {
        anstream::adapter::strip_str(&page(told, "http://127.0.0.1:9187")).to_string()
    }

    fn run(outcome: &str, error: Option<&str>) -> Value {
        json!({ "run_id": "1", "outcome": outcome, "finished": "2026-11-26T09:58:00Z", "written": 300,
            "keys_per_second": 772.6, "first_error": error, "reads": { "sampled": 50, "read": 24 } })
    }

    /// As a daemon tells that has had two jobs under its eyes for a while.
    fn answers() -> Answers {
        Answers {
            readiness: json!({ "version": 1, "ready": true, "reasons": [] }),
            jobs: json!({ "version": 1, "history_error": null, "jobs": [
                { "job": "users", "schedule": "*/15 * * * *", "next_ticks": ["2026-11-26T10:04:30Z"], "state": "idle",
                  "by_hand": false, "waits_for": null, "progress": null, "last_run": run("ok", None) },
                { "job": "products", "schedule": null, "next_ticks": [], "state": "running", "by_hand": true,
                  "waits_for": null, "last_run": null,
                  "progress": { "run_seconds": 3.2, "keys": 5000, "done": 1200, "complete": true } },
            ] }),
            health: Some(
                json!({ "version": 1, "redis": { "sampled": "2026-11-26T10:00:00Z", "error": null, "latest": {
                "hit_rate": 0.93, "response_seconds": 0.0004, "used_memory_bytes": 1048576, "max_memory_bytes": null,
                "memory_share": null, "evicted_keys_per_second": 0.0, "connected_clients": 12 } },
                "jobs": { "users": { "coverage": 0.98 } } }),
            ),
            alerts: Some(json!({ "version": 1, "alerts": [] })),
        }
    }

    #[test]
    fn the_page_tells_in_a_few_lines_how_redis_and_the_jobs_are() {
        let told = told(answers());
        assert!(told.is_well());
        assert_eq!(
            plain(&told),
            "http://127.0.0.1:9187: ready; Redis: hit rate 93 %, memory 1.00 MiB, answers in 0.4ms\n\n \
             JOB       STATE                                       NEXT     LAST RUN   COVERAGE  READ  KEYS/S\n \
             users     idle                                        in 4m    ok 2m ago      98 %  48 %     773\n \
             products  running by hand, 1,200 of 5,000 keys, 24 %  by hand  never             -     -       -"
        );
    }

    #[test]
    fn alerts_failures_and_what_is_out_of_reach_stand_below_with_their_words() {
        let mut answers = answers();
        answers.readiness = json!({ "ready": false, "reasons": [{ "what": "redis", "why": "it refuses" }] });
        answers.jobs["jobs"][0]["last_run"] = run("failed", Some("users.sql:4:28: no such table\u{1b}[2J"));
        answers.jobs["jobs"][1]["waits_for"] = "Redis at r:6379: it refuses".into();
        answers.jobs["history_error"] = "the history cannot be read".into();
        answers.health.as_mut().unwrap()["redis"] = json!({ "error": "it refuses", "latest": null });
        answers.alerts = Some(json!({ "alerts": [
            { "alert": "hit_rate", "severity": "critical", "job": null, "state": "active", "since": "2026-11-26T09:55:00Z",
              "resolved": null, "value": 0.71, "threshold": 0.8, "message": "the hit rate of Redis is 71 %, below 80 %" },
            { "alert": "coverage", "severity": "warning", "job": "users", "state": "active", "since": null,
              "message": "half of the keys are cold" },
            { "alert": "coverage", "severity": "warning", "job": "users", "state": "active", "since": null,
              "message": "users: 50 % of its keys are there, less than 95 %" },
            { "alert": "memory", "severity": "warning", "state": "resolved", "message": "it was full" },
        ] }));
        let told = told(answers);
        assert!(!told.is_well());
        let page = plain(&told);
        let mut lines = page.lines();
        assert_eq!(lines.next(), Some("http://127.0.0.1:9187: not ready; Redis: it refuses"));
        assert_eq!(lines.next(), Some("redis: it refuses"));
        let below: Vec<&str> = lines.skip(5).collect();
        assert_eq!(
            below,
            [
                "critical: the hit rate of Redis is 71 %, below 80 %, for 5m",
                "warning: users: half of the keys are cold",
                "warning: users: 50 % of its keys are there, less than 95 %",
                "users: failed 2m ago: users.sql:4:28: no such table\\u{1b}[2J",
                "products: waits for Redis at r:6379: it refuses",
                "the history: the history cannot be read",
            ]
        );
        assert!(page.contains(" products  waiting "), "{page}");
        assert!(page.contains("  by hand  unknown "), "without a history nobody knows whether it ran before: {page}");
    }

    #[test]
    fn each_trouble_alone_is_one() {
        let with = |change: fn(&mut Answers)| {
            let mut answers = answers();
            change(&mut answers);
            told(answers).is_well()
        };
        assert!(with(|_| {}));
        assert!(!with(|answers| answers.readiness["ready"] = false.into()));
        assert!(!with(|answers| answers.jobs["jobs"][0]["last_run"] = run("partial", None)));
        assert!(!with(|answers| answers.jobs["jobs"][0]["last_run"] = run("refused", None)));
        assert!(with(|answers| answers.jobs["jobs"][0]["last_run"] = run("interrupted", None)));
        assert!(!with(|answers| answers.jobs["jobs"][1]["waits_for"] = "Redis".into()));
        assert!(with(|answers| {
            answers.jobs["jobs"][1]["state"] = "elsewhere".into();
            answers.jobs["jobs"][1]["waits_for"] = "the run on another instance to end".into();
        }));
        assert!(!with(|answers| answers.alerts = Some(json!({ "alerts": [{ "state": "active" }] }))));
        assert!(with(|answers| answers.alerts = Some(json!({ "alerts": [{ "state": "resolved" }] }))));
    }

    #[test]
    fn an_older_daemon_that_knows_neither_health_nor_alerts_nor_progress_is_understood() {
        let mut answers = answers();
        (answers.health, answers.alerts) = (None, None);
        answers.jobs["jobs"][1].as_object_mut().unwrap().remove("progress");
        let told = told(answers);
        assert!(told.is_well());
        let page = plain(&told);
        assert!(page.starts_with("http://127.0.0.1:9187: ready\n"), "{page}");
        assert!(page.contains(" products  running by hand  by hand  never"), "{page}");
        let json = told.as_json("x");
        assert_eq!((&json["health"], &json["alerts"], &json["well"]), (&Value::Null, &Value::Null, &true.into()));
    }

    #[test]
    fn numbers_that_nobody_knows_are_left_out() {
        let mut answers = answers();
        answers.health =
            Some(json!({ "redis": { "error": null, "latest": { "hit_rate": null, "response_seconds": 0.012,
            "used_memory_bytes": 1048576, "max_memory_bytes": 8388608, "memory_share": 0.125 } }, "jobs": {} }));
        let page = plain(&told(answers));
        let first = page.lines().next().unwrap();
        assert!(first.ends_with("; Redis: memory 1.00 MiB of 8.00 MiB (12.5 %), answers in 12.0ms"), "{first}");
        assert!(page.contains(" ok 2m ago         -  48 % "), "{page}");
    }
}
