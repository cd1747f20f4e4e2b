//! The right of one instance to run one job now, kept in Redis.
//!
//! Three keys a job, in one hash slot: the lease, which expires with its holder; the ticks that have had their run, which
//! keep a second instance, or a clock that was set back, from running one again after the lease was released; and a mark
//! that the job has run, which expires when its next run is due.

use std::{
    iter,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use redis::{Cmd, Pipeline};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{Error, RedisStore, Store, Ticks};

/// What a claim is about.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'c> {
    /// Stands before the names of both keys, as before every key.
    pub prefix: &'c str,
    /// The job's name.
    pub job: &'c str,
    /// Who asks.
    pub instance: &'c str,
    /// The tick to be run; `None` for a run by hand, which is due whenever somebody asks.
    pub tick: Option<Tick>,
    /// How long a holder that has died keeps others out. At least a second.
    pub length: Duration,
}

/// What a claim is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// When it is due.
    pub at: DateTime<Utc>,
    /// It is known to have had its run: the clock was set back, and shows it once more.
    pub again: bool,
}

/// The answer to a claim.
pub enum Claimed {
    /// The job may run; in the place of a tick that has had its run, when the lease [repeats](Lease::repeats) it.
    Granted(Lease),
    /// Somebody else runs it.
    Held(Holder),
    /// The tick has had its run, or a newer one has.
    Done,
}

/// What a run under a lease leaves behind, so that nobody runs it again.
#[derive(Debug, Clone)]
pub struct Done {
    /// All ticks of the job that have had their run.
    pub ticks: Ticks,
    /// How long no other run is due, counted from the run's end.
    pub rest: Duration,
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub instance: String,
    /// When it took the lease, by its own clock.
    pub since: DateTime<Utc>,
    /// The lease ends then, unless it is renewed.
    pub expires_in: Duration,
    token: String,
}

/// What may be wrong with a lease's remaining life as Redis tells it, by its rounding and the clock that it looks at.
const ROUNDING: Duration = Duration::from_millis(20);

impl Holder {
    /// Whether this is the lease that `before` was told of, renewed since: else it would have less of its life left by now.
    /// `elapsed` is the time between the first answer and the second question.
    pub fn has_renewed_since(&self, before: &Self, elapsed: Duration) -> bool {
        self.token == before.token && self.expires_in > before.expires_in.saturating_sub(elapsed) + ROUNDING
    }
}

/// A lease, renewed until it is released or dropped; dropped without release, it expires.
pub struct Lease {
    /// `None` without a server: nobody else can be there.
    remote: Option<Remote>,
    ticks: Ticks,
    repeats: bool,
    lost: CancellationToken,
    keeper: Option<AbortOnDropHandle<()>>,
}

#[derive(Clone)]
struct Remote {
    redis: RedisStore,
    names: Names,
    value: String,
    length: Duration,
}

/// Longer than any downtime after which a missed tick still matters; then the mark of a removed job is gone.
const MARK_LIFE: Duration = Duration::from_secs(400 * 86_400);

/// A tick further ahead was run by a clock that was wrong. Less may be the clock of another instance.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(1);

/// Only the holder may renew or release: its lease may have expired, and be another's now.
const RENEW: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";
const RELEASE: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
    if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3]) end \
    if ARGV[4] ~= '' then redis.call('SET', KEYS[3], '', 'PX', ARGV[4]) end \
    return redis.call('DEL', KEYS[1])";

