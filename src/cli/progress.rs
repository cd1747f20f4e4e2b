//! How far a run is, while it runs.

use std::{
    io::IsTerminal,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::record::Meter;

/// Where nobody watches a bar move, a line this often says that it still does.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows the meter of a run while `work` runs: a bar on a terminal, now and then a line elsewhere.
pub(super) async fn show<T>(job: &str, meter: &Arc<Meter>, quiet: bool, work: impl Future<Output = T>) -> T {
    let bar = (!quiet && std::io::stderr().is_terminal()).then(|| bar(job));
    let began = Instant::now();
    let mut last_line = began;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => {
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                }
                return result;
            }
            _ = tick.tick() => match &bar {
                Some(bar) => draw(bar, meter),
                None if !quiet && last_line.elapsed() >= LINE_EVERY => {
                    last_line = Instant::now();
                    err!("{job}: {}", words(meter, began.elapsed()));
                }
                None => {}
            },
        }
    }
}

fn bar(job: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(job.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn draw(bar: &ProgressBar, meter: &Meter) {
    let complete = meter.complete.load(Ordering::Relaxed);
    if complete && bar.length().is_none() {
        bar.set_length(meter.keys.get());
    }
    let template = match complete {
        true => "{msg:28} {bar:30} {human_pos}/{human_len} keys {prefix} {elapsed}",
        false => "{msg:28} {spinner} {human_pos} keys {prefix} {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(format!("({} written)", HumanCount(meter.written.get())));
    bar.set_position(meter.done());
}

fn words(meter: &Meter, elapsed: Duration) -> String {
    let of = if meter.complete.load(Ordering::Relaxed) { "" } else { " or more" };
    format!(
        "{} of {}{of} keys after {:.0} s, {} written, {} fresh",
        meter.done(),
        meter.keys.get(),
        elapsed.as_secs_f64(),
        meter.written.get(),
        meter.fresh.get()
    )
}
