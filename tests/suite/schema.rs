//! The JSON Schemas of job files and settings: what they say, the reader says too.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;
use warmd::{
    database::Engine,
    job::{self, Dialects},
    problems::Problems,
    settings::{Overrides, Settings},
};

fn printed(of: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_warmd")).args(["schema", of]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A compiled schema.
struct Schema(Schemas, SchemaIndex);

impl Schema {
    fn of(kind: &str) -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("http://warmd/schema.json", serde_json::from_str(&printed(kind)).unwrap()).unwrap();
        let compiled = compiler.compile("http://warmd/schema.json", &mut schemas).unwrap();
        Self(schemas, compiled)
    }

    /// What is wrong with a TOML text.
    fn refuses(&self, text: &str) -> Option<String> {
        let read: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
        let json = serde_json::to_value(read).unwrap();
        self.0.validate(&json, self.1).err().map(|error| format!("{error:#}"))
    }
}

/// What warmd says of a job file.
fn job_problems(text: &str) -> Problems {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    fs::write(&path, text).unwrap();
    let mut problems = Problems::default();
    let dialects = Dialects { default: Some(Engine::Postgres), named: [("other".to_owned(), Engine::MySql)].into() };
    job::load_file(&path, &dialects, &mut problems);
    problems
}

/// What warmd says of settings.
fn settings_problems(text: &str) -> Problems {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("warmd.toml");
    fs::write(&path, text).unwrap();
    let mut problems = Problems::default();
    if let Some(settings) = Settings::load(Some(&path), Vec::new(), &Overrides::new(), &mut problems) {
        settings.check(&mut problems);
    }
    problems
}

/// All TOML files of a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() > 1, "{folder}");
    files
}

#[test]
fn shipped_files_keep_to_the_schemas_and_name_them() {
    let (job, settings) = (Schema::of("job"), Schema::of("settings"));
    for (folder, schema, name) in [
        ("jobs", &job, "job.schema.json"),
        ("jobs/retail", &job, "job.schema.json"),
        ("config", &settings, "settings.schema.json"),
    ] {
        for file in files(folder) {
            let text = fs::read_to_string(&file).unwrap();
            assert_eq!(schema.refuses(&text), None, "{}", file.display());
            let named = text.lines().next().unwrap().strip_prefix("#:schema ");
            let named = named.unwrap_or_else(|| panic!("{} does not begin with #:schema", file.display()));
            // Where the package puts it, or beside the file as it stands here.
            let place = match named.strip_prefix("/usr/share/doc/warmd/") {
                Some(packaged) => root().join(packaged),
                None => file.parent().unwrap().join(named),
            };
            assert_eq!(place.canonicalize().unwrap(), root().join("docs").join(name).canonicalize().unwrap());
        }
    }
}

#[test]
fn the_schemas_in_the_manual_are_those_that_warmd_prints() {
    for of in ["job", "settings"] {
        let file = root().join(format!("docs/{of}.schema.json"));
        let kept = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            kept == printed(of),
            "docs/{of}.schema.json is outdated; renew it: cargo run -- schema {of} > docs/{of}.schema.json"
        );
    }
}

/// A job without mistakes, to make one mistake in.
const JOB: &str = r#"schedule = "*/15 * * * *"
key = "user:{user_id}"
ttl = "30m"

[targets]
user_id = { sql = "SELECT id FROM users LIMIT :limit", limit = 10 }

[recommend]
limit = 10
window = "30d"
events = [ { sql = "SELECT user_id, product_id FROM sales", weight = 1.0 } ]
"#;