impl Store {
    /// Asks for the lease of a job.
    ///
    /// Where the clock was set back, a tick that has had its run gives way to a run in its place, as soon as the job's
    /// last run is an interval ago by the server's clock, which is what its keys live by.
    pub async fn claim(&self, claim: Claim<'_>) -> Result<Claimed, Error> {
        let Self::Redis(redis) = self else {
            return Ok(match claim.tick {
                Some(Tick { again: true, .. }) => Claimed::Done,
                _ => Claimed::Granted(Lease::alone()),
            });
        };
        let now = Utc::now();
        let value = format!("{} {} {}", uuid::Uuid::now_v7(), now.timestamp_millis(), claim.instance);
        let names = Names::of(claim.prefix, claim.job);
        let remote = Remote { redis: redis.clone(), names, value, length: claim.length };
        let Names { lease, ticks, ran } = &remote.names;
        let asked = Instant::now();
        let mut pipeline = Pipeline::with_capacity(5);
        pipeline.cmd("SET").arg(lease).arg(&remote.value).arg("NX").arg("PX").arg(millis(claim.length));
        pipeline.cmd("GET").arg(lease).cmd("PTTL").arg(lease).cmd("GET").arg(ticks).cmd("GET").arg(ran);
        // The lease twice, for its value and its life.
        let lookups = redis.lookups().ask(4);
        let (_, holder, left, ticks, ran): (redis::Value, Option<String>, i64, Option<String>, Option<String>) =
            redis.send(&pipeline).await?;
        lookups.found([holder.is_some(), holder.is_some(), ticks.is_some(), ran.is_some()].into_iter());
        let ticks = read(ticks.as_deref());
        let repeats = claim.tick.is_some_and(|tick| tick.again || is_repeated(&ticks, tick.at, now));
        let is_done = match claim.tick {
            Some(_) if repeats => ran.is_some(),
            Some(tick) => ticks.has(tick.at) || ticks.newest_until(now).is_some_and(|newest| newest >= tick.at),
            None => false,
        };
        match holder {
            // The reply of SET may have been lost with a connection, and the command sent twice: the value is what counts.
            Some(holder) if holder == remote.value => {
                let lease = Lease::keep(remote, ticks, repeats, asked);
                if is_done {
                    // Who released it has run this tick. Expiry would do as well, only later.
                    let _ = lease.release(None).await;
                    return Ok(Claimed::Done);
                }
                Ok(Claimed::Granted(lease))
            }
            _ if is_done => Ok(Claimed::Done),
            Some(holder) => Ok(Claimed::Held(holder_from(&holder, left))),
            // It ended between two commands.
            None => Ok(Claimed::Held(holder_from("", 0))),
        }
    }

    /// The ticks of a job that have had their run, on whatever instance.
    pub async fn ticks(&self, prefix: &str, job: &str) -> Result<Ticks, Error> {
        Ok(self.ticks_of(prefix, &[job]).await?.into_iter().next().unwrap_or_default())
    }

    /// The same of several jobs, in their order.
    pub async fn ticks_of(&self, prefix: &str, jobs: &[&str]) -> Result<Vec<Ticks>, Error> {
        let redis = match self {
            Self::Redis(redis) if !jobs.is_empty() => redis,
            _ => return Ok(vec![Ticks::default(); jobs.len()]),
        };
        let mut pipeline = Pipeline::with_capacity(jobs.len());
        for job in jobs {
            pipeline.cmd("GET").arg(Names::of(prefix, job).ticks);
        }
        let asked = redis.lookups().ask(jobs.len());
        let marks: Vec<Option<String>> = redis.send(&pipeline).await?;
        asked.found(marks.iter().map(Option::is_some));
        Ok(marks.iter().map(|mark| read(mark.as_deref())).collect())
    }

    /// Asks the server about a key that is in nobody's way, as a run does about its own: whoever may run may ask that.
    pub async fn answers(&self, prefix: &str) -> Result<(), Error> {
        self.presence(&[format!("{prefix}warmd:{{}}:ready")]).await.map(|_| ())
    }

    /// Marks a tick as one that has had its run, where nothing is marked yet.
    pub async fn mark_first_tick(&self, prefix: &str, job: &str, tick: DateTime<Utc>) -> Result<(), Error> {
        let Self::Redis(redis) = self else { return Ok(()) };
        let mut pipeline = Pipeline::with_capacity(1);
        let command = pipeline.cmd("SET").arg(Names::of(prefix, job).ticks).arg(Ticks::one(tick).to_string());
        command.arg("NX").arg("PX").arg(millis(MARK_LIFE)).ignore();
        redis.send(&pipeline).await
    }
}

/// What the keys of a job are called.
#[derive(Clone)]
struct Names {
    lease: String,
    ticks: String,
    ran: String,
}

impl Names {
    /// The braces keep all in one slot of a cluster.
    fn of(prefix: &str, job: &str) -> Self {
        let name = |what: &str| format!("{prefix}warmd:{{{job}}}:{what}");
        Self { lease: name("lease"), ticks: name("tick"), ran: name("ran") }
    }
}

/// What stands in Redis; what is no mark of ours gives way to the next one.
fn read(mark: Option<&str>) -> Ticks {
    mark.and_then(|mark| mark.parse().ok()).unwrap_or_default()
}

/// Whether the clock has been where it is now: the tick has had its run, and so have others far ahead.
fn is_repeated(ticks: &Ticks, tick: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    ticks.has(tick) && ticks.newest().is_some_and(|newest| newest > now + CLOCKS_DIFFER)
}

pub(super) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

