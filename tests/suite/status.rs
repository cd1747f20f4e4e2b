//! `warmd status` against real daemons.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    cli::{run, warmd, write_job},
    daemon::{eventually, slow},
    http::{Asked, USERS, start, start_on},
    world::World,
};

const BROKEN: &str = "key = \"b:{id}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT 1 AS id FROM nowhere\"\n";

async fn world(jobs: &[(&str, &str)]) -> World {
    let world = World::new().await;
    jobs.iter().for_each(|(name, text)| write_job(&world, &format!("{name}.toml"), text));
    world
}

fn status(world: &World, asked: &Asked, more: &[&str]) -> (Option<i32>, String, String) {
    let url = asked.url();
    run(world, &[&["status", "--url", &url], more].concat())
}

fn json(world: &World, asked: &Asked) -> Value {
    let (_, out, err) = status(world, asked, &["--json"]);
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"))
}

#[tokio::test]
async fn a_daemon_is_found_where_the_settings_say_that_it_listens() {
    let world = world(&[("users", USERS)]).await;
    for listen in ["127.0.0.1:0", &format!("unix:{}/http.sock", world.folder().display())] {
        let asked = start_on(&world, "a", listen, &[]);
        let configured = asked.url().replace("http://", "");
        let by_settings = || {
            let output = warmd(&world, &["status"]).env("WARMD__HTTP__LISTEN", &configured).output().unwrap();
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        };
        // Redis may need longer for an answer than the daemon waits.
        let is_ready = async || {
            let (code, told) = by_settings();
            code == Some(0) && told.starts_with(&format!("{}: ready", asked.url()))
        };
        eventually("ready", is_ready).await;
        let told = by_settings().1;
        assert!(told.contains("\n users  idle   in "), "{told}");
        assert!(told.contains("  never  "), "{told}");
        // What is known of Redis may change between two questions.
        let first_line = |told: &str| told.lines().next().unwrap().to_owned();
        let is_same = async || first_line(&by_settings().1) == first_line(&status(&world, &asked, &[]).1);
        eventually("the same by its name", is_same).await;
        assert_eq!(asked.daemon.stop(), Some(0));
    }
}

#[tokio::test]
async fn without_a_daemon_one_line_says_so() {
    let world = world(&[("users", USERS)]).await;
    let socket = format!("unix:{}/nothing.sock", world.folder().display());
    for (arguments, code, said) in [
        (
            vec!["status"],
            78,
            "`http.listen` is not set, so no daemon can be asked: set it, or say with --url where one listens\n",
        ),
        (
            vec!["status", "--url", "http://127.0.0.1:1"],
            69,
            "the daemon at http://127.0.0.1:1 is out of reach: Connection refused (os error 111)\n",
        ),
        (
            vec!["status", "--url", "http://me:hunter2@127.0.0.1:1/x", "--watch"],
            69,
            "the daemon at http://127.0.0.1:1/x is out of reach: Connection refused (os error 111)\n",
        ),
        (
            vec!["status", "--url", &socket],
            69,
            &format!("the daemon at {socket} is out of reach: No such file or directory (os error 2)\n"),
        ),
        (vec!["status", "--url", "nowhere"], 64, "write http://127.0.0.1:9187"),
        (vec!["status", "--watch", "often"], 64, "write a number of seconds from 0.1 to 86400"),
    ] {
        let (got, out, err) = run(&world, &arguments);
        assert_eq!((got, out.as_str()), (Some(code), ""), "{arguments:?}: {err}");
        assert!(if code == 64 { err.contains(said) } else { err == said }, "{arguments:?}: {err}");
    }
    let output = warmd(&world, &["status"]).env("WARMD__HTTP__LISTEN", "127.0.0.1:0").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8(output.stderr).unwrap().contains("lets the system choose the port"));
}

#[tokio::test]
async fn what_answers_there_and_is_no_warmd_is_told() {
    let world = world(&[("users", USERS)]).await;
    let asked = start(&world, "a", &[]);
    let (code, _, err) = run(&world, &["status", "--url", &format!("{}/elsewhere", asked.url())]);
    assert_eq!(code, Some(69), "{err}");
    assert!(err.ends_with("/elsewhere is out of reach: no warmd has its API there\n"), "{err}");
    assert_eq!(asked.daemon.stop(), Some(0));

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", other.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in other.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
        }
    });
    let (code, _, err) = run(&world, &["status", "--url", &url]);
    assert_eq!(code, Some(69));
    assert_eq!(err, format!("the daemon at {url} is out of reach: what answers there (200 OK) is no warmd\n"));
}

