//! `warmd wait`: the gate before traffic.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use warmd::run::Request;

use crate::{
    cli::{run, warmd, write_job},
    daemon::eventually,
    servers,
    standstill::undisturbed,
    world::World,
};

/// A hundred users, each with a key; user 100 has no name.
const USERS: &str = "key = \"user:{user_id}\"\nttl = \"10m\"\n[targets]\nuser_id = { sql = \"SELECT id FROM people\" }\n\
                     [query]\nsql = \"SELECT id AS user_id, name FROM people WHERE id IN (:user_id) AND id < 100\"\n";

async fn world() -> World {
    let world = World::on(servers::sqlite().await).await;
    world
        .sql(
            "CREATE TABLE people (id INTEGER, name TEXT); INSERT INTO people WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL \
             SELECT id + 1 FROM n WHERE id < 100) SELECT id, 'x' FROM n",
        )
        .await;
    write_job(&world, "users.toml", USERS);
    world
}

fn started(world: &World, arguments: &[&str]) -> Child {
    let mut command: Command = warmd(world, &[&["wait", "--interval", "100ms"], arguments].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

async fn set(world: &World, ids: std::ops::RangeInclusive<u32>) {
    let mut pipe = redis::pipe();
    for id in ids {
        pipe.cmd("SET").arg(format!("t:user:{id}")).arg("x").arg("PX").arg(600_000).ignore();
    }
    pipe.query_async::<()>(&mut world.client().await).await.unwrap();
}

#[tokio::test]
async fn it_ends_when_the_share_of_keys_is_there_and_not_before() {
    let world = world().await;
    set(&world, 1..=94).await;
    let mut waiting = started(&world, &[]);
    let looks = async || {
        let stats: String = world.redis_command(&["INFO", "commandstats"]).await;
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_pttl:calls="));
        calls.map_or(0, |calls| calls.split(',').next().unwrap().parse::<u64>().unwrap()) / 100
    };
    eventually("three looks", async || looks().await >= 3).await;
    assert!(waiting.try_wait().unwrap().is_none(), "94 of 100 are not enough");
    set(&world, 95..=95).await;
    let (code, out, err) = ended(waiting);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("ready after ") && out.ends_with(": 1 job, 95 of 100 keys present\n"), "{out}");
    // Whatever it asked, it wrote nothing and took no lease.
    let stats: String = world.redis_command(&["INFO", "commandstats"]).await;
    for command in ["eval", "del", "info|", "strlen", "object"] {
        assert!(!stats.contains(&format!("cmdstat_{command}:")), "{stats}");
    }
    assert_eq!(world.keys().await.len(), 95);
}

#[tokio::test]
async fn when_the_time_is_over_a_line_for_each_job_says_how_far_it_is() {
    let world = world().await;
    let other = |name: &str, sql: &str| {
        write_job(
            &world,
            &format!("{name}.toml"),
            &USERS.replace("user:", &format!("{name}:")).replace("SELECT id FROM people", sql),
        );
    };
    other("nobody", "SELECT id FROM people WHERE id < 0");
    other("broken", "SELECT id FROM nowhere");
    set(&world, 1..=40).await;
    let began = Instant::now();
    let (code, out, err) = ended(started(&world, &["--timeout", "5s"]));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let lines: Vec<&str> = err.lines().collect();
    let [.., first, broken, nobody, users] = lines[..] else { panic!("{err}") };
    assert!(
        first.starts_with("not ready after ") && first.ends_with(", 95% of each job's keys must be present:"),
        "{err}"
    );
    assert!(broken.starts_with("broken: ") && broken.ends_with("no such table: nowhere"), "{err}");
    assert_eq!(nobody, "nobody: no targets, so there is nothing to wait for");
    assert_eq!(users, "users: 40 of 100 keys present, 40 %");
    let (code, out, err) = run(&world, &["wait", "users", "nobody", "--min", "40%", "--timeout", "0s"]);
    assert_eq!((code, err.as_str()), (Some(0), "nobody: no targets, so there is nothing to wait for\n"));
    assert!(out.ends_with(": 2 jobs, 40 of 100 keys present\n"), "{out}");
    let (code, out, _) = run(&world, &["wait", "--json", "--timeout", "0s"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["ready"], &json["min"]), (Some(1), &false.into(), &0.95.into()));
    let ready: Vec<&Value> = json["jobs"].as_array().unwrap().iter().map(|job| &job["ready"]).collect();
    assert_eq!(ready, [&Value::Bool(false), &true.into(), &false.into()]);
    assert_eq!((&json["jobs"][2]["present"], &json["jobs"][2]["share"]), (&40.into(), &0.4.into()));
    assert_eq!((&json["jobs"][0]["keys"], &json["jobs"][1]["keys"]), (&Value::Null, &0.into()));
}

#[tokio::test]
async fn keys_that_are_never_written_count_as_absent_and_a_lower_share_lets_them_be() {
    let world = world().await;
    assert_eq!(run(&world, &["warm"]).0, Some(0));
    assert_eq!(world.keys().await.len(), 99, "user 100 has nothing");
    assert_eq!(run(&world, &["wait", "--min", "100%", "--timeout", "0s"]).0, Some(1));
    assert_eq!(run(&world, &["wait", "--min", "99%", "--timeout", "0s"]).0, Some(0));
}

#[tokio::test]
async fn a_redis_and_a_table_that_come_later_are_waited_for() {
    let mut world = world().await;
    world.sql("ALTER TABLE people RENAME TO later").await;
    world.redis.server.kill();
    let mut waiting = started(&world, &["--timeout", "1m", "--log", "warn"]);
    let mut errors = BufReader::new(waiting.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(errors.next().unwrap().contains("no such table: people"));
    let socket = world.redis.socket.clone();
    world.redis.server.start();
    let is_there = async || std::os::unix::net::UnixStream::connect(&socket).is_ok();
    eventually("Redis", is_there).await;
    set(&world, 1..=100).await;
    assert!(waiting.try_wait().unwrap().is_none());
    world.sql("ALTER TABLE later RENAME TO people").await;
    let (code, out, err) = ended(waiting);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.ends_with(": 1 job, 100 of 100 keys present\n"), "{out}");
}

#[tokio::test]
async fn what_stays_out_of_reach_does_not_hold_it_longer_than_its_time() {
    undisturbed(async || {
        let world = world().await;
        for (option, url, said) in [
            ("--redis", "redis://127.0.0.1:1", "Redis at 127.0.0.1:1"),
            ("--database", "postgres://u@127.0.0.1:1/x", "127.0.0.1:1"),
        ] {
            let began = Instant::now();
            let (code, _, err) = ended(started(&world, &["--timeout", "5s", option, url]));
            assert_eq!(code, Some(1), "{err}");
            // All attempts of one look take longer, with the pauses between them.
            assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
            let last = err.lines().last().unwrap();
            assert!(last.starts_with("users: ") && last.contains(said), "{err}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_look_that_the_end_cuts_short_takes_nothing_from_what_was_known() {
    let server = servers::own_postgres(&[]).await;
    let world = World::on(server.database).await;
    write_job(&world, "users.toml", USERS);
    // Less than the ten seconds after which a look says that it has no answer.
    let mut waiting = started(&world, &["--timeout", "8s", "--log", "warn"]);
    let mut errors = BufReader::new(waiting.stderr.take().unwrap()).lines().map(Result::unwrap);
    let is_known = |line: &String| line.contains("relation \"people\" does not exist");
    assert!(errors.by_ref().any(|line| is_known(&line)));
    server.server.signal("STOP");
    let last = errors.last().unwrap();
    server.server.signal("CONT");
    assert_eq!(ended(waiting).0, Some(1));
    assert!(last.starts_with("users: ") && is_known(&last), "{last}");
}

#[tokio::test]
async fn wrong_words_end_it_at_once() {
    let world = world().await;
    for (arguments, code, said) in [
        (vec!["wait", "usres"], 64, "unknown job `usres`, did you mean `users`?"),
        (vec!["wait", "--min", "0.95"], 64, "bad share `0.95`: write for example `10%`"),
        (vec!["wait", "--min", "101%"], 64, "it must lie between 0% and 100%"),
        (vec!["wait", "--timeout", "90"], 64, "did you mean `90s` or `90m`?"),
        (vec!["wait", "--database", "oracle://x"], 78, "settings: `database.url`: "),
        (vec!["wait", "--jobs-dir", "/nowhere"], 78, "/nowhere: the folder of jobs cannot be read: "),
    ] {
        let (got, out, err) = run(&world, &arguments);
        assert_eq!((got, out.as_str()), (Some(code), ""), "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
}

#[tokio::test]
async fn a_look_counts_what_is_there_and_computes_nothing() {
    let world = world().await;
    let job = world.job(USERS);
    set(&world, 1..=30).await;
    let looked = world.run_as(&job, Request::look()).await;
    let counts = looked.counts;
    assert_eq!((counts.keys, counts.fresh, counts.missing, counts.written), (100, 30, 70, 70));
    assert_eq!((looked.queries, looked.bytes), (1, 0), "the targets, and no values");
    assert_eq!(world.keys().await.len(), 30);
}

#[tokio::test]
async fn keys_that_only_a_statement_or_events_name_are_looked_at_too() {
    let world = World::new().await;
    let products = "key = \"p:{id}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT id, name FROM products\"\n";
    let similar = "key = \"s:{product_id}\"\nttl = \"1h\"\n[similar]\nof = \"products\"\nlimit = 2\nevents = [ { sql = \"\"\"\
                   SELECT user_id, product_id, sold_at AS at FROM sales\"\"\" } ]\n";
    for (text, one) in [(products, "t:p:3"), (similar, "t:s:3")] {
        let job = world.job(text);
        let looked = world.run_as(&job, Request::look()).await.counts;
        assert_eq!((looked.keys, looked.missing, looked.written), (6, 6, 6), "{text}");
        assert_eq!(world.run(&job).await.counts.written, 6, "{text}");
        world.redis_command::<()>(&["DEL", one]).await;
        let looked = world.run_as(&job, Request::look()).await.counts;
        assert_eq!((looked.keys, looked.fresh, looked.missing), (6, 5, 1), "{text}");
    }
}
