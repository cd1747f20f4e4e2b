//! Waiting while the database is busier than it may be.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Run;
use crate::{
    database::{Connection, Error, ErrorKind, LoadLimits, Overload},
    job::duration::Span,
    throttle::{BackedOff, Strain},
};

/// Whether batches may begin.
pub(super) struct Gate {
    state: watch::Sender<State>,
    /// Seconds that it was closed, by the reason.
    closed: Mutex<BackedOff>,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    /// Nothing is known yet.
    Unknown,
    Open,
    Closed,
}

/// How long an answer holds.
const PAUSE: Duration = Duration::from_secs(1);

impl Gate {
    pub fn new(limits: LoadLimits) -> Self {
        let state = if limits.is_any() { State::Unknown } else { State::Open };
        Self { state: watch::Sender::new(state), closed: Mutex::default() }
    }

    /// Waits until it is open, or the run is told to stop.
    pub async fn passed(&self, stop: &CancellationToken) {
        let mut state = self.state.subscribe();
        tokio::select! {
            _ = state.wait_for(|state| *state == State::Open) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Seconds that it was closed, by the reason.
    pub fn closed(&self) -> BackedOff {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Run<'_> {
    /// Opens and closes the gate by what the database says of itself, as long as it is polled.
    pub(super) async fn watch_load(&self) {
        let limits = self.around.load_limits;
        let mut connection = None;
        let mut told = false;
        while limits.is_any() {
            let asked = Instant::now();
            let overload = match self.overload(&mut connection, &limits).await {
                Ok(overload) => overload,
                Err(error) => {
                    // What a server does not tell must not keep the cache cold.
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("{}: nobody looks how busy the database is: {error}", self.job.name);
                    }
                    if !matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Transient) {
                        self.gate.state.send_replace(State::Open);
                        break;
                    }
                    None
                }
            };
            match overload {
                None => {
                    if self.gate.state.send_replace(State::Open) == State::Closed {
                        self.meter.waits_for.send_if_modified(|waits_for| waits_for.take().is_some());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Some(overload) => {
                    let (strain, why) = words(overload, &limits);
                    if self.gate.state.send_replace(State::Closed) != State::Closed {
                        tracing::info!("{}: holding back: {why}", self.job.name);
                    }
                    self.meter.waits_for.send_replace(Some(why));
                    tokio::time::sleep(PAUSE).await;
                    let seconds = asked.elapsed().as_secs_f64();
                    let mut closed = self.gate.closed.lock().unwrap_or_else(PoisonError::into_inner);
                    *closed.entry(strain).or_default() += seconds;
                }
            }
        }
        std::future::pending().await
    }

    async fn overload(
        &self,
        connection: &mut Option<Connection>,
        limits: &LoadLimits,
    ) -> Result<Option<Overload>, Error> {
        let mut asked = match connection.take() {
            Some(connection) => connection,
            None => self.around.database.connect().await?,
        };
        let overload = asked.overload(limits).await?;
        *connection = Some(asked);
        Ok(overload)
    }
}

fn words(overload: Overload, limits: &LoadLimits) -> (Strain, String) {
    match overload {
        Overload::ReplicaLag(lag) => {
            let lag = lag.map_or("the replica does not replicate".to_owned(), |lag| {
                format!("the replica lags by {}", Span(Duration::from_secs(lag.as_secs())))
            });
            let most = limits.replica_lag.map_or(Span(Duration::ZERO), Span);
            (Strain::ReplicaLag, format!("{lag}, and `max_replica_lag` is {most}"))
        }
        Overload::ActiveConnections(active) => {
            let most = limits.active_connections.unwrap_or_default();
            let why = format!("{active} connections are at work, and `max_active_connections` is {most}");
            (Strain::ActiveConnections, why)
        }
    }
}
