//! What must hold of every history of two daemons that are killed at any moment.
//!
//! A tick is *done* when its run ended, which the holder of the job's lease marks as it gives the lease back. Then:
//!
//! 1. Nobody is granted a lease that another holds: it was released, or not renewed for its whole length.
//! 2. No tick begins that is done. One that began begins again only when its holder died, stopped or lost its lease.
//! 3. No tick has two completed runs, but for a holder that was without its lease at the end, and did not know it yet.
//! 4. Every done tick has the record of its run, unless the holder died between the mark and the record.
//! 5. No tick is lost: it is done, or recorded as skipped for a reason that was there, or there was no occasion for it
//!    until the next tick took its place: no daemon was up, or the lease was held, at the last by a dead one.

use std::collections::{HashMap, HashSet};

use super::{LEASE, Millis, leases::Hold};

/// All that was seen.
#[derive(Default)]
pub struct History {
    /// Each job's interval.
    pub jobs: HashMap<String, Millis>,
    pub lives: Vec<Life>,
    /// In the order in which they began.
    pub holds: Vec<Hold>,
    /// The first mark of each job: what was due before is not looked at.
    pub first_marks: HashMap<String, Millis>,
    pub records: Vec<Seen>,
    /// Until when the daemons were left alone.
    pub end: Millis,
}

/// A daemon from its start to its end.
#[derive(Debug, Clone)]
pub struct Life {
    pub name: String,
    /// When it said that it is ready; `None` when it did not live to.
    pub ready: Option<Millis>,
    /// When it was killed or told to stop.
    pub ended: Millis,
    pub is_killed: bool,
}

/// A record.
#[derive(Debug, Clone)]
pub struct Seen {
    pub job: String,
    pub instance: String,
    pub tick: Millis,
    pub started: Millis,
    pub outcome: String,
    pub cause: Option<String>,
}

/// A tick starts within a second.
const LATENESS: Millis = 1000;

/// What a killed daemon may have left undone after the mark: its record.
const LAST_MOMENT: Millis = 1000;

