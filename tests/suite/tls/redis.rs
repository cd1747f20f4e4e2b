//! Redis: `rediss://`, and certificates in the settings.

use std::fs;

use super::{USERS, refused, told, warms, world};
use crate::{
    cli::write_job,
    daemon::Daemon,
    servers::{self, Authority, Certificate},
};

#[tokio::test]
async fn redis_is_believed_when_its_certificate_is_and_each_reason_not_to_is_told() {
    let (authority, other) = (Authority::new("The authority"), Authority::new("Another authority"));
    let server = servers::redis_with_tls(&authority).await;
    let world = world().await;
    let mut administrator = servers::redis_client(&server.administrator).await;
    let mut command = async |words: &[&str]| {
        ::redis::cmd(words[0]).arg(&words[1..]).query_async::<::redis::Value>(&mut administrator).await.unwrap();
    };
    command(&["ACL", "SETUSER", "warmer", "on", ">sesame-right", "~*", "+@all"]).await;
    command(&["ACL", "SETUSER", "default", "off"]).await;
    let url = format!("rediss://warmer:sesame-right@localhost:{}/2", server.port);
    let (ca, other_ca) = (authority.certificate(), other.certificate());
    let trusted = [("WARMD__REDIS__URL", url.as_str()), ("WARMD__REDIS__CA_FILE", &ca)];
    warms(&world, &trusted);

    let with = |url: &str| refused(&world, &[("WARMD__REDIS__URL", url), trusted[1]]);
    let place = format!("Redis at localhost:{}: ", server.port);
    assert_eq!(
        with(&url.replace("sesame-right", "sesame-wrong")),
        format!("{place}the server refuses the user or the password of the URL")
    );
    assert_eq!(
        with(&url.replace("localhost", "127.0.0.1")),
        format!(
            "Redis at 127.0.0.1:{}: TLS: the server's certificate is not for 127.0.0.1, but for localhost",
            server.port
        )
    );
    let unknown = format!("{place}TLS: the server's certificate is signed by no authority that is trusted here");
    assert_eq!(refused(&world, &trusted[..1]), unknown);
    assert_eq!(refused(&world, &[trusted[0], ("WARMD__REDIS__CA_FILE", &other_ca)]), unknown);
    let plain = refused(&world, &[("WARMD__REDIS__URL", &url.replace("rediss", "redis"))]);
    assert!(
        plain.starts_with(&place) && plain.ends_with("; a server with TLS wants rediss://, is this one?"),
        "{plain}"
    );

    command(&["CONFIG", "SET", "tls-auth-clients", "yes"]).await;
    assert_eq!(refused(&world, &trusted), format!("{place}TLS: the server wants a client certificate"));
    let [mine, theirs] = [&authority, &other].map(|authority| authority.issue("warmer"));
    let certified = [trusted, client(&mine)].concat();
    warms(&world, &certified);
    let wrong = refused(&world, &[trusted, client(&theirs)].concat());
    assert_eq!(wrong, format!("{place}TLS: the server refuses the client certificate (UnknownCA)"));

    authority.let_expire(&server.certificate, "localhost");
    command(&["CONFIG", "SET", "tls-cert-file", &server.certificate.certificate]).await;
    assert_eq!(refused(&world, &certified), format!("{place}TLS: the server's certificate has expired on 2020-01-01"));
}

#[tokio::test]
async fn a_reload_reads_the_certificates_again() {
    let (authority, other) = (Authority::new("The authority"), Authority::new("Another authority"));
    let server = servers::redis_with_tls(&authority).await;
    let world = world().await;
    write_job(&world, "users.toml", &format!("schedule = \"@every 1s\"\n{USERS}"));
    let url = format!("rediss://localhost:{}", server.port);
    let ca = world.folder().join("ca.pem");
    fs::copy(other.certificate(), &ca).unwrap();
    let variables = [("WARMD__REDIS__URL", url.as_str()), ("WARMD__REDIS__CA_FILE", ca.to_str().unwrap())];
    let mut daemon = Daemon::start(&world, "daemon", &variables).ready();
    let place = format!("Redis at localhost:{}", server.port);
    daemon.until(&format!("waiting: users: {place}: TLS: the server's certificate is signed by no authority"));
    fs::copy(authority.certificate(), &ca).unwrap();
    daemon.signal("HUP");
    daemon.until("last: users: ok, 5 keys written");
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn files_that_are_of_no_use_are_mistakes_of_the_settings() {
    let (world, authority) = (world().await, Authority::new("The authority"));
    let (mine, other) = (authority.issue("mine"), authority.issue("other"));
    let [url, plain] = ["rediss", "redis"].map(|scheme| ("WARMD__REDIS__URL", format!("{scheme}://:sesame@h/")));
    let [url, plain] = [&url, &plain].map(|(name, url)| (*name, url.as_str()));
    let ca = authority.certificate();
    let ca = ("WARMD__REDIS__CA_FILE", ca.as_str());
    let [certificate, key] = client(&mine);
    let garbage = world.folder().join("garbage.pem");
    fs::write(&garbage, "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n").unwrap();
    let garbage = garbage.to_str().unwrap();
    for (variables, said) in [
        (
            [plain, ca, certificate, key].as_slice(),
            "`redis.ca_file` is for connections with TLS: write rediss:// in `redis.url`".to_owned(),
        ),
        (
            &[plain, certificate, key],
            "`redis.cert_file` is for connections with TLS: write rediss:// in `redis.url`".to_owned(),
        ),
        (&[url, certificate], "`redis.cert_file` is set without `redis.key_file`".to_owned()),
        (&[url, key], "`redis.key_file` is set without `redis.cert_file`".to_owned()),
        (
            &[url, (ca.0, "/nowhere")],
            "`redis.ca_file`: cannot read /nowhere: No such file or directory (os error 2)".to_owned(),
        ),
        (&[url, (ca.0, &mine.key)], format!("`redis.ca_file`: {}: there is no certificate in it, in PEM", mine.key)),
        (
            &[url, (ca.0, garbage)],
            format!("`redis.ca_file`: {garbage}: what should be a certificate in it is not in PEM"),
        ),
        (
            &[url, certificate, (key.0, &mine.certificate)],
            format!(
                "`redis.key_file`: {}: there is no private key in it, in PEM and without a passphrase",
                mine.certificate
            ),
        ),
        (
            &[url, certificate, (key.0, &other.key)],
            format!("`redis.key_file`: {}: the key is not that of the certificate", other.key),
        ),
    ] {
        let (code, out, err) = told(&world, &["check"], variables);
        assert_eq!((code, out.as_str(), err), (Some(78), "", format!("settings: {said}\n")));
    }
    let all = [url, ca, certificate, key];
    assert_eq!(told(&world, &["check"], &all), (Some(0), "settings and 1 job are valid\n".to_owned(), String::new()));
}

fn client(files: &Certificate) -> [(&str, &str); 2] {
    [("WARMD__REDIS__CERT_FILE", &files.certificate), ("WARMD__REDIS__KEY_FILE", &files.key)]
}
