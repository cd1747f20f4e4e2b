//! `warmd run` as systemd sees it: signals, notifications, records.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::net::UnixDatagram,
    process::{Child, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    cli::{run, warmd, write_job},
    world::World,
};

const EVERY_SECOND: &str = "schedule = \"@every 1s\"\nrefresh = \"always\"\n";

/// Five keys in a moment.
const USERS: &str = "key = \"user:{user_id}\"\nttl = \"10m\"\n[targets]\nuser_id = { sql = \"SELECT id FROM users\" }\n\
                     [query]\nsql = \"SELECT id AS user_id, name FROM users WHERE id IN (:user_id)\"\n";

/// Ten seconds of work, in batches of ten keys.
fn slow(head: &str) -> String {
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i AS id, 1 AS one FROM n";
    format!(
        "{head}\nkey = \"n:{{id}}\"\nttl = \"1h\"\n[query]\nsql = \"{rows}\"\n\
         [limits]\nbatch = 10\nkeys_per_second = 200\nconcurrency = 1\n"
    )
}

/// One statement that takes longer than any test waits.
const STUCK: &str = "schedule = \"@every 1s\"\nkey = \"n:{id}\"\nttl = \"1h\"\n[query]\nsql = \"\"\"\
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT count(*) AS id FROM n\"\"\"\n";

/// Waits until the stuck job runs.
async fn stuck(world: &World) {
    while world.redis_command::<i64>(&["EXISTS", "t:warmd:{stuck}:lease"]).await == 0 {
        tokio::task::yield_now().await;
    }
}

/// A daemon that tells this test, in systemd's place, how it is.
struct Daemon {
    child: Child,
    heard: mpsc::Receiver<String>,
    told: Vec<String>,
}

impl Daemon {
    fn start(world: &World, name: &str, variables: &[(&str, &str)]) -> Self {
        let path = world.folder().join(format!("{name}.notify"));
        let socket = UnixDatagram::bind(&path).unwrap();
        // Like systemd, always listening: a full socket would hold the daemon up.
        let (sender, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                if sender.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                    break;
                }
            }
        });
        let mut command = warmd(world, &["run"]);
        command.env("NOTIFY_SOCKET", &path).env("WARMD__SCHEDULER__INSTANCE", name);
        command.envs(variables.iter().copied());
        let log = fs::File::create(world.folder().join(format!("{name}.log"))).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, heard, told: Vec::new() }
    }

    /// Waits until the daemon says something with these words; gives the whole of it.
    fn until(&mut self, words: &str) -> String {
        loop {
            let told = self.heard.recv_timeout(Duration::from_secs(30));
            let told = told.unwrap_or_else(|_| panic!("no `{words}` in {:#?}", self.told));
            self.told.push(told.clone());
            if told.contains(words) {
                return told;
            }
        }
    }

    fn ready(mut self) -> Self {
        self.until("READY=1");
        self
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Ends it as systemd does; its exit code.
    fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All records, the oldest first.
fn records(world: &World) -> Vec<Value> {
    let (code, out, err) = run(world, &["history", "--json", "--limit", "100000"]);
    assert_eq!(code, Some(0), "{err}");
    let history: Value = serde_json::from_str(&out).unwrap();
    let mut records = history["runs"].as_array().unwrap().clone();
    records.reverse();
    records
}

/// Waits until the records are as they should be.
async fn until(world: &World, what: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let records = records(world);
        if enough(&records) {
            return records;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{what}: {records:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn with<'r>(records: &'r [Value], field: &str, value: &str) -> Vec<&'r Value> {
    records.iter().filter(|record| record[field] == value).collect()
}

/// How late the run began, in milliseconds.
fn lateness(record: &Value) -> i64 {
    let moment = |field: &str| -> chrono::DateTime<chrono::Utc> { record[field].as_str().unwrap().parse().unwrap() };
    (moment("started") - moment("scheduled")).num_milliseconds()
}

#[tokio::test]
async fn every_tick_runs_once_and_within_a_second_and_sigterm_ends_well() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("{EVERY_SECOND}{USERS}"));
    let mut daemon = Daemon::start(&world, "a", &[]).ready();
    let status = daemon.until("last: users: ok, 5 keys written");
    assert!(status.contains("next: users at 2") && status.contains("1 job"), "{status}");
    let records = until(&world, "three ticks", |records| records.len() >= 3).await;
    assert_eq!(daemon.stop(), Some(0));
    let mut before = None;
    for record in records {
        assert_eq!((&record["trigger"], &record["outcome"]), (&"schedule".into(), &"ok".into()));
        assert!((0..1000).contains(&lateness(&record)), "{record}");
        let tick = record["scheduled"].as_str().map(str::to_owned);
        assert!(tick > before, "{tick:?} after {before:?}");
        before = tick;
    }
    assert_eq!(world.keys().await.len(), 5);
    assert_eq!(world.redis_command::<i64>(&["EXISTS", "t:warmd:{users}:lease"]).await, 0);
}

