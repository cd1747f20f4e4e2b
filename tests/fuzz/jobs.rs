use std::{fs, path::Path, time::Duration};

use chrono::DateTime;
use warmd::{
    database::Engine,
    job::{self, Dialects},
    problems::Problems,
};

use crate::driver::{Target, files, fuzz, kind_of, seeds};

const WORDS: &[&str] = &[
    "key = ",
    "ttl = ",
    "schedule = ",
    "timezone = ",
    "refresh = ",
    "empty = ",
    "database = ",
    "enabled = ",
    "sql = ",
    "also = ",
    "limit = ",
    "window = ",
    "events = ",
    "products = ",
    "each = ",
    "json = ",
    "weight = ",
    "purchase = ",
    "half_life = ",
    "of = ",
    "any_category = ",
    "neighbours = ",
    "history = ",
    "trending = ",
    "ttl_jitter = ",
    "start_jitter = ",
    "catch_up = ",
    "batch = ",
    "timeout = ",
    "concurrency = ",
    "max_value_bytes = ",
    "keys_per_second = ",
    "[targets]\n",
    "[query]\n",
    "[trending]\n",
    "[recommend]\n",
    "[similar]\n",
    "[limits]\n",
    "[targets.",
    "[[",
    "]]",
    "{ ",
    " }",
    "[ ",
    " ]",
    "\"",
    "'''",
    "\"\"\"",
    "\"1h\"",
    "\"10%\"",
    "\"*/5 * * * *\"",
    "\"SELECT 1\"",
    "\"products.sql\"",
    "\"../x.sql\"",
    "true",
    "false",
    "1979-05-27T07:32:00Z",
    "inf",
    "nan",
    "0x10",
    "1_000",
    "1.5",
    "a.b.c",
    "\n",
    "# ",
    "user_id",
    "category",
    "product_id",
    "{user_id}",
    "{{x}}",
    ":user_id",
    ":now",
    "\"always\"",
    "\"list\"",
    "\"None\"",
];

#[test]
fn a_job_file_is_a_job_or_told_to_be_wrong() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "sql") {
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let mut inputs = files("jobs", ".toml");
    inputs.extend(files("jobs/retail", ".toml"));
    inputs.extend(seeds(include_str!("seeds/jobs")));
    let target = Target {
        name: "a_job_file_is_a_job_or_told_to_be_wrong",
        seeds: inputs,
        words: WORDS,
        slow: Duration::from_secs(1),
        lanes: 1,
    };
    fuzz(target, move |input| {
        let path = folder.path().join("job.toml");
        fs::write(&path, input).unwrap();
        let engine = [Engine::Postgres, Engine::MySql, Engine::Sqlite][input.len() % 3];
        let dialects = Dialects { default: Some(engine), named: [("reporting".to_owned(), engine)].into() };
        let mut problems = Problems::default();
        let job = job::load_file(&path, &dialects, &mut problems);
        let Some(job) = job else {
            if problems.0.is_empty() {
                return Err("neither a job nor a problem".to_owned());
            }
            let kinds: Vec<String> = problems.0.iter().map(|problem| kind_of(&problem.message)).collect();
            return Ok(kinds.join("\n"));
        };
        if !problems.0.is_empty() {
            return Err(format!("a job in spite of {problems}"));
        }
        // What a valid job is asked for later must hold.
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        job.cold_warning(now);
        if job.ttl.shortest() > job.ttl.longest || job.ttl.longest < Duration::from_secs(1) {
            return Err(format!("lives of {:?}", job.ttl));
        }
        let key = job.key.render(|_| Some("7"))?;
        if key.is_empty() || key.contains(char::is_control) {
            return Err(format!("the key {key:?}"));
        }
        if job.schedule.as_ref().is_some_and(|schedule| schedule.next_after(now).is_none()) {
            return Err("a schedule without a tick".to_owned());
        }
        Ok(format!("{:?} {:?}", std::mem::discriminant(&job.kind), job.targets.len()))
    });
}
