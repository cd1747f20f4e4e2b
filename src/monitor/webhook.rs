//! Tells a webhook of alerts, in the body that Alertmanager sends to its receivers.

use std::{
    collections::{VecDeque, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable as _};
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{Client, header, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use super::{Alert, AlertState};
use crate::settings::webhook_shown;

/// Sends alerts one after the other, and tries again for some minutes when that fails. Ends when it is dropped.
pub(super) struct Webhook {
    destination: watch::Sender<Destination>,
    queue: Arc<Queue>,
    _sender: AbortOnDropHandle<()>,
}

/// Where alerts go, and whose they are.
#[derive(Clone)]
struct Destination {
    client: Client,
    url: SecretString,
    instance: String,
}

/// Alerts that are not told yet, the oldest first.
#[derive(Default)]
struct Queue {
    waiting: Mutex<VecDeque<Alert>>,
    grown: Notify,
}

/// Alerts that wait to be sent; a receiver that is away for long learns of the first of them when it is back.
const MOST_WAITING: usize = 200;

/// For one attempt.
const PATIENCE: Duration = Duration::from_secs(10);

impl Webhook {
    /// A webhook at `url`, for the alerts of the instance of this name.
    pub fn new(url: SecretString, instance: String) -> Result<Self, String> {
        let (destination, led) = watch::channel(Destination::new(url, instance)?);
        let queue = Arc::new(Queue::default());
        let sender = tokio::spawn(send_all(Arc::clone(&queue), led));
        Ok(Self { destination, queue, _sender: AbortOnDropHandle::new(sender) })
    }

    /// Leads to another place from now on, also the alerts that still wait.
    pub fn lead_to(&self, url: SecretString, instance: String) -> Result<(), String> {
        let is_same = {
            let now = self.destination.borrow();
            now.url.expose_secret() == url.expose_secret() && now.instance == instance
        };
        if !is_same {
            self.destination.send_replace(Destination::new(url, instance)?);
        }
        Ok(())
    }

    /// Tells of an alert, as soon as those before it are told.
    pub fn tell(&self, alert: &Alert) {
        let mut waiting = self.queue.waiting();
        if waiting.len() == MOST_WAITING {
            tracing::warn!("the webhook is not told, because {MOST_WAITING} alerts wait for it: {}", alert.message);
            return;
        }
        waiting.push_back(alert.clone());
        drop(waiting);
        self.queue.grown.notify_one();
    }

    /// Ends it, and says of which alerts nobody learns.
    pub fn give_up(self, why: &str) {
        let destination = self.destination.borrow().clone();
        self.queue.waiting().drain(..).for_each(|alert| destination.does_not_learn(&alert, why));
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Alert>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest alert, which stays there until it is told.
    async fn next(&self) -> Alert {
        loop {
            if let Some(alert) = self.waiting().front().cloned() {
                return alert;
            }
            self.grown.notified().await;
        }
    }
}

impl Destination {
    fn new(url: SecretString, instance: String) -> Result<Self, String> {
        // An answer that leads elsewhere is not what was configured.
        let client = Client::builder().timeout(PATIENCE).redirect(redirect::Policy::none());
        let client = match url.expose_secret().starts_with("https:") {
            true => client,
            // The system's certificates, which it may not have, are not looked for where no TLS is spoken.
            false => client.tls_certs_only([]),
        };
        let client = client.build().map_err(|error| format!("no HTTP client for the webhook: {error}"))?;
        Ok(Self { client, url, instance })
    }

    fn does_not_learn(&self, alert: &Alert, why: &str) {
        let place = webhook_shown(self.url.expose_secret());
        tracing::error!("the webhook at {place} does not learn of an alert: {why}; it was: {}", alert.message);
    }

    /// Tells of an alert, in as many attempts as that takes; whether they were in vain is in the log.
    async fn learn(&self, alert: &Alert) {
        let retries = ExponentialBuilder::default()
            .with_min_delay(Duration::from_secs(1))
            .with_max_delay(Duration::from_secs(30))
            .with_max_times(12)
            .with_jitter();
        let body = body(alert, &self.instance).to_string();
        let sent = (|| send(&self.client, &self.url, &body))
            .retry(retries)
            .when(|(is_passing, _)| *is_passing)
            .notify(|(_, why), delay| tracing::debug!("the webhook is told again in {delay:.1?}: {why}"))
            .await;
        if let Err((_, why)) = sent {
            self.does_not_learn(alert, &why);
        }
    }
}

async fn send_all(queue: Arc<Queue>, mut led: watch::Receiver<Destination>) {
    loop {
        let alert = queue.next().await;
        let destination = led.borrow_and_update().clone();
        tokio::select! {
            () = destination.learn(&alert) => {
                queue.waiting().pop_front();
            }
            // It is told again, at the new place.
            changed = led.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// An error says whether it may pass.
async fn send(client: &Client, url: &SecretString, body: &str) -> Result<(), (bool, String)> {
    let request = client
        .post(url.expose_secret())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("warmd/", env!("CARGO_PKG_VERSION")));
    // The URL may be a secret, and stands in the error.
    let answer = request.body(body.to_owned()).send().await.map_err(|error| (true, in_words(&error.without_url())))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let is_passing = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
    Err((is_passing, format!("it answers {status}")))
}

/// All causes; the first alone says little.
fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"))
}

/// Version 4 of the body, with one alert.
fn body(alert: &Alert, instance: &str) -> Value {
    let name = alert.rule.alert_name();
    let status = match alert.state {
        AlertState::Active => "firing",
        AlertState::Resolved => "resolved",
    };
    let mut labels = json!({ "alertname": name, "severity": alert.severity, "instance": instance });
    if let Some(job) = &alert.job {
        labels["job_name"] = json!(job);
    }
    let annotations = json!({ "summary": alert.message });
    let mut group = json!({ "alertname": name });
    if let Some(job) = &alert.job {
        group["job_name"] = json!(job);
    }
    // What has not ended ends at the zero of Go's clock.
    let ends = alert.resolved.map_or("0001-01-01T00:00:00Z".to_owned(), moment);
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{group}"),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "warmd",
        "groupLabels": group,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": moment(alert.since),
            "endsAt": ends,
            "generatorURL": "",
            "fingerprint": fingerprint(&labels),
        }],
    })
}

fn moment(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The same for the same labels: by it a receiver knows which alert has ended.
fn fingerprint(labels: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    labels.to_string().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
