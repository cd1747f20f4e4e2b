//! How full a Redis is, how long its values are, and when they were last accessed.

use std::time::Duration;

use redis::{Pipeline, RedisError, RedisResult};

use super::{Error, RedisStore, Store};

/// When keys were last accessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Idle {
    /// How long ago, for each; `None` for a key that is not there.
    Times(Vec<Option<Duration>>),
    /// The server does not keep it: its policy of eviction goes by frequency, or it is none.
    Unknown,
}

/// How full a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes in use (`used_memory`).
    pub used: u64,
    /// The most that may be used (`maxmemory`); 0 is unlimited.
    pub most: u64,
    /// Keys evicted since the server started (`evicted_keys`).
    pub evicted: u64,
}

impl Store {
    /// How full the server is; `None` where there is none.
    pub async fn usage(&self) -> Result<Option<Usage>, Error> {
        match self {
            Self::Redis(redis) => redis.usage().await.map(Some),
            Self::Memory(_) => Ok(None),
        }
    }

    /// When each key was last accessed. Asking is no access.
    pub async fn idle(&self, keys: &[&str]) -> Result<Idle, Error> {
        match self {
            Self::Redis(redis) => redis.idle(keys).await,
            Self::Memory(_) => Ok(Idle::Unknown),
        }
    }

    /// How many bytes each value has; 0 where there is none, or something other than a string.
    pub async fn lengths(&self, keys: &[&str]) -> Result<Vec<u64>, Error> {
        match self {
            Self::Redis(_) if keys.is_empty() => Ok(Vec::new()),
            Self::Redis(redis) => redis.lengths(keys).await,
            Self::Memory(memory) => {
                Ok(keys.iter().map(|key| memory.get(key).map_or(0, |(value, _)| value.len() as u64)).collect())
            }
        }
    }
}

impl RedisStore {
    async fn usage(&self) -> Result<Usage, Error> {
        Ok(parse(&self.info(&["memory", "stats"]).await?))
    }

    /// Some sections of what the server tells of itself. One command each: Redis before 7 takes one section at a time.
    pub(super) async fn info(&self, sections: &[&str]) -> Result<String, Error> {
        let mut pipeline = Pipeline::with_capacity(sections.len());
        for section in sections {
            pipeline.cmd("INFO").arg(section);
        }
        let told: Vec<String> = self.send(&pipeline).await?;
        Ok(told.concat())
    }

    async fn idle(&self, keys: &[&str]) -> Result<Idle, Error> {
        let mut pipeline = Pipeline::with_capacity(keys.len());
        for key in keys {
            pipeline.cmd("OBJECT").arg("IDLETIME").arg(key);
        }
        pipeline.ignore_errors();
        let asked = self.lookups().ask(keys.len());
        let times: Vec<RedisResult<Option<u64>>> = self.send(&pipeline).await?;
        // Which policy of eviction there is, Redis asks when it has found the key; who may ask, before.
        asked.found(times.iter().filter_map(|time| match time {
            Ok(time) => Some(time.is_some()),
            Err(error) => is_lfu(error).then_some(true),
        }));
        let mut idle = Vec::with_capacity(times.len());
        for time in times {
            match time {
                Ok(seconds) => idle.push(seconds.map(Duration::from_secs)),
                Err(error) if is_lfu(&error) => return Ok(Idle::Unknown),
                Err(error) => return Err(self.described(&error)),
            }
        }
        Ok(Idle::Times(idle))
    }

    async fn lengths(&self, keys: &[&str]) -> Result<Vec<u64>, Error> {
        let mut pipeline = Pipeline::with_capacity(keys.len());
        for key in keys {
            pipeline.cmd("STRLEN").arg(key);
        }
        pipeline.ignore_errors();
        let asked = self.lookups().ask(keys.len());
        let lengths: Vec<RedisResult<u64>> = self.send(&pipeline).await?;
        asked.found(lengths.iter().filter_map(|length| match length {
            Ok(length) => Some(*length > 0),
            Err(error) => is_other(error).then_some(true),
        }));
        let length = |length: RedisResult<u64>| match length {
            Err(error) if is_other(&error) => Ok(0),
            length => length.map_err(|error| self.described(&error)),
        };
        lengths.into_iter().map(length).collect()
    }
}

/// Whether the server keeps how often its keys are accessed, not when.
fn is_lfu(error: &RedisError) -> bool {
    error.to_string().contains("LFU")
}

/// Whether something other than a string is there.
fn is_other(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}

fn parse(info: &str) -> Usage {
    let field = |name| field(info, name);
    Usage { used: field("used_memory"), most: field("maxmemory"), evicted: field("evicted_keys") }
}

/// The number of a `name:value` line; 0 where there is none.
pub(super) fn field(info: &str, name: &str) -> u64 {
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_info_are_found_by_their_whole_names() {
        let info = "# Memory\r\nused_memory_human:1.5M\r\nused_memory:1572864\r\nmaxmemory_human:2M\r\n\
            maxmemory:2097152\r\nmaxmemory_policy:noeviction\r\n# Stats\r\nevicted_keys:7\r\n";
        assert_eq!(parse(info), Usage { used: 1_572_864, most: 2_097_152, evicted: 7 });
        assert_eq!(parse(""), Usage::default());
    }
}
