//! How a run ended, and its record.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::Run;
use crate::{
    problems::in_words,
    record::{Cause, Counts, Failure, Outcome, Record},
};

impl Run<'_> {
    /// Whether all targets are known.
    pub(super) fn is_complete(&self) -> bool {
        self.meter.complete.load(Ordering::Relaxed)
    }

    /// Why the run ended before it was done, when it was told to.
    fn cut_short(&self, counts: Counts) -> Option<Cause> {
        let stop = &self.request.stop;
        if counts.unreached == 0 && self.is_complete() {
            return None;
        }
        match stop.shutdown.is_cancelled() || stop.at_once.is_cancelled() {
            true => Some(Cause::Shutdown),
            false => stop.lease_lost.is_cancelled().then_some(Cause::LeaseLost),
        }
    }

    /// What is told of the run once it is over.
    pub(super) fn record(&self, started: DateTime<Utc>, took: Duration, ending: Result<(), Failure>) -> Record {
        let mut counts = self.meter.counts();
        let first_error = self.first_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A batch that was dropped beside a failed one leaves its due keys neither written nor failed.
        let dropped = (counts.stale + counts.missing + counts.invalid)
            .saturating_sub(counts.written + counts.empty + counts.failed);
        let drops = ending.is_err() || self.request.stop.at_once.is_cancelled();
        counts.failed += if drops { dropped } else { 0 };
        let cut_short = self.cut_short(counts);
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (outcome, cause) = match &ending {
            // It would have been tried again, and was told to end instead.
            Err(Failure { cause: Cause::DatabaseUnreachable | Cause::RedisUnreachable, .. }) if cut_short.is_some() => {
                (Outcome::Interrupted, cut_short)
            }
            Err(failure) if counts.written > 0 => (Outcome::Partial, Some(failure.cause)),
            Err(failure) => (Outcome::Failed, Some(failure.cause)),
            Ok(()) if let Some(refusal) = &refusal => {
                (if counts.written > 0 { Outcome::Partial } else { Outcome::Refused }, Some(refusal.cause))
            }
            Ok(()) if cut_short.is_some() => (Outcome::Interrupted, cut_short),
            Ok(()) if counts.failed > 0 && counts.written + counts.fresh > 0 => {
                (Outcome::Partial, Some(Cause::Targets))
            }
            Ok(()) if counts.failed > 0 => (Outcome::Failed, Some(Cause::Targets)),
            Ok(()) => (Outcome::Ok, None),
        };
        let seconds = took.as_secs_f64();
        Record {
            run_id: uuid::Uuid::now_v7().to_string(),
            job: self.job.name.clone(),
            instance: self.around.instance.clone(),
            trigger: self.request.trigger,
            restricted: !self.request.only.is_empty(),
            scheduled: self.request.scheduled,
            started,
            finished: Utc::now(),
            outcome,
            cause,
            first_error: ending
                .err()
                .or(refusal)
                .map(|failure| failure.message)
                .or(first_error)
                .map(|why| in_words(&why)),
            counts,
            bytes: self.meter.bytes.get(),
            queries: self.meter.queries.get(),
            rows: self.meter.rows.get(),
            database_bytes: self.meter.database_bytes.get(),
            database_seconds: self.meter.database.seconds(),
            compute_seconds: self.meter.compute.seconds(),
            redis_seconds: self.meter.redis.seconds(),
            throttle_seconds: self.throttles.waited().as_secs_f64(),
            backed_off: self.throttles.backed_off().into_iter().chain(self.gate.closed()).collect(),
            reads: self.usefulness.all(),
            reads_by_target: self.usefulness.by_target(self),
            seconds,
            keys_per_second: if seconds > 0.0 { counts.written as f64 / seconds } else { 0.0 },
        }
    }
}
