//! What the daemon tells over HTTP, and what it may be told: metrics, health, an API of jobs and runs, and a page that
//! shows it all.
//!
//! ```text
//! listener ─► guard ──────────► router ─► metrics
//! (limits)    (Host, Origin,              health
//!              body, time)                api
//!                                         page
//! ```
//!
//! Whoever can connect may read; whoever has the token may start runs. The scheduler knows nothing of this module: it
//! is asked for how things stand, and an observer feeds [`Metrics`] with the records.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{StatusCode, header},
    middleware,
    response::Response,
    routing::{MethodRouter, get, post},
};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    monitor::Monitor,
    scheduler::Scheduler,
    settings::{HttpSettings, Listen},
};

mod api;
mod guard;
mod health;
mod listener;
mod metrics;
mod page;
mod process;

pub use listener::{Refused, Socket};
pub use metrics::Metrics;

use guard::Guard;

/// The daemon's HTTP surface; without an address it is nothing that anybody could reach.
pub struct Http {
    shared: Arc<Shared>,
    listening: Option<Listening>,
}

/// What requests find, whichever listener they came by.
struct Shared {
    scheduler: Scheduler,
    metrics: Arc<Metrics>,
    monitor: Monitor,
    /// A reload replaces it.
    guard: RwLock<Arc<Guard>>,
}

/// What the handlers of one connection find.
#[derive(Clone)]
struct App {
    shared: Arc<Shared>,
    /// The address at which the client has reached us, where it is one.
    local: Option<IpAddr>,
}

struct Listening {
    listen: Listen,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Settings that are known to work: the token is read, the address bound.
pub struct Change {
    guard: Guard,
    /// `None` when the listener stays.
    socket: Option<Option<Socket>>,
}

/// How long answers under way may take to end when a listener does.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Http {
    /// Makes ready what the settings say, which is where most things go wrong; answers nothing yet.
    pub async fn prepare(settings: &HttpSettings) -> Result<Change, Refused> {
        let socket = match &settings.listen {
            Some(listen) => Some(Socket::bind(listen).await?),
            None => None,
        };
        Ok(Change { guard: Guard::new(settings)?, socket: Some(socket) })
    }

    /// Answers from now on.
    pub fn start(change: Change, scheduler: Scheduler, metrics: Arc<Metrics>, monitor: Monitor) -> Self {
        let guard = RwLock::new(Arc::new(change.guard));
        let mut http = Self { shared: Arc::new(Shared { scheduler, metrics, monitor, guard }), listening: None };
        http.listen(change.socket.flatten());
        http
    }

    /// The same for other settings: a listener whose address stays is kept, a new one is bound before the old one ends.
    pub async fn prepare_change(&self, settings: &HttpSettings) -> Result<Change, Refused> {
        if self.listening.as_ref().map(|listening| &listening.listen) == settings.listen.as_ref() {
            return Ok(Change { guard: Guard::new(settings)?, socket: None });
        }
        Self::prepare(settings).await
    }

    /// Works with other settings from now on.
    pub async fn change(&mut self, change: Change) {
        *self.shared.guard.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(change.guard);
        if let Some(socket) = change.socket {
            self.end().await;
            self.listen(socket);
        }
    }

    fn listen(&mut self, socket: Option<Socket>) {
        let Some(socket) = socket else { return };
        tracing::info!("HTTP on {}", socket.bound());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let listen = socket.asked().clone();
        tasks.spawn(listener::listen(socket, Arc::clone(&self.shared), stop.clone()));
        self.listening = Some(Listening { listen, stop, tasks });
    }

    /// Takes no more requests, and lets those under way end for a moment.
    pub async fn end(&mut self) {
        let Some(listening) = self.listening.take() else { return };
        listening.stop.cancel();
        listening.tasks.close();
        listening.tasks.wait().await;
    }
}

impl Shared {
    fn guard(&self) -> Arc<Guard> {
        Arc::clone(&self.guard.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All that can be asked for; docs/openapi.json describes it, and a test compares the two.
fn routes() -> Vec<(&'static str, &'static str, MethodRouter<App>)> {
    vec![
        ("get", "/", get(page::index)),
        ("get", "/page/{file}", get(page::file)),
        ("get", "/metrics", get(metrics::answer)),
        ("get", "/healthz", get(health::alive)),
        ("get", "/readyz", get(health::ready)),
        ("get", "/api/jobs", get(api::jobs)),
        ("get", "/api/runs", get(api::runs)),
        ("get", "/api/health", get(api::health)),
        ("get", "/api/alerts", get(api::alerts)),
        ("post", "/api/jobs/{job}/run", post(api::run)),
    ]
}

fn router(app: App) -> Router {
    let router = routes().into_iter().fold(Router::new(), |router, (_, path, answer)| router.route(path, answer));
    router
        .fallback(async || failure(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .layer(middleware::from_fn_with_state(app.clone(), guard::check))
        .with_state(app)
}

fn answer(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn failure(status: StatusCode, why: impl Into<String>) -> Response {
    answer(status, &json!({ "version": 1, "error": why.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let described: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
        let paths = described["paths"].as_object().unwrap();
        let mut described: Vec<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())))
            .filter(|(method, _)| method != "parameters")
            .collect();
        let mut routes: Vec<(String, String)> =
            routes().into_iter().map(|(method, path, _)| (method.to_owned(), path.to_owned())).collect();
        described.sort();
        routes.sort();
        assert_eq!(routes, described);
    }
}
