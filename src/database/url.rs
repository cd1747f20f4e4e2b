//! The parameters of a URL: the drivers ignore what they do not know, and say little about files that they cannot use.

use std::{borrow::Cow, path::Path};

use url::Url;

use super::{Engine, Error};
use crate::{files, problems::unknown, tls};

const POSTGRES: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

const MYSQL: [&str; 14] = [
    "ssl-mode",
    "sslmode",
    "ssl-ca",
    "sslca",
    "ssl-cert",
    "sslcert",
    "ssl-key",
    "sslkey",
    "charset",
    "collation",
    "statement-cache-capacity",
    "socket",
    "timezone",
    "time-zone",
];

/// What is said of a URL that is not valid.
pub(super) fn invalid(why: String) -> Error {
    Error::permanent(format!("the database URL is not valid: {why}"))
}

/// The certificates that a URL names, each with its parameter.
#[derive(Clone, Default)]
pub(super) struct Certificates {
    authorities: Option<(String, String)>,
    certificate: Option<(String, String)>,
    key: Option<(String, String)>,
}

impl Certificates {
    /// Reads the parameters; an unknown one is refused, because a misspelt `sslmode` would leave a connection open to
    /// everyone. SQLite's driver refuses by itself.
    pub fn of(engine: Engine, url: &str) -> Result<Self, Error> {
        let known: &[&str] = match engine {
            Engine::Postgres => &POSTGRES,
            Engine::MySql => &MYSQL,
            Engine::Sqlite => return Ok(Self::default()),
        };
        // The driver says what is wrong with one that cannot be read.
        let Ok(url) = Url::parse(url) else { return Ok(Self::default()) };
        let mut found = Self::default();
        for (name, value) in url.query_pairs() {
            let is_option = engine == Engine::Postgres && name.starts_with("options[");
            if !is_option && !known.contains(&&*name) {
                return Err(invalid(unknown("parameter", &name, known)));
            }
            let named = |value: Cow<'_, str>| Some((name.to_string(), value.into_owned()));
            match &*name {
                "sslrootcert" | "ssl-root-cert" | "ssl-ca" | "sslca" => found.authorities = named(value),
                "sslcert" | "ssl-cert" => found.certificate = named(value),
                "sslkey" | "ssl-key" => found.key = named(value),
                _ => {}
            }
        }
        match (&found.certificate, &found.key) {
            (Some((name, _)), None) => {
                Err(invalid(format!("`{name}` takes `{}` beside it", name.replace("cert", "key"))))
            }
            (None, Some((name, _))) => {
                Err(invalid(format!("`{name}` takes `{}` beside it", name.replace("key", "cert"))))
            }
            _ => Ok(found),
        }
    }

    /// Whether they are there and of use: what the drivers say does not name them.
    pub fn check(&self) -> Result<(), String> {
        if let Some(authorities) = &self.authorities {
            content(authorities, tls::check_certificates)?;
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            let certificate = content(certificate, tls::check_certificates)?;
            content(key, |key| tls::check_key(key, &certificate))?;
        }
        Ok(())
    }
}

/// What a parameter stands for: a file, or PEM itself, of which nothing may be shown.
fn content((name, value): &(String, String), check: impl Fn(&[u8]) -> Result<(), String>) -> Result<Vec<u8>, String> {
    if value.trim_start().starts_with("-----BEGIN") {
        check(value.as_bytes()).map_err(|why| format!("{name}: {why}"))?;
        return Ok(value.clone().into_bytes());
    }
    let content = files::read(Path::new(value)).map_err(|error| format!("{name}: cannot read {value}: {error}"))?;
    check(&content).map_err(|why| format!("{name}: {value}: {why}"))?;
    Ok(content)
}
