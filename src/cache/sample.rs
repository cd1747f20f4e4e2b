//! Some of a job's keys, by which every instance can tell how many of them are there, without asking the database which
//! there should be.

use std::time::Duration;

use redis::{Pipeline, RedisResult};
use serde::{Deserialize, Serialize};

use super::{Error, RedisStore, Store, lease::millis};

/// A random sample of the keys that a run of a job was about; all of them where there are few.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// The keys.
    pub keys: Vec<String>,
    /// How many keys the run had that something was found for.
    pub of: u64,
}

/// As long as runs of a job fail, its last good one says which keys there should be; a job that was removed is forgotten.
const LIFE: Duration = Duration::from_secs(30 * 86_400);

impl Store {
    /// Keeps the sample of a job in the place of the one before.
    pub async fn keep_sample(&self, prefix: &str, job: &str, sample: &Sample) -> Result<(), Error> {
        match self {
            Self::Redis(redis) => redis.keep_sample(&name(prefix, job), sample).await,
            // Whoever asks is this process, and knows what it wrote.
            Self::Memory(_) => Ok(()),
        }
    }

    /// The sample of each job, in their order; `None` where no run has kept one.
    pub async fn samples(&self, prefix: &str, jobs: &[&str]) -> Result<Vec<Option<Sample>>, Error> {
        match self {
            Self::Redis(redis) if !jobs.is_empty() => redis.samples(prefix, jobs).await,
            _ => Ok(vec![None; jobs.len()]),
        }
    }
}

impl RedisStore {
    async fn keep_sample(&self, name: &str, sample: &Sample) -> Result<(), Error> {
        let value = serde_json::to_vec(sample).unwrap_or_default();
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("SET").arg(name).arg(value).arg("PX").arg(millis(LIFE)).ignore();
        self.send(&pipeline).await
    }

    async fn samples(&self, prefix: &str, jobs: &[&str]) -> Result<Vec<Option<Sample>>, Error> {
        let mut pipeline = Pipeline::with_capacity(jobs.len());
        for job in jobs {
            pipeline.cmd("GET").arg(name(prefix, job));
        }
        pipeline.ignore_errors();
        let asked = self.lookups().ask(jobs.len());
        let values: Vec<RedisResult<Option<Vec<u8>>>> = self.send(&pipeline).await?;
        asked.found(values.iter().filter_map(|value| value.as_ref().ok()).map(Option::is_some));
        let sample = |value: RedisResult<Option<Vec<u8>>>| {
            // What somebody else has put there is as good as nothing.
            let value = value.map_err(|error| self.described(&error))?;
            Ok(value.and_then(|value| serde_json::from_slice(&value).ok()))
        };
        values.into_iter().map(sample).collect()
    }
}

fn name(prefix: &str, job: &str) -> String {
    format!("{prefix}warmd:{{{job}}}:sample")
}
