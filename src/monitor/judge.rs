//! Takes a reading of every rule, and tells what begins and ends by it.

use std::{collections::BTreeSet, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Alert, AlertState, Rule, Severity, State, alerts::Reading, jobs::Watch, redis::memory_share, rules};
use crate::job::{
    Job,
    duration::{Percent, Span},
};

impl State {
    /// Takes a reading of every rule.
    pub(super) fn judge(&mut self, jobs: &[Arc<Job>], now: DateTime<Utc>) {
        for job in jobs {
            self.jobs.entry(job.name.clone()).or_insert_with(|| Watch::new(now));
        }
        let readings = self.readings(jobs, now);
        let mut changes: Vec<Alert> = Vec::new();
        let read: BTreeSet<(Rule, Option<&str>)> =
            readings.iter().map(|(rule, job, _)| (*rule, job.as_deref())).collect();
        let is_gone = |(rule, job): &&(Rule, Option<String>)| !read.contains(&(*rule, job.as_deref()));
        let gone: Vec<(Rule, Option<String>)> = self.alerts.subjects().filter(is_gone).cloned().collect();
        changes.extend(gone.iter().filter_map(|(rule, job)| self.alerts.end(*rule, job.as_deref(), now)));
        let see =
            |(rule, job, reading): (Rule, Option<String>, Reading)| self.alerts.see(rule, job.as_deref(), reading, now);
        changes.extend(readings.into_iter().filter_map(see));
        for alert in changes {
            log(&alert);
            if let Some(webhook) = &self.webhook {
                webhook.tell(&alert);
            }
        }
        // Not before their alerts have ended.
        self.jobs.retain(|name, _| jobs.iter().any(|job| job.name == *name));
    }

    fn readings(&self, jobs: &[Arc<Job>], now: DateTime<Utc>) -> Vec<(Rule, Option<String>, Reading)> {
        let (rules, redis) = (&self.rules, &self.redis);
        let vitals = redis.vitals();
        let mut readings = Vec::new();
        if rules.redis_unreachable {
            readings.push((Rule::RedisUnreachable, None, rules::reachable(redis.error.as_deref())));
        }
        if let Some(Span(most)) = rules.response_time.0 {
            let reading = rules::response_time(vitals.map(|vitals| vitals.response), most);
            readings.push((Rule::ResponseTime, None, reading));
        }
        if let Some(Percent(most)) = rules.memory.0 {
            readings.push((Rule::Memory, None, rules::memory(vitals.as_ref().and_then(memory_share), most)));
        }
        if let Some(Percent(least)) = rules.hit_rate.0 {
            let reading = if vitals.is_some() { rules::hit_rate(redis.recent(), least) } else { Reading::Unknown };
            readings.push((Rule::HitRate, None, reading));
        }
        for job in jobs {
            let Some(watch) = self.jobs.get(&job.name) else { continue };
            self.readings_of(job, watch, now, &mut readings);
        }
        readings
    }

    fn readings_of(
        &self,
        job: &Job,
        watch: &Watch,
        now: DateTime<Utc>,
        readings: &mut Vec<(Rule, Option<String>, Reading)>,
    ) {
        let rules = &self.rules;
        let mut push = |rule, reading| readings.push((rule, Some(job.name.clone()), reading));
        // Nobody has promised that what is warmed by hand stays warm.
        if let Some(Percent(least)) = rules.coverage.0
            && job.schedule.is_some()
        {
            // What was found before Redis went away says nothing now.
            let keys = watch.keys.as_ref().filter(|_| self.redis.error.is_none());
            push(Rule::Coverage, rules::coverage(&job.name, keys.and_then(|keys| keys.coverage), least));
        }
        let schedule = job.schedule.as_ref();
        let interval = schedule.and_then(|schedule| {
            let ticks = schedule.ticks_after(now, 2);
            (*ticks.get(1)? - *ticks.first()?).to_std().ok()
        });
        if rules.failed_run {
            push(Rule::FailedRun, rules::mishap(watch.failure(), watch.success, interval, now));
        }
        let Some(schedule) = schedule else { return };
        if rules.missed_tick {
            push(Rule::MissedTick, rules::mishap(watch.missed(), watch.success, interval, now));
        }
        if rules.no_success {
            let delay = TimeDelta::from_std(job.start_delay()).unwrap_or_default();
            push(Rule::NoSuccess, rules::no_success(&job.name, schedule, watch.last_well(), now - delay));
        }
    }
}

fn log(alert: &Alert) {
    let (job, message) = (alert.job.as_deref(), &alert.message);
    let rule = alert.rule.alert_name();
    match (alert.state, alert.severity) {
        (AlertState::Resolved, _) => tracing::info!(alert = rule, job, "alert: {message}"),
        (AlertState::Active, Severity::Critical) => tracing::error!(alert = rule, job, "alert: {message}"),
        (AlertState::Active, Severity::Warning) => tracing::warn!(alert = rule, job, "alert: {message}"),
    }
}
