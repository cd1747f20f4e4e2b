//! Faults in the middle of a run: what warmd does while they last, and that nothing of them is left afterwards.
//!
//! A daemon runs one job every second. Its keys are removed, so that it has two seconds of work, and in the middle of
//! that something breaks. `Stage::recovered` judges what there is afterwards, the same for every fault; what the fault is
//! told to have been is judged by each test.

use std::{fs, panic::panic_any, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{
    cli::write_job,
    daemon::{Daemon, PATIENCE, eventually, moment, until},
    servers::{self, TestDatabase, TestRedis},
    standstill::{Late, Stopwatch},
    world::World,
};

mod database;
mod process;
pub mod proxy;
mod redis;

/// Of the job; two of them are the application's own.
const KEYS: usize = 400;

/// Keys of the application, without TTL, under names that the job would write.
const FOREIGN: [&str; 2] = ["t:p:7", "t:p:8"];

/// After a fault, a run that begins this late has been waiting for something.
const SOON: Duration = Duration::from_secs(20);

/// Long enough for a busy machine to renew it in time; a run of two seconds still renews it.
const LEASE: (&str, &str) = ("WARMD__SCHEDULER__LEASE", "5s");

/// First renewed ten seconds later, when a short fault is over.
const LONG_LEASE: (&str, &str) = ("WARMD__SCHEDULER__LEASE", "30s");

/// The `limits` that make a run last two seconds.
const TWO_SECONDS: &str = "batch = 20\nkeys_per_second = 200\nconcurrency = 2\n";

/// More moments or seconds, which take half an hour in all, when this variable is set: to 1, or to a share of that.
fn moments(short: usize, long: usize) -> usize {
    match std::env::var("WARMD_TEST_LONG").map(|share| share.parse::<f64>()) {
        Ok(share) => short.max((long as f64 * share.expect("a number in WARMD_TEST_LONG")).round() as usize),
        Err(_) => short,
    }
}

/// A job with a key for each of the people. `columns` may make its statement slow.
fn people(columns: &str, limits: &str) -> String {
    format!(
        "schedule = \"@every 1s\"\nrefresh = \"missing\"\nkey = \"p:{{id}}\"\nttl = \"1h\"\n\
         [targets]\nid = {{ sql = \"SELECT id FROM people ORDER BY id\" }}\n\
         [query]\nsql = \"SELECT id, {columns} FROM people WHERE id IN (:id)\"\n[limits]\n{limits}"
    )
}

/// The table that the job reads.
async fn fill(url: &str) {
    let rows: Vec<String> = (1..=KEYS).map(|id| format!("({id}, 'Person {id}')")).collect();
    let create = "CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(100))";
    servers::execute(url, &format!("{create}; INSERT INTO people VALUES {}", rows.join(","))).await;
}

/// The people in SQLite, and a Redis that the test may break.
async fn sqlite_and(redis: TestRedis) -> World {
    let database = servers::sqlite().await;
    fill(&database.url).await;
    World::with(database, redis).await
}

/// The people in a database that the test may break.
async fn redis_and(database: TestDatabase) -> World {
    fill(&database.url).await;
    World::on(database).await
}

/// A key's name, its value as Redis would move it to another server, and the moment it ends.
type Kept = (String, Vec<u8>, i64);

/// A daemon whose run is under way.
struct Stage {
    world: World,
    daemon: Daemon,
    others: Vec<Kept>,
    /// In milliseconds, as the daemon's settings have it.
    lease: i64,
    /// The fewest that were open, and the fewest connections that Redis had, when nothing was wrong.
    descriptors: usize,
    clients: usize,
    /// When the run was seen under way, and the length of the log then.
    began: DateTime<Utc>,
    seen: usize,
}

impl Stage {
    /// Runs the job to its end once, for what the daemon holds then, and again into the middle.
    async fn set(world: World, job: &str, variables: &[(&str, &str)]) -> Self {
        write_job(&world, "people.toml", job);
        application_writes(&world).await;
        // What is told later counts.
        let variables = [&[("WARMD__LOG__LEVEL", "info"), LEASE], variables].concat();
        let daemon = Daemon::start(&world, "warmer", &variables).ready();
        until(&world, "the first run", |records| runs(records).any(is_complete)).await;
        let others = application_keys(&world).await;
        let (mut descriptors, mut clients) = (usize::MAX, usize::MAX);
        for _ in 0..20 {
            descriptors = descriptors.min(open(daemon.id()).unwrap());
            clients = clients.min(self::clients(&world).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seconds = |(name, value): &(&str, &str)| {
            (*name == LEASE.0).then(|| value.trim_end_matches('s').parse::<i64>().unwrap())
        };
        let lease = 1000 * variables.iter().rev().find_map(seconds).unwrap();
        let mut stage = Self { world, daemon, others, lease, descriptors, clients, began: Utc::now(), seen: 0 };
        for _ in 0..10 {
            forget(&stage.world).await;
            eventually("a run", async || stage.written().await >= 20).await;
            (stage.began, stage.seen) = (Utc::now(), stage.log().len());
            // Most of its keys must be before it. Else the machine was busy, and another run is as good.
            if stage.written().await < KEYS * 3 / 4 {
                return stage;
            }
        }
        panic!("every run was nearly over when it was seen: the test machine is too slow for this");
    }

    async fn written(&self) -> usize {
        let keys: Vec<String> = self.world.redis_command(&["KEYS", "t:p:*"]).await;
        keys.len().saturating_sub(FOREIGN.len())
    }

    /// The daemon's log so far.
    fn log(&self) -> String {
        fs::read_to_string(self.world.folder().join("warmer.log")).unwrap()
    }

    /// What it has logged since its run was seen under way.
    fn told(&self) -> String {
        self.log()[self.seen..].to_owned()
    }

    /// Panics with `Late` when the run was over, all well, before the fault.
    fn was_in_time(&self) {
        let wrote = |line: &str| line.contains("people: ok, ") && !line.contains("people: ok, 0 keys written");
        if self.told().lines().any(wrote) {
            late(&self.log());
        }
    }

    /// Waits until it is so. Where the run was over before the fault, it need never be: then this panics with `Late`.
    async fn eventually(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let start = Stopwatch::start();
        while !is_so().await {
            if start.elapsed() > PATIENCE {
                self.was_in_time();
                panic!("{what}: in vain: {}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the log has one of these words.
    async fn eventually_logs(&self, words: &[&str]) {
        let is_told = || words.iter().any(|words| self.told().contains(words));
        self.eventually(&format!("one of {words:?}"), async || is_told()).await;
    }

    /// Waits until a run has ended over its trouble. Whether that is noticed by a batch, by the lease or before anything
    /// is written is chance.
    async fn run_ends(&self) {
        self.eventually_logs(&["people: partial", "people: interrupted", "people: refused"]).await;
    }

    /// Judges what is left of a fault that has ended; gives the records of the runs that began before its end.
    async fn recovered(self) -> Vec<Value> {
        self.recovered_within(SOON).await
    }

    /// The same where the next run may begin later, because the one that was struck still waits.
    async fn recovered_within(mut self, soon: Duration) -> Vec<Value> {
        let (began, ended, clock) = (self.began, Utc::now(), Stopwatch::start());
        let is_after = |record: &&Value| moment(&record["started"]) > ended;
        let records =
            until(&self.world, "a run after the fault", |records| runs(records).any(|run| is_after(&run))).await;
        assert!(clock.elapsed() < soon, "a run came {:?} after the fault", clock.elapsed());
        let first = runs(&records).find(is_after).unwrap();
        assert!(is_complete(first), "one run after the fault makes all warm: {records:#?}\n{}", self.log());
        let warm: Vec<String> = self.world.redis_command(&["KEYS", "t:p:*"]).await;
        assert_eq!(warm.len(), KEYS, "{first:#?}");
        for record in &records {
            adds_up(record);
        }

        let others = application_keys(&self.world).await;
        assert_eq!(self.others, others, "the application's keys are as they were");

        let before = self.descriptors;
        eventually("as many descriptors as before", async || open(self.daemon.id()).unwrap() <= before).await;
        eventually("no connection is left at the database", async || connections(&self.world).await == 0).await;
        eventually("as many connections at Redis", async || clients(&self.world).await <= self.clients).await;

        self.daemon.signal("TERM");
        assert_eq!(self.daemon.ended(), Some(0), "{}", self.log());
        let lease = self.world.pttl("t:warmd:{people}:lease").await;
        assert!(lease != -1 && lease <= self.lease, "the lease lasts for {lease} ms");
        let log = self.log();
        assert!(!log.contains("panicked") && !log.contains("a defect of warmd"), "{log}");
        runs(&records).filter(|run| moment(&run["finished"]) > began && !is_after(run)).cloned().collect()
    }
}

/// Removes what the job has written, in a moment without a run: the next one looks when it has its lease, and finds all
/// of it missing.
async fn forget(world: &World) {
    let script = "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end \
                  for _, key in ipairs(redis.call('KEYS', 't:p:*')) do \
                  if key ~= ARGV[1] and key ~= ARGV[2] then redis.call('UNLINK', key) end end return 1";
    let words = ["EVAL", script, "1", "t:warmd:{people}:lease", FOREIGN[0], FOREIGN[1]];
    eventually("a moment without a run", async || world.redis_command::<i64>(&words).await == 1).await;
}

/// What an application keeps in the same Redis, with and without TTL.
async fn application_writes(world: &World) {
    let mut writes = ::redis::pipe();
    // Where Redis has lost them, a run may have written under these names, and another may be about to.
    writes.atomic().cmd("DEL").arg(&FOREIGN[..]);
    for words in [
        ["SET", "app:session:1", "\u{0}\u{1}binary \u{fffd}"].as_slice(),
        &["SET", "app:cart:1", "[1,2,3]", "EX", "3600"],
        &["HSET", "app:profile:1", "name", "Ada", "visits", "17"],
        &["HSET", "app:profile:2", "name", "Bob"],
        &["EXPIRE", "app:profile:2", "3600"],
        &["SET", FOREIGN[0], "the application's own"],
        &["HSET", FOREIGN[1], "also", "its own"],
    ] {
        writes.cmd(words[0]).arg(&words[1..]);
    }
    writes.query_async::<()>(&mut world.client().await).await.unwrap();
}

async fn application_keys(world: &World) -> Vec<Kept> {
    let mut names: Vec<String> = world.redis_command(&["KEYS", "app:*"]).await;
    names.sort();
    names.extend(FOREIGN.map(str::to_owned));
    let mut kept = Vec::new();
    for name in names {
        let value: Option<Vec<u8>> = world.redis_command(&["DUMP", &name]).await;
        let ends = world.redis_command(&["PEXPIRETIME", &name]).await;
        kept.push((name, value.unwrap_or_default(), ends));
    }
    kept
}

/// The descriptors that a process has open, as long as there is one. SQLite keeps that of a connection which was closed
/// while another had the same file open, for the next connection: of the history, which is opened anew now and then,
/// one counts.
fn open(id: u32) -> Option<usize> {
    let open = fs::read_dir(format!("/proc/{id}/fd")).ok()?;
    let files: Vec<_> = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
    let histories = files.iter().filter(|file| file.ends_with("history.db")).count();
    Some(files.len() - histories.saturating_sub(1))
}

/// The connections that Redis has, this test's among them.
async fn clients(world: &World) -> usize {
    world.redis_command::<String>(&["CLIENT", "LIST"]).await.lines().count()
}

/// warmd's connections that the database knows of; for SQLite, descriptors are all there is.
async fn connections(world: &World) -> i64 {
    let url = &world.database.url;
    let sql = match url.split_once(':').unwrap().0 {
        "postgres" => {
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'warmd' AND datname = current_database()"
        }
        "mysql" => {
            "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
        }
        _ => return 0,
    };
    servers::number(url, sql).await.unwrap()
}

/// The records of runs, without those of ticks that found the one before still running.
fn runs(records: &[Value]) -> impl Iterator<Item = &Value> {
    records.iter().filter(|record| record["outcome"] != "skipped")
}

fn count(record: &Value, field: &str) -> u64 {
    record[field].as_u64().unwrap_or_else(|| panic!("no {field} in {record:#?}"))
}

/// Whether the run left every key warm.
fn is_complete(record: &Value) -> bool {
    record["outcome"] == "ok"
        && count(record, "keys") == KEYS as u64
        && count(record, "fresh") + count(record, "written") == KEYS as u64
        && count(record, "foreign") == FOREIGN.len() as u64
}

/// Every record tells of each key once, and of an error when it is not content.
fn adds_up(record: &Value) {
    let sum = |fields: &[&str]| fields.iter().map(|field| count(record, field)).sum::<u64>();
    assert_eq!(count(record, "keys"), sum(&["fresh", "stale", "missing", "invalid", "unreached"]), "{record:#?}");
    assert_eq!(sum(&["written", "empty", "failed"]), sum(&["stale", "missing", "invalid"]), "{record:#?}");
    let is_ok = record["outcome"] == "ok";
    assert_eq!(is_ok, record["cause"].is_null(), "{record:#?}");
    assert!(is_ok || record["outcome"] == "interrupted" || record["first_error"].is_string(), "{record:#?}");
    assert!(!is_ok || count(record, "failed") == 0, "{record:#?}");
}

/// Runs that a fault ended, and that say so: in the middle of their keys, within some seconds, with one of the causes
/// and all of the words.
fn were_struck<'r>(struck: &'r [Value], causes: &[&str], words: &str) -> Vec<&'r Value> {
    were_struck_within(struck, SOON, causes, words)
}

/// The same where a run may last longer, because the fault does.
fn were_struck_within<'r>(struck: &'r [Value], longest: Duration, causes: &[&str], words: &str) -> Vec<&'r Value> {
    // Only the run that was under way had something to write.
    if let Some(run) = struck.iter().find(|run| count(run, "written") > 0)
        && run["outcome"] == "ok"
    {
        late(&format!("{struck:#?}"));
    }
    let ended: Vec<&Value> = struck.iter().filter(|run| run["outcome"] != "ok").collect();
    assert!(!ended.is_empty(), "no run was struck: {struck:#?}");
    for run in &ended {
        assert!(run["seconds"].as_f64().unwrap() < longest.as_secs_f64(), "{run:#?}");
        assert!(causes.contains(&run["cause"].as_str().unwrap()), "{run:#?}");
    }
    let first = ended[0];
    assert!(count(first, "written") > 0 && count(first, "written") < KEYS as u64, "in the middle: {first:#?}");
    let error = first["first_error"].as_str().unwrap_or_default();
    assert!(words.is_empty() || error.contains(words), "{first:#?}");
    ended
}

/// The run was over before the fault, as this shows.
fn late(shown: &str) -> ! {
    eprintln!("the fault came too late: {shown}");
    panic_any(Late);
}
