//! Real servers for the tests: started on demand, once for each test process, and gone with it.
//!
//! A server runs under a small shell that holds the other end of a pipe. When the test process ends, in whatever way,
//! the pipe closes, and the shell kills the server and removes its folder.

use std::{
    env, fs, io,
    net::TcpListener,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Connection as _};
use tempfile::TempDir;
use tokio::{sync::OnceCell, time::sleep};

/// How long a server may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Setting up may have children of its own, which the group's TERM ends; the shell does not heed it by then.
const SUPERVISOR: &str = r#"
folder=$1 signal=$2 setup=$3
shift 3
(
    eval "$setup" || { echo "setup failed"; exit 1; }
    : >"$folder/started"
    exec "$@"
) </dev/null >"$folder/log" 2>&1 &
cat >/dev/null
trap '' TERM
kill -s "$signal" $!
kill -s TERM 0
wait
[ -e "$folder/started" ] || sleep 1
rm -rf "$folder"
"#;

const SET_UP_POSTGRES: &str = r#"
"$programs/initdb" --pgdata "$folder/data" --username postgres --auth trust --encoding UTF8 --no-locale --no-sync &&
printf '%s\n' "host all locked 127.0.0.1/32 scram-sha-256" "local all all trust" "host all all 127.0.0.1/32 trust" \
    >"$folder/data/pg_hba.conf"
"#;

const SET_UP_MARIADB: &str = r#"
mariadb-install-db --no-defaults --datadir="$folder/data" --auth-root-authentication-method=normal \
    --skip-test-db --skip-name-resolve
"#;

/// A database of a test's own.
pub struct TestDatabase {
    pub url: String,
    _folder: Option<TempDir>,
}

/// A Redis server of a test's own, so that it may flush, configure and stop it.
pub struct TestRedis {
    pub url: String,
    pub socket: PathBuf,
    _server: Server,
}

struct Server {
    supervisor: Child,
    folder: PathBuf,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}

/// A fresh PostgreSQL database; trust for everyone but the user `locked`, whose password is `right`.
pub async fn postgres() -> TestDatabase {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    let server = SERVER.get_or_init(start_postgres).await;
    let base = format!("postgres://postgres@127.0.0.1:{}", server.port);
    let name = fresh_name();
    execute(&format!("{base}/postgres"), &format!("CREATE DATABASE {name}")).await;
    TestDatabase { url: format!("{base}/{name}"), _folder: None }
}

