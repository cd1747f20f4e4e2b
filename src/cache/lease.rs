//! The right of one instance to run one job now, kept in Redis.
//!
//! Two keys a job, in one hash slot: the lease, which expires with its holder, and the newest tick that has had its run,
//! which keeps a second instance from running it again after the lease was released.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use redis::{Cmd, FromRedisValue, Pipeline};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{Error, RedisStore, Store};

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
    pub tick: Option<DateTime<Utc>>,
    /// How long a holder that has died keeps others out. At least a second.
    pub length: Duration,
}

/// The answer to a claim.
pub enum Claimed {
    /// The job may run.
    Granted(Lease),
    /// Somebody else runs it.
    Held(Holder),
    /// The tick has had its run.
    Done,
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

impl Holder {
    /// Whether both were told of the same lease.
    pub fn is_same(&self, other: &Self) -> bool {
        self.token == other.token
    }
}

/// A lease, renewed until it is released or dropped; dropped without release, it expires.
pub struct Lease {
    /// `None` without a server: nobody else can be there.
    remote: Option<Remote>,
    lost: CancellationToken,
    keeper: Option<AbortOnDropHandle<()>>,
}

#[derive(Clone)]
struct Remote {
    redis: RedisStore,
    lease: String,
    tick: String,
    value: String,
    length: Duration,
}

/// Longer than any downtime after which a missed tick still matters; then the mark of a removed job is gone.
const MARK_LIFE: Duration = Duration::from_secs(400 * 86_400);

/// In seconds. A mark further ahead was made with a clock that was wrong, and would keep the job from running until then;
/// that a tick runs twice is the lesser evil.
const CLOCKS_DIFFER: i64 = 600;

/// Only the holder may renew or release: its lease may have expired, and be another's now.
const RENEW: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";
const RELEASE: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
    if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3]) end \
    return redis.call('DEL', KEYS[1])";

