//! `warmd wait`: until the keys are there, for those who let traffic in after a deployment.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Abort, Global, NOT_WARMED, setup::Setup, table};
use crate::{
    job::{
        Job,
        duration::{Percent, Span},
    },
    problems::in_words,
    record::{Cause, Counts, Meter, Record},
    run::{self, Request, Surroundings},
};

#[derive(clap::Args)]
pub(super) struct Options {
    /// Jobs by name [default: all that are enabled]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// The share of each job's keys that must be present
    #[arg(long, default_value = "95%", value_name = "PERCENT")]
    min: Percent,
    /// How long to wait; 0s looks once
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    timeout: Span,
    /// The pause between looks, which is never shorter than a look
    #[arg(long, default_value = "2s", value_name = "DURATION")]
    interval: Span,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Even where looking costs nothing.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// A look that is told to end closes its connections; one that hangs there is left behind.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often a terminal shows how far it is.
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// Where nobody watches a line change, one this often says it.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What a job must show.
struct Gate<'w> {
    job: &'w Arc<Job>,
    around: &'w Surroundings,
    /// What the last look found that reached all keys.
    seen: Option<Counts>,
    /// What is in the way, in words.
    trouble: Option<String>,
    /// By the last look.
    is_ready: bool,
    /// The round of looks under way asks about it.
    is_asked: bool,
}

struct Wait<'w> {
    gates: Vec<Gate<'w>>,
    min: Percent,
    /// When a look is cut short; a single one is not.
    deadline: Option<Instant>,
    display: Display,
}

pub(super) async fn wait(global: &Global, options: &Options) -> Result<ExitCode, Abort> {
    let setup = Setup::load(global)?;
    let jobs = setup.select(&options.jobs)?;
    let connected = setup.lazily(&jobs)?;
    let began = Instant::now();
    let timeout = options.timeout.0;
    let mut wait = Wait {
        gates: jobs.iter().filter_map(|job| Some(Gate::new(job, connected.around(job)?))).collect(),
        min: options.min,
        deadline: (!timeout.is_zero()).then(|| began + timeout),
        display: Display::new(options.json),
    };
    let is_ready = wait.until_ready(options.interval.0.max(SHORTEST_PAUSE)).await;
    wait.display.end();
    let took = began.elapsed().as_secs_f64();
    if options.json {
        let jobs: Vec<_> = wait.gates.iter().map(Gate::as_json).collect();
        out!("{}", json!({ "version": 1, "ready": is_ready, "min": wait.min.0, "seconds": took, "jobs": jobs }));
    } else if is_ready {
        wait.say_ready(took);
    } else {
        wait.say_not_ready(took);
    }
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::from(NOT_WARMED) })
}

impl Wait<'_> {
    /// Looks until all jobs are ready in one round of looks; `false` when the time is over before.
    async fn until_ready(&mut self, interval: Duration) -> bool {
        loop {
            let began = Instant::now();
            let asks_all = self.gates.iter().all(|gate| gate.is_asked);
            self.look().await;
            if self.gates.iter().all(|gate| gate.is_ready) {
                if asks_all {
                    return true;
                }
                // Some were ready only a while ago: all of them once more.
                self.gates.iter_mut().for_each(|gate| gate.is_asked = true);
                continue;
            }
            let now = Instant::now();
            let Some(last) = self.deadline.and_then(|deadline| deadline.checked_sub(SHORTEST_PAUSE)) else {
                return false;
            };
            if now >= last {
                return false;
            }
            // A last look comes before the time is over.
            self.display.show(&self.gates);
            tokio::time::sleep(interval.max(began.elapsed()).min(last - now)).await;
        }
    }

    /// One look at every job that is asked about; those that are ready are not asked about again for now.
    async fn look(&mut self) {
        // By the database. What is out of reach was tried several times: the next job would wait as long once more.
        let mut away: BTreeMap<Option<String>, String> = BTreeMap::new();
        for nth in 0..self.gates.len() {
            let gate = &mut self.gates[nth];
            if !gate.is_asked {
                continue;
            }
            if let Some(why) = away.get(&gate.job.database) {
                gate.trouble = Some(why.clone());
                continue;
            }
            let record = match self.look_at(nth).await {
                Ok(record) => record,
                Err(why) => {
                    let gate = &mut self.gates[nth];
                    if why.is_some() {
                        gate.trouble = why;
                    } else if gate.seen.is_none() {
                        // What a look before has found out says more.
                        gate.trouble.get_or_insert_with(|| "there was no answer in time".to_owned());
                    }
                    gate.is_ready = false;
                    return;
                }
            };
            self.gates[nth].learn(&record, self.min);
            let why = record.first_error.unwrap_or_default();
            match record.cause {
                Some(Cause::DatabaseUnreachable) => _ = away.insert(self.gates[nth].job.database.clone(), why),
                Some(Cause::RedisUnreachable) => {
                    away.extend(self.gates.iter().map(|gate| (gate.job.database.clone(), why.clone())));
                }
                _ => {}
            }
        }
    }

    /// One look at a job, or what it waited for when the time was over.
    async fn look_at(&mut self, nth: usize) -> Result<Record, Option<String>> {
        let (job, around) = (self.gates[nth].job, self.gates[nth].around);
        let (request, meter) = (Request::look(), Arc::new(Meter::default()));
        let deadline = self.deadline;
        let over = async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        let mut tick = tokio::time::interval(REDRAW_EVERY);
        let run = run::run(job, around, &request, &meter);
        tokio::pin!(run, over);
        loop {
            tokio::select! {
                record = &mut run => return Ok(record),
                () = &mut over => {
                    let waited_for = meter.waits_for.borrow().clone();
                    request.stop.shutdown.cancel();
                    request.stop.at_once.cancel();
                    let _ = tokio::time::timeout(LAST_WORDS, run).await;
                    return Err(waited_for);
                }
                _ = tick.tick() => {
                    if let Some(waits_for) = meter.waits_for.borrow().clone() {
                        self.gates[nth].trouble = Some(waits_for);
                    }
                    self.display.show(&self.gates);
                }
            }
        }
    }

    fn say_ready(&self, took: f64) {
        let sum =
            |count: fn(&Counts) -> u64| self.gates.iter().filter_map(|gate| gate.seen.as_ref()).map(count).sum::<u64>();
        out!(
            "ready after {}: {}, {} of {} present",
            table::time(took),
            table::count(self.gates.len() as u64, "job"),
            table::number(sum(present)),
            table::count(sum(|counts| counts.keys), "key"),
        );
        for gate in self.gates.iter().filter(|gate| gate.share().is_none()) {
            err!("{}: {}", gate.job.name, gate.words());
        }
    }

    fn say_not_ready(&self, took: f64) {
        err!("not ready after {}, {} of each job's keys must be present:", table::time(took), self.min);
        for gate in &self.gates {
            err!("{}: {}", gate.job.name, gate.words());
        }
    }
}

