//! The inner parts of a run, each alone: `cargo bench`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use secrecy::SecretString;
use warmd::{
    database::{Arguments, Database, Engine, Row, Statement},
    job::KeyTemplate,
    produce::{
        interactions::{Decay, Interactions},
        neighbours::Neighbours,
        ranking::Best,
        scoring::{Affinities, DEFAULT_BLEND, Options, Recommender},
        trend::Trend,
    },
    settings::{LogSettings, TraceSettings},
    telemetry, traces,
};

/// Reproducible numbers, spread well enough.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// The low numbers often, the high ones seldom.
    fn skewed(&mut self, bound: u64) -> u64 {
        let bound = self.below(bound) + 1;
        self.below(bound)
    }
}

/// The only row of a statement without tables, as the driver gives it, and how many columns it has.
fn row(sql: &str) -> (Row, usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let database = Database::new(&SecretString::from("sqlite::memory:")).unwrap();
        let mut connection = database.connect().await.unwrap();
        let statement = Statement::parse(sql, Engine::Sqlite).unwrap();
        let mut rows = connection.query(&statement, &Arguments::new(), Duration::from_secs(10)).await.unwrap();
        let width = rows.columns().len();
        (rows.next().await.unwrap().unwrap(), width)
    })
}

fn json(c: &mut Criterion) {
    let plain = "x".repeat(1000);
    let escaped = "Größe \"M\", 3\"\n".repeat(60);
    let cases = [
        ("numbers", "SELECT 1, 22.5, -333, NULL, 4444444444".to_owned()),
        ("plain text of 1,000 bytes", format!("SELECT '{plain}'")),
        ("text of 960 bytes with escapes", format!("SELECT '{escaped}'")),
    ];
    let mut group = c.benchmark_group("row to JSON");
    for (name, sql) in cases {
        let (row, width) = row(&sql);
        let mut out = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                for column in 0..width {
                    row.cell(column).unwrap().write_json(&mut out);
                }
                black_box(out.len())
            });
        });
    }
}

fn key(c: &mut Criterion) {
    let mut template = KeyTemplate::parse("user_recommendations:{user_id}:{category}:{limit}").unwrap();
    template.fix("limit", "10");
    c.bench_function("key", |b| {
        b.iter(|| {
            template.render(|name| Some(if name == "user_id" { black_box("1234567") } else { black_box("Garden") }))
        });
    });
}

/// 20 events a user, users and items skewed.
fn interactions(users: u64, items: u64) -> Interactions {
    let mut random = Random(1);
    let mut builder = Interactions::builder();
    for _ in 0..users * 20 {
        let (user, item) = (random.skewed(users) as i64, random.skewed(items) as i64);
        builder.push(user, item, 1_700_000_000 - random.below(15_000_000) as i64, 1.0, random.below(3) == 0);
    }
    let half_life = Decay::half_life(Duration::from_secs(60 * 86_400));
    builder.build(1_700_000_000, half_life, half_life, 300)
}

fn model(c: &mut Criterion) {
    let mut group = c.benchmark_group("model");
    group.sample_size(10);
    for users in [5_000, 10_000, 20_000] {
        let events = users * 20;
        group.throughput(Throughput::Elements(events));
        group.bench_with_input(BenchmarkId::new("events to matrix", events), &users, |b, &users| {
            b.iter(|| interactions(users, 2_000));
        });
        let matrix = interactions(users, 2_000);
        group.bench_with_input(BenchmarkId::new("neighbours", events), &matrix, |b, matrix| {
            b.iter(|| Neighbours::of_items(matrix, 50));
        });
    }
    let matrix = interactions(10_000, 2_000);
    let neighbours = Neighbours::of_items(&matrix, 50);
    let trend = Trend::new(&matrix, (0..matrix.items().len() as u32).map(|item| item % 8).collect());
    let lists = vec![None, Some(0), Some(1), Some(2)];
    let options = Options { lists, limit: 10, blend: DEFAULT_BLEND, exclude_purchased: true };
    let affinities = Affinities::new(neighbours, &trend);
    let recommender = Recommender::new(&matrix, &affinities, &trend, options);
    let users: Vec<Option<u32>> = (0..1_000).map(Some).collect();
    group.throughput(Throughput::Elements(4 * 1_000));
    group.bench_function("four lists for 1,000 users", |b| b.iter(|| recommender.recommend_all(&users)));
}

fn best(c: &mut Criterion) {
    let mut random = Random(1);
    let scores: Vec<f32> = (0..100_000).map(|_| random.below(1 << 20) as f32).collect();
    let mut group = c.benchmark_group("the best of 100,000");
    group.throughput(Throughput::Elements(100_000));
    for limit in [10, 100] {
        group.bench_function(limit.to_string(), |b| {
            let mut best = Best::new(limit);
            b.iter(|| {
                (0..).zip(&scores).for_each(|(index, &score)| best.offer(index, score));
                best.take()
            });
        });
    }
}

/// What a run pays for each span while the settings name no receiver: the log is there, at its default level.
fn span(c: &mut Criterion) {
    telemetry::init(&LogSettings::default(), &TraceSettings::default(), "bench").unwrap();
    c.bench_function("a span that nobody receives", |b| {
        b.iter(|| tracing::trace_span!(target: traces::TARGET, "redis", otel.name = %format_args!("redis {}", 1)));
    });
}

criterion_group!(benches, json, key, model, best, span);
criterion_main!(benches);
