//! Daemons that are killed at any moment.

use std::{
    collections::HashMap,
    fs, thread,
    time::{Duration, Instant},
};

use chrono::Utc;
use serde_json::Value;

use super::{BRIEF_LEASE, Chance, Daemon, USERS, moment, records, slow};
use crate::{cli::write_job, standstill::undisturbed, world::World};
use leases::{Begun, Hold, Monitor, holds, marks};
use oracle::{History, Life, Seen};

mod leases;
mod oracle;

/// Since the Unix epoch.
type Millis = i64;

/// As `BRIEF_LEASE` sets it.
const LEASE: Millis = 1000;

/// Two daemons, each of them started again under a new name after every end.
struct Pair<'w> {
    world: &'w World,
    alive: [Option<(String, Daemon)>; 2],
    started: usize,
    lives: Vec<Life>,
}

impl<'w> Pair<'w> {
    fn start(world: &'w World) -> Self {
        let mut pair = Self { world, alive: [None, None], started: 0, lives: Vec::new() };
        pair.complete();
        pair
    }

    fn complete(&mut self) {
        for place in self.alive.iter_mut().filter(|place| place.is_none()) {
            self.started += 1;
            let name = format!("daemon-{}", self.started);
            let variables = [BRIEF_LEASE, ("WARMD__LOG__LEVEL", "warn,warmd=debug"), ("WARMD__LOG__FORMAT", "json")];
            *place = Some((name.clone(), Daemon::start(self.world, &name, &variables)));
        }
    }

    fn end(&mut self, place: usize, signal: &str) {
        let (name, mut daemon) = self.alive[place].take().unwrap();
        let ready = daemon.ready_since().map(|at| at.timestamp_millis());
        let ended = Utc::now().timestamp_millis();
        daemon.signal(signal);
        daemon.ended();
        self.lives.push(Life { name, ready, ended, is_killed: signal == "KILL" });
    }
}

fn millis(value: &Value) -> Millis {
    moment(value).timestamp_millis()
}

fn seen(record: &Value) -> Seen {
    let text = |field: &str| record[field].as_str().unwrap().to_owned();
    Seen {
        job: text("job"),
        instance: text("instance"),
        tick: millis(&record["scheduled"]),
        started: millis(&record["started"]),
        outcome: text("outcome"),
        cause: record["cause"].as_str().map(str::to_owned),
    }
}

/// The ticks that a daemon says it began.
fn begun(world: &World, life: &Life) -> Vec<Begun> {
    let log = fs::read_to_string(world.folder().join(format!("{}.log", life.name))).unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let begins = lines.filter(|line| line["fields"]["message"].as_str().unwrap_or_default().ends_with(" begins"));
    begins
        .map(|line| Begun {
            job: line["fields"]["job"].as_str().unwrap().to_owned(),
            holder: life.name.clone(),
            tick: millis(&line["fields"]["tick"].as_str().unwrap().replace(" UTC", "Z").into()),
            at: millis(&line["timestamp"]),
        })
        .collect()
}

/// Ten jobs: with an interval in seconds, and the rows of a run that makes 200 of them a second, or a run of a moment.
const JOBS: [(Millis, Option<u32>); 10] = [
    (2, None),
    (2, None),
    (2, Some(80)),
    (2, Some(120)),
    (2, None),
    (2, Some(160)),
    (2, Some(240)),
    (4, None),
    (4, Some(200)),
    (4, Some(400)),
];

fn write_jobs(world: &World) -> HashMap<String, Millis> {
    let jobs = JOBS.into_iter().enumerate().map(|(number, (seconds, rows))| {
        let name = format!("job{number}");
        let head = format!("schedule = \"@every {seconds}s\"\nrefresh = \"always\"\n");
        let text = match rows {
            None => format!("{head}{}", USERS.replace("user:", &format!("{name}:"))),
            Some(rows) => {
                slow(&head).replace("< 2000", &format!("< {rows}")).replace("n:{id}", &format!("{name}:{{id}}"))
            }
        };
        write_job(world, &format!("{name}.toml"), &text);
        (name, seconds * 1000)
    });
    jobs.collect()
}

#[tokio::test]
async fn killed_at_any_moment_two_daemons_lose_no_tick_and_complete_none_twice() {
    undisturbed(async || {
        let world = World::new().await;
        let mut chance = Chance::of_this_test();
        let jobs = write_jobs(&world);
        let monitor = Monitor::start(&world.redis.socket);
        let mut pair = Pair::start(&world);
        let begin = Instant::now();
        let is_enough = |pair: &Pair| marks(&monitor.lines()) >= 150 && pair.lives.len() >= 16;
        // Judged is what there is after that time, too.
        while !is_enough(&pair) && begin.elapsed() < Duration::from_secs(80) {
            chance.pause(2000);
            let (first, both) = (usize::from(chance.below(2) == 1), chance.below(4) == 0);
            pair.end(first, if chance.below(5) == 0 { "TERM" } else { "KILL" });
            if both {
                pair.end(1 - first, "KILL");
            }
            chance.pause(if both { 3000 } else { 1000 });
            pair.complete();
        }
        // Until every job has had a tick that nobody disturbed.
        thread::sleep(Duration::from_secs(6));
        let end = Utc::now().timestamp_millis();
        pair.end(0, "TERM");
        pair.end(1, "TERM");
        monitor.catch_up();

        let lives = pair.lives;
        let begun: Vec<Begun> = lives.iter().flat_map(|life| begun(&world, life)).collect();
        let (holds, first_marks) = holds(&monitor.lines(), &begun);
        let records = records(&world).iter().map(seen).collect();
        let history = History { jobs, lives, holds, first_marks, records, end };
        let violations = history.violations();
        assert!(violations.is_empty(), "{:#?}\n{}", history.lives, violations.join("\n"));
        show_that_there_was_something_to_see(&history);
    })
    .await;
}

fn show_that_there_was_something_to_see(history: &History) {
    let done = history.holds.iter().filter(|hold| hold.mark.is_some()).count();
    let is_dead = |hold: &&Hold| history.lives.iter().any(|life| life.name == hold.holder && life.ended < hold.ends());
    let (killed, lost): (Vec<&Hold>, Vec<&Hold>) =
        history.holds.iter().filter(|hold| hold.released.is_none()).partition(is_dead);
    let mut tries: HashMap<_, usize> = HashMap::new();
    for hold in &history.holds {
        *tries.entry((&hold.job, hold.tick)).or_default() += usize::from(hold.tick.is_some());
    }
    let again = tries.values().filter(|tries| **tries > 1).count();
    let told = format!(
        "{done} ticks done, {} leases of killed daemons, {again} ticks begun again, {} leases lost by the living",
        killed.len(),
        lost.len()
    );
    println!("{told}");
    // Only a machine that stands still for a second takes a lease from a daemon that renews it.
    assert!(done >= 150 && killed.len() >= 4 && again >= 3 && lost.len() <= done / 4, "{told}");
}
