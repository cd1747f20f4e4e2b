//! Real answers are as docs/openapi.json describes them.

use std::{fs, path::Path};

use boon::{Compiler, Draft, Schemas};
use serde_json::{Value, json};

use super::{Answer, USERS, health::OFTEN, start, world};
use crate::{
    cli::write_job,
    daemon::{eventually, slow, until},
};

/// The description, and no member in any answer that is not in it.
fn description() -> Value {
    fn close(value: &mut Value) {
        match value {
            Value::Object(members) => {
                if members.contains_key("properties") && members.get("type") == Some(&"object".into()) {
                    members.insert("additionalProperties".to_owned(), Value::Bool(false));
                }
                members.values_mut().for_each(close);
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            _ => {}
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let mut description: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    close(&mut description["components"]["schemas"]);
    description
}

/// Asserts that the answer is one that is described for this method and path.
fn is_described(description: &Value, method: &str, path: &str, answer: &Answer) {
    let response = &description["paths"][path][method]["responses"][answer.status.to_string()];
    let response = match response["$ref"].as_str() {
        Some(reference) => description.pointer(reference.trim_start_matches('#')).unwrap(),
        None => response,
    };
    let kind = answer.header("content-type").unwrap().split(';').next().unwrap();
    let schema = &response["content"][kind]["schema"];
    assert!(schema.is_object(), "{method} {path}: {} with {kind} is not described", answer.status);
    if kind != "application/json" {
        return;
    }
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.set_default_draft(Draft::V2020_12);
    compiler.enable_format_assertions();
    let root = json!({ "components": description["components"], "$ref": schema["$ref"] });
    compiler.add_resource("http://warmd/answer.json", root).unwrap();
    let compiled = compiler.compile("http://warmd/answer.json", &mut schemas).unwrap();
    if let Err(error) = schemas.validate(&answer.json(), compiled) {
        panic!("{method} {path}: {error:#}\n{}", answer.body);
    }
}

#[tokio::test]
async fn answers_are_as_they_are_described() {
    let description = description();
    let broken =
        "schedule = \"@every 1s\"\nkey = \"b:{id}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT 1 AS id FROM nowhere\"\n";
    let slow = slow("schedule = \"@every 1s\"");
    let world = world(&[
        ("users", USERS),
        ("broken", broken),
        ("slow", &slow),
        ("hand", &USERS[USERS.find("key").unwrap()..].replace("user:", "hand:")),
    ])
    .await;
    let asked = start(&world, "a", &[OFTEN]);
    let is = |method: &str, template: &str, answer: &Answer, status: u16| {
        assert_eq!(answer.status, status, "{method} {template}: {}", answer.body);
        is_described(&description, method, template, answer);
    };
    let place = &asked.place;
    let run = "/api/jobs/{job}/run";
    is("post", run, &place.run("users"), 202);
    is("post", run, &place.run("usres"), 404);
    is("post", run, &place.ask("POST", "/api/jobs/users/run", &[]), 401);
    eventually("the slow run", async || place.metric("warmd_running{job_name=\"slow\"}") == Some(1.0)).await;
    is("post", run, &place.run("slow"), 409);
    is("get", "/api/jobs", &place.get("/api/jobs"), 200);
    until(&world, "records of all kinds", |records| {
        let has = |field: &str, value: &str| records.iter().any(|record| record[field] == value);
        has("outcome", "failed") && has("outcome", "skipped") && has("trigger", "manual")
    })
    .await;
    is("get", "/api/jobs", &place.get("/api/jobs"), 200);
    is("get", "/api/runs", &place.get("/api/runs?limit=1000"), 200);
    is("get", "/api/runs", &place.get("/api/runs?limit=0"), 400);
    let monitored = || place.get("/api/health").json()["jobs"]["users"]["coverage"].is_number();
    eventually("a look at the keys", async || monitored()).await;
    is("get", "/api/health", &place.get("/api/health"), 200);
    eventually("an alert", async || place.get("/api/alerts").body.contains("active")).await;
    is("get", "/api/alerts", &place.get("/api/alerts"), 200);
    is("get", "/healthz", &place.get("/healthz"), 200);
    let is_ready = || {
        // Redis may need longer for an answer than who is asked waits, which is described, too.
        let answer = place.get("/readyz");
        is_described(&description, "get", "/readyz", &answer);
        answer.status == 200
    };
    eventually("ready", async || is_ready()).await;
    is("get", "/api/runs", &place.get("/api/runs?since=now"), 400);
    is("get", "/", &place.get("/"), 200);
    is("get", "/page/{file}", &place.get("/page/main.js"), 200);
    is("get", "/page/{file}", &place.get("/page/style.css"), 200);
    is("get", "/page/{file}", &place.get("/page/index.html"), 404);
    is("get", "/metrics", &place.get("/metrics"), 200);
    is("get", "/metrics", &place.ask("GET", "/metrics", &[("Accept", "application/openmetrics-text")]), 200);
    for path in ["/", "/metrics", "/healthz", "/readyz", "/api/jobs", "/api/runs", "/api/health", "/api/alerts"] {
        is("get", path, &place.ask("GET", path, &[("Host", "evil.example")]), 421);
        is("get", path, &place.ask("GET", path, &[("Origin", "null")]), 403);
    }
    write_job(&world, "wrong.toml", "schedule = 3\n");
    asked.daemon.signal("HUP");
    eventually("the failed reload", async || place.get("/readyz").status == 503).await;
    is("get", "/readyz", &place.get("/readyz"), 503);
    world.redis.server.kill();
    is("post", run, &place.run("hand"), 503);
    is("get", "/api/jobs", &place.get("/api/jobs"), 200);
    assert_eq!(asked.daemon.stop(), Some(0));
}
