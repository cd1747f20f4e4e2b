//! The users that the manual describes can do all that warmd does, and would not without any one of their rights. The
//! rights are read out of the manual.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
};

use chrono::{Duration, Utc};
use serde_json::Value;

use crate::{
    cli::{warmd, write_job},
    daemon::{Daemon, eventually},
    servers::{self, TestDatabase, execute, try_execute},
    world::World,
};

/// Long enough for a busy machine to renew it in time, short enough for a run of two seconds to renew it at all.
const LEASE: (&str, &str) = ("WARMD__SCHEDULER__LEASE", "5s");

const MANUAL: &str = include_str!("../../docs/operations.md");

/// The code blocks under a heading.
fn blocks(heading: &str) -> Vec<&'static str> {
    let (_, section) = MANUAL.split_once(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n### ").next().unwrap();
    // The first line of a block is its language.
    let block = |block: &'static str| block.split_once('\n').unwrap().1;
    section.split("```").skip(1).step_by(2).map(block).collect()
}

/// The manual's shop. One job reads each of the tables alone or together with others.
async fn shop(url: &str) {
    let day = |ago: i64| (Utc::now() - Duration::days(ago)).format("%Y-%m-%d %H:%M:%S");
    let orders = (1..=10).map(|order| format!("({order}, {}, '{}')", order % 5 + 1, day(order)));
    let items = (1..=10).flat_map(|order| [(order, order % 3 + 1), (order, 4)]);
    let sql = format!(
        "CREATE TABLE products (id BIGINT PRIMARY KEY, name VARCHAR(100), category VARCHAR(20));
         CREATE TABLE orders (id BIGINT PRIMARY KEY, customer_id BIGINT, placed_at TIMESTAMP);
         CREATE TABLE order_items (order_id BIGINT, product_id BIGINT);
         INSERT INTO products VALUES (1,'Pen','paper'),(2,'Pad','paper'),(3,'Ink','paper'),(4,'Cup','table');
         INSERT INTO orders VALUES {}; INSERT INTO order_items VALUES {};",
        orders.collect::<Vec<_>>().join(","),
        items.map(|(order, product)| format!("({order},{product})")).collect::<Vec<_>>().join(",")
    );
    execute(url, &sql).await;
}

/// A job of each kind; the first works for longer than a third of a lease, so that it renews its own.
fn write_jobs(world: &World) {
    let events = "events = [{ sql = \"SELECT customer_id AS user_id, product_id, placed_at AS at \
                  FROM orders JOIN order_items ON order_id = id WHERE placed_at >= :since\" }]\n\
                  products = \"SELECT id AS product_id, category, name FROM products WHERE id IN (:product_id)\"\n\
                  window = \"30d\"\n";
    let customers = "[targets]\nuser_id = { sql = \"SELECT DISTINCT customer_id FROM orders\" }\n";
    let jobs = [
        format!(
            "schedule = \"@every 5s\"\nkey = \"summary:{{user_id}}\"\n{customers}[query]\nsql = \"SELECT customer_id AS user_id, \
             count(*) AS orders FROM orders WHERE customer_id IN (:user_id) GROUP BY customer_id\"\n\
             [limits]\nbatch = 1\nkeys_per_second = 2\nconcurrency = 1\n"
        ),
        format!(
            "key = \"trending:{{category}}:{{limit}}\"\n[targets]\ncategory = {{ also = [\"None\", \"paper\"] }}\n[trending]\nlimit = 3\n{events}"
        ),
        format!(
            "prune = true\nkey = \"recommended:{{user_id}}:{{limit}}\"\n{customers}[recommend]\nlimit = 3\n{events}"
        ),
        format!("key = \"similar:{{product_id}}\"\n[similar]\nof = \"products\"\nlimit = 3\n{events}"),
    ];
    for (name, job) in ["summary", "trending", "recommended", "similar"].into_iter().zip(jobs) {
        write_job(world, &format!("{name}.toml"), &format!("ttl = \"10m\"\nrefresh = \"always\"\n{job}"));
    }
}

/// Settings beside those of the world.
type Variables<'v> = &'v [(&'v str, &'v str)];