fn present(counts: &Counts) -> u64 {
    counts.fresh + counts.stale
}

impl<'w> Gate<'w> {
    fn new(job: &'w Arc<Job>, around: &'w Surroundings) -> Self {
        Self { job, around, seen: None, trouble: None, is_ready: false, is_asked: true }
    }

    fn learn(&mut self, record: &Record, min: Percent) {
        self.trouble.clone_from(&record.first_error);
        // A target that makes no valid key has none that could be present; anything else says nothing about the rest.
        let is_whole = record.counts.unreached == 0 && matches!(record.cause, None | Some(Cause::Targets));
        if is_whole {
            self.seen = Some(record.counts);
        }
        // Where there are no keys, none is missing. 999 of 1,000 may be a little less than 99.9 % in binary.
        self.is_ready = is_whole && self.share().is_none_or(|share| share + 1e-9 >= min.0);
        self.is_asked = !self.is_ready;
    }

    /// The share of keys that are present; `None` when there are none, or nothing is known.
    fn share(&self) -> Option<f64> {
        let counts = self.seen.filter(|counts| counts.keys > 0)?;
        Some(present(&counts) as f64 / counts.keys as f64)
    }

    fn words(&self) -> String {
        let known = match (self.seen, self.share()) {
            (Some(counts), Some(share)) => Some(format!(
                "{} of {} present, {}",
                table::number(present(&counts)),
                table::count(counts.keys, "key"),
                table::share(share)
            )),
            (Some(_), None) => Some("no targets, so there is nothing to wait for".to_owned()),
            (None, _) => None,
        };
        match (known, self.trouble.as_deref().map(in_words)) {
            (Some(known), Some(trouble)) => format!("{known}; {trouble}"),
            (Some(known), None) => known,
            (None, Some(trouble)) => trouble,
            (None, None) => "not looked at yet".to_owned(),
        }
    }

    fn as_json(&self) -> serde_json::Value {
        json!({
            "job": self.job.name,
            "ready": self.is_ready,
            "keys": self.seen.map(|counts| counts.keys),
            "present": self.seen.as_ref().map(present),
            "share": self.share(),
            "error": self.trouble,
        })
    }
}

/// How far it is, on stderr while it lasts: a line that changes on a terminal; elsewhere one now and then, and when
/// something else is in the way.
struct Display {
    bar: Option<ProgressBar>,
    last_line: Instant,
    troubles: Vec<Option<String>>,
    quiet: bool,
}

impl Display {
    fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(REDRAW_EVERY);
            bar
        });
        Self { bar, last_line: Instant::now(), troubles: Vec::new(), quiet }
    }

    fn show(&mut self, gates: &[Gate<'_>]) {
        let troubles: Vec<Option<String>> = gates.iter().map(|gate| gate.trouble.clone()).collect();
        let is_new = troubles != self.troubles && troubles.iter().any(Option::is_some);
        self.troubles = troubles;
        let is_due = !self.quiet && (is_new || self.last_line.elapsed() >= LINE_EVERY);
        if self.bar.is_none() && !is_due {
            return;
        }
        let (ready, rest): (Vec<_>, Vec<_>) = gates.iter().partition(|gate| gate.is_ready);
        let mut words = vec![format!("{} of {} ready", ready.len(), table::count(gates.len() as u64, "job"))];
        words.extend(rest.iter().map(|gate| format!("{}: {}", gate.job.name, gate.words())));
        match &self.bar {
            Some(bar) => bar.set_message(words.join("; ")),
            None => {
                self.last_line = Instant::now();
                err!("{}", words.join("; "));
            }
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