impl History {
    /// All that must not be.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut jobs: Vec<&String> = self.jobs.keys().collect();
        jobs.sort();
        for job in jobs {
            let holds: Vec<&Hold> = self.holds.iter().filter(|hold| hold.job == *job).collect();
            let records: Vec<&Seen> = self.records.iter().filter(|record| record.job == *job).collect();
            self.leases_exclude(&holds, &mut found);
            self.no_tick_begins_twice(&holds, &records, &mut found);
            self.records_are_those_of_the_holds(&holds, &records, &mut found);
            let lost = self.ticks(job).filter(|tick| !self.is_accounted_for(*tick, job, &holds, &records));
            found.extend(lost.map(|tick| format!("{job}: the tick of {tick} is lost")));
        }
        found
    }

    /// The ticks that are looked at: whole ones, from when the job was known to somebody to the end.
    fn ticks(&self, job: &str) -> impl Iterator<Item = Millis> + use<> {
        let (interval, end) = (self.jobs[job], self.end);
        let up = self.lives.iter().filter_map(|life| life.ready).min().unwrap_or(end);
        let known = self.first_marks.get(job).map_or(end, |mark| up.max(*mark));
        let first = known.div_euclid(interval) * interval + interval;
        (0..).map(move |n| first + n * interval).take_while(move |tick| tick + interval <= end)
    }

    fn leases_exclude(&self, holds: &[&Hold], found: &mut Vec<String>) {
        for pair in holds.windows(2) {
            // Between the look at its clock and the line that tells of it, the server may have had to wait.
            if pair[1].from + 50 < pair[0].ends() {
                found.push(format!("a lease was granted while it was held: {pair:#?}"));
            }
        }
    }

    fn no_tick_begins_twice(&self, holds: &[&Hold], records: &[&Seen], found: &mut Vec<String>) {
        for (place, hold) in holds.iter().enumerate() {
            let Some(tick) = hold.tick else { continue };
            for before in &holds[..place] {
                let is_interrupted = records.iter().any(|record| {
                    (record.tick, record.instance.as_str(), record.outcome.as_str())
                        == (tick, &before.holder, "interrupted")
                });
                if before.mark.is_some_and(|mark| mark >= tick) {
                    found.push(format!("a tick began that was done: {before:#?} {hold:#?}"));
                } else if before.tick == Some(tick) && before.released.is_some() && !is_interrupted {
                    found.push(format!("a tick was not marked as done, and began again: {before:#?} {hold:#?}"));
                }
            }
        }
        let mut completed = HashSet::new();
        for record in records.iter().filter(|record| record.outcome == "ok") {
            let is_its = |hold: &&&Hold| hold.holder == record.instance && hold.tick == Some(record.tick);
            let held_to_the_end = holds.iter().rfind(is_its).is_some_and(|hold| hold.released.is_some());
            if held_to_the_end && !completed.insert(record.tick) {
                found.push(format!("a tick has two completed runs: {record:?}"));
            }
        }
    }

    fn records_are_those_of_the_holds(&self, holds: &[&Hold], records: &[&Seen], found: &mut Vec<String>) {
        for record in records.iter().filter(|record| record.outcome != "skipped") {
            let is_its = |hold: &&Hold| hold.holder == record.instance && hold.tick == Some(record.tick);
            if !["ok", "interrupted"].contains(&record.outcome.as_str()) {
                found.push(format!("not a good end: {record:?}"));
            } else if !holds.iter().any(is_its) {
                found.push(format!("a run without lease: {record:?}"));
            }
        }
        for hold in holds {
            let (Some(tick), Some(released)) = (hold.tick, hold.released) else { continue };
            let is_its = |record: &&Seen| record.instance == hold.holder && record.tick == tick;
            if !records.iter().any(is_its) && !self.died_at_once(hold, released) {
                found.push(format!("a run without record: {hold:#?}"));
            }
        }
    }

    fn is_accounted_for(&self, tick: Millis, job: &str, holds: &[&Hold], records: &[&Seen]) -> bool {
        let is_done = holds.iter().any(|hold| hold.tick == Some(tick) && hold.mark >= Some(tick));
        // A run that lost its lease at the very end is a completed one all the same.
        let is_completed = || records.iter().any(|record| record.tick == tick && record.outcome == "ok");
        let is_skipped = || records.iter().any(|record| record.tick == tick && is_rightly_skipped(record, holds));
        // The record of a skipped tick is another task's: the mark may outlive it.
        let is_marked_only = || {
            holds.iter().any(|hold| {
                (hold.tick..=hold.mark).contains(&Some(tick))
                    && hold.released.is_some_and(|released| self.died_at_once(hold, released))
            })
        };
        is_done || is_completed() || is_skipped() || is_marked_only() || !self.had_an_occasion(tick, job, holds)
    }

    /// Whether a daemon was up, with the lease free, for long enough before the next tick.
    fn had_an_occasion(&self, tick: Millis, job: &str, holds: &[&Hold]) -> bool {
        let interval = self.jobs[job];
        let enough = LATENESS.min(interval * 95 / 100);
        self.lives.iter().filter_map(|life| life.ready.map(|ready| (ready, life.ended))).any(|(ready, ended)| {
            let (from, to) = (ready.max(tick), ended.min(tick + interval));
            let held: Millis = holds.iter().map(|hold| (hold.ends().min(to) - hold.from.max(from)).max(0)).sum();
            to - from - held >= enough
        })
    }

    fn died_at_once(&self, hold: &Hold, after: Millis) -> bool {
        let is_its = |life: &&Life| life.name == hold.holder && life.is_killed;
        self.lives.iter().find(is_its).is_some_and(|life| life.ended - after < LAST_MOMENT)
    }
}

/// Its daemon ran an older tick of the job at that time, or had just lost the lease.
fn is_rightly_skipped(record: &Seen, holds: &[&Hold]) -> bool {
    let mut own = holds.iter().filter(|hold| hold.holder == record.instance && hold.tick < Some(record.tick));
    match (record.outcome.as_str(), record.cause.as_deref()) {
        ("skipped", Some("overlap")) => {
            // `started` is when the daemon looked; it learns a moment later that it holds a lease, or does no more.
            own.any(|hold| hold.from <= record.started && record.started <= hold.ends() + 100)
        }
        ("skipped", Some("lease_lost")) => {
            own.any(|hold| hold.released.is_none() && hold.renewed + LEASE <= record.started + 100)
        }
        _ => false,
    }
}