#[test]
fn a_job_that_the_schema_refuses_is_refused_by_the_reader_and_the_other_way_round() {
    let schema = Schema::of("job");
    assert_eq!((schema.refuses(JOB), job_problems(JOB)), (None, Problems::default()));
    let query = "[query]\nsql = \"SELECT 1 AS user_id WHERE 1 IN (:user_id)\"\n";
    let kind = &JOB[JOB.find("[recommend]").unwrap()..];
    let right = [
        (
            "ttl = \"30m\"",
            "ttl = \"1h 30m\"\nttl_jitter = \"12.5%\"\nrefresh = \"20%\"\nempty = \"store\"\nprune = true",
        ),
        ("ttl = \"30m\"", "ttl = \"2w3d4h5m6s7ms\""),
        ("*/15 * * * *", "@every 15m"),
        ("*/15 * * * *", "0 0 9 * * MON-FRI"),
        ("*/15 * * * *", "@daily"),
        ("schedule = ", "start_jitter = \"1m\"\ntimezone = \"America/Argentina/Buenos_Aires\"\nschedule = "),
        ("user:{user_id}", "{{user}}:{user_id}:{limit}"),
        ("limit = 10 }", "limit = 10, also = [7, \"x\"] }"),
        (kind, query),
        ("key = ", "database = \"other\"\nkey = "),
        ("weight = 1.0", "connections = 16"),
        ("[recommend]", "[limits]\nconcurrency = 256\nbatch = 10000\nmax_value_bytes = 536870912\n[recommend]"),
    ];
    for (passage, replacement) in right {
        assert!(JOB.contains(passage), "{passage}");
        let text = JOB.replacen(passage, replacement, 1);
        assert_eq!((schema.refuses(&text), job_problems(&text)), (None, Problems::default()), "{text}");
    }
    let both = format!("{query}{kind}");
    let wrong = [
        ("schedule = ", "shedule = "),
        ("window = ", "windw = "),
        ("weight = 1.0", "wieght = 1.0"),
        ("ttl = \"30m\"\n", ""),
        ("key = \"user:{user_id}\"\n", ""),
        ("\"30m\"", "30"),
        ("\"30m\"", "\"30\""),
        ("\"30m\"", "\"1M\""),
        ("\"30m\"", "\"30m1h\""),
        ("\"30m\"", "\"\""),
        ("ttl = \"30m\"", "ttl = \"30m\"\nttl_jitter = \"0.1\""),
        ("ttl = \"30m\"", "ttl = \"30m\"\nttl_jitter = \"101%\""),
        ("ttl = \"30m\"", "ttl = \"30m\"\nrefresh = \"sometimes\""),
        ("ttl = \"30m\"", "ttl = \"30m\"\nempty = \"keep\""),
        ("ttl = \"30m\"", "ttl = \"30m\"\ncatch_up = \"twice\""),
        ("ttl = \"30m\"", "ttl = \"30m\"\nprune = \"yes\""),
        ("*/15 * * * *", "* * * *"),
        ("*/15 * * * *", "@fortnightly"),
        ("schedule = \"*/15 * * * *\"", "start_jitter = \"1m\""),
        ("schedule = ", "timezone = \"Europe Berlin\"\nschedule = "),
        ("user:{user_id}", "user:{user id}{user_id}"),
        ("user:{user_id}", "user:{user_id"),
        ("user:{user_id}", ""),
        ("user_id = {", "since = {"),
        ("user_id = { sql = \"SELECT id FROM users LIMIT :limit\", limit = 10 }", "user_id = { limit = 10 }"),
        ("user_id = { sql", "category = { sql"),
        ("limit = 10 }", "limit = 0 }"),
        ("limit = 10 }", "limit = 10, also = [1.5] }"),
        ("limit = 10\n", "limit = \"10\"\n"),
        ("weight = 1.0", "weight = 0.0"),
        ("weight = 1.0", "connections = 17"),
        ("weight = 1.0", "connections = 0"),
        ("events = [ { sql = \"SELECT user_id, product_id FROM sales\", weight = 1.0 } ]", "events = []"),
        (kind, ""),
        (kind, &both),
        (kind, "[query]\neach = \"list\"\n"),
        (kind, "[query]\nsql = \"SELECT 1 AS user_id WHERE 1 IN (:user_id)\"\neach = \"all\"\n"),
        (kind, "[similar]\nevents = [ { sql = \"SELECT user_id, product_id FROM sales\" } ]\n"),
        ("[recommend]", "[limits]\nconcurrency = 257\n[recommend]"),
        ("[recommend]", "[limits]\nbatch = 10001\n[recommend]"),
        ("[recommend]", "[limits]\nmax_bytes = 0\n[recommend]"),
    ];
    for (passage, replacement) in wrong {
        assert!(JOB.contains(passage), "{passage}");
        let text = JOB.replacen(passage, replacement, 1);
        assert!(schema.refuses(&text).is_some(), "the schema takes {text}");
        assert_ne!(job_problems(&text), Problems::default(), "{text}");
    }
}

