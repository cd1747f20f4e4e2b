//! Who gets nothing, and what no client can take.

use std::{
    io::{Read, Write},
    time::Duration,
};

use super::{Place, TOKEN, USERS, start, world};
use crate::standstill::Stopwatch;

#[tokio::test]
async fn pages_in_a_browser_get_nothing_by_another_name_or_from_elsewhere() {
    let world = world(&[("users", USERS)]).await;
    let asked = start(&world, "a", &[("WARMD__HTTP__ALLOWED_HOSTS", "warm.example, warm")]);
    let Place::Tcp(address) = &asked.place else { panic!("no port") };
    let port = address.rsplit_once(':').unwrap().1;
    let token = format!("Bearer {TOKEN}");
    for (host, status) in [
        (address.as_str(), 202),
        ("evil.example", 421),
        (&format!("evil.example:{port}"), 421),
        ("localhost.evil.example", 421),
        ("127.0.0.2", 421),
        ("", 421),
    ] {
        let headers = [("Host", host), ("Authorization", token.as_str())];
        let got = asked.place.ask("POST", "/api/jobs/users/run", &headers).status;
        assert!(got == status || (status == 202 && got == 409), "{host}: {got}");
        assert_eq!(
            asked.place.ask("GET", "/metrics", &headers).status,
            if status == 421 { 421 } else { 200 },
            "{host}"
        );
    }
    for host in ["localhost", &format!("localhost:{port}"), "warm.example", "WARM"] {
        assert_eq!(asked.place.ask("GET", "/api/jobs", &[("Host", host)]).status, 200, "{host}");
    }
    for (origin, status) in [
        (format!("http://{address}"), 200),
        ("http://evil.example".to_owned(), 403),
        ("null".to_owned(), 403),
        (format!("http://localhost:{port}"), 403),
    ] {
        assert_eq!(asked.place.ask("GET", "/api/jobs", &[("Origin", &origin)]).status, status, "{origin}");
    }
    assert_eq!(asked.place.send("GET /metrics HTTP/1.0\r\n\r\n").status, 400);
    assert_eq!(
        asked.place.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: warm\r\nConnection: close\r\n\r\n").status,
        400
    );
    let absolute = "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(asked.place.send(absolute).status, 421);
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn every_answer_is_json_that_nobody_keeps_or_takes_for_something_else() {
    let world = world(&[("users", USERS)]).await;
    let asked = start(&world, "a", &[]);
    for (method, path, status) in [
        ("GET", "/api/jobs", 200),
        ("GET", "/healthz", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/page/", 404),
        ("GET", "/page/nothing.js", 404),
        ("GET", "/page/%ff", 404),
        ("POST", "/", 405),
        ("GET", "/api/jobs/", 404),
        ("GET", "/api/jobs/%ff/run", 405),
        ("DELETE", "/api/jobs", 405),
        ("POST", "/metrics", 405),
        ("GET", "/api/jobs/users/run", 405),
    ] {
        let answer = asked.place.ask(method, path, &[]);
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.json()["version"], 1, "{method} {path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{method} {path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}");
    }
    let token = format!("Bearer {TOKEN}");
    let odd = asked.place.ask("POST", "/api/jobs/%ff/run", &[("Authorization", &token)]);
    assert_eq!(odd.status, 400, "{}", odd.body);
    assert_eq!(asked.place.ask("HEAD", "/metrics", &[]).body, "");
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn huge_headers_and_bodies_are_refused() {
    let world = world(&[("users", USERS)]).await;
    let asked = start(&world, "a", &[]);
    assert_eq!(asked.place.ask("GET", "/healthz", &[("X", &"x".repeat(8 << 10))]).status, 200);
    assert_eq!(asked.place.ask("GET", "/healthz", &[("X", &"x".repeat(64 << 10))]).status, 431);
    let many: Vec<String> = (0..200).map(|nth| format!("X-{nth}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
    assert_eq!(asked.place.ask("GET", "/healthz", &many).status, 431);
    let with_body = |bytes: usize| {
        let head = "POST /api/jobs/users/run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        let body = "x".repeat(bytes);
        asked
            .place
            .send(&format!("{head}Authorization: Bearer {TOKEN}\r\nContent-Length: {bytes}\r\n\r\n{body}"))
            .status
    };
    assert_eq!(with_body(5000), 413);
    assert_eq!(with_body(100), 202);
    // One that says how large it is is not waited for, which would take five seconds.
    for length in ["5000", "99999999999999"] {
        let begun = Stopwatch::start();
        let head = "POST /api/jobs/users/run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        let answer = asked.place.send(&format!("{head}Content-Length: {length}\r\n\r\n"));
        assert_eq!((answer.status, answer.error().as_str()), (413, "a body has at most 4096 bytes"), "{length}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{length}: {:?}", begun.elapsed());
    }
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn slow_clients_are_let_go_and_others_get_their_place() {
    let world = world(&[("users", USERS)]).await;
    let asked = start(&world, "a", &[]);
    let begun = Stopwatch::start();
    // All places and more, by clients that never end their request.
    let mut slow: Vec<_> = (0..80).map(|_| asked.place.connect().unwrap()).collect();
    slow.iter_mut().for_each(|client| client.write_all(b"GET /metrics HTTP/1.1\r\nHost: loc").unwrap());
    assert_eq!(asked.place.get("/healthz").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    for client in &mut slow {
        let mut said = Vec::new();
        let _ = client.read_to_end(&mut said);
        assert!(!said.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&said));
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    // One that keeps its connection and asks nothing more is let go, too.
    let mut idle = asked.place.connect().unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut said = String::new();
    idle.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    // A body that does not come is not waited for, either; a connection may last for a minute.
    let begun = Stopwatch::start();
    let head =
        "POST /api/jobs/users/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nConnection: close\r\n\r\n";
    let answer = asked.place.send(head);
    assert_eq!((answer.status, answer.error().as_str()), (408, "the body did not arrive within 5 s"));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(asked.daemon.stop(), Some(0));
}