/// A fresh MariaDB database; the user `locked` has the password `right`, the user `warmd` has none and all rights.
pub async fn mariadb() -> TestDatabase {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    let server = SERVER.get_or_init(start_mariadb).await;
    let base = format!("mysql://warmd@127.0.0.1:{}", server.port);
    let name = fresh_name();
    execute(&base, &format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await;
    TestDatabase { url: format!("{base}/{name}"), _folder: None }
}

/// A fresh, empty SQLite file.
pub async fn sqlite() -> TestDatabase {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.sqlite");
    fs::File::create(&file).unwrap();
    TestDatabase { url: format!("sqlite://{}", file.display()), _folder: Some(folder) }
}

/// A fresh Redis server on a socket.
pub async fn redis() -> TestRedis {
    let folder = own_folder(None);
    let socket = folder.join("redis.sock");
    let command = [
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        path(&socket),
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        path(&folder),
    ];
    let server = supervise(&folder, "KILL", None, 0, "true", &command);
    wait_until(&server, || {
        let socket = socket.clone();
        async move { std::os::unix::net::UnixStream::connect(socket).is_ok() }
    })
    .await
    .unwrap();
    TestRedis { url: format!("redis+unix://{}", socket.display()), socket, _server: server }
}

/// Runs SQL, any number of statements, with all rights.
pub async fn execute(url: &str, sql: &str) {
    try_execute(url, sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
}

async fn try_execute(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    match url.split_once(':').unwrap().0 {
        "postgres" => _ = sql.execute(&mut sqlx::PgConnection::connect(url).await?).await?,
        "mysql" => _ = sql.execute(&mut sqlx::MySqlConnection::connect(url).await?).await?,
        "sqlite" => _ = sql.execute(&mut sqlx::SqliteConnection::connect(url).await?).await?,
        scheme => panic!("no such engine: {scheme}"),
    }
    Ok(())
}

fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn start_postgres() -> Server {
    let user = unprivileged("postgres");
    let programs = newest_postgres();
    on_free_port(async |port| {
        let folder = own_folder(user);
        let data = folder.join("data");
        let server = path(&programs.join("postgres")).to_owned();
        let port_text = port.to_string();
        let sockets = format!("unix_socket_directories={}", folder.display());
        let command = [
            &server,
            "-D",
            path(&data),
            "-p",
            &port_text,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            &sockets,
            "-c",
            "fsync=off",
            "-c",
            "synchronous_commit=off",
            "-c",
            "full_page_writes=off",
            "-c",
            "max_connections=200",
        ];
        // QUIT is an immediate shutdown, which takes the server's own children along.
        let server = supervise(&folder, "QUIT", user, port, SET_UP_POSTGRES, &command);
        let url = format!("postgres://postgres@{}:{port}/postgres", path(&folder).replace('/', "%2F"));
        let locked = "CREATE ROLE locked LOGIN PASSWORD 'right'";
        wait_until(&server, || async { try_execute(&url, locked).await.is_ok() }).await.map(|()| server)
    })
    .await
}

async fn start_mariadb() -> Server {
    let user = unprivileged("mysql");
    on_free_port(async |port| {
        let folder = own_folder(user);
        let data = format!("--datadir={}", folder.join("data").display());
        let socket = folder.join("mariadb.sock");
        let socket_option = format!("--socket={}", socket.display());
        let port_option = format!("--port={port}");
        let pid_option = format!("--pid-file={}", folder.join("pid").display());
        let command = [
            "mariadbd",
            "--no-defaults",
            &data,
            &socket_option,
            &port_option,
            &pid_option,
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
            "--innodb-buffer-pool-size=64M",
            "--max-connections=200",
        ];
        let server = supervise(&folder, "KILL", user, port, SET_UP_MARIADB, &command);
        let url = format!("mysql://root@localhost/mysql?socket={}", socket.display());
        let users = "CREATE USER warmd@'%'; GRANT ALL ON *.* TO warmd@'%'; \
                     CREATE USER locked@'%' IDENTIFIED BY 'right'";
        wait_until(&server, || async { try_execute(&url, users).await.is_ok() }).await.map(|()| server)
    })
    .await
}

/// Starts a server on a port that was free a moment ago, again when another process was faster.
async fn on_free_port(start: impl AsyncFn(u16) -> Result<Server, String>) -> Server {
    for _ in 0..5 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        match start(port).await {
            Ok(server) => return server,
            Err(log) if log.contains("already in use") => {}
            Err(log) => panic!("the server does not start:\n{log}"),
        }
    }
    panic!("no free port");
}

/// Asks until the answer is yes. Only the server's own socket is asked: on its port, another server may be.
async fn wait_until<F: Future<Output = bool>>(server: &Server, ready: impl Fn() -> F) -> Result<(), String> {
    let deadline = Instant::now() + START;
    while !ready().await {
        let log = fs::read_to_string(server.folder.join("log")).unwrap_or_default();
        let hopeless = ["already in use", "setup failed"].iter().any(|words| log.contains(words));
        if hopeless || Instant::now() > deadline {
            return Err(log);
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn supervise(
    folder: &Path,
    signal: &str,
    user: Option<(u32, u32)>,
    port: u16,
    setup: &str,
    command: &[&str],
) -> Server {
    let mut supervisor = Command::new("sh");
    supervisor.args(["-c", SUPERVISOR, "supervisor", path(folder), signal, setup]).args(command);
    supervisor.env("programs", newest_postgres()).current_dir(folder);
    supervisor.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // A process group of its own: Ctrl-C is for the tests, which then close the pipe.
    supervisor.process_group(0);
    if let Some((user, group)) = user {
        supervisor.uid(user).gid(group);
    }
    let supervisor = supervisor.spawn().unwrap();
    Server { supervisor, folder: folder.to_owned(), port }
}

/// The user that a server runs as when the tests run as root, which PostgreSQL refuses.
fn unprivileged(name: &str) -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find(name).or_else(|| find("nobody"))
}

/// A folder that its server's supervisor removes.
fn own_folder(user: Option<(u32, u32)>) -> PathBuf {
    let folder = tempfile::Builder::new().prefix("warmd-").tempdir().unwrap().keep();
    if let Some((user, group)) = user {
        std::os::unix::fs::chown(&folder, Some(user), Some(group)).unwrap();
    }
    folder
}

/// Debian keeps the servers of each version out of the path.
fn newest_postgres() -> PathBuf {
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let installed = fs::read_dir("/usr/lib/postgresql").map(|entries| entries.flatten().map(|entry| entry.path()));
    let newest = installed.into_iter().flatten().filter(|path| version(path).is_some()).max_by_key(version);
    if let Some(newest) = newest {
        return newest.join("bin");
    }
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).find(|path| path.join("initdb").exists()).unwrap_or_default()
}

fn path(path: &Path) -> &str {
    path.to_str().ok_or_else(|| io::Error::other("not UTF-8")).unwrap()
}

#[tokio::test]
async fn a_redis_server_is_its_tests_own_and_ends_with_it() {
    use std::os::unix::net::UnixStream;
    let (mine, other) = (redis().await, redis().await);
    let client = ::redis::Client::open(mine.url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let _: () = ::redis::cmd("SET").arg("a").arg(1).query_async(&mut connection).await.unwrap();
    let other_client = ::redis::Client::open(other.url.as_str()).unwrap();
    let mut other_connection = other_client.get_multiplexed_async_connection().await.unwrap();
    let keys: u32 = ::redis::cmd("DBSIZE").query_async(&mut other_connection).await.unwrap();
    assert_eq!(keys, 0);
    let socket = mine.socket.clone();
    assert!(UnixStream::connect(&socket).is_ok());
    drop(mine);
    assert!(UnixStream::connect(&socket).is_err());
    assert!(!socket.parent().unwrap().exists());
}