#[tokio::test]
async fn a_daemon_starts_without_its_redis_and_runs_when_it_is_there() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("schedule = \"@every 1s\"\n{USERS}"));
    let socket = world.folder().join("redis.sock");
    let url = format!("redis+unix://{}", socket.display());
    let mut daemon = Daemon::start(&world, "a", &[("WARMD__REDIS__URL", url.as_str())]).ready();
    daemon.until("waiting: users: Redis at");
    // What the next tick takes the place of is a record, so that somebody sees it.
    let missed = until(&world, "a missed tick", |records| !records.is_empty()).await;
    assert_eq!((&missed[0]["outcome"], &missed[0]["cause"]), (&"skipped".into(), &"redis_unreachable".into()));
    std::os::unix::fs::symlink(&world.redis.socket, &socket).unwrap();
    until(&world, "a run", |records| !with(records, "outcome", "ok").is_empty()).await;
    assert_eq!(world.keys().await.len(), 5);
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_tick_waits_for_its_database_and_runs_when_it_is_there() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("schedule = \"0 0 1 1 *\"\n{USERS}"));
    world.redis_command::<String>(&["SET", "t:warmd:{users}:tick", "1"]).await;
    let file = world.folder().join("later.sqlite");
    let url = format!("sqlite://{}", file.display());
    let mut daemon = Daemon::start(&world, "a", &[("WARMD__DATABASE__URL", url.as_str())]).ready();
    // The last new year was missed: that is the tick.
    daemon.until("waiting: users: ");
    fs::copy(world.database.url.strip_prefix("sqlite://").unwrap(), &file).unwrap();
    let records = until(&world, "a run", |records| !with(records, "outcome", "ok").is_empty()).await;
    let ticks: Vec<&Value> = records.iter().map(|record| &record["scheduled"]).collect();
    assert!(ticks.iter().all(|tick| *tick == ticks[0]), "{ticks:?}");
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_tick_missed_while_no_daemon_ran_is_made_up_for_once() {
    let world = World::new().await;
    write_job(&world, "once.toml", &format!("schedule = \"0 0 1 1 *\"\n{USERS}"));
    write_job(
        &world,
        "none.toml",
        &format!("schedule = \"0 0 1 1 *\"\ncatch_up = \"none\"\n{}", USERS.replace("user:", "none:")),
    );
    write_job(&world, "new.toml", &format!("schedule = \"0 0 1 1 *\"\n{}", USERS.replace("user:", "new:")));
    for job in ["once", "none"] {
        world.redis_command::<String>(&["SET", &format!("t:warmd:{{{job}}}:tick"), "1577836800"]).await;
    }
    for _ in 0..2 {
        let mut daemon = Daemon::start(&world, "a", &[]).ready();
        // The second time there is nothing to be seen but the daemon itself.
        until(&world, "a run", |records| !records.is_empty()).await;
        daemon.signal("HUP");
        daemon.until("READY=1");
        assert_eq!(daemon.stop(), Some(0));
        fs::remove_file(world.folder().join("a.notify")).unwrap();
    }
    let records = records(&world);
    assert_eq!((records.len(), &records[0]["job"]), (1, &"once".into()), "{records:#?}");
    let scheduled = records[0]["scheduled"].as_str().unwrap();
    assert!(scheduled.ends_with("-01-01T00:00:00Z"), "{scheduled}");
}

