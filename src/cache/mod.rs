//! The only place that knows Redis: keys, TTLs, pipelines.

use std::{fmt, time::Duration};

use bytes::Bytes;
use md5::{Digest, Md5};
use secrecy::{ExposeSecret, SecretString};

mod index;
mod lease;
mod lookups;
mod memory;
mod redis;
mod sample;
mod ticks;
mod usage;
mod vitals;

pub use self::redis::RedisStore;
pub use ::redis::{ClientTlsConfig, TlsCertificates};
pub use index::{Index, Indexed};
pub use lease::{Claim, Claimed, Done, Holder, Lease, Tick};
pub use lookups::{Lookups, Own};
pub use memory::MemoryStore;
pub use sample::Sample;
pub use ticks::Ticks;
pub use usage::{Idle, Usage};
pub use vitals::Vitals;

/// How keys look on this Redis, whatever the job.
#[derive(Debug, Clone)]
pub struct Keyspace {
    /// Stands before every key.
    pub prefix: String,
    /// Longest key in characters, the prefix aside.
    pub max_length: usize,
    /// What becomes of a longer one.
    pub overlong: Overlong,
}

/// What becomes of a key that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overlong {
    /// Its MD5 in lower-case hexadecimal, 32 characters, takes its place behind the prefix.
    #[default]
    Md5,
    /// An error of its target.
    Error,
}

impl Keyspace {
    /// The Redis key for what a job's template gave.
    pub fn key(&self, rest: &str) -> Result<String, String> {
        // Bytes are never fewer than characters, so the common case needs no count.
        if rest.len() <= self.max_length || rest.chars().count() <= self.max_length {
            return Ok(format!("{}{rest}", self.prefix));
        }
        match self.overlong {
            Overlong::Md5 => {
                let digest = u128::from_be_bytes(Md5::digest(rest.as_bytes()).into());
                Ok(format!("{}{digest:032x}", self.prefix))
            }
            Overlong::Error => Err(format!("the key is longer than {} characters", self.max_length)),
        }
    }
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// There is none.
    Missing,
    /// It will expire after this time.
    Expires(Duration),
    /// It has no TTL, so it is not ours.
    Persistent,
}

/// A key, its value and its life.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The Redis key.
    pub key: String,
    /// The value, UTF-8 JSON; perhaps a part of a larger piece of memory.
    pub value: Bytes,
    /// Time to live.
    pub ttl: Duration,
    /// Write only where there is no such key (`NX`).
    pub only_absent: bool,
}

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is stored.
    Stored,
    /// Somebody else was faster; theirs stays.
    Existed,
    /// The server has no memory left for it, in its words.
    NoRoom(String),
    /// The server refused it, in its words.
    Refused(String),
}

/// A failed command or connection, without secrets.
#[derive(Debug, Clone)]
pub struct Error {
    /// Whether a later attempt may work: the connection broke, the server is loading or failing over.
    pub transient: bool,
    /// Host and cause.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// A Redis server and how it is spoken to.
#[derive(Clone)]
pub struct Server {
    /// `redis://`, `rediss://`, `redis+unix://`, `unix://` or `memory:`.
    pub url: SecretString,
    /// For `rediss://`, certificates other than those that everybody trusts.
    pub certificates: Option<TlsCertificates>,
    /// A server that does not answer for this long counts as gone.
    pub response_timeout: Duration,
}

/// Where entries live.
#[derive(Clone)]
pub enum Store {
    /// A Redis server.
    Redis(RedisStore),
    /// This process, for trying warmd without one: `memory:`.
    Memory(MemoryStore),
}

/// Pipelines are cut at this size: neither side buffers more, and what is copied on the way stays in the processor's
/// cache.
const PIPELINE_BYTES: usize = 256 << 10;

impl Server {
    /// What can be seen to be wrong without a connection.
    pub fn check(&self) -> Result<(), Error> {
        if self.url.expose_secret() == "memory:" { Ok(()) } else { redis::check(self) }
    }
}

impl Store {
    /// Opens the store that a URL names.
    pub async fn connect(server: &Server) -> Result<Self, Error> {
        if server.url.expose_secret() == "memory:" {
            return Ok(Self::Memory(MemoryStore::default()));
        }
        RedisStore::connect(server).await.map(Self::Redis)
    }

