//! Everything that there is to ask.

use std::collections::HashMap;

use chrono::Utc;
use futures_util::{StreamExt as _, stream};
use reqwest::StatusCode;
use serde_json::Value;
use url::form_urlencoded;

use super::{
    client::Client,
    told::{Answers, Job, Run, Told, read},
};

/// Asks one daemon again and again.
pub(super) struct Asker {
    client: Client,
    /// The newest runs of each job, and the run that was the last one when they were asked for.
    runs: HashMap<String, (String, Vec<Run>)>,
}

/// Runs looked at of a job, for the share of its keys that are read.
const RUNS: usize = 20;

/// Requests at once, well below what a daemon takes.
const AT_ONCE: usize = 4;

impl Asker {
    pub fn new(client: Client) -> Self {
        Self { client, runs: HashMap::new() }
    }

    /// Where the daemon listens.
    pub fn place(&self) -> String {
        self.client.place.to_string()
    }

    /// How things stand now; the error says in words why nobody knows.
    pub async fn ask(&mut self) -> Result<Told, String> {
        let client = &self.client;
        let (readiness, jobs, health, alerts) = tokio::try_join!(
            client.get("readyz"),
            client.get("api/jobs"),
            client.get("api/health"),
            client.get("api/alerts")
        )?;
        if jobs.0 == StatusCode::NOT_FOUND {
            return Err("no warmd has its API there".to_owned());
        }
        let answers = Answers { readiness: readiness.1, jobs: jobs.1, health: known(health), alerts: known(alerts) };
        let mut told = Told::new(Utc::now(), answers)?;
        self.learn_runs(&mut told.jobs).await;
        Ok(told)
    }

    /// Asks for the newest runs of the jobs whose last run is another one than before.
    async fn learn_runs(&mut self, jobs: &mut [Job]) {
        let changed = jobs.iter().filter_map(|job| {
            let last = job.last_run.as_ref()?;
            let is_known = self.runs.get(&job.job).is_some_and(|(known, _)| *known == last.run_id);
            (!is_known).then(|| (job.job.clone(), last.clone()))
        });
        let changed: Vec<(String, Run)> = changed.collect();
        let client = &self.client;
        let asked = stream::iter(changed).map(|(job, last)| async move {
            let name: String = form_urlencoded::byte_serialize(job.as_bytes()).collect();
            let answer = client.get(&format!("api/runs?job={name}&limit={RUNS}")).await;
            let runs = answer.and_then(|(_, answer)| read("/api/runs", &answer["runs"]));
            // The last one is known anyway.
            (job, (last.run_id.clone(), runs.unwrap_or_else(|_| vec![last])))
        });
        let asked: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
        self.runs.extend(asked);
        for job in jobs {
            let known = self.runs.get(&job.job).filter(|_| job.last_run.is_some());
            job.runs = known.map(|(_, runs)| runs.clone()).unwrap_or_default();
            job.runs.retain(|run| run.outcome != "skipped");
        }
    }
}

/// The answer, unless the daemon is too old to know the question.
fn known((status, answer): (StatusCode, Value)) -> Option<Value> {
    (status != StatusCode::NOT_FOUND).then_some(answer)
}