#[tokio::test]
async fn runs_failures_and_outages_are_shown_and_tell_the_exit_code() {
    let world = world(&[("users", USERS), ("broken", BROKEN), ("slow", &slow(""))]).await;
    let asked = start(&world, "a", &[]);
    eventually("well: nothing has failed yet", async || status(&world, &asked, &[]).0 == Some(0)).await;
    assert_eq!(asked.place.run("users").status, 202);
    assert_eq!(asked.place.run("broken").status, 202);
    let ended = async || {
        json(&world, &asked)["jobs"].as_array().unwrap().iter().filter(|job| !job["last_run"].is_null()).count() == 2
    };
    eventually("two runs", ended).await;
    assert_eq!(asked.place.run("slow").status, 202);
    let (code, page, err) = status(&world, &asked, &[]);
    assert_eq!((code, err.as_str()), (Some(1), ""), "{page}");
    let line = |name: &str| page.lines().find(|line| line.starts_with(&format!(" {name} "))).unwrap().to_owned();
    assert!(line("users").contains(" ok ") && line("users").contains(" ago "), "{page}");
    assert!(line("slow").contains(" running by hand"), "{page}");
    assert!(line("broken").contains(" by hand "), "without a schedule: {page}");
    assert!(line("broken").contains(" failed "), "{page}");
    let below = page.lines().last().unwrap();
    assert!(
        below.starts_with("broken: failed ") && below.contains("broken.toml:4:28: no such table: nowhere"),
        "{page}"
    );

    world.redis.server.kill();
    let waiting = async || status(&world, &asked, &[]).1.contains("slow: waits for Redis at ");
    eventually("the outage", waiting).await;
    let (code, page, _) = status(&world, &asked, &[]);
    assert_eq!(code, Some(1));
    assert!(page.lines().next().unwrap().contains(": not ready"), "{page}");
    assert!(page.lines().nth(1).unwrap().starts_with("redis: "), "{page}");
}

#[tokio::test]
async fn without_a_history_the_last_runs_are_those_of_the_process_and_others_are_unknown() {
    let world = world(&[("users", USERS), ("broken", BROKEN), ("more", &USERS.replace("user:", "more:"))]).await;
    for (name, value, error) in
        [("WARMD__HISTORY__ENABLED", "false", false), ("WARMD__HISTORY__URL", "postgres://127.0.0.1:1/x", true)]
    {
        let off = ["FAILED_RUN", "NO_SUCCESS", "COVERAGE", "HIT_RATE"].map(|rule| format!("WARMD__ALERTS__{rule}"));
        let variables: Vec<(&str, &str)> =
            off.iter().map(|rule| (rule.as_str(), "off")).chain([(name, value)]).collect();
        let asked = start(&world, "a", &variables);
        let is_well = async || status(&world, &asked, &[]).0 == Some(0);
        eventually("well: nothing is known to have failed", is_well).await;
        let (_, page, err) = status(&world, &asked, &[]);
        assert_eq!(err, "");
        assert!(page.matches("  unknown  ").count() == 3 && !page.contains("never"), "{page}");
        assert_eq!(page.contains("the history: "), error, "{page}");
        for job in ["users", "broken"] {
            assert_eq!(asked.place.run(job).status, 202);
        }
        let ended = async || {
            let told = json(&world, &asked);
            let known = told["jobs"].as_array().unwrap().iter().filter(|job| !job["last_run"].is_null()).count();
            assert_eq!((&told["last_runs_from"], told["history_error"].is_string()), (&"process".into(), error));
            known == 2
        };
        eventually("two runs", ended).await;
        let (code, page, _) = status(&world, &asked, &[]);
        assert_eq!(code, Some(1), "{page}");
        let line = |name: &str| page.lines().find(|line| line.starts_with(&format!(" {name} "))).unwrap().to_owned();
        assert!(line("users").contains(" ok ") && line("more").contains("  unknown  "), "{page}");
        assert!(line("broken").contains(" failed "), "{page}");
        assert!(page.contains("\nbroken: failed "), "{page}");
        asked.daemon.stop();
    }
    let kept = start(&world, "b", &[]);
    assert_eq!(json(&world, &kept)["last_runs_from"], "history");
    assert!(status(&world, &kept, &[]).1.contains("  never  "), "with a history it is known");
    assert_eq!(kept.daemon.stop(), Some(0));
}