    /// The same without a connection yet: a server that is away now may be there when it is needed.
    pub fn lazy(server: &Server) -> Result<Self, Error> {
        if server.url.expose_secret() == "memory:" {
            return Ok(Self::Memory(MemoryStore::default()));
        }
        RedisStore::lazy(server).map(Self::Redis)
    }

    /// The server; `None` where there is none.
    pub fn address(&self) -> Option<&str> {
        match self {
            Self::Redis(redis) => Some(redis.address()),
            Self::Memory(_) => None,
        }
    }

    /// Counts what is looked up together with what another store looks up, if that is of the same server.
    pub fn count_with(&mut self, other: &Self) {
        if let (Self::Redis(redis), Self::Redis(other)) = (self, other) {
            redis.count_with(other);
        }
    }

    /// What is known of each key, in their order; one pipeline.
    pub async fn presence(&self, keys: &[String]) -> Result<Vec<Presence>, Error> {
        match self {
            // The client refuses a pipeline of nothing.
            Self::Redis(_) if keys.is_empty() => Ok(Vec::new()),
            Self::Redis(redis) => redis.presence(keys).await,
            Self::Memory(memory) => Ok(keys.iter().map(|key| memory.presence(key)).collect()),
        }
    }

    /// Writes entries and says of each, in their order, what became of it. An error means that nothing is known of any
    /// of them; writing them again is safe.
    pub async fn write(&self, entries: &[Entry]) -> Result<Vec<Written>, Error> {
        match self {
            Self::Redis(redis) => {
                let mut written = Vec::with_capacity(entries.len());
                for pipeline in pipelines(entries) {
                    written.extend(redis.write(pipeline).await?);
                }
                Ok(written)
            }
            Self::Memory(memory) => Ok(entries.iter().map(|entry| memory.write(entry)).collect()),
        }
    }

    /// A key's value and remaining life.
    pub async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Presence)>, Error> {
        match self {
            Self::Redis(redis) => redis.get(key).await,
            Self::Memory(memory) => Ok(memory.get(key)),
        }
    }
}

/// Cuts entries into runs of bounded size, each of at least one entry.
fn pipelines(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|entry| {
            bytes += entry.key.len() + entry.value.len();
            bytes <= PIPELINE_BYTES
        });
        let count = fits.count().max(1).min(rest.len());
        let (pipeline, after) = rest.split_at(count);
        rest = after;
        (!pipeline.is_empty()).then_some(pipeline)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_key_becomes_the_prefix_and_the_md5_of_the_rest() {
        let mut keyspace = Keyspace { prefix: "rec:".to_owned(), max_length: 200, overlong: Overlong::Md5 };
        assert_eq!(keyspace.key(&"é".repeat(200)).unwrap(), format!("rec:{}", "é".repeat(200)));
        // printf 'x%.0s' $(seq 201) | md5sum
        assert_eq!(keyspace.key(&"x".repeat(201)).unwrap(), "rec:3ea01af1716230e4a1484e78b3199f61");
        keyspace.overlong = Overlong::Error;
        assert_eq!(keyspace.key(&"x".repeat(201)).unwrap_err(), "the key is longer than 200 characters");
    }

    #[test]
    fn pipelines_are_cut_by_size_and_never_empty() {
        let entry = |size: usize| Entry {
            key: String::new(),
            value: vec![b'x'; size].into(),
            ttl: Duration::from_secs(1),
            only_absent: true,
        };
        let entries: Vec<Entry> = [1, PIPELINE_BYTES, 2, 3, PIPELINE_BYTES * 2].map(entry).into();
        let sizes: Vec<usize> = pipelines(&entries).map(<[Entry]>::len).collect();
        assert_eq!(sizes, [1, 1, 2, 1]);
        assert_eq!(pipelines(&[]).count(), 0);
    }
}
