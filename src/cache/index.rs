//! Which keys a job has: what a run needs to remove those that are no longer among its targets.
//!
//! One sorted set a job, a member a key, its score the start of the last run that had the key among its targets. A run
//! takes note of the keys of each batch with one `ZADD`; what is older than the run afterwards is outdated. Its size is
//! that of the job's keys, it is read in chunks, and nothing ever looks through other keys. The set expires by itself when
//! no run keeps it: every key in it has expired by then.

use std::{iter, time::Duration};

use chrono::{DateTime, Utc};
use redis::Pipeline;

use super::{Error, RedisStore, Store, lease::millis};

/// The index of one job, as one run sees it.
#[derive(Debug, Clone)]
pub struct Index {
    name: String,
    run: i64,
    life: Duration,
}

/// How many keys an index has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Indexed {
    /// In all.
    pub all: u64,
    /// Of these, not among the targets of this run.
    pub outdated: u64,
}

/// Keys that are looked at together.
const CHUNK: isize = 500;

/// A key without TTL belongs to somebody else by now.
const REMOVE: &str = "local removed, there = 0, 0 \
    for i = 2, #KEYS do \
        local left = redis.call('PTTL', KEYS[i]) \
        if left ~= -2 then there = there + 1 end \
        if left >= 0 then removed = removed + redis.call('UNLINK', KEYS[i]) end \
    end \
    redis.call('ZREM', KEYS[1], unpack(KEYS, 2)) \
    return {removed, there}";

impl Index {
    /// The index of a job, for the run that began at `run`. `ttl` is the longest life of a key.
    pub fn new(prefix: &str, job: &str, run: DateTime<Utc>, ttl: Duration) -> Self {
        Self { name: format!("{prefix}warmd:{{{job}}}:keys"), run: run.timestamp_millis(), life: ttl * 2 }
    }
}

impl Store {
    /// Takes note of keys that this run has among its targets.
    pub async fn remember(&self, index: &Index, keys: &[String]) -> Result<(), Error> {
        match self {
            Self::Redis(_) if keys.is_empty() => Ok(()),
            Self::Redis(redis) => redis.remember(index, keys).await,
            Self::Memory(memory) => {
                memory.remember(&index.name, index.run, keys);
                Ok(())
            }
        }
    }

    /// How many keys there are, and how many are outdated.
    pub async fn indexed(&self, index: &Index) -> Result<Indexed, Error> {
        match self {
            Self::Redis(redis) => redis.indexed(index).await,
            Self::Memory(memory) => Ok(memory.indexed(&index.name, index.run)),
        }
    }

    /// Removes some of the outdated keys; how many were there, and how many of them it removed. The others had expired, or
    /// belong to somebody else.
    pub async fn prune(&self, index: &Index) -> Result<(usize, u64), Error> {
        match self {
            Self::Redis(redis) => redis.prune(index).await,
            Self::Memory(memory) => Ok(memory.prune(&index.name, index.run)),
        }
    }
}

impl RedisStore {
    async fn remember(&self, index: &Index, keys: &[String]) -> Result<(), Error> {
        let mut pipeline = Pipeline::with_capacity(2);
        let add = pipeline.cmd("ZADD").arg(&index.name);
        for key in keys {
            add.arg(index.run).arg(key);
        }
        add.ignore();
        pipeline.cmd("PEXPIRE").arg(&index.name).arg(millis(index.life)).ignore();
        self.send(&pipeline).await
    }

    async fn indexed(&self, index: &Index) -> Result<Indexed, Error> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("ZCARD").arg(&index.name);
        pipeline.cmd("ZCOUNT").arg(&index.name).arg("-inf").arg(format!("({}", index.run));
        let asked = self.lookups().ask(2);
        let (all, outdated) = self.send(&pipeline).await?;
        asked.found(iter::repeat_n(all > 0, 2));
        Ok(Indexed { all, outdated })
    }

    async fn prune(&self, index: &Index) -> Result<(usize, u64), Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        let range = pipeline.cmd("ZRANGEBYSCORE").arg(&index.name).arg("-inf").arg(format!("({}", index.run));
        range.arg("LIMIT").arg(0).arg(CHUNK);
        let asked = self.lookups().ask(1);
        let (keys,): (Vec<Vec<u8>>,) = self.send(&pipeline).await?;
        // An index of which nothing is outdated is there, but for one of which all was.
        asked.found(iter::once(true));
        if keys.is_empty() {
            return Ok((0, 0));
        }
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("EVAL").arg(REMOVE).arg(keys.len() + 1).arg(&index.name).arg(&keys);
        let asked = self.lookups().ask(keys.len());
        let ((removed, there),): ((u64, usize),) = self.send(&pipeline).await?;
        asked.found((0..keys.len()).map(|key| key < there));
        Ok((keys.len(), removed))
    }
}
