//! `warmd run` as systemd sees it: signals, notifications, records.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use warmd::cache::Ticks;

use crate::{
    cli::{run, warmd},
    standstill,
    world::World,
};

mod clock;
mod kills;
mod leases;
mod reload;
mod signals;
mod ticks;

/// What takes longer does not come any more.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const EVERY_SECOND: &str = "schedule = \"@every 1s\"\nrefresh = \"always\"\n";

/// Five keys in a moment.
const USERS: &str = "key = \"user:{user_id}\"\nttl = \"10m\"\n[targets]\nuser_id = { sql = \"SELECT id FROM users\" }\n\
                     [query]\nsql = \"SELECT id AS user_id, name FROM users WHERE id IN (:user_id)\"\n";

/// Ten seconds of work, in batches of ten keys.
pub fn slow(head: &str) -> String {
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i AS id, 1 AS one FROM n";
    format!(
        "{head}\nkey = \"n:{{id}}\"\nttl = \"1h\"\n[query]\nsql = \"{rows}\"\n\
         [limits]\nbatch = 10\nkeys_per_second = 200\nconcurrency = 1\n"
    )
}

/// What a daemon that was killed holds is free a second later. One that a busy machine keeps from renewing it for as long
/// loses it.
pub const BRIEF_LEASE: (&str, &str) = ("WARMD__SCHEDULER__LEASE", "1s");

/// Long enough for a busy machine to renew it in time, short enough to be waited for.
pub const SHORT_LEASE: (&str, &str) = ("WARMD__SCHEDULER__LEASE", "3s");

/// One statement that takes longer than any test waits.
pub const STUCK: &str = "schedule = \"@every 1s\"\nkey = \"n:{id}\"\nttl = \"1h\"\n[query]\nsql = \"\"\"\
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT count(*) AS id FROM n\"\"\"\n";

/// Waits until the stuck job runs.
pub async fn stuck(world: &World) {
    eventually("the lease", async || world.redis_command(&["EXISTS", "t:warmd:{stuck}:lease"]).await).await;
}

/// The same numbers again from the same seed (SplitMix64).
pub struct Chance(u64);

impl Chance {
    /// From the seed in `WARMD_TEST_SEED`, else from one that is told.
    pub fn of_this_test() -> Self {
        let seed = std::env::var("WARMD_TEST_SEED")
            .map_or(Utc::now().timestamp_micros().unsigned_abs(), |seed| seed.parse().unwrap());
        println!("to repeat it: WARMD_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub fn pause(&mut self, at_most: u64) {
        std::thread::sleep(Duration::from_millis(self.below(at_most)));
    }
}

pub use clock::{Clock, give_clock};

/// A daemon that tells this test, in systemd's place, how it is.
pub struct Daemon {
    child: Child,
    heard: mpsc::Receiver<(DateTime<Utc>, String)>,
    told: Vec<(DateTime<Utc>, String)>,
}

impl Daemon {
    pub fn start(world: &World, name: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = warmd(world, &["run"]);
        command.envs(variables.iter().copied());
        Self::spawn(world, name, command)
    }

    /// The same with a command of the test's own.
    pub fn spawn(world: &World, name: &str, mut command: Command) -> Self {
        let path = world.folder().join(format!("{name}.notify"));
        // One that was killed has left its own.
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        // Like systemd, always listening: a full socket would hold the daemon up.
        let (sender, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if sender.send((Utc::now(), told)).is_err() {
                    break;
                }
            }
        });
        command.env("NOTIFY_SOCKET", &path).env("WARMD__SCHEDULER__INSTANCE", name);
        let log = fs::File::create(world.folder().join(format!("{name}.log"))).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, heard, told: Vec::new() }
    }

    /// Waits until the daemon says something with these words; gives the whole of it.
    pub fn until(&mut self, words: &str) -> String {
        loop {
            let told = self.heard.recv_timeout(PATIENCE);
            let told = told.unwrap_or_else(|_| panic!("no `{words}` in {:#?}", self.told));
            self.told.push(told.clone());
            if told.1.contains(words) {
                return told.1;
            }
        }
    }

    pub fn ready(mut self) -> Self {
        self.until("READY=1");
        self
    }

    /// When it said that it is ready, if it has.
    fn ready_since(&mut self) -> Option<DateTime<Utc>> {
        self.told.extend(self.heard.try_iter());
        self.told.iter().find(|(_, told)| told.contains("READY=1")).map(|(at, _)| *at)
    }

    /// Of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        standstill::step();
        let id = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Ends it as systemd does; its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.ended()
    }

    /// Waits for its end; its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end; it said {:#?}", self.told);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All records, the oldest first.
pub fn records(world: &World) -> Vec<Value> {
    let (code, out, err) = run(world, &["history", "--json", "--limit", "100000"]);
    assert_eq!(code, Some(0), "{err}");
    let history: Value = serde_json::from_str(&out).unwrap();
    let mut records = history["runs"].as_array().unwrap().clone();
    records.reverse();
    records
}

/// Keeps everybody from writing to the history, until what it gives is called.
pub fn lock_history(world: &World) -> impl FnOnce() + use<> {
    let file = world.folder().join("state/history.db");
    let mut locker = Command::new("sqlite3").arg(file).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut orders = locker.stdin.take().unwrap();
    orders.write_all(b".timeout 10000\nBEGIN EXCLUSIVE;\nSELECT 'locked';\n").unwrap();
    let mut answer = String::new();
    BufReader::new(locker.stdout.take().unwrap()).read_line(&mut answer).unwrap();
    assert_eq!(answer, "locked\n");
    move || {
        drop(orders);
        locker.wait().unwrap();
    }
}

/// Waits until it is so.
pub async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "{what}: in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the records are as they should be.
pub async fn until(world: &World, what: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let records = records(world);
        if enough(&records) {
            return records;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {records:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The ticks of a job that Redis knows to have had their run.
async fn marked(world: &World, job: &str) -> Ticks {
    let mark: String = world.redis_command(&["GET", &format!("t:warmd:{{{job}}}:tick")]).await;
    mark.parse().unwrap()
}

fn with<'r>(records: &'r [Value], field: &str, value: &str) -> Vec<&'r Value> {
    records.iter().filter(|record| record[field] == value).collect()
}

/// The tick that the record is about.
fn tick(record: &Value) -> DateTime<Utc> {
    moment(&record["scheduled"])
}

pub fn moment(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}
