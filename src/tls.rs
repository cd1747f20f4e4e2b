//! Certificates and keys, and what is said of a TLS handshake that failed. Cache and databases have these in common.

use std::{error::Error, io, sync::Arc};

use chrono::DateTime;
use rustls::{
    AlertDescription, CertificateError, InconsistentKeys,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer, UnixTime,
        pem::{self, PemObject as _},
    },
    sign::CertifiedKey,
};

/// Whether a file of certificates is of use.
pub fn check_certificates(pem: &[u8]) -> Result<(), String> {
    certificates(pem).map(|_| ())
}

/// Whether the key of a client certificate is of use; what is wrong says nothing of the key itself.
pub fn check_key(key: &[u8], certificate: &[u8]) -> Result<(), String> {
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| "there is no private key in it, in PEM and without a passphrase".to_owned())?;
    match CertifiedKey::from_der(certificates(certificate)?, key, &ring::default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err("the key is not that of the certificate".to_owned())
        }
        Err(_) => Err("the key or its certificate is of a kind that is not supported".to_owned()),
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, pem::Error>>() {
        Ok(certificates) if certificates.is_empty() => Err("there is no certificate in it, in PEM".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err("what should be a certificate in it is not in PEM".to_owned()),
    }
}

/// What failed, when it was TLS that failed.
pub fn failure(error: &(dyn Error + 'static)) -> Option<String> {
    let words = match find(error)? {
        rustls::Error::InvalidCertificate(error) => format!("the server's certificate {}", fault(error)),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server wants a client certificate".to_owned()
        }
        // What is told of a missing one before TLS 1.3, and of much else.
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "the server refuses the handshake; it may want a client certificate".to_owned()
        }
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied),
        ) => format!("the server refuses the client certificate ({alert:?})"),
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS".to_owned(),
        other => other.to_string(),
    };
    Some(format!("TLS: {words}"))
}

fn find<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // Both pass over the error that they hold when they are asked for its source.
        let held = match (error.downcast_ref::<io::Error>(), error.downcast_ref::<Arc<dyn Error + Send + Sync>>()) {
            (Some(error), _) => error.get_ref().map(|held| held as &(dyn Error + 'static)),
            (_, Some(error)) => Some(&**error as &(dyn Error + 'static)),
            _ => None,
        };
        next = held.or_else(|| error.source());
    }
    None
}

/// "The server's certificate ...".
fn fault(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "is signed by no authority that is trusted here".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            // In the form `DnsName("shop.example")`.
            let names: Vec<&str> = presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name)).collect();
            match names.is_empty() {
                true => format!("is not for {}, and names no host at all", expected.to_str()),
                false => format!("is not for {}, but for {}", expected.to_str(), names.join(", ")),
            }
        }
        CertificateError::ExpiredContext { not_after, .. } => format!("has expired on {}", day(*not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is valid only from {}; or the clock is wrong here", day(*not_before))
        }
        CertificateError::Revoked => "has been revoked".to_owned(),
        other => format!("cannot be accepted: {other}"),
    }
}

fn day(moment: UnixTime) -> String {
    let moment = i64::try_from(moment.as_secs()).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    moment.map_or_else(|| "an unknown day".to_owned(), |moment| moment.format("%Y-%m-%d").to_string())
}