fn holder_from(value: &str, left: i64) -> Holder {
    let mut parts = value.splitn(3, ' ');
    let token = parts.next().unwrap_or_default().to_owned();
    let since = parts.next().and_then(|millis| DateTime::from_timestamp_millis(millis.parse().ok()?));
    Holder {
        instance: parts.next().unwrap_or("another instance").to_owned(),
        since: since.unwrap_or_else(Utc::now),
        expires_in: Duration::from_millis(u64::try_from(left).unwrap_or(0)),
        token,
    }
}

impl Lease {
    /// Is cancelled when the lease has gone to somebody else, or must be assumed to have.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Whether its tick has had its run, so that this one is only in the tick's place.
    pub fn repeats(&self) -> bool {
        self.repeats
    }

    /// The ticks that had had their run when the lease was taken.
    pub fn ticks(&self) -> &Ticks {
        &self.ticks
    }

    /// Gives the lease back, and says what has been done under it. False when it was lost.
    pub async fn release(mut self, done: Option<Done>) -> Result<bool, Error> {
        self.keeper = None;
        match &self.remote {
            Some(remote) => remote.release(done).await,
            None => Ok(true),
        }
    }

    fn alone() -> Self {
        Self { remote: None, ticks: Ticks::default(), repeats: false, lost: CancellationToken::new(), keeper: None }
    }

    fn keep(remote: Remote, ticks: Ticks, repeats: bool, asked: Instant) -> Self {
        let lost = CancellationToken::new();
        let keeper = tokio::spawn(remote.clone().renew_until_lost(asked, lost.clone()));
        Self { remote: Some(remote), ticks, repeats, lost, keeper: Some(AbortOnDropHandle::new(keeper)) }
    }
}

impl Remote {
    /// Renews three times in a lease's length, and sooner after a failure, which an answer is that does not come in a third
    /// of it: one that is lost must not cost the lease.
    async fn renew_until_lost(self, asked: Instant, lost: CancellationToken) {
        let turn = self.length / 3;
        let mut certain_until = asked + self.length;
        let mut pause = turn;
        loop {
            tokio::time::sleep(pause.min(certain_until.saturating_duration_since(Instant::now()))).await;
            let asked = Instant::now();
            // A server that does not answer may have let the lease expire.
            match tokio::time::timeout_at(certain_until.into(), self.renew(turn)).await {
                Ok(Ok(true)) => (certain_until, pause) = (asked + self.length, turn),
                Ok(Ok(false)) | Err(_) => break,
                Ok(Err(_)) if Instant::now() >= certain_until => break,
                Ok(Err(error)) => {
                    tracing::warn!("a lease could not be renewed, trying again: {error}");
                    pause = turn / 4;
                }
            }
        }
        lost.cancel();
    }

    async fn renew(&self, patience: Duration) -> Result<bool, Error> {
        let mut command = redis::cmd("EVAL");
        command.arg(RENEW).arg(1).arg(&self.names.lease).arg(&self.value).arg(millis(self.length));
        self.run(command, Some(patience)).await
    }

    async fn release(&self, done: Option<Done>) -> Result<bool, Error> {
        let Names { lease, ticks, ran } = &self.names;
        let mut command = redis::cmd("EVAL");
        command.arg(RELEASE).arg(3).arg(lease).arg(ticks).arg(ran).arg(&self.value);
        match done {
            Some(Done { ticks, rest }) => {
                command.arg(ticks.to_string()).arg(millis(MARK_LIFE)).arg(millis(rest).max(1))
            }
            None => command.arg("").arg("").arg(""),
        };
        self.run(command, None).await
    }

    /// Whether a script found the lease to be this one.
    async fn run(&self, script: Cmd, patience: Option<Duration>) -> Result<bool, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(script);
        let asked = self.redis.lookups().ask(1);
        let (found,): (i64,) = self.redis.send_within(&pipeline, patience).await?;
        asked.found(iter::once(found == 1));
        Ok(found == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_with_more_life_left_than_time_would_have_left_it_was_renewed() {
        let seen = |token: &str, left| holder_from(&format!("{token} 0 somebody"), left);
        let elapsed = Duration::from_millis(500);
        for (before, now, is_renewed) in [
            // Ran on, as exactly as it is told.
            (1000, 500, false),
            (1000, 501, false),
            (1000, 400, false),
            (400, 1, false),
            (0, 0, false),
            // Begun anew, whether or not there is more of it left than there was.
            (1000, 1000, true),
            (1000, 700, true),
            (1000, 1200, true),
            (400, 100, true),
        ] {
            assert_eq!(seen("a", now).has_renewed_since(&seen("a", before), elapsed), is_renewed, "{before} {now}");
            assert!(!seen("b", now).has_renewed_since(&seen("a", before), elapsed), "another lease");
        }
    }
}
