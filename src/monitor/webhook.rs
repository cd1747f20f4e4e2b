//! Tells a webhook of alerts, in the body that Alertmanager sends to its receivers.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable as _};
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{Client, header, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{Alert, AlertState};
use crate::settings::webhook_shown;

/// Sends alerts one after the other, and tries again for some minutes when that fails. Ends when it is dropped.
pub(super) struct Webhook {
    url: SecretString,
    alerts: mpsc::Sender<Alert>,
    _sender: AbortOnDropHandle<()>,
}

/// Alerts that wait to be sent; a receiver that is away for long learns of the first of them when it is back.
const MOST_WAITING: usize = 200;

/// For one attempt.
const PATIENCE: Duration = Duration::from_secs(10);

impl Webhook {
    /// A webhook at `url`, for the alerts of the instance of this name.
    pub fn new(url: SecretString, instance: String) -> Result<Self, String> {
        // An answer that leads elsewhere is not what was configured.
        let client = Client::builder().timeout(PATIENCE).redirect(redirect::Policy::none());
        let client = match url.expose_secret().starts_with("https:") {
            true => client,
            // The system's certificates, which it may not have, are not looked for where no TLS is spoken.
            false => client.tls_certs_only([]),
        };
        let client = client.build().map_err(|error| format!("no HTTP client for the webhook: {error}"))?;
        let (alerts, waiting) = mpsc::channel(MOST_WAITING);
        let sender = tokio::spawn(send_all(client, url.clone(), instance, waiting));
        Ok(Self { url, alerts, _sender: AbortOnDropHandle::new(sender) })
    }

    /// Whether it leads to this URL.
    pub fn leads_to(&self, url: &SecretString) -> bool {
        self.url.expose_secret() == url.expose_secret()
    }

    /// Tells of an alert, as soon as those before it are told.
    pub fn tell(&self, alert: &Alert) {
        if self.alerts.try_send(alert.clone()).is_err() {
            tracing::warn!("the webhook is not told, because {MOST_WAITING} alerts wait for it: {}", alert.message);
        }
    }
}

async fn send_all(client: Client, url: SecretString, instance: String, mut waiting: mpsc::Receiver<Alert>) {
    let retries = ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(Duration::from_secs(30))
        .with_max_times(12)
        .with_jitter();
    while let Some(alert) = waiting.recv().await {
        let body = body(&alert, &instance).to_string();
        let sent = (|| send(&client, &url, &body))
            .retry(retries)
            .when(|(is_passing, _)| *is_passing)
            .notify(|(_, why), delay| tracing::debug!("the webhook is told again in {delay:.1?}: {why}"))
            .await;
        if let Err((_, why)) = sent {
            let place = webhook_shown(url.expose_secret());
            tracing::error!("the webhook at {place} does not learn of an alert: {why}; it was: {}", alert.message);
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
