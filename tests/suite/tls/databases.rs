//! PostgreSQL and MariaDB: parameters of the URL.

use std::time::{Duration, Instant};

use super::{refused, told, warms, world};
use crate::{
    servers::{self, Authority, TlsServer, execute},
    world::{SHOP, World},
};

#[tokio::test]
async fn postgres_is_believed_when_its_certificate_is_and_each_reason_not_to_is_told() {
    let (authority, other) = (Authority::new("The authority"), Authority::new("Another authority"));
    let server = servers::postgres_with_tls(&authority).await;
    let users = "ALTER ROLE locked PASSWORD 'sesame-right'; CREATE ROLE certified LOGIN PASSWORD 'sesame-right'; \
                 GRANT SELECT ON users TO locked, certified";
    execute(&server.administrator, &format!("{SHOP}{users}")).await;
    let base = format!("postgres://locked:sesame-right@localhost:{}/postgres?sslmode=verify-full", server.port);
    let url = format!("{base}&sslrootcert={}", authority.certificate());
    let world = world().await;
    each_reason(&world, &server, &base, &url, &format!("{base}&sslrootcert={}", other.certificate()));

    execute(&server.administrator, "CREATE SCHEMA locked AUTHORIZATION locked").await;
    warms(&world, &[(DATABASE, &url), (HISTORY, &url)]);
    let (code, _, err) = told(&world, &["warm"], &[(DATABASE, &url), (HISTORY, &base)]);
    let unknown = "TLS: the server's certificate is signed by no authority that is trusted here\n";
    assert!(code == Some(0) && err.contains(&format!("{}{unknown}", place(&server))), "{code:?}: {err}");

    let client = authority.issue("certified");
    let certified = url.replace("locked", "certified");
    let lacking = refused(&world, &[(DATABASE, &certified)]);
    assert_eq!(lacking, format!("{}connection requires a valid client certificate", place(&server)));
    let certified = format!("{certified}&sslcert={}&sslkey={}", client.certificate, client.key);
    warms(&world, &[(DATABASE, &certified)]);
    let theirs = other.issue("certified");
    let mixed = refused(&world, &[(DATABASE, &certified.replace(&client.key, &theirs.key))]);
    let mismatch = format!("{}sslkey: {}: the key is not that of the certificate", place(&server), theirs.key);
    assert_eq!(mixed, mismatch);
    let wrong = certified.replace(&client.certificate, &theirs.certificate).replace(&client.key, &theirs.key);
    let wrong = refused(&world, &[(DATABASE, &wrong)]);
    assert_eq!(wrong, format!("{}TLS: the server refuses the client certificate (UnknownCA)", place(&server)));

    authority.let_expire(&server.certificate, "localhost");
    execute(&server.administrator, "SELECT pg_reload_conf()").await;
    // The server reads it in its own time.
    let start = Instant::now();
    let expired = format!("{}TLS: the server's certificate has expired on 2020-01-01", place(&server));
    while told(&world, &["warm"], &[(DATABASE, &certified)]).2 != format!("{expired}\n") {
        assert!(start.elapsed() < Duration::from_secs(60), "the expired certificate is taken");
    }
    assert_eq!(refused(&world, &[(DATABASE, &certified)]), expired);
}

#[tokio::test]
async fn mariadb_is_believed_when_its_certificate_is_and_each_reason_not_to_is_told() {
    let (authority, other) = (Authority::new("The authority"), Authority::new("Another authority"));
    let server = servers::mariadb_with_tls(&authority).await;
    let users = "CREATE USER owner@'%' IDENTIFIED BY 'sesame-right' REQUIRE SSL; \
                 CREATE USER certified@'%' IDENTIFIED BY 'sesame-right' REQUIRE X509; \
                 GRANT SELECT ON shop.* TO owner@'%'; GRANT SELECT ON shop.* TO certified@'%'";
    execute(&server.administrator, &format!("CREATE DATABASE shop; USE shop; {SHOP}{users}")).await;
    let base = format!("mysql://owner:sesame-right@localhost:{}/shop?ssl-mode=VERIFY_IDENTITY", server.port);
    let url = format!("{base}&ssl-ca={}", authority.certificate());
    let world = world().await;
    each_reason(&world, &server, &base, &url, &format!("{base}&ssl-ca={}", other.certificate()));

    let client = authority.issue("certified");
    let certified = url.replace("owner", "certified");
    let lacking = refused(&world, &[(DATABASE, &certified)]);
    assert!(lacking.starts_with(&format!("{}Access denied for user 'certified'@", place(&server))), "{lacking}");
    let certified = format!("{certified}&ssl-cert={}&ssl-key={}", client.certificate, client.key);
    warms(&world, &[(DATABASE, &certified)]);

    authority.let_expire(&server.certificate, "localhost");
    execute(&server.administrator, "FLUSH SSL").await;
    let expired = format!("{}TLS: the server's certificate has expired on 2020-01-01", place(&server));
    assert_eq!(refused(&world, &[(DATABASE, &certified)]), expired);
}

