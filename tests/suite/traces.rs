//! Spans, as a receiver gets them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::any_value::Value,
    trace::v1::{Span, status::StatusCode as Status},
};
use prost::Message as _;

use crate::{
    cli::{warmd, write_job},
    daemon::{Daemon, eventually, until},
    http::closed,
    standstill::Stopwatch,
    world::World,
};

type Requests = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// Keeps what is sent to it.
async fn receiver() -> (String, Requests) {
    async fn take(State(kept): State<Requests>, body: Bytes) -> (StatusCode, Vec<u8>) {
        kept.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
        (StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec())
    }
    let kept = Requests::default();
    let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&kept));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, kept)
}

const USERS: &str = "key = \"user:{user_id}\"\nttl = \"10m\"\nrefresh = \"always\"\n\
    [targets]\nuser_id = { sql = \"SELECT id FROM users\" }\n\
    [query]\nsql = \"SELECT id AS user_id, name FROM users WHERE id IN (:user_id)\"\n[limits]\nbatch = 2\n";

/// How often the jobs are run for spans that are sent in time, at most.
const ATTEMPTS: usize = 4;

/// Runs the jobs; what is said on stdout and on stderr, and how long that takes.
async fn warm(world: &World, variables: &[(&str, &str)]) -> (String, Duration) {
    let mut command = warmd(world, &["warm", "--json"]);
    command.envs(variables.iter().copied()).env("WARMD__LOG__LEVEL", "info");
    let begun = Stopwatch::start();
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let took = begun.elapsed();
    (String::from_utf8([output.stdout, output.stderr].concat()).unwrap(), took)
}

/// Runs the jobs once more when the last spans were not sent in the second for which the end of the process waits. On a
/// busy machine that is short.
async fn in_time<T>(warm: impl AsyncFn() -> (String, T)) -> (String, T) {
    for _ in 1..ATTEMPTS {
        let (said, beside) = warm().await;
        if !said.contains("the last spans were not sent") {
            return (said, beside);
        }
    }
    warm().await
}

/// Runs the jobs with a receiver, at this path; what is said, and what it gets.
async fn received(world: &World, path: &str, variables: &[(&str, &str)]) -> (String, Requests) {
    in_time(async || {
        // Of its own, so that nothing is left of a run before.
        let (url, kept) = receiver().await;
        let endpoint = format!("{url}{path}");
        let variables = [&[("WARMD__TRACES__ENDPOINT", endpoint.as_str())], variables].concat();
        (warm(world, &variables).await.0, kept)
    })
    .await
}

fn spans(kept: &Requests) -> Vec<Span> {
    let requests = kept.lock().unwrap();
    let resources = requests.iter().flat_map(|request| &request.resource_spans);
    resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

#[tokio::test]
async fn a_run_is_one_trace_of_its_batches_their_statements_and_what_redis_is_asked() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    let (said, kept) = received(&world, "", &[("WARMD__SCHEDULER__INSTANCE", "i1")]).await;
    assert!(!said.contains("run{") && !said.contains("batch"), "the log has no spans: {said}");
    let spans = spans(&kept);
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let [run] = named("run users")[..] else { panic!("{spans:#?}") };
    assert!(run.parent_span_id.is_empty());
    for (key, value) in [("job", "users"), ("trigger", "manual"), ("outcome", "ok"), ("keys", "5"), ("written", "5")] {
        assert_eq!(attribute(run, key).as_deref(), Some(value), "{key}");
    }
    assert!(spans.iter().all(|span| span.trace_id == run.trace_id));
    let batches = named("batch");
    let sizes: u64 = batches.iter().map(|batch| attribute(batch, "size").unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!((batches.len(), sizes), (3, 5));
    assert!(batches.iter().all(|batch| batch.parent_span_id == run.span_id));
    // Five in three batches, and one for the targets.
    let queries: Vec<&Span> = spans.iter().filter(|span| span.name.starts_with("query ")).collect();
    assert_eq!(queries.len(), 4, "{spans:#?}");
    let of = |span: &Span| queries.iter().filter(|query| query.parent_span_id == span.span_id).count();
    assert_eq!(of(run), 1);
    for batch in batches {
        assert_eq!(of(batch), 1);
        for name in ["redis presence", "redis write"] {
            let asked = named(name).into_iter().filter(|asked| asked.parent_span_id == batch.span_id).count();
            assert_eq!(asked, 1, "{name}");
        }
        assert!(batch.start_time_unix_nano >= run.start_time_unix_nano);
        assert!(batch.end_time_unix_nano <= run.end_time_unix_nano);
    }
    assert_eq!(attribute(queries[0], "db.system.name").as_deref(), Some("sqlite"));
    assert!(queries.iter().any(|query| attribute(query, "db.query.text").unwrap().contains("IN (:user_id)")));
    let resource = &kept.lock().unwrap()[0].resource_spans[0].resource.clone().unwrap();
    let names: Vec<&str> = resource.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert!(names.contains(&"service.name") && names.contains(&"service.instance.id"), "{names:?}");
}

#[tokio::test]
async fn a_run_that_fails_has_the_status_of_an_error_in_words() {
    let world = World::new().await;
    write_job(&world, "users.toml", &USERS.replace("FROM users WHERE", "FROM nowhere WHERE"));
    let (_, kept) = received(&world, "", &[]).await;
    let spans = spans(&kept);
    let run = spans.iter().find(|span| span.name == "run users").unwrap();
    let status = run.status.as_ref().unwrap();
    assert_eq!(status.code, Status::Error as i32);
    assert!(status.message.contains("nowhere"), "{status:?}");
    assert_eq!(attribute(run, "cause").as_deref(), Some("statement"));
}

#[tokio::test]
async fn a_sample_is_of_whole_runs_and_a_receiver_that_is_away_costs_the_run_nothing() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    let (_, kept) = received(&world, "", &[("WARMD__TRACES__SAMPLE", "0%")]).await;
    assert_eq!(spans(&kept), []);
    let (_held, closed) = closed();
    let url = format!("http://{closed}");
    let (said, _) = in_time(async || warm(&world, &[("WARMD__TRACES__ENDPOINT", &url)]).await).await;
    assert!(said.contains("\"outcome\":\"ok\"") && said.contains("\"written\":5"), "{said}");
    let lost = format!("spans are lost, for now: the receiver at http://{closed}/v1/traces is out of reach");
    assert_eq!(said.matches(&lost).count(), 1, "{said}");
    let (said, _) = warm(&world, &[("WARMD__TRACES__ENDPOINT", "localhost:4318")]).await;
    assert!(said.contains("`traces.endpoint` is no URL of a web server"), "{said}");
}