#[test]
fn settings_that_the_schema_refuses_are_refused_by_the_reader_and_the_other_way_round() {
    let schema = Schema::of("settings");
    for right in [
        "",
        "jobs_dir = \"jobs\"\n[database]\nurl = \"postgres://localhost/shop\"\nstatement_timeout = \"1m30s\"\nmax_active_connections = 5\n",
        "[databases.other]\nurl_file = \"/run/url\"\nmax_replica_lag = \"10s\"\n",
        "[redis]\noverlong_keys = \"error\"\nmax_memory = \"off\"\n",
        "[redis]\nmax_memory = \"75%\"\nmax_key_length = 100\n",
        "[http]\nlisten = \"[::1]:9187\"\nallowed_hosts = [\"warm.example\"]\n",
        "[http]\nlisten = \"unix:/run/warmd/http.sock\"\n[log]\nformat = \"json\"\n",
    ] {
        assert_eq!((schema.refuses(right), settings_problems(right)), (None, Problems::default()), "{right}");
    }
    for wrong in [
        "job_dir = \"jobs\"\n",
        "[databse]\n",
        "[database]\nurls = \"postgres://localhost/shop\"\n",
        "[database]\nstatement_timeout = \"5\"\n",
        "[database]\nmax_active_connections = 0\n",
        "[redis]\noverlong_keys = \"md4\"\n",
        "[redis]\nmax_memory = \"most\"\n",
        "[redis]\nmax_memory = 0.9\n",
        "[redis]\nmax_key_length = -1\n",
        "[limits]\nkeys_per_second = 0\n",
        "[limits]\nmax_value_bytes = 536870913\n",
        "[http]\nlisten = \"localhost:9187\"\n",
        "[http]\nlisten = \"unix:http.sock\"\n",
        "[http]\npublic = \"yes\"\n",
        "[history]\nenabled = 1\n",
        "[log]\nformat = \"xml\"\n",
    ] {
        assert!(schema.refuses(wrong).is_some(), "the schema takes {wrong}");
        assert_ne!(settings_problems(wrong), Problems::default(), "{wrong}");
    }
}

#[test]
fn editors_are_told_what_each_entry_is_for() {
    let schema: Value = serde_json::from_str(&printed("job")).unwrap();
    let described = |properties: &Value| {
        let properties = properties.as_object().unwrap();
        assert!(properties.len() > 5, "{properties:?}");
        for (name, entry) in properties {
            assert!(entry["description"].as_str().is_some_and(|text| text.len() > 8), "{name}: {entry}");
        }
    };
    described(&schema["properties"]);
    for table in ["recommend", "trending", "similar", "limits"] {
        described(&schema["properties"][table]["properties"]);
    }
    assert!(!schema.to_string().contains("null"), "{schema}");
    let settings: Value = serde_json::from_str(&printed("settings")).unwrap();
    described(&settings["properties"]);
    assert_eq!(settings["properties"]["redis"]["properties"]["max_memory"]["default"], "90%");
    let output = Command::new(env!("CARGO_BIN_EXE_warmd")).args(["schema", "setings"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}
