//! Certificates for the tests, made by authorities of their own.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::PathBuf,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::supervisor::{path, unprivileged};

/// Signs certificates, which lie in a folder of its own.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// Two PEM files.
pub struct Certificate {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Servers read here as users of their own.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// The file of its own certificate, for those who are to trust it.
    pub fn certificate(&self) -> String {
        self.file("ca.pem")
    }

    /// A certificate for a host or a user of this name.
    pub fn issue(&self, name: &str) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let files =
            Certificate { certificate: self.file(&format!("{name}.pem")), key: self.file(&format!("{name}.key")) };
        fs::write(&files.certificate, self.sign(name, &key, 4000)).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        files
    }

    /// The same for a server that runs as `user` when the tests run as root, and takes no key that others can read.
    pub fn issue_to(&self, user: &str, name: &str) -> Certificate {
        let files = self.issue(name);
        if let Some((user, group)) = unprivileged(user) {
            chown(&files.key, Some(user), Some(group)).unwrap();
        }
        files
    }

    /// Puts a certificate in another's place that is for the same key and name, and of no use since 2020.
    pub fn let_expire(&self, files: &Certificate, name: &str) {
        let key = KeyPair::from_pem(&fs::read_to_string(&files.key).unwrap()).unwrap();
        fs::write(&files.certificate, self.sign(name, &key, 2020)).unwrap();
    }

    fn sign(&self, name: &str, key: &KeyPair, until_year: i32) -> String {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(until_year, 1, 1);
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    fn file(&self, name: &str) -> String {
        path(&PathBuf::from(self.folder.path()).join(name)).to_owned()
    }
}