#[tokio::test]
async fn an_endpoint_with_the_path_for_spans_is_taken_as_it_is_and_one_with_a_query_is_refused() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    for path in ["/v1/traces", "/v1/traces/", "/"] {
        let (said, kept) = received(&world, path, &[]).await;
        assert!(spans(&kept).iter().any(|span| span.name == "run users"), "{path}: {said}");
    }
    let (said, kept) = received(&world, "/?token=geheim", &[]).await;
    assert!(said.contains("`traces.endpoint` has a query, and spans go to /v1/traces there"), "{said}");
    assert!(!said.contains("geheim") && spans(&kept).is_empty(), "{said}");
}

/// Counts what is sent to it, and answers as it is told to.
async fn refusing() -> (String, Arc<Mutex<(usize, StatusCode)>>) {
    type Answers = Arc<Mutex<(usize, StatusCode)>>;
    async fn take(State(answers): State<Answers>) -> (StatusCode, Vec<u8>) {
        let mut answers = answers.lock().unwrap();
        answers.0 += 1;
        (answers.1, Vec::new())
    }
    let answers = Arc::new(Mutex::new((0, StatusCode::FORBIDDEN)));
    let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&answers));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, answers)
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_is_one_warning_and_one_that_takes_it_again_a_word() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("schedule = \"@every 1s\"\n{USERS}"));
    let (url, answers) = refusing().await;
    let variables =
        [("WARMD__TRACES__ENDPOINT", url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100"), ("WARMD__LOG__LEVEL", "info")];
    let daemon = Daemon::start(&world, "a", &variables).ready();
    eventually("some batches of spans", async || answers.lock().unwrap().0 >= 3).await;
    answers.lock().unwrap().1 = StatusCode::OK;
    let log = || std::fs::read_to_string(world.folder().join("a.log")).unwrap();
    let back = format!("spans are received again at {url}/v1/traces");
    eventually("the end of it", async || log().contains(&back)).await;
    assert_eq!(daemon.stop(), Some(0));
    let lost = format!("spans are lost, for now: the receiver at {url}/v1/traces answers 403");
    assert_eq!(log().matches(&lost).count(), 1, "{}", log());
    assert_eq!(log().matches("spans are").count(), 2, "{}", log());
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_the_end_of_the_process_for_a_second() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    // Connections are taken by the system, and nobody answers.
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", hanging.local_addr().unwrap());
    // Who waited for the receiver would do so for five seconds.
    let most = Duration::from_millis(4500);
    let (said, took) = warm(&world, &[("WARMD__TRACES__ENDPOINT", &url)]).await;
    assert!(took < most, "{took:?}: {said}");
    assert!(said.contains("the last spans were not sent within 1 s"), "{said}");
    assert!(said.contains("\"written\":5"), "{said}");
    write_job(&world, "users.toml", &format!("schedule = \"@every 1s\"\n{USERS}"));
    let mut daemon = Daemon::start(&world, "a", &[("WARMD__TRACES__ENDPOINT", &url)]).ready();
    until(&world, "a run", |records| records.len() >= 2).await;
    daemon.signal("TERM");
    let begun = Stopwatch::start();
    assert_eq!(daemon.ended(), Some(0));
    assert!(begun.elapsed() < most, "{:?}", begun.elapsed());
}
