//! `warmd status`: how a daemon is, as it tells over HTTP.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Abort, Global, NOT_WARMED, setup::settings};

mod ask;
mod client;
mod page;
mod screen;
mod told;

use ask::Asker;
use client::{Client, Place};
use screen::Screen;
use told::Told;

#[derive(clap::Args)]
pub(super) struct Options {
    /// Where the daemon listens: http://127.0.0.1:9187, unix:/run/warmd/http.sock [default: `http.listen`]
    #[arg(long)]
    url: Option<String>,
    /// Ask again and again, every two seconds or this often
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = interval)]
    watch: Option<Duration>,
    /// Print what the daemon told as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn status(global: &Global, options: &Options) -> Result<ExitCode, Abort> {
    let place = match &options.url {
        // Not read by clap, which would repeat it: it may hold a login.
        Some(url) => url.parse().map_err(|why: String| Abort::usage(format!("--url: {why}")))?,
        None => configured(global)?,
    };
    let mut asker = Asker::new(Client::new(place).map_err(Abort::unavailable)?);
    let told = asker.ask().await.map_err(|why| Abort::unavailable(out_of_reach(&asker, &why)))?;
    if let Some(interval) = options.watch {
        watch(asker, told, interval, options.json).await.context("the page cannot be shown")?;
        return Ok(ExitCode::SUCCESS);
    }
    crate::cli::print::keep(print(&told, &asker.place(), options.json));
    Ok(if told.is_well() { ExitCode::SUCCESS } else { ExitCode::from(NOT_WARMED) })
}

fn configured(global: &Global) -> Result<Place, Abort> {
    let (settings, problems) = settings(global)?;
    problems.into_result()?;
    let Some(listen) = &settings.http.listen else {
        return Err(Abort::configuration(
            "`http.listen` is not set, so no daemon can be asked: set it, or say with --url where one listens",
        ));
    };
    Place::of(listen).map_err(Abort::configuration)
}

fn out_of_reach(asker: &Asker, why: &str) -> String {
    format!("the daemon at {} is out of reach: {why}", asker.place())
}

fn interval(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("write a number of seconds from 0.1 to 86400".to_owned()),
    }
}

fn print(told: &Told, place: &str, as_json: bool) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    match as_json {
        true => writeln!(stdout, "{}", told.as_json(place))?,
        false => writeln!(stdout, "{}", page::page(told, place))?,
    }
    stdout.flush()
}

/// What ends a watch. A terminal must be left as it was.
struct Stops([Signal; 3]);

impl Stops {
    fn listen() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Shows how things stand until a signal or a closed pipe says that nobody looks any more. A daemon that does not answer
/// for a while, because it starts again perhaps, is asked on.
async fn watch(mut asker: Asker, first: Told, interval: Duration, as_json: bool) -> io::Result<()> {
    let mut stops = Stops::listen()?;
    let screen = if as_json { None } else { Screen::enter()? };
    let place = asker.place();
    let mut told = first;
    let mut away_since: Option<DateTime<Utc>> = None;
    let mut why = String::new();
    loop {
        let shown = match (&screen, away_since) {
            (Some(screen), None) => screen.draw(&page::page(&told, &place)),
            (Some(screen), Some(since)) => {
                let why = format!("{} (since {} UTC)", out_of_reach(&asker, &why), since.format("%H:%M:%S"));
                screen.draw(&page::out_of_reach(&page::page(&told, &place), &why))
            }
            (None, None) => print(&told, &place, as_json).and_then(|()| if as_json { Ok(()) } else { print_empty() }),
            (None, Some(_)) => {
                err!("{}", out_of_reach(&asker, &why));
                Ok(())
            }
        };
        match shown {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            shown => shown?,
        }
        let next = async {
            tokio::time::sleep(interval).await;
            asker.ask().await
        };
        tokio::select! {
            () = stops.next() => return Ok(()),
            asked = next => match asked {
                Ok(now) => (told, away_since) = (now, None),
                Err(error) => {
                    away_since = away_since.or_else(|| Some(Utc::now()));
                    why = error;
                }
            },
        }
    }
}

/// Between two pages.
fn print_empty() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout)?;
    stdout.flush()
}
