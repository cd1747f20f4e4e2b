//! HTTP to a daemon, wherever it listens.

use std::{error::Error as _, fmt, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use reqwest::{StatusCode, Url, redirect};
use serde_json::Value;

use crate::{problems::in_words, settings::Listen};

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Whatever leads to it over TCP, a proxy perhaps; ends with a slash.
    Url(Url),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// The daemon's own limit for an answer, and a moment to connect.
const PATIENCE: Duration = Duration::from_secs(12);

/// A daemon is near; what does not answer here does not listen.
const CONNECT: Duration = Duration::from_secs(3);

/// Records of a thousand runs are about one megabyte.
const LARGEST_ANSWER: usize = 64 << 20;

impl Place {
    /// Where a daemon with these settings can be reached from this machine.
    pub fn of(listen: &Listen) -> Result<Self, String> {
        match listen {
            Listen::Unix(path) => Ok(Self::Unix(path.clone())),
            Listen::Tcp(address) if address.port() == 0 => {
                Err("`http.listen` lets the system choose the port; its log says which, name it with --url".to_owned())
            }
            Listen::Tcp(address) => {
                let mut address = *address;
                // All addresses of a machine are no address to connect to.
                match address.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip([127, 0, 0, 1].into()),
                    IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)),
                    _ => {}
                }
                format!("http://{address}").parse()
            }
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return match text.parse::<Listen>() {
                Ok(listen) => Self::of(&listen),
                Err(_) if text.starts_with("unix:") => Err("the path of a socket is absolute".to_owned()),
                Err(_) => Err("write http://127.0.0.1:9187, https://HOST/PATH or unix:/run/warmd/http.sock".to_owned()),
            };
        }
        let mut url = Url::parse(text).map_err(|error| error.to_string())?;
        url.set_query(None);
        url.set_fragment(None);
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self::Url(url))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => {
                let mut shown = url.clone();
                // A login in it is nobody's business.
                let _ = shown.set_username("");
                let _ = shown.set_password(None);
                f.write_str(shown.as_str().trim_end_matches('/'))
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Asks one daemon.
pub(super) struct Client {
    pub place: Place,
    base: Url,
    http: reqwest::Client,
}

impl Client {
    pub fn new(place: Place) -> Result<Self, String> {
        // What listens here is not asked by way of another machine, and leads nowhere else.
        let builder = reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none());
        let builder = builder.timeout(PATIENCE).connect_timeout(CONNECT);
        let (base, builder) = match &place {
            Place::Url(url) if url.scheme() == "https" => (url.clone(), builder),
            // Certificates, which a machine may not have, are not looked for where no TLS is spoken.
            Place::Url(url) => (url.clone(), builder.tls_certs_only([])),
            Place::Unix(path) => {
                let base = Url::parse("http://localhost/").map_err(|error| error.to_string())?;
                (base, builder.tls_certs_only([]).unix_socket(path.clone()))
            }
        };
        let http = builder.build().map_err(|error| root_cause(&error))?;
        Ok(Self { place, base, http })
    }

    /// The answer's status and JSON; the error says why there is none, in words.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, Value), String> {
        let url = self.base.join(path).map_err(|error| error.to_string())?;
        let words = |error: reqwest::Error| match error.is_timeout() && !error.is_connect() {
            true => format!("no answer within {} s", PATIENCE.as_secs()),
            false => root_cause(&error.without_url()),
        };
        let mut response = self.http.get(url).send().await.map_err(words)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(words)? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_ANSWER {
                return Err("the answer does not end".to_owned());
            }
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if let Some(error) = answer["error"].as_str().filter(|_| status != StatusCode::NOT_FOUND) {
            return Err(in_words(error));
        }
        match answer["version"].as_u64() {
            Some(1) => Ok((status, answer)),
            Some(version) => Err(format!("it speaks version {version} of the API, and this warmd version 1")),
            None => Err(format!("what answers there ({status}) is no warmd")),
        }
    }
}

/// What lies at the bottom of an error; what lies above repeats the URL, which may hold a login.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = match error.source() {
        Some(source) => source,
        None => return error.to_string(),
    };
    while let Some(source) = cause.source() {
        cause = source;
    }
    in_words(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_url_or_what_the_settings_may_say() {
        for (text, shown) in [
            ("http://127.0.0.1:9187", "http://127.0.0.1:9187"),
            ("https://warm.example/warmd?x=1", "https://warm.example/warmd"),
            ("http://me:secret@warm.example/", "http://warm.example"),
            ("127.0.0.1:9187", "http://127.0.0.1:9187"),
            ("0.0.0.0:9187", "http://127.0.0.1:9187"),
            ("[::]:9187", "http://[::1]:9187"),
            ("unix:/run/warmd/http.sock", "unix:/run/warmd/http.sock"),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), shown, "{text}");
        }
        for (text, why) in [
            ("localhost", "write http://127.0.0.1:9187"),
            ("ftp://x", "write http://127.0.0.1:9187"),
            ("unix:http.sock", "the path of a socket is absolute"),
            ("127.0.0.1:0", "`http.listen` lets the system choose the port"),
            ("http://", "empty host"),
        ] {
            let said = text.parse::<Place>().unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