#[tokio::test]
async fn a_tick_that_finds_its_run_going_is_recorded_as_missed() {
    let world = World::new().await;
    write_job(&world, "slow.toml", &slow(EVERY_SECOND));
    let daemon = Daemon::start(&world, "a", &[]).ready();
    let records = until(&world, "a missed tick", |records| !records.is_empty()).await;
    assert_eq!((&records[0]["outcome"], &records[0]["cause"]), (&"skipped".into(), &"overlap".into()));
    let why = records[0]["first_error"].as_str().unwrap();
    assert!(why.starts_with("the run before has been going since 20"), "{why}");
    // In mid-run: the record says so, nothing is left held, and the tick is not marked as run.
    assert_eq!(daemon.stop(), Some(0));
    let interrupted = until(&world, "the run", |records| !with(records, "outcome", "interrupted").is_empty()).await;
    let interrupted = with(&interrupted, "outcome", "interrupted")[0].clone();
    assert_eq!(interrupted["cause"], "shutdown");
    assert!(interrupted["written"].as_u64().unwrap() > 0, "{interrupted}");
    assert_eq!(world.redis_command::<i64>(&["EXISTS", "t:warmd:{slow}:lease", "t:warmd:{slow}:tick"]).await, 0);
}

#[tokio::test]
async fn a_run_that_does_not_end_within_the_grace_is_dropped_and_said_so() {
    let world = World::new().await;
    write_job(&world, "stuck.toml", STUCK);
    let daemon = Daemon::start(&world, "a", &[("WARMD__SCHEDULER__SHUTDOWN_GRACE", "100ms")]).ready();
    stuck(&world).await;
    let begun = Instant::now();
    assert_eq!(daemon.stop(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let log = fs::read_to_string(world.folder().join("a.log")).unwrap();
    assert!(log.contains("did not end in 100ms and was dropped: stuck"), "{log}");
    let records = records(&world);
    let interrupted = with(&records, "outcome", "interrupted");
    assert_eq!(interrupted.len(), 1, "{records:#?}");
    assert_eq!(world.redis_command::<i64>(&["EXISTS", "t:warmd:{stuck}:lease"]).await, 0);
}

#[tokio::test]
async fn a_second_signal_ends_the_daemon_at_once() {
    let world = World::new().await;
    write_job(&world, "stuck.toml", STUCK);
    let mut daemon = Daemon::start(&world, "a", &[]).ready();
    stuck(&world).await;
    daemon.signal("INT");
    daemon.until("STOPPING=1");
    let begun = Instant::now();
    assert_eq!(daemon.stop(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_reload_takes_all_or_nothing() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("{EVERY_SECOND}{USERS}"));
    let mut daemon = Daemon::start(&world, "a", &[]).ready();
    write_job(&world, "more.toml", &format!("{EVERY_SECOND}{}", USERS.replace("user:", "more:")));
    write_job(&world, "bad.toml", "schedule = \"61 * * * *\"\n");
    daemon.signal("HUP");
    daemon.until("RELOADING=1\nMONOTONIC_USEC=");
    let status = daemon.until("READY=1");
    assert!(status.contains("reload failed: ") && status.contains("bad.toml:1:1: `ttl` is missing"), "{status}");
    let count = records(&world).len();
    let after = until(&world, "more ticks", |records| records.len() >= count + 2).await;
    assert!(with(&after, "job", "more").is_empty(), "a job of a refused reload ran");
    fs::remove_file(world.folder().join("bad.toml")).unwrap();
    daemon.signal("HUP");
    let status = daemon.until("READY=1");
    assert!(status.contains("2 jobs") && !status.contains("reload failed"), "{status}");
    until(&world, "the new job", |records| !with(records, "job", "more").is_empty()).await;
    write_job(&world, "users.toml", &format!("enabled = false\n{EVERY_SECOND}{USERS}"));
    daemon.signal("HUP");
    assert!(daemon.until("READY=1").contains("1 job"));
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_running_run_ends_with_the_definition_it_began_with() {
    let world = World::new().await;
    write_job(&world, "slow.toml", &slow("schedule = \"@every 1s\"").replace("< 2000", "< 400"));
    let mut daemon = Daemon::start(&world, "a", &[]).ready();
    while world.keys().await.is_empty() {
        tokio::task::yield_now().await;
    }
    fs::remove_file(world.folder().join("slow.toml")).unwrap();
    daemon.signal("HUP");
    daemon.until("RELOADING=1");
    assert!(daemon.until("READY=1").contains("no enabled job has a schedule"));
    let records = until(&world, "the run", |records| !with(records, "outcome", "ok").is_empty()).await;
    assert_eq!(with(&records, "outcome", "ok")[0]["written"], 400);
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn wrong_settings_end_with_78_before_anything_runs() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("{EVERY_SECOND}{USERS}"));
    for (name, value, words) in [
        ("WARMD__SCHEDULER__LEASE", "1ms", "`scheduler.lease` is 1ms; it is at least 1s and at most 1h"),
        ("WARMD__SCHEDULER__LAESE", "1s", "unknown setting `laese`, did you mean `lease`?"),
        ("WARMD__REDIS__URL", "http://x", "the Redis URL cannot be read"),
        ("WARMD__LOG__LEVEL", "a=b=c", "`log.level`: "),
    ] {
        let output = warmd(&world, &["run"]).env(name, value).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn two_instances_on_one_redis_run_each_tick_once() {
    let world = World::new().await;
    for job in ["a", "b", "c"] {
        let text = format!("{EVERY_SECOND}{}", USERS.replace("user:", &format!("{job}:")));
        write_job(&world, &format!("{job}.toml"), &text);
    }
    let daemons = [Daemon::start(&world, "one", &[]).ready(), Daemon::start(&world, "two", &[]).ready()];
    let records = until(&world, "five ticks", |records| with(records, "job", "c").len() >= 5).await;
    for daemon in daemons {
        assert_eq!(daemon.stop(), Some(0));
    }
    let mut ticks: BTreeMap<(String, String), usize> = BTreeMap::new();
    for record in &records {
        let text = |field: &str| record[field].as_str().unwrap().to_owned();
        *ticks.entry((text("job"), text("scheduled"))).or_default() += 1;
    }
    assert!(ticks.values().all(|runs| *runs == 1), "{ticks:#?}");
    assert!(with(&records, "outcome", "ok").len() == records.len(), "{records:#?}");
}

#[tokio::test]
async fn the_tick_of_a_killed_daemon_is_taken_over_within_one_lease() {
    let world = World::new().await;
    write_job(&world, "slow.toml", &slow("schedule = \"0 0 1 1 *\"").replace("< 2000", "< 500"));
    world.redis_command::<String>(&["SET", "t:warmd:{slow}:tick", "1"]).await;
    let mut first = Daemon::start(&world, "first", &[]).ready();
    while world.keys().await.len() < 50 {
        tokio::task::yield_now().await;
    }
    let second = Daemon::start(&world, "second", &[]).ready();
    // By hand it does not run either, and says who does.
    let (code, _, err) = run(&world, &["warm", "slow"]);
    assert_eq!(code, Some(75), "{err}");
    assert!(err.contains("slow: skipped: the lease is held by first since 20"), "{err}");
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let killed = Instant::now();
    while !world
        .redis_command::<Option<String>>(&["GET", "t:warmd:{slow}:lease"])
        .await
        .is_some_and(|holder| holder.ends_with("second"))
    {
        tokio::task::yield_now().await;
        assert!(killed.elapsed() < Duration::from_secs(20));
    }
    // A lease of one second, and a busy machine.
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
    let records = until(&world, "the run", |records| !with(records, "outcome", "ok").is_empty()).await;
    let ok = with(&records, "outcome", "ok");
    assert_eq!((ok.len(), &ok[0]["instance"]), (1, &"second".into()));
    assert_eq!(world.keys().await.len(), 500);
    assert_eq!(second.stop(), Some(0));
}

#[tokio::test]
async fn a_run_that_lost_its_lease_stops_and_says_so() {
    let world = World::new().await;
    write_job(&world, "slow.toml", &slow("schedule = \"0 0 1 1 *\""));
    world.redis_command::<String>(&["SET", "t:warmd:{slow}:tick", "1"]).await;
    let daemon = Daemon::start(&world, "a", &[]).ready();
    while world.keys().await.len() < 50 {
        tokio::task::yield_now().await;
    }
    world.redis_command::<String>(&["SET", "t:warmd:{slow}:lease", "stolen 0 thief", "PX", "60000"]).await;
    let records = until(&world, "the end", |records| !records.is_empty()).await;
    assert_eq!((&records[0]["outcome"], &records[0]["cause"]), (&"interrupted".into(), &"lease_lost".into()));
    assert_eq!(daemon.stop(), Some(0));
    let holder: String = world.redis_command(&["GET", "t:warmd:{slow}:lease"]).await;
    assert_eq!(holder, "stolen 0 thief", "the lease of another was released");
}
