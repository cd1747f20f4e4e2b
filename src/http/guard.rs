//! Who is let in: a page in a browser on this machine reaches loopback addresses, too, and must get nothing.

use std::{net::IpAddr, time::Duration};

use axum::{
    body::{Body, HttpBody as _, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use secrecy::SecretString;

use super::{App, Refused, failure, listener::ARRIVAL};
use crate::settings::HttpSettings;

/// Whom the settings let in.
pub(super) struct Guard {
    token: Option<SecretString>,
    hosts: Vec<String>,
}

/// No route reads one; this much may come with a request nevertheless.
const BODY_BYTES: usize = 4 << 10;

/// Longer than the history is waited for.
const TIME: Duration = Duration::from_secs(10);

impl Guard {
    /// Reads the token.
    pub fn new(settings: &HttpSettings) -> Result<Self, Refused> {
        let token = settings.token().map_err(|message| Refused { message, passing: false })?;
        Ok(Self { token, hosts: settings.allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect() })
    }

    /// Whether a request may act; the answer, when it may not.
    pub fn may_act(&self, headers: &HeaderMap) -> Result<(), Box<Response>> {
        let Some(token) = &self.token else {
            let why = "runs cannot be started over HTTP: `http.token_file` is not set";
            return Err(Box::new(failure(StatusCode::FORBIDDEN, why)));
        };
        let given = text(headers, header::AUTHORIZATION).and_then(|value| value.split_once(' '));
        let why = match given {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => {
                if HttpSettings::is_token(token, given.trim()) {
                    return Ok(());
                }
                "the token is not the right one"
            }
            _ => "a token is needed: `Authorization: Bearer TOKEN`",
        };
        let mut response = failure(StatusCode::UNAUTHORIZED, why);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Err(Box::new(response))
    }

    /// Whether a `Host` names this daemon. A page whose name was made to lead here by its own DNS server names itself.
    fn knows(&self, host: &str, local: Option<IpAddr>) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        let name = name.trim_end_matches('.');
        let address: Option<IpAddr> = name.parse().ok();
        name == "localhost"
            || address.is_some_and(|address| Some(address.to_canonical()) == local)
            || self.hosts.iter().any(|known| known == name)
    }
}

fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// Whether a page of this origin was served by the host that it asks. A proxy before us may speak TLS.
fn is_same(origin: &str, host: &str) -> bool {
    let name = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    name.is_some_and(|name| name.eq_ignore_ascii_case(host))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Lets a request through, or says why not, in bounded time.
pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let answered = tokio::time::timeout(TIME, checked(&app, request, next)).await;
    let mut response = answered.unwrap_or_else(|_| {
        failure(StatusCode::SERVICE_UNAVAILABLE, format!("there was no answer within {} s", TIME.as_secs()))
    });
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        // The router's own answer has no body. What is allowed is added behind us.
        response = failure(StatusCode::METHOD_NOT_ALLOWED, format!("this path does not take {method}"));
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn checked(app: &App, request: Request, next: Next) -> Response {
    let headers = request.headers();
    // A request line may hold a host, too, and then it is the one that counts.
    let host = request.uri().authority().map(|authority| authority.as_str()).or_else(|| text(headers, header::HOST));
    let Some(host) = host.filter(|_| headers.get_all(header::HOST).iter().count() < 2) else {
        return failure(StatusCode::BAD_REQUEST, "exactly one Host header is needed");
    };
    if !app.shared.guard().knows(host, app.local) {
        let why = "this is not the host of that name; `http.allowed_hosts` says by which names it may be called";
        return failure(StatusCode::MISDIRECTED_REQUEST, why);
    }
    if headers.get(header::ORIGIN).is_some_and(|origin| !origin.to_str().is_ok_and(|origin| is_same(origin, host))) {
        return failure(StatusCode::FORBIDDEN, "requests of pages from elsewhere are refused (Origin)");
    }
    let (parts, body) = request.into_parts();
    let too_large = || failure(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {BODY_BYTES} bytes"));
    // One that says how large it is need not be waited for.
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return too_large();
    }
    let body = match tokio::time::timeout(ARRIVAL, to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return too_large(),
        Err(_) => {
            let why = format!("the body did not arrive within {} s", ARRIVAL.as_secs());
            return failure(StatusCode::REQUEST_TIMEOUT, why);
        }
    };
    next.run(Request::from_parts(parts, Body::from(body))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_known_by_localhost_its_address_and_the_names_of_the_settings() {
        let guard = Guard { token: None, hosts: vec!["warm.example".to_owned()] };
        let here = Some(IpAddr::from([127, 0, 0, 1]));
        for host in [
            "localhost",
            "LOCALHOST:9187",
            "localhost.:1",
            "127.0.0.1",
            "127.0.0.1:9187",
            "Warm.Example",
            "warm.example:80",
        ] {
            assert!(guard.knows(host, here), "{host}");
        }
        for host in [
            "",
            ":",
            "evil.example",
            "localhost.evil.example",
            "warm.example.evil",
            "127.0.0.2",
            "10.0.0.1:1",
            "[::1]",
            "[",
        ] {
            assert!(!guard.knows(host, here), "{host}");
        }
        assert!(guard.knows("[::1]:9187", Some("::1".parse().unwrap())));
        assert!(guard.knows("localhost", None) && !guard.knows("127.0.0.1", None));
    }

    #[test]
    fn an_origin_is_the_same_when_it_is_the_host_that_is_asked() {
        for (origin, is) in [
            ("http://localhost:9187", true),
            ("https://LOCALHOST:9187", true),
            ("http://localhost", false),
            ("http://localhost:91870", false),
            ("http://evil.example", false),
            ("null", false),
            ("localhost:9187", false),
        ] {
            assert_eq!(is_same(origin, "localhost:9187"), is, "{origin}");
        }
    }
}
