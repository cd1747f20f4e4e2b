//! A small shop, a Redis and a folder of jobs: what most tests need.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, LazyLock},
    time::Duration,
};

use secrecy::SecretString;
use tempfile::TempDir;
use warmd::{
    cache::{Keyspace, Overlong, Server, Store},
    database::{Database, LoadLimits},
    job::{self, Dialects, Job},
    problems::Problems,
    produce::Models,
    record::{Meter, Record},
    run::{Request, Surroundings, run},
    settings::LimitSettings,
    throttle::{Quotas, Throttle},
};

use crate::servers::{self, TestDatabase, TestRedis};

/// Tables that every engine understands. User 5 never did anything, user 6 is new.
pub const SHOP: &str = "
CREATE TABLE users (id BIGINT PRIMARY KEY, name VARCHAR(100), score BIGINT);
CREATE TABLE products (id BIGINT PRIMARY KEY, name VARCHAR(100), category VARCHAR(20), price NUMERIC(10,2));
CREATE TABLE sales (user_id BIGINT, product_id BIGINT, sold_at TIMESTAMP);
INSERT INTO users VALUES (1,'Ada',10),(2,'Bob',9),(3,'Cem',8),(4,'Dee',7),(5,'Eve',6);
INSERT INTO products VALUES (1,'Pen','paper',1.50),(2,'Pad','paper',2.00),(3,'Ink','paper',3.25),
    (4,'Cup','table',4.00),(5,'Jug','table',9.99),(6,'Mat','table',5.00);
INSERT INTO sales VALUES
    (1,1,'2026-01-01 10:00:00'),(1,2,'2026-01-02 10:00:00'),(2,1,'2026-01-03 10:00:00'),(2,2,'2026-01-04 10:00:00'),
    (2,3,'2026-01-05 10:00:00'),(3,1,'2026-01-06 10:00:00'),(3,2,'2026-01-06 11:00:00'),(3,3,'2026-01-07 10:00:00'),
    (4,4,'2026-01-08 10:00:00'),(4,5,'2026-01-09 10:00:00'),(3,4,'2026-01-09 10:00:00'),(1,9,'2026-01-09 11:00:00');
";

/// Everything that a run finds around it, and the servers behind it.
pub struct World {
    pub database: TestDatabase,
    pub redis: TestRedis,
    pub around: Surroundings,
    folder: TempDir,
}

impl World {
    /// The shop in SQLite and a Redis of its own.
    pub async fn new() -> Self {
        let database = servers::sqlite().await;
        servers::execute(&database.url, SHOP).await;
        Self::on(database).await
    }

    /// A database that is set up already, and a Redis of its own.
    pub async fn on(database: TestDatabase) -> Self {
        Self::with(database, servers::redis().await).await
    }

    /// Both set up already.
    pub async fn with(database: TestDatabase, redis: TestRedis) -> Self {
        let store = Store::connect(&server(&redis.url)).await.unwrap();
        let around = Surroundings {
            database: Database::new(&secret(&database.url)).unwrap(),
            statement_timeout: Duration::from_secs(60),
            models: Models::default(),
            store,
            keyspace: Keyspace { prefix: "t:".to_owned(), max_length: 200, overlong: Overlong::Md5 },
            load_limits: LoadLimits::default(),
            max_memory: Some(0.9),
            max_value_bytes: LimitSettings::default().max_value_bytes,
            throttle: Arc::new(Throttle::new(Quotas::default())),
            instance: "test".to_owned(),
        };
        Self { database, redis, around, folder: folder() }
    }

    /// The folder of jobs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A valid job named `job` from its text.
    pub fn job(&self, text: &str) -> Arc<Job> {
        let path = self.folder().join("job.toml");
        fs::write(&path, text).unwrap();
        let dialects = Dialects { default: Some(self.around.database.engine()), ..Dialects::default() };
        let mut problems = Problems::default();
        let job = job::load_file(&path, &dialects, &mut problems);
        assert_eq!(problems, Problems::default(), "{problems}");
        Arc::new(job.unwrap())
    }

    /// One run by hand.
    pub async fn run(&self, job: &Arc<Job>) -> Record {
        self.run_as(job, Request::manual()).await
    }

    /// One run as asked. Whatever happened, its counters add up.
    pub async fn run_as(&self, job: &Arc<Job>, request: Request) -> Record {
        let record = run(job, &self.around, &request, &Arc::new(Meter::default())).await;
        let c = record.counts;
        assert_eq!(c.keys, c.fresh + c.stale + c.missing + c.invalid + c.unreached, "{record:?}");
        assert_eq!(c.written + c.empty + c.failed, c.stale + c.missing + c.invalid, "{record:?}");
        record
    }

    /// Changes the shop.
    pub async fn sql(&self, sql: &str) {
        servers::execute(&self.database.url, sql).await;
    }

    /// A plain connection to Redis.
    pub async fn client(&self) -> redis::aio::MultiplexedConnection {
        servers::redis_client(&self.redis.url).await
    }

    /// A value as the application reads it.
    pub async fn get(&self, key: &str) -> Option<String> {
        redis::cmd("GET").arg(key).query_async(&mut self.client().await).await.unwrap()
    }

    /// A value as the application parses it.
    pub async fn json(&self, key: &str) -> serde_json::Value {
        let text = self.get(key).await.unwrap_or_else(|| panic!("no key {key}"));
        serde_json::from_str(&text).unwrap()
    }

    /// All keys of entries, sorted; leases, ticks and samples are warmd's own.
    pub async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.redis_command(&["KEYS", "*"]).await;
        keys.retain(|key| !key.trim_start_matches("t:").starts_with("warmd:{"));
        keys.sort();
        keys
    }

    /// Sends one command.
    pub async fn redis_command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.client().await).await.unwrap()
    }

    /// Remaining life in milliseconds; -1 for a key without TTL, -2 for none.
    pub async fn pttl(&self, key: &str) -> i64 {
        self.redis_command(&["PTTL", key]).await
    }
}

/// A folder in memory, where there is room for it. A disk that others use stalls for seconds at times, and with it what
/// tests look at: records of the history, and ticks that wait for them.
fn folder() -> TempDir {
    static MEMORY: LazyLock<Option<&Path>> = LazyLock::new(|| {
        let memory = Path::new("/dev/shm");
        let output = Command::new("df").args(["--output=avail", "-B1M"]).arg(memory).output().ok()?;
        let told = String::from_utf8(output.stdout).ok()?;
        let megabytes: u64 = told.lines().last()?.trim().parse().ok()?;
        (megabytes > 1000).then_some(memory)
    });
    MEMORY.map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap()
}

pub fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

/// A Redis server as the settings describe it.
pub fn server(url: &str) -> Server {
    Server { url: secret(url), certificates: None, response_timeout: Duration::from_secs(10) }
}