const HISTORY: &str = "WARMD__HISTORY__URL";
const DATABASE: &str = "WARMD__DATABASE__URL";

fn place(server: &TlsServer) -> String {
    format!("cannot connect to localhost:{}: ", server.port)
}

/// The URL with another mode, by PostgreSQL's name for it.
fn weaker(url: &str, mode: &str) -> String {
    let mysql = if mode == "require" { "REQUIRED" } else { "VERIFY_CA" };
    url.replace("verify-full", mode).replace("VERIFY_IDENTITY", mysql)
}

/// What both databases say of whom they do not believe: `url` works, `base` trusts nobody, `other` somebody else.
fn each_reason(world: &World, server: &TlsServer, base: &str, url: &str, other: &str) {
    warms(world, &[(DATABASE, url)]);
    // What the manual warns of: these look at the authority only, or at nothing.
    warms(world, &[(DATABASE, &weaker(url, "verify-ca").replace("@localhost", "@127.0.0.1"))]);
    warms(world, &[(DATABASE, &weaker(other, "require"))]);
    assert!(refused(world, &[(DATABASE, &weaker(other, "verify-ca"))]).contains("no authority that is trusted"));
    let with = |url: &str| refused(world, &[(DATABASE, url)]);
    let place = place(server);
    let unknown = format!("{place}TLS: the server's certificate is signed by no authority that is trusted here");
    assert_eq!(with(base), unknown);
    assert_eq!(with(other), unknown);
    assert_eq!(
        with(&url.replace("@localhost", "@127.0.0.1")),
        format!(
            "{}TLS: the server's certificate is not for 127.0.0.1, but for localhost",
            place.replace("localhost", "127.0.0.1")
        )
    );
    let wrong = with(&url.replace("sesame-right", "sesame-wrong"));
    assert!(wrong.starts_with(&place), "{wrong}");
    let nowhere = with(&format!("{base}&ssl-ca=/nowhere/ca.pem"));
    assert_eq!(nowhere, format!("{place}ssl-ca: cannot read /nowhere/ca.pem: No such file or directory (os error 2)"));
}

#[tokio::test]
async fn what_a_driver_would_ignore_or_only_find_out_on_connecting_is_a_mistake_of_the_url() {
    let world = world().await;
    for (url, said) in [
        ("postgres://u:sesame@h/d?sslmod=verify-full", "unknown parameter `sslmod`, did you mean `sslmode`?"),
        ("mariadb://u:sesame@h/d?ssl-mod=VERIFY_CA", "unknown parameter `ssl-mod`, did you mean `ssl-mode`?"),
        ("mysql://u@h/d?ssl-mode=VERIFY&ssl-ca=sesame", "unknown value \"VERIFY\" for `ssl_mode`"),
        ("postgres://u:sesame@h/d?sslcert=/nowhere", "`sslcert` takes `sslkey` beside it"),
        ("mysql://u:sesame@h/d?ssl-key=/nowhere", "`ssl-key` takes `ssl-cert` beside it"),
    ] {
        let (code, out, err) = told(&world, &["check"], &[(DATABASE, url)]);
        assert_eq!((code, out.as_str()), (Some(78), ""), "{url}");
        assert_eq!(err, format!("settings: `database.url`: the database URL is not valid: {said}\n"));
    }
    let rest = "postgres://u@h/d?options[search_path]=shop&application_name=a&statement-cache-capacity=5";
    assert_eq!(told(&world, &["check"], &[(DATABASE, rest)]).0, Some(0));
}