/// What warmd says when it is not content.
fn complaint(world: &World, arguments: &[&str], variables: Variables<'_>) -> Option<String> {
    // Where a right is missing, nobody gives it back.
    let output = warmd(world, arguments).envs([LEASE]).envs(variables.iter().copied()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    // That the machine is busy is no complaint.
    let said: String = said.split_inclusive('\n').filter(|line| !line.contains(": backed off for ")).collect();
    (output.status.code() != Some(0) || !said.is_empty()).then(|| format!("{:?}: {said}", output.status.code()))
}

/// All that the manual says a user can do, done.
async fn does_everything(world: &World, variables: Variables<'_>) {
    for arguments in
        [["check", "--connect"].as_slice(), &["plan"], &["warm"], &["wait", "--min", "10%"], &["history"], &["jobs"]]
    {
        assert_eq!(complaint(world, arguments, variables), None, "{arguments:?}");
    }
    let output = warmd(world, &["warm", "--json"]).envs(variables.iter().copied()).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let runs = json["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 4);
    assert!(runs.iter().all(|run| run["outcome"] == "ok" && run["written"].as_i64() > Some(0)), "{json:#}");
    let summary = runs.iter().find(|run| run["job"] == "summary").unwrap();
    assert!(summary["seconds"].as_f64() > Some(1.7), "too short to renew a lease of five seconds: {summary:#}");
    let daemon = Daemon::start(world, "daemon", &[variables, &[LEASE]].concat()).ready();
    let ticked = async || {
        let output = warmd(world, &["history", "--json"]).envs(variables.iter().copied()).output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        json["runs"].as_array().unwrap().iter().any(|run| run["trigger"] == "schedule" && run["outcome"] == "ok")
    };
    eventually("a tick", ticked).await;
    assert_eq!(daemon.stop(), Some(0));
    let log = fs::read_to_string(world.folder().join("daemon.log")).unwrap();
    // A run that was going when it was told to stop is no complaint, nor is that a busy machine misses a tick.
    let is_complaint = |line: &&str| !line.contains("interrupted") && !line.contains(" is missed: ");
    let complaints: Vec<&str> = log.lines().filter(is_complaint).collect();
    assert_eq!(complaints, [""; 0]);
}

async fn world_on(database: TestDatabase) -> World {
    let world = World::on(database).await;
    write_jobs(&world);
    world
}

/// A world whose jobs warm within moments, for the many runs that are to fail.
fn hurry(world: &World) {
    let file = world.folder().join("summary.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(file, text.split("[limits]").next().unwrap()).unwrap();
}

#[tokio::test]
async fn the_postgres_user_of_the_manual_can_do_all_that_is_needed_and_no_more() {
    let database = servers::named(&servers::postgres().await, "shop").await;
    let owner = database.url.clone();
    execute(&owner, "REVOKE ALL ON DATABASE shop FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC").await;
    shop(&owner).await;
    let (user, history) = (blocks("PostgreSQL")[0], blocks("The history")[0]);
    execute(&owner, &format!("{user}{history}")).await;
    let world = world_on(database).await;
    let as_user = |name: &str| owner.replace("postgres@", &format!("{name}:secret@"));
    let (url, history_url) = (as_user("warmd"), as_user("warmd_history"));
    let variables = [("WARMD__DATABASE__URL", url.as_str()), ("WARMD__HISTORY__URL", &history_url)];
    does_everything(&world, &variables).await;
    let refused = try_execute(&url, "INSERT INTO products VALUES (9, 'x', 'y')").await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");

    // A schema that may not be used is as if it were empty.
    let is_about_rights =
        |said: &String| said.contains("permission denied") || said.contains("\"orders\" does not exist");
    hurry(&world);
    assert_eq!(complaint(&world, &["warm"], &variables), None);
    for grant in [user, history].iter().flat_map(|block| each_grant(block)) {
        let (rights, to) = grant.split_once(" TO ").unwrap();
        execute(&owner, &format!("REVOKE {rights} FROM {to}")).await;
        let complaint = complaint(&world, &["warm"], &variables);
        assert!(complaint.as_ref().is_some_and(is_about_rights), "{grant}: {complaint:?}");
        execute(&owner, &format!("GRANT {grant}")).await;
    }
    assert_eq!(complaint(&world, &["warm"], &variables), None);
}

#[tokio::test]
async fn the_mariadb_user_of_the_manual_can_do_all_that_is_needed_and_no_more() {
    let database = servers::named(&servers::mariadb().await, "shop").await;
    let owner = database.url.clone();
    shop(&owner).await;
    let (user, history) = (blocks("MySQL, MariaDB")[0], blocks("The history")[1]);
    execute(&owner, &format!("{user}{history}")).await;
    let world = world_on(database).await;
    let url = owner.replace("tester@", "warmd:secret@");
    let history_url = url.replace("warmd:", "warmd_history:").replace("/shop", "/warmd_history");
    let variables = [("WARMD__DATABASE__URL", url.as_str()), ("WARMD__HISTORY__URL", &history_url)];
    does_everything(&world, &variables).await;
    let refused = try_execute(&url, "INSERT INTO products VALUES (9, 'x', 'y')").await.unwrap_err();
    assert!(refused.to_string().contains("denied"), "{refused}");

    hurry(&world);
    assert_eq!(complaint(&world, &["warm"], &variables), None);
    for grant in [user, history].iter().flat_map(|block| each_grant(block)) {
        let (rights, to) = grant.split_once(" TO ").unwrap();
        execute(&owner, &format!("REVOKE {rights} FROM {to}")).await;
        let complaint = complaint(&world, &["warm"], &variables);
        assert!(complaint.as_ref().is_some_and(|said| said.contains("denied")), "{grant}: {complaint:?}");
        execute(&owner, &format!("GRANT {grant}")).await;
    }
    assert_eq!(complaint(&world, &["warm"], &variables), None);
}

/// The statements that grant something, one for each right and each table.
fn each_grant(block: &str) -> Vec<String> {
    let grants = block.lines().filter_map(|line| line.strip_prefix("GRANT ")?.strip_suffix(';'));
    let single = grants.flat_map(|grant| {
        let (rights, rest) = grant.split_once(" ON ").unwrap();
        let (on, to) = rest.split_once(" TO ").unwrap();
        let pairs = rights.split(", ").flat_map(move |right| on.split(", ").map(move |on| (right, on)));
        pairs.map(|(right, on)| format!("{right} ON {on} TO {to}")).collect::<Vec<_>>()
    });
    let grants: Vec<String> = single.collect();
    assert!(!grants.is_empty(), "{block}");
    grants
}

#[tokio::test]
async fn the_redis_user_of_the_manual_can_do_all_that_is_needed_and_no_more() {
    redis_user(blocks("Redis")[0], "shop:").await;
}

#[tokio::test]
async fn the_redis_user_for_keys_without_a_prefix_can_do_all_that_is_needed_and_no_more() {
    redis_user(blocks("Redis")[1], "").await;
}

async fn redis_user(rule: &str, prefix: &str) {
    let database = servers::sqlite().await;
    shop(&database.url).await;
    let world = world_on(database).await;
    let url = format!("{}?user=warmd&pass=secret&db=1", world.redis.url);
    let variables = [("WARMD__REDIS__URL", url.as_str()), ("WARMD__REDIS__KEY_PREFIX", prefix)];
    let words: Vec<&str> = rule.split_whitespace().collect();
    world.redis_command::<String>(&words).await;
    does_everything(&world, &variables).await;
    assert_eq!(denied(&world).await, [""; 0]);

    let rights: Vec<&str> = words.iter().copied().filter(|word| word.starts_with(['+', '~'])).collect();
    assert!(rights.len() > 7, "{rights:?}");
    for right in rights {
        let fewer: Vec<&str> = words.iter().copied().filter(|word| *word != right).collect();
        world.redis_command::<String>(&fewer).await;
        outdated_key(&world, prefix).await;
        if right.contains("idletime") {
            // Younger keys are not looked at, and the clock by which Redis tells the age has whole seconds.
            eventually("some age", async || idle(&world, prefix).await >= 4).await;
        }
        let complaint = complaint(&world, &["warm"], &variables);
        let denied = denied(&world).await;
        // The server tells the command that it refused, or the key.
        let stem = right.trim_matches(['+', '~', '*']);
        assert!(denied.iter().any(|denied| denied.starts_with(stem)), "{right}: {denied:?}, {complaint:?}");
        let note = "to which no target leads any more";
        assert!(complaint.is_some_and(|said| said.lines().any(|line| !line.contains(note))), "{right} is not missed");
    }
}

/// Seconds since anybody had to do with one of the keys.
async fn idle(world: &World, prefix: &str) -> u64 {
    let mut commands = redis::pipe();
    commands.cmd("SELECT").arg(1).ignore().cmd("OBJECT").arg("IDLETIME").arg(format!("{prefix}recommended:1:3"));
    let (idle,): (u64,) = commands.query_async(&mut world.client().await).await.unwrap();
    idle
}

/// One that the next run of a job removes.
async fn outdated_key(world: &World, prefix: &str) {
    let (index, key) = (format!("{prefix}warmd:{{recommended}}:keys"), format!("{prefix}recommended:gone:3"));
    let mut commands = redis::pipe();
    commands
        .cmd("SELECT")
        .arg(1)
        .cmd("ZADD")
        .arg(index)
        .arg(1)
        .arg(&key)
        .cmd("SET")
        .arg(&key)
        .arg("[]")
        .arg("EX")
        .arg(99);
    commands.query_async::<()>(&mut world.client().await).await.unwrap();
}

#[tokio::test]
async fn sqlite_takes_permission_to_read_the_file_and_in_wal_mode_to_write_its_folder() {
    let world = world_on(servers::sqlite().await).await;
    hurry(&world);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.sqlite");
    let url = format!("sqlite://{}", file.display());
    let allow = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    // Whoever runs the tests, the program runs as somebody who is not above permissions.
    let program = world.folder().join("warmd");
    fs::copy(env!("CARGO_BIN_EXE_warmd"), &program).unwrap();
    allow(world.folder(), 0o755);
    allow(world.redis.socket.parent().unwrap(), 0o755);
    allow(&world.redis.socket, 0o777);
    let warm = || {
        let mut command = Command::new(&program);
        command.args(["warm"]).envs(warmd(&world, &[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("WARMD__DATABASE__URL", &url).env("WARMD__HISTORY__ENABLED", "false");
        if let Some((user, group)) = servers::unprivileged("nobody") {
            command.uid(user).gid(group);
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };

    fs::File::create(&file).unwrap();
    shop(&url).await;
    allow(&file, 0o444);
    allow(folder.path(), 0o555);
    assert_eq!(warm(), (Some(0), String::new()));
    allow(&file, 0o000);
    let (code, said) = warm();
    assert!(code == Some(69) && said.contains("shop.sqlite"), "{code:?}: {said}");

    allow(&file, 0o644);
    allow(folder.path(), 0o755);
    execute(&url, "PRAGMA journal_mode = WAL").await;
    // The connection that made it so ends in its own time, and takes its two files along.
    eventually("the end of the log", async || fs::read_dir(folder.path()).unwrap().count() == 1).await;
    allow(&file, 0o444);
    allow(folder.path(), 0o555);
    let (code, said) = warm();
    assert!(code == Some(1) && said.contains("in WAL mode SQLite must write"), "{code:?}: {said}");
    allow(folder.path(), 0o777);
    assert_eq!(warm(), (Some(0), String::new()));
}

/// What the server has refused since the last time.
async fn denied(world: &World) -> Vec<String> {
    let log: Vec<Vec<redis::Value>> = world.redis_command(&["ACL", "LOG"]).await;
    world.redis_command::<String>(&["ACL", "LOG", "RESET"]).await;
    let object = |entry: &Vec<redis::Value>| {
        let pairs = entry.chunks(2).map(|pair| pair.iter().map(redis::from_redis_value_ref::<String>));
        let mut pairs = pairs.filter_map(|mut pair| Some((pair.next()?.ok()?, pair.next()?.ok()?)));
        pairs.find(|(name, _)| name == "object").unwrap().1
    };
    log.iter().map(object).collect()
}
