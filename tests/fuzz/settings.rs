use std::{fs, time::Duration};

use warmd::{problems::Problems, settings::Settings};

use crate::driver::{Target, files, fuzz, kind_of, seeds};

const WORDS: &[&str] = &[
    "jobs_dir = ",
    "[database]\n",
    "[databases.reporting]\n",
    "[redis]\n",
    "[limits]\n",
    "[scheduler]\n",
    "[history]\n",
    "[log]\n",
    "url = ",
    "url_file = ",
    "ca_file = ",
    "cert_file = ",
    "key_file = ",
    "key_prefix = ",
    "max_key_length = ",
    "overlong_keys = ",
    "response_timeout = ",
    "statement_timeout = ",
    "keys_per_second = ",
    "queries_per_second = ",
    "concurrency = ",
    "max_value_bytes = ",
    "lease = ",
    "shutdown_grace = ",
    "instance = ",
    "enabled = ",
    "keep = ",
    "level = ",
    "format = ",
    "\"md5\"",
    "\"error\"",
    "\"10s\"",
    "\"memory:\"",
    "\"/dev/zero\"",
    "\"/dev/full\"",
    "\"/proc/self/mem\"",
    "\".\"",
    "\"postgres://u:p@h:1/d?sslmode=x\"",
    "\"rediss://h/0#insecure\"",
    "\"sqlite:x\"",
    "\"mysql://h/d?ssl-ca=x\"",
    "\"warn,warmd=debug\"",
    "true",
    "false",
    "#env WARMD__",
    "#env WARMD__REDIS__URL=",
    "#env WARMD__LIMITS__CONCURRENCY=",
    "#env WARMD__DATABASES__X__URL=",
    "__",
    "=",
    "\n",
    "a.b",
    "\"",
    "[",
    "]",
];

#[test]
fn settings_are_read_or_told_to_be_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let mut inputs = files("config", ".toml");
    inputs.extend(seeds(include_str!("seeds/settings")));
    let target = Target {
        name: "settings_are_read_or_told_to_be_wrong",
        seeds: inputs,
        words: WORDS,
        slow: Duration::from_secs(1),
        lanes: 1,
    };
    fuzz(target, move |input| {
        let path = folder.path().join("warmd.toml");
        fs::write(&path, input).unwrap();
        // Lines that begin so are the environment: to TOML they are comments.
        let text = String::from_utf8_lossy(input);
        let variables = text.lines().filter_map(|line| line.strip_prefix("#env ")?.split_once('='));
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut problems = Problems::default();
        let Some(settings) = Settings::load(Some(&path), environment, &Vec::new(), &mut problems) else {
            if problems.0.is_empty() {
                return Err("neither settings nor a problem".to_owned());
            }
            let kinds: Vec<String> = problems.0.iter().map(|problem| kind_of(&problem.message)).collect();
            return Ok(kinds.join("\n"));
        };
        settings.check(&mut problems);
        settings.dialects(&mut problems);
        let _ = (settings.database(None), settings.keyspace(), settings.quotas(), settings.instance());
        // The daemon logs them.
        serde_json::to_string(&settings).map_err(|error| error.to_string())?;
        let kinds: Vec<String> = problems.0.iter().map(|problem| kind_of(&problem.message)).collect();
        Ok(format!("settings\n{}", kinds.join("\n")))
    });
}
