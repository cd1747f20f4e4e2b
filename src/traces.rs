//! Where the time of a run goes, as spans for OpenTelemetry.
//!
//! ```text
//! run ─┬─► query            the targets, the events
//!      └─► batch ─┬─► redis presence
//!                 ├─► query
//!                 └─► redis write
//! ```
//!
//! Off unless the settings name a receiver; a span that nobody receives is never made.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{self, Sampler, SdkTracer, SdkTracerProvider, SpanData},
};
use reqwest::blocking::Client;
use tracing::{Span, field::Empty};
use url::Url;

use crate::{
    database::Engine,
    job::{Job, Sql},
    record::{Outcome, Record, Trigger},
    settings::TraceSettings,
};

/// The target of all spans, by which the log leaves them alone.
pub const TARGET: &str = "warmd::spans";

/// What sends the spans; there is one for the whole process.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// For one attempt to send spans; what cannot be sent is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// For the spans that are left at the end of the process, which must not wait for a receiver that is away.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Sends spans, and says once that they are lost, and once that they are not any more.
#[derive(Debug)]
struct Telling {
    exporter: SpanExporter,
    /// Where they go.
    place: String,
    /// That they are lost is in the log.
    is_told: AtomicBool,
}

impl trace::SpanExporter for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        match &sent {
            Ok(()) if self.is_told.swap(false, Ordering::Relaxed) => {
                tracing::info!("spans are received again at {}", self.place);
            }
            Err(error) if !self.is_told.swap(true, Ordering::Relaxed) => {
                tracing::warn!("spans are lost, for now: the receiver at {} {}", self.place, in_words(error));
            }
            _ => {}
        }
        sent
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// What the exporter says, which names neither the receiver nor what it wanted to do.
fn in_words(error: &OTelSdkError) -> String {
    let words = error.to_string();
    match words.rsplit_once("status code: ") {
        Some((_, status)) => format!("answers {status}"),
        None if words.ends_with("network error") => "is out of reach".to_owned(),
        None => format!("does not take them: {words}"),
    }
}

/// What makes spans, when somebody is to receive them. Later calls change nothing.
pub(crate) fn tracer(settings: &TraceSettings, instance: &str) -> Result<Option<SdkTracer>, String> {
    let Some(receiver) = settings.receiver()? else { return Ok(None) };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client(&receiver)?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(receiver.as_str())
        .with_timeout(PATIENCE)
        .build()
        .map_err(|error| format!("`traces.endpoint`: {error}"))?;
    let resource = Resource::builder()
        .with_service_name("warmd")
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance.to_owned()),
        ])
        .build();
    let provider = PROVIDER.get_or_init(|| {
        SdkTracerProvider::builder()
            .with_batch_exporter(Telling { exporter, place: receiver.to_string(), is_told: AtomicBool::new(false) })
            // All of a run or nothing of it.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample.0))))
            .with_resource(resource)
            .build()
    });
    Ok(Some(provider.tracer("warmd")))
}

/// What speaks to the receiver, from a thread of the provider's own. Made in a thread, too: it has a runtime inside.
fn client(receiver: &Url) -> Result<Client, String> {
    let is_tls = receiver.scheme() == "https";
    let make = move || {
        let client = Client::builder().timeout(PATIENCE);
        // The system's certificates, which it may not have, are not looked for where no TLS is spoken.
        if is_tls { client } else { client.tls_certs_only([]) }.build()
    };
    match std::thread::spawn(make).join() {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(format!("no HTTP client for `traces.endpoint`: {error}")),
        Err(_) => Err("no HTTP client for `traces.endpoint`".to_owned()),
    }
}

/// Whether spans are made.
pub(crate) fn are_on() -> bool {
    PROVIDER.get().is_some()
}

/// Sends what has not been sent, at the end of the process.
pub async fn finish() {
    let Some(provider) = PROVIDER.get() else { return };
    // It waits for its thread.
    let sent = tokio::task::spawn_blocking(|| provider.shutdown_with_timeout(LAST_WORDS)).await;
    if let Ok(Err(error)) = sent {
        tracing::warn!("the last spans were not sent within {} s: {error}", LAST_WORDS.as_secs());
    }
}

/// Of a run.
pub(crate) fn run(job: &Job, trigger: Trigger) -> Span {
    tracing::trace_span!(
        target: TARGET,
        "run",
        otel.name = %format_args!("run {}", job.name),
        job = job.name,
        %trigger,
        run_id = Empty,
        outcome = Empty,
        cause = Empty,
        keys = Empty,
        fresh = Empty,
        written = Empty,
        failed = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// What became of the run.
pub(crate) fn ended(run: &Span, record: &Record) {
    if run.is_disabled() {
        return;
    }
    run.record("run_id", &record.run_id);
    run.record("outcome", tracing::field::display(record.outcome));
    run.record("keys", record.counts.keys);
    run.record("fresh", record.counts.fresh);
    run.record("written", record.counts.written);
    run.record("failed", record.counts.failed);
    if let Some(cause) = record.cause {
        run.record("cause", tracing::field::display(cause));
    }
    if matches!(record.outcome, Outcome::Failed | Outcome::Partial | Outcome::Refused) {
        run.record("otel.status_code", "ERROR");
        run.record("otel.status_description", record.first_error.as_deref().unwrap_or_default());
    }
}

/// Of a batch of so many targets or rows.
pub(crate) fn batch(size: usize) -> Span {
    tracing::trace_span!(target: TARGET, "batch", size)
}

/// Of one attempt at a statement, from its sending to its last row.
pub(crate) fn query(sql: &Sql, engine: Engine) -> Span {
    let file = sql.origin.file.display();
    // As OpenTelemetry's conventions call them.
    let system = match engine {
        Engine::Postgres => "postgresql",
        Engine::MySql => "mysql",
        Engine::Sqlite => "sqlite",
    };
    tracing::trace_span!(
        target: TARGET,
        "query",
        otel.name = %format_args!("query {file}"),
        otel.kind = "client",
        db.system.name = system,
        // Values are bound, and not part of it.
        db.query.text = sql.text,
    )
}

/// Of one thing that Redis is asked.
pub(crate) fn redis(question: &'static str) -> Span {
    tracing::trace_span!(
        target: TARGET,
        "redis",
        otel.name = %format_args!("redis {question}"),
        otel.kind = "client",
        db.system.name = "redis",
        db.operation.name = question,
    )
}
