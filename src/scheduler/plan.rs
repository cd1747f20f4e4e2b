//! Which ticks are due. Knows the time only as it is told.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    cache::Ticks,
    job::{CatchUp, Job, Schedule},
};

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
    /// Those that were handed out, so that none of them has a second run when the clock goes back.
    ran: Ticks,
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
    /// It was due before: the clock went back since.
    pub again: bool,
}

/// The heart beats twice a second; a tick that is found later than this was slept through.
const SLEPT: TimeDelta = TimeDelta::seconds(30);

impl Plan {
    /// No jobs yet.
    pub fn new(now: DateTime<Utc>) -> Self {
        Self { jobs: BTreeMap::new(), looked: now }
    }

    /// Hands out what has become due, at most one tick a job: of several that passed, the newest.
    pub fn look(&mut self, now: DateTime<Utc>) -> Vec<Due> {
        if now < self.looked - TimeDelta::seconds(1) {
            let back = (self.looked - now).num_seconds();
            tracing::warn!(
                "the clock went back by {back} s: no tick runs twice, and a job whose ticks have had their run runs when \
                 an interval has passed since"
            );
            self.jobs.values_mut().for_each(|planned| planned.go_back(now));
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
            let (mut seen, mut ran) = (now, Ticks::default());
            if let Some(mut old) = before.remove(&job.name) {
                if old.schedule.is_same(&schedule) {
                    seen = old.seen;
                } else if old.next <= now {
                    due.extend(old.hand_out(&job.name, old.next));
                }
                ran = old.ran;
            }
            if let Some(next) = schedule.next_after(seen) {
                let (catch_up, interval) = (job.catch_up, interval(&schedule, next));
                self.jobs.insert(job.name.clone(), Planned { schedule, delay, catch_up, seen, ran, next, interval });
            }
        }
        due
    }

    /// Takes note of a tick that runs without having been handed out here.
    pub fn ran(&mut self, job: &str, tick: DateTime<Utc>) {
        if let Some(planned) = self.jobs.get_mut(job) {
            planned.hand_out(job, tick);
        }
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
    /// Looks again at ticks that the clock is about to show once more. One that waited for its delay goes on waiting.
    fn go_back(&mut self, now: DateTime<Utc>) {
        let until = now - self.delay;
        if until < self.seen
            && let Some(next) = self.schedule.next_after(until)
        {
            (self.seen, self.next, self.interval) = (until, next, interval(&self.schedule, next));
        }
    }

    /// Makes the tick one that has had its run. `None` when it had, and the job makes up for nothing.
    fn hand_out(&mut self, job: &str, tick: DateTime<Utc>) -> Option<Due> {
        let again = self.ran.has(tick);
        self.ran.add(tick, tick, |before, after| self.schedule.is_next(before, after));
        let is_due = !again || self.catch_up == CatchUp::Once;
        is_due.then(|| Due { job: job.to_owned(), tick, again })
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
        self.hand_out(job, tick)
    }
}

#[cfg(test)]
mod tests;
