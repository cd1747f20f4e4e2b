//! Defaults, file, environment, flags: later wins.

use std::path::Path;

use config::{Config, Environment, File, FileFormat};

use super::{Settings, variable};
use crate::{
    files,
    problems::{Document, Problems, human, no_table, unknown, without_url},
};

/// The file that is read when no other is named, if it exists.
pub const DEFAULT_FILE: &str = "/etc/warmd/warmd.toml";

/// What flags set: dotted path and value, stronger than every other layer.
pub type Overrides = Vec<(&'static str, String)>;

impl Settings {
    /// Reads all layers; every mistake goes to `problems`. `None` when the layers do not make settings at all.
    pub fn load(
        file: Option<&Path>,
        environment: Vec<(String, String)>,
        overrides: &Overrides,
        problems: &mut Problems,
    ) -> Option<Self> {
        let default = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default.exists().then_some(default));
        let mut builder = Config::builder();
        if let Some(path) = file {
            builder = builder.add_source(file_layer(path, problems)?);
        }
        // Names without a double underscore belong to somebody else: WARMD_HOME.
        let environment: config::Map<String, String> =
            environment.into_iter().filter(|(name, _)| name.starts_with("WARMD__")).collect();
        builder = builder.add_source(
            Environment::with_prefix("WARMD").prefix_separator("__").separator("__").source(Some(environment)),
        );
        for (path, value) in overrides {
            builder = builder.set_override(*path, value.as_str()).ok()?;
        }
        match builder.build().and_then(Config::try_deserialize) {
            Ok(settings) => Some(settings),
            Err(error) => {
                // The file was read on its own before, so this is the environment's or a flag's.
                problems.push(Path::new("environment"), environment_words(&error.to_string()));
                None
            }
        }
    }
}

/// The layer that a file makes.
fn file_layer(path: &Path, problems: &mut Problems) -> Option<File<config::FileSourceString, FileFormat>> {
    let text = match files::read_text_or_pipe(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(path, format!("the settings cannot be read: {error}"));
            return None;
        }
    };
    let before = problems.0.len();
    Document::new(path, text.clone(), problems).read::<Settings>()?;
    if problems.0.len() > before {
        return None;
    }
    // A setting can hold whole numbers that a layer cannot.
    let mut written: toml::Table = Document::new(path, text, problems).read()?;
    if problems.0.len() > before {
        return None;
    }
    make_absolute(&mut written, path.parent().unwrap_or(Path::new("")));
    Some(File::from_str(&written.to_string(), FileFormat::Toml))
}

const PATHS: [&str; 7] = ["jobs_dir", "url_file", "webhook_url_file", "ca_file", "cert_file", "key_file", "token_file"];

/// Paths in a settings file are relative to it, wherever warmd was started.
fn make_absolute(table: &mut toml::Table, folder: &Path) {
    for (key, value) in table {
        match value {
            // An empty one would name the folder.
            toml::Value::String(path) if PATHS.contains(&key.as_str()) && !path.is_empty() => {
                *path = folder.join(&path).to_string_lossy().into_owned();
            }
            toml::Value::Table(inner) => make_absolute(inner, folder),
            _ => {}
        }
    }
}