#[tokio::test]
async fn the_share_that_was_read_is_that_of_the_newest_runs_together() {
    let world = world(&[("users", &USERS.replace("\"missing\"", "\"always\""))]).await;
    let asked = start(&world, "a", &[]);
    let reads = || json(&world, &asked)["jobs"][0]["reads"].clone();
    for (runs, read) in [(1, 0), (2, 3), (3, 0)] {
        if runs > 1 {
            // What nobody reads is idle for longer than Redis's clock is coarse by then.
            let idle = async || world.redis_command::<u64>(&["OBJECT", "IDLETIME", "t:user:5"]).await;
            eventually("some age", async || idle().await >= 4).await;
        }
        for id in 1..=read {
            assert!(world.get(&format!("t:user:{id}")).await.is_some());
        }
        assert_eq!(asked.place.run("users").status, 202);
        eventually("the run", async || reads()["runs"] == runs).await;
    }
    assert_eq!(reads(), serde_json::json!({ "runs": 3, "sampled": 10, "read": 3 }));
    let (_, page, _) = status(&world, &asked, &[]);
    assert!(page.lines().last().unwrap().contains("  30 %  "), "{page}");
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_tick_that_was_skipped_is_not_the_last_run() {
    let slow = slow("schedule = \"@every 1s\"\nrefresh = \"always\"").replace("< 2000", "< 500");
    let world = world(&[("slow", &slow)]).await;
    let asked = start(&world, "a", &[("WARMD__ALERTS__MISSED_TICK", "off")]);
    eventually("a skipped tick after a run, and all is well", async || {
        let told = json(&world, &asked);
        let job = &told["jobs"][0];
        let is_skipped = job["last_run"]["outcome"] == "skipped" && job["reads"]["runs"].as_u64() > Some(0);
        is_skipped && told["well"] == true
    })
    .await;
    let (_, page, _) = status(&world, &asked, &[]);
    let line = page.lines().last().unwrap();
    assert!(line.starts_with(" slow ") && line.contains("  ok ") && !page.contains("skipped"), "{page}");
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_watch_into_a_pipe_writes_a_page_after_the_other_until_nobody_reads() {
    let world = world(&[("users", USERS)]).await;
    let mut asked = start(&world, "a", &[]);
    let url = asked.url();
    let watch = |more: &[&str]| -> std::process::Child {
        let arguments = [&["status", "--watch", "0.1", "--url", &url], more].concat();
        let mut command: Command = warmd(&world, &arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut objects = watch(&["--json"]);
    let lines = BufReader::new(objects.stdout.take().unwrap()).lines().map(Result::unwrap);
    let is_well = |line: &String| {
        let told: Value = serde_json::from_str(line).unwrap();
        assert_eq!(told["version"], 1);
        told["well"] == true
    };
    // Not each of them is, where Redis needs longer for an answer than the daemon waits.
    assert_eq!(lines.take(100).filter(is_well).take(3).count(), 3);
    assert_eq!(objects.wait().unwrap().code(), Some(0), "a closed pipe ends it");

    let mut pages = watch(&[]);
    let mut lines = BufReader::new(pages.stdout.take().unwrap()).lines().map(Result::unwrap);
    let is_ready = |line: &String| line.starts_with(&format!("{url}: ready"));
    assert_eq!(lines.by_ref().take(500).filter(is_ready).take(2).count(), 2);
    // A daemon that goes away is told, and asked on.
    asked.daemon.signal("TERM");
    asked.daemon.ended();
    let mut errors = BufReader::new(pages.stderr.take().unwrap()).lines().map(Result::unwrap);
    let away = errors.find(|line| line.contains("is out of reach")).unwrap();
    assert!(away.starts_with(&format!("the daemon at {url} is out of reach: ")), "{away}");
    let id = pages.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    assert_eq!(pages.wait().unwrap().code(), Some(0));
}