impl Store {
    /// Asks for the lease of a job.
    pub async fn claim(&self, claim: Claim<'_>) -> Result<Claimed, Error> {
        let Self::Redis(redis) = self else {
            return Ok(Claimed::Granted(Lease { remote: None, lost: CancellationToken::new(), keeper: None }));
        };
        let now = Utc::now();
        let value = format!("{} {} {}", uuid::Uuid::now_v7(), now.timestamp_millis(), claim.instance);
        let (lease, tick) = names(claim.prefix, claim.job);
        let remote = Remote { redis: redis.clone(), lease, tick, value, length: claim.length };
        let asked = Instant::now();
        let mut pipeline = Pipeline::with_capacity(4);
        pipeline.cmd("SET").arg(&remote.lease).arg(&remote.value).arg("NX").arg("PX").arg(millis(claim.length));
        pipeline.cmd("GET").arg(&remote.lease).cmd("PTTL").arg(&remote.lease).cmd("GET").arg(&remote.tick);
        let (_, holder, left, done): (redis::Value, Option<String>, i64, Option<i64>) = redis.send(&pipeline).await?;
        let is_credible = |mark: &i64| *mark <= now.timestamp() + CLOCKS_DIFFER;
        let is_done =
            claim.tick.is_some_and(|tick| done.filter(is_credible).is_some_and(|done| tick.timestamp() <= done));
        match holder {
            // The reply of SET may have been lost with a connection, and the command sent twice: the value is what counts.
            Some(holder) if holder == remote.value => {
                let lease = Lease::keep(remote, asked);
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

    /// The newest tick of a job that has had its run, on whatever instance.
    pub async fn last_tick(&self, prefix: &str, job: &str) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(self.last_ticks(prefix, &[job]).await?.into_iter().next().flatten())
    }

    /// The same of several jobs, in their order.
    pub async fn last_ticks(&self, prefix: &str, jobs: &[&str]) -> Result<Vec<Option<DateTime<Utc>>>, Error> {
        let redis = match self {
            Self::Redis(redis) if !jobs.is_empty() => redis,
            _ => return Ok(vec![None; jobs.len()]),
        };
        let mut pipeline = Pipeline::with_capacity(jobs.len());
        for job in jobs {
            pipeline.cmd("GET").arg(names(prefix, job).1);
        }
        let done: Vec<Option<i64>> = redis.send(&pipeline).await?;
        redis.looked_up(done.iter().map(Option::is_some));
        Ok(done.into_iter().map(|seconds| DateTime::from_timestamp(seconds?, 0)).collect())
    }

    /// Asks the server about a key that is in nobody's way, as a run does about its own: whoever may run may ask that.
    pub async fn answers(&self, prefix: &str) -> Result<(), Error> {
        self.presence(&[format!("{prefix}warmd:{{}}:ready")]).await.map(|_| ())
    }

    /// Marks a tick as the newest that has had its run, where nothing is marked yet.
    pub async fn mark_first_tick(&self, prefix: &str, job: &str, tick: DateTime<Utc>) -> Result<(), Error> {
        let Self::Redis(redis) = self else { return Ok(()) };
        let mut pipeline = Pipeline::with_capacity(1);
        let command = pipeline.cmd("SET").arg(names(prefix, job).1).arg(tick.timestamp());
        command.arg("NX").arg("PX").arg(millis(MARK_LIFE)).ignore();
        redis.send(&pipeline).await
    }
}

/// The braces keep both in one slot of a cluster.
fn names(prefix: &str, job: &str) -> (String, String) {
    (format!("{prefix}warmd:{{{job}}}:lease"), format!("{prefix}warmd:{{{job}}}:tick"))
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

    /// Gives the lease back; with the tick that has had its run, so that nobody runs it again. False when it was lost.
    pub async fn release(mut self, done: Option<DateTime<Utc>>) -> Result<bool, Error> {
        self.keeper = None;
        match &self.remote {
            Some(remote) => remote.release(done).await,
            None => Ok(true),
        }
    }

    fn keep(remote: Remote, asked: Instant) -> Self {
        let lost = CancellationToken::new();
        let keeper = tokio::spawn(remote.clone().renew_until_lost(asked, lost.clone()));
        Self { remote: Some(remote), lost, keeper: Some(AbortOnDropHandle::new(keeper)) }
    }
}

impl Remote {
    /// Renews three times in a lease's length, so that two failures in a row cost nothing.
    async fn renew_until_lost(self, asked: Instant, lost: CancellationToken) {
        let pause = self.length / 3;
        let mut certain_until = asked + self.length;
        loop {
            tokio::time::sleep(pause.min(certain_until.saturating_duration_since(Instant::now()))).await;
            let asked = Instant::now();
            // A server that does not answer may have let the lease expire.
            match tokio::time::timeout_at(certain_until.into(), self.renew()).await {
                Ok(Ok(true)) => certain_until = asked + self.length,
                Ok(Ok(false)) | Err(_) => break,
                Ok(Err(_)) if Instant::now() >= certain_until => break,
                Ok(Err(error)) => tracing::warn!("a lease could not be renewed, trying again: {error}"),
            }
        }
        lost.cancel();
    }

    async fn renew(&self) -> Result<bool, Error> {
        let mut command = redis::cmd("EVAL");
        command.arg(RENEW).arg(1).arg(&self.lease).arg(&self.value).arg(millis(self.length));
        self.send::<i64>(command).await.map(|renewed| renewed == 1)
    }

    async fn release(&self, done: Option<DateTime<Utc>>) -> Result<bool, Error> {
        let done = done.map(|tick| tick.timestamp().to_string()).unwrap_or_default();
        let mut command = redis::cmd("EVAL");
        command.arg(RELEASE).arg(2).arg(&self.lease).arg(&self.tick);
        command.arg(&self.value).arg(done).arg(millis(MARK_LIFE));
        self.send::<i64>(command).await.map(|released| released == 1)
    }

    async fn send<T: FromRedisValue>(&self, command: Cmd) -> Result<T, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command);
        self.redis.send::<(T,)>(&pipeline).await.map(|(reply,)| reply)
    }
}