/// What `config` says of a value, with the setting in front and in the words of a mistake in a file.
fn environment_words(message: &str) -> String {
    let (what, setting) = match message.rsplit_once(" for key `") {
        // It may say after the key where it has it from.
        Some((what, setting)) => (what, setting.split('`').next().unwrap_or_default()),
        None => (message, ""),
    };
    if let Some(words) = no_table(what) {
        return format!("`{setting}` {words} {}__...", variable(setting));
    }
    let what = &*without_url(what);
    let mut quoted = what.split('`').skip(1).step_by(2);
    if what.starts_with("unknown field") {
        let word = quoted.next().unwrap_or_default().to_owned();
        let known: Vec<&str> = quoted.collect();
        return unknown("setting", &word, &known);
    }
    let what = match what.split_once(" does not have variant constructor ") {
        Some((_, word)) => format!("unknown value `{word}`; config/default.toml names those that there are"),
        None => human(what),
    };
    if setting.is_empty() { what } else { format!("`{setting}`: {what}") }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_wrong_variable_is_told_in_the_words_of_a_wrong_file() {
        let told = "invalid value: integer `0`, expected a nonzero u32 for key `database.max_active_connections`";
        let expected = "`database.max_active_connections`: invalid value: integer `0`, expected a whole number from 1";
        assert_eq!(environment_words(told), expected);
        let told = "invalid type: string \"x\", expected a boolean for key `history.enabled` in the environment";
        let expected = "`history.enabled`: invalid type: string \"x\", expected a boolean";
        assert_eq!(environment_words(told), expected);
    }
    use crate::settings::RedisSettings;

    fn load(file: Option<&str>, environment: &[(&str, &str)], overrides: &Overrides) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("warmd.toml");
        let file = file.map(|text| {
            std::fs::write(&path, text).unwrap();
            path.as_path()
        });
        let mut problems = Problems::default();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let settings = Settings::load(file, environment, overrides, &mut problems);
        let folder = format!("{}/", folder.path().display());
        match (settings, problems.into_result()) {
            (Some(settings), Ok(())) => Ok(settings),
            (_, Err(problems)) => Err(problems.to_string().replace(&folder, "")),
            (None, Ok(())) => panic!("no settings and no problem"),
        }
    }

    #[test]
    fn the_documented_defaults_are_the_defaults() {
        let documented = include_str!("../../config/default.toml");
        let read: Settings = toml::from_str(documented).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", Settings::default()));
        // What has no default is documented as a comment, and is a setting.
        let uncommented: String = documented
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(setting)
                    if setting.starts_with('[')
                        || setting.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) =>
                {
                    format!("{setting}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect();
        let full: Settings = toml::from_str(&uncommented).unwrap();
        assert!(
            full.database.url.is_some() && full.history.url_file.is_some() && full.limits.keys_per_second.is_some()
        );
    }

    #[test]
    fn later_layers_win() {
        let file = "[redis]\nkey_prefix = \"file:\"\nmax_key_length = 100\n[limits]\nkeys_per_second = 5\n";
        let environment =
            [("WARMD__REDIS__KEY_PREFIX", "env:"), ("WARMD__LIMITS__CONCURRENCY", "3"), ("WARMD_HOME", "/")];
        let settings = load(Some(file), &environment, &vec![("redis.url", "redis://flag".to_owned())]).unwrap();
        assert_eq!(settings.redis.key_prefix, "env:");
        assert_eq!(settings.redis.max_key_length, 100);
        assert_eq!(settings.limits.concurrency.get(), 3);
        assert_eq!(settings.limits.keys_per_second.unwrap().get(), 5);
        assert_eq!(settings.redis.server().unwrap().url.expose_secret(), "redis://flag");
    }

    #[test]
    fn all_mistakes_of_the_file_are_told_in_one_pass() {
        let file = "jobs_dri = \"x\"\n\n[redis]\nmax_key_length = \"many\"\noverlong_keys = \"md4\"\n[histroy]\n[log]\nlevel = 3\n";
        assert_eq!(
            load(Some(file), &[], &Overrides::new()).unwrap_err(),
            "warmd.toml:1:1: unknown key `jobs_dri`, did you mean `jobs_dir`?\n\
             warmd.toml:4:18: `redis.max_key_length`: invalid type: string \"many\", expected a whole number\n\
             warmd.toml:5:17: `redis.overlong_keys`: unknown value `md4`, did you mean `md5`?\n\
             warmd.toml:6:2: unknown key `histroy`, did you mean `history`?\n\
             warmd.toml:8:9: `log.level`: invalid type: integer `3`, expected a string"
        );
    }

    #[test]
    fn a_number_that_only_its_setting_could_hold_is_told() {
        let file = "[redis]\nmax_key_length = 9223372036854775808\n";
        assert_eq!(
            load(Some(file), &[], &Overrides::new()).unwrap_err(),
            "warmd.toml:2:18: `redis.max_key_length`: the number is too large"
        );
    }

    #[test]
    fn unknown_variables_are_refused_with_the_likely_meant_one() {
        let error = load(None, &[("WARMD__REDIS__KEY_PREFX", "x")], &Overrides::new()).unwrap_err();
        assert_eq!(error, "environment: unknown setting `key_prefx`, did you mean `key_prefix`?");
        let error = load(None, &[("WARMD__SCHEDULER__GRACE", "30s")], &Overrides::new()).unwrap_err();
        let known = "known here: `instance`, `lease`, `shutdown_grace`";
        assert_eq!(error, format!("environment: unknown setting `grace`; {known}"));
    }

    #[test]
    fn values_of_variables_that_are_not_valid_are_told_with_their_setting() {
        for (variable, value, expected) in [
            (
                "WARMD__LOG__FORMAT",
                "xml",
                "`log.format`: unknown value `xml`; config/default.toml names those that there are",
            ),
            (
                "WARMD__SCHEDULER__SHUTDOWN_GRACE",
                "30",
                "`scheduler.shutdown_grace`: bad duration `30`: it has no unit; did you mean `30s` or `30m`?",
            ),
        ] {
            let error = load(None, &[(variable, value)], &Overrides::new()).unwrap_err();
            assert_eq!(error, format!("environment: {expected}"));
        }
    }

    #[test]
    fn relative_paths_are_relative_to_the_file_that_names_them() {
        let redis =
            "[redis]\nurl_file = \"url\"\nca_file = \"ca.pem\"\ncert_file = \"a.pem\"\nkey_file = \"../a.key\"\n";
        let settings = load(Some(&format!("jobs_dir = \"jobs\"\n{redis}")), &[], &Overrides::new()).unwrap();
        let RedisSettings { url_file, ca_file, cert_file, key_file, .. } = settings.redis;
        for (path, end) in [
            (Some(settings.jobs_dir), "jobs"),
            (url_file, "url"),
            (ca_file, "ca.pem"),
            (cert_file, "a.pem"),
            (key_file, "../a.key"),
        ] {
            let path = path.unwrap();
            assert!(path.is_absolute() && path.ends_with(end), "{path:?}");
        }
    }

    #[test]
    fn secrets_come_from_files_and_never_print() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        std::fs::write(&file, "redis://:hunter2@localhost\n").unwrap();
        let settings = load(Some(&format!("[redis]\nurl_file = {file:?}\n")), &[], &Overrides::new()).unwrap();
        assert_eq!(settings.redis.server().unwrap().url.expose_secret(), "redis://:hunter2@localhost");
        let flags = vec![("redis.url", "redis://:hunter2@localhost".to_owned())];
        assert!(!format!("{:?}", load(None, &[], &flags).unwrap()).contains("hunter2"));
        for url in ["redis://:hunter2@localhost/?hunter2#hunter2", "redis:hunter2@localhost", "redis://:hunter2@["] {
            let settings = load(None, &[], &vec![("redis.url", url.to_owned())]).unwrap();
            assert!(!serde_json::to_string(&settings).unwrap().contains("hunter2"), "{url}");
        }
        let both = "[redis]\nurl = \"redis://a\"\nurl_file = \"/nowhere\"\n";
        let error = load(Some(both), &[], &Overrides::new()).unwrap().redis.server().err().unwrap();
        assert_eq!(error, "`redis.url` and `redis.url_file` are both set: keep one");
    }

    #[test]
    fn a_wrong_secret_is_told_by_the_file_that_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        std::fs::write(&file, "http://:hunter2@localhost\n").unwrap();
        let file = file.display();
        let said = |toml: &str| {
            let mut problems = Problems::default();
            load(Some(toml), &[], &Overrides::new()).unwrap().check(&mut problems);
            problems.to_string()
        };
        for table in ["redis", "history"] {
            let by_file = said(&format!("[{table}]\nurl_file = \"{file}\"\n"));
            assert!(by_file.contains(&format!("`{table}.url_file`: {file}: ")), "{by_file}");
            let by_value = said(&format!("[{table}]\nurl = \"http://:hunter2@localhost\"\n"));
            assert!(by_value.contains(&format!("`{table}.url`: ")), "{by_value}");
            assert!(!by_file.contains("hunter2") && !by_value.contains("hunter2"), "{by_file} {by_value}");
        }
    }
}
