//! How a server is doing: how fast it answers, how full it is, and how often what is looked for is there.

use std::time::{Duration, Instant};

use super::{Error, Own, RedisStore, Store, usage};

/// What a server tells of itself. The counters begin anew when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vitals {
    /// How long it took to answer about one key, with the way there and back.
    pub response: Duration,
    /// Lookups of keys that were there (`keyspace_hits`), warmd's own among them.
    pub hits: u64,
    /// Lookups of keys that were not (`keyspace_misses`), likewise.
    pub misses: u64,
    /// Of these, those of this process through this store.
    pub own: Own,
    /// Bytes in use (`used_memory`).
    pub used: u64,
    /// The most that may be used (`maxmemory`); 0 is unlimited.
    pub most: u64,
    /// Keys evicted (`evicted_keys`).
    pub evicted: u64,
    /// Connections of clients (`connected_clients`).
    pub clients: u64,
}

impl Store {
    /// How the server is doing; `None` where there is none.
    pub async fn vitals(&self, prefix: &str) -> Result<Option<Vitals>, Error> {
        match self {
            Self::Redis(redis) => {
                let asked = Instant::now();
                self.answers(prefix).await?;
                let response = asked.elapsed();
                redis.vitals(response).await.map(Some)
            }
            Self::Memory(_) => Ok(None),
        }
    }
}

impl RedisStore {
    async fn vitals(&self, response: Duration) -> Result<Vitals, Error> {
        let at_least = self.lookups().answered();
        let info = self.info(&["memory", "stats", "clients"]).await?;
        let own = Own { at_least, at_most: self.lookups().at_most() };
        let field = |name| usage::field(&info, name);
        Ok(Vitals {
            response,
            hits: field("keyspace_hits"),
            misses: field("keyspace_misses"),
            own,
            used: field("used_memory"),
            most: field("maxmemory"),
            evicted: field("evicted_keys"),
            clients: field("connected_clients"),
        })
    }
}
