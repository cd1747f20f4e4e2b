//! The Redis server that the settings describe.

use std::path::Path;

use secrecy::ExposeSecret as _;
use url::Url;

use super::{RedisSettings, origin, secret};
use crate::{
    cache::{ClientTlsConfig, Server, TlsCertificates},
    files, tls,
};

impl RedisSettings {
    /// The server; connects to nothing.
    pub fn server(&self) -> Result<Server, String> {
        let url = secret("redis.url", self.url.as_ref(), self.url_file.as_deref())?
            .ok_or_else(|| "no Redis: set `redis.url` in the settings, WARMD__REDIS__URL, or --redis".to_owned())?;
        let certificates = self.certificates()?;
        let is_plain = Url::parse(url.expose_secret()).is_ok_and(|url| !["rediss", "valkeys"].contains(&url.scheme()));
        if certificates.is_some() && is_plain {
            let name = if self.ca_file.is_some() { "ca_file" } else { "cert_file" };
            return Err(format!("`redis.{name}` is for connections with TLS: write rediss:// in {}", self.origin()));
        }
        Ok(Server { url, certificates, response_timeout: self.response_timeout.0 })
    }

    /// What can be seen to be wrong without a connection.
    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.url, &self.url_file) {
            (None, None) => self.certificates().map(|_| ()),
            _ => self.server()?.check().map_err(|error| format!("{}: {error}", self.origin())),
        }
    }

    fn origin(&self) -> String {
        origin("redis.url", self.url_file.as_deref())
    }

    fn certificates(&self) -> Result<Option<TlsCertificates>, String> {
        let ca_file = self.ca_file.as_deref();
        let root_cert = ca_file.map(|file| content("ca_file", file, tls::check_certificates)).transpose()?;
        let client_tls = match (&self.cert_file, &self.key_file) {
            (Some(cert_file), Some(key_file)) => {
                let client_cert = content("cert_file", cert_file, tls::check_certificates)?;
                let client_key = content("key_file", key_file, |key| tls::check_key(key, &client_cert))?;
                Some(ClientTlsConfig { client_cert, client_key })
            }
            (None, None) => None,
            (Some(_), None) => return Err("`redis.cert_file` is set without `redis.key_file`".to_owned()),
            (None, Some(_)) => return Err("`redis.key_file` is set without `redis.cert_file`".to_owned()),
        };
        let is_any = root_cert.is_some() || client_tls.is_some();
        Ok(is_any.then_some(TlsCertificates { client_tls, root_cert }))
    }
}

/// What a file holds, when it is of use.
fn content(name: &str, file: &Path, check: impl Fn(&[u8]) -> Result<(), String>) -> Result<Vec<u8>, String> {
    let content = files::read(file).map_err(|error| format!("`redis.{name}`: cannot read {}: {error}", file.display()));
    let content = content?;
    check(&content).map_err(|why| format!("`redis.{name}`: {}: {why}", file.display()))?;
    Ok(content)
}
