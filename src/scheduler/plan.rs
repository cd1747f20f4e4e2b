//! Which ticks are due. Knows the time only as it is told.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::job::{CatchUp, Job, Schedule};

/// The schedules of all jobs, and up to where their ticks were handed out.
pub(super) struct Plan {
    jobs: BTreeMap<String, Planned>,
    looked: DateTime<Utc>,
}

struct Planned {
    schedule: Schedule,
    delay: TimeDelta,
    catch_up: CatchUp,
    /// Ticks up to here were handed out, or passed before the job was planned.
    seen: DateTime<Utc>,
    /// The first tick after `seen`.
    next: DateTime<Utc>,
    /// From it to the one after it.
    interval: Option<TimeDelta>,
}

/// A tick that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub job: String,
    pub tick: DateTime<Utc>,
}

/// The heart beats twice a second; a tick that is found later than this was slept through.
const SLEPT: TimeDelta = TimeDelta::seconds(30);

/// A clock that goes back further was wrong for long. Waiting until it has caught up would leave keys cold.
const FAR_BACK: TimeDelta = TimeDelta::minutes(10);

impl Plan {
    /// No jobs yet.
    pub fn new(now: DateTime<Utc>) -> Self {
        Self { jobs: BTreeMap::new(), looked: now }
    }

    /// Hands out what has become due, at most one tick a job: of several that passed, the newest.
    pub fn look(&mut self, now: DateTime<Utc>) -> Vec<Due> {
        if now < self.looked - TimeDelta::seconds(1) {
            let back = (self.looked - now).num_seconds();
            if self.looked - now > FAR_BACK {
                tracing::warn!("the clock went back by {back} s; the schedules begin anew");
                self.jobs.values_mut().for_each(|planned| planned.begin_anew(now));
            } else {
                tracing::warn!("the clock went back by {back} s; ticks that have had their run are not repeated");
            }
        }
        self.looked = now;
        self.jobs.iter_mut().filter_map(|(job, planned)| planned.due(job, now)).collect()
    }

    /// Takes other jobs over. A job whose schedule stays keeps its place in it; what a changed or removed one has due
    /// by now, waiting for its start delay, is handed out.
    pub fn replace<'j>(&mut self, jobs: impl Iterator<Item = &'j Job>, now: DateTime<Utc>) -> Vec<Due> {
        let mut due = self.look(now);
        let mut before = std::mem::take(&mut self.jobs);
        for job in jobs {
            let Some(schedule) = job.schedule.clone() else { continue };
            let delay = TimeDelta::from_std(job.start_delay()).unwrap_or_default();
            let mut seen = now;
            if let Some(old) = before.remove(&job.name) {
                if old.schedule.is_same(&schedule) {
                    seen = old.seen;
                } else if old.next <= now {
                    due.push(Due { job: job.name.clone(), tick: old.next });
                }
            }
            if let Some(next) = schedule.next_after(seen) {
                let (catch_up, interval) = (job.catch_up, interval(&schedule, next));
                self.jobs.insert(job.name.clone(), Planned { schedule, delay, catch_up, seen, next, interval });
            }
        }
        due
    }

    /// The tick that comes next, and whose it is.
    pub fn next(&self) -> Option<(DateTime<Utc>, &str)> {
        self.jobs.iter().map(|(job, planned)| (planned.next, job.as_str())).min()
    }

    /// The tick of one job that comes next.
    pub fn next_of(&self, job: &str) -> Option<DateTime<Utc>> {
        self.jobs.get(job).map(|planned| planned.next)
    }

    /// The time from that tick to the one after it.
    pub fn interval_of(&self, job: &str) -> Option<TimeDelta> {
        self.jobs.get(job)?.interval
    }

    /// How many jobs have ticks to come.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }
}

fn interval(schedule: &Schedule, tick: DateTime<Utc>) -> Option<TimeDelta> {
    Some(schedule.next_after(tick)? - tick)
}

impl Planned {
    fn begin_anew(&mut self, now: DateTime<Utc>) {
        if let Some(next) = self.schedule.next_after(now) {
            (self.seen, self.next, self.interval) = (now, next, interval(&self.schedule, next));
        }
    }

    fn due(&mut self, job: &str, now: DateTime<Utc>) -> Option<Due> {
        let until = now - self.delay;
        if self.next > until {
            return None;
        }
        let tick = self.schedule.newest_between(self.seen, until)?;
        if tick != self.next {
            tracing::warn!("{job}: ticks from {} to {tick} passed unseen; at most the last of them runs", self.next);
        }
        self.seen = tick;
        self.next = self.schedule.next_after(tick)?;
        self.interval = interval(&self.schedule, self.next);
        if until - tick > SLEPT && self.catch_up == CatchUp::None {
            tracing::warn!("{job}: the tick of {tick} was slept through, and catch_up is \"none\"");
            return None;
        }
        Some(Due { job: job.to_owned(), tick })
    }
}

#[cfg(test)]
mod tests;
