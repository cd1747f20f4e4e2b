//! Real servers for the tests: started on demand, once for each test process, and gone with it.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection as _};
use tempfile::TempDir;
use tokio::sync::OnceCell;

mod authority;
mod supervisor;

pub use authority::{Authority, Certificate};
pub use supervisor::{Server, unprivileged};

use supervisor::{newest_postgres, on_free_port, own_folder, path, supervise, wait_until};

use crate::standstill;

const SET_UP_POSTGRES: &str = r#"
"$programs/initdb" --pgdata "$folder/data" --username postgres --auth trust --encoding UTF8 --no-locale --no-sync &&
printf '%s\n' "hostssl all certified 127.0.0.1/32 scram-sha-256 clientcert=verify-full" \
    "host all locked,warmd 127.0.0.1/32 scram-sha-256" "local all,replication all trust" \
    "host all all 127.0.0.1/32 trust" \
    >"$folder/data/pg_hba.conf"
"#;

const SET_UP_MARIADB: &str = r#"
mariadb-install-db --no-defaults --datadir="$folder/data" --auth-root-authentication-method=normal \
    --skip-test-db --skip-name-resolve --tmpdir="$folder"
"#;

/// A database of a test's own.
pub struct TestDatabase {
    pub url: String,
    _folder: Option<TempDir>,
}

/// A server of a test's own with a certificate for `localhost`, reached there and, by another name, at 127.0.0.1.
pub struct TlsServer {
    pub port: u16,
    /// The URL of its socket, where its administrator needs neither TLS nor a password.
    pub administrator: String,
    /// What it shows to clients; the names of these files are its own.
    pub certificate: Certificate,
    _server: Server,
}

/// A Redis server of a test's own, so that it may flush, configure and stop it.
pub struct TestRedis {
    pub url: String,
    pub socket: PathBuf,
    pub server: Server,
}

/// A database server of a test's own, which it may kill.
pub struct OwnServer {
    pub database: TestDatabase,
    /// The URL of its socket.
    pub administrator: String,
    pub server: Server,
}

/// A fresh PostgreSQL database; trust for everyone but the user `locked`, whose password is `right`, and `warmd`, whom a
/// test may create.
pub async fn postgres() -> TestDatabase {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    let server = SERVER.get_or_init(|| start_postgres(&[])).await;
    let base = format!("postgres://postgres@127.0.0.1:{}", server.port);
    let name = fresh_name();
    execute(&format!("{base}/postgres"), &format!("CREATE DATABASE {name}")).await;
    TestDatabase { url: format!("{base}/{name}"), _folder: None }
}

/// A fresh MariaDB database; the user `locked` has the password `right`, the user `tester` has none and all rights.
pub async fn mariadb() -> TestDatabase {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    let server = SERVER.get_or_init(|| start_mariadb(&[])).await;
    let base = format!("mysql://tester@127.0.0.1:{}", server.port);
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

/// A fresh Redis server on a socket; whoever kills it and starts it again finds it empty.
pub async fn redis() -> TestRedis {
    redis_with(&["--appendonly", "no"]).await
}

/// The same with data that survive.
pub async fn durable_redis() -> TestRedis {
    redis_with(&["--appendonly", "yes", "--appendfsync", "always"]).await
}

/// A plain connection to a Redis, as any application has, but for its patience: half a second is the driver's, which a busy
/// machine may need.
pub async fn redis_client(url: &str) -> ::redis::aio::MultiplexedConnection {
    standstill::step();
    let patience = ::redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(60)))
        .set_response_timeout(Some(Duration::from_secs(60)));
    let client = ::redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection_with_config(&patience).await.unwrap()
}

async fn redis_with(options: &[&str]) -> TestRedis {
    let folder = own_folder(None);
    let socket = folder.join("redis.sock");
    let command = ["redis-server", "--port", "0", "--unixsocket", path(&socket), "--save", "", "--dir", path(&folder)];
    let command: Vec<&str> = command.into_iter().chain(options.iter().copied()).collect();
    let server = supervise(&folder, "KILL", None, 0, "true", &command);
    wait_until(&server, || {
        let socket = socket.clone();
        async move { std::os::unix::net::UnixStream::connect(socket).is_ok() }
    })
    .await
    .unwrap();
    TestRedis { url: format!("redis+unix://{}", socket.display()), socket, server }
}

/// A PostgreSQL server of the test's own, with a database in it.
pub async fn own_postgres(options: &[String]) -> OwnServer {
    own(start_postgres(options).await)
}

fn own(server: Server) -> OwnServer {
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port);
    OwnServer { database: TestDatabase { url, _folder: None }, administrator: postgres_socket(&server), server }
}

/// A replica of another server of the test's own.
pub async fn postgres_replica(primary: &OwnServer) -> OwnServer {
    let set_up = format!(
        "\"$programs/pg_basebackup\" --pgdata \"$folder/data\" --host '{}' --port {} --username postgres \
         --write-recovery-conf --checkpoint fast --no-sync",
        path(&primary.server.folder),
        primary.server.port
    );
    own(start_postgres_set_up_by(&set_up, "SELECT 1", &[]).await)
}

/// A MariaDB server of the test's own, with a database in it.
pub async fn own_mariadb(options: &[String]) -> OwnServer {
    let server = start_mariadb(options).await;
    let administrator = mariadb_socket(&server);
    execute(&administrator, "CREATE DATABASE shop CHARACTER SET utf8mb4").await;
    let url = format!("mysql://tester@127.0.0.1:{}/shop", server.port);
    OwnServer { database: TestDatabase { url, _folder: None }, administrator, server }
}

/// A database of this name on the same server.
pub async fn named(database: &TestDatabase, name: &str) -> TestDatabase {
    execute(&database.url, &format!("CREATE DATABASE {name}")).await;
    let base = database.url.rsplit_once('/').unwrap().0;
    TestDatabase { url: format!("{base}/{name}"), _folder: None }
}

/// Runs SQL, any number of statements, with all rights.
pub async fn execute(url: &str, sql: &str) {
    try_execute(url, sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
}

/// The same, where it may fail.
pub async fn try_execute(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    standstill::step();
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    match url.split_once(':').unwrap().0 {
        "postgres" => _ = sql.execute(&mut sqlx::PgConnection::connect(url).await?).await?,
        "mysql" => _ = sql.execute(&mut sqlx::MySqlConnection::connect(url).await?).await?,
        "sqlite" => _ = sql.execute(&mut sqlx::SqliteConnection::connect(url).await?).await?,
        scheme => panic!("no such engine: {scheme}"),
    }
    Ok(())
}

/// The number that a statement gives.
pub async fn number(url: &str, sql: &str) -> Result<i64, sqlx::Error> {
    standstill::step();
    let sql = AssertSqlSafe(sql.to_owned());
    match url.split_once(':').unwrap().0 {
        "postgres" => sqlx::query_scalar(sql).fetch_one(&mut sqlx::PgConnection::connect(url).await?).await,
        "mysql" => sqlx::query_scalar(sql).fetch_one(&mut sqlx::MySqlConnection::connect(url).await?).await,
        scheme => panic!("nobody asks {scheme}"),
    }
}

fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A PostgreSQL server that takes client certificates of the same authority, and asks the user `certified` for one.
pub async fn postgres_with_tls(authority: &Authority) -> TlsServer {
    let certificate = authority.issue_to("postgres", "localhost");
    let options = [
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", certificate.certificate),
        format!("ssl_key_file={}", certificate.key),
        format!("ssl_ca_file={}", authority.certificate()),
    ];
    let server = start_postgres(&options).await;
    TlsServer { port: server.port, administrator: postgres_socket(&server), certificate, _server: server }
}

fn postgres_socket(server: &Server) -> String {
    format!("postgres://postgres@{}:{}/postgres", path(&server.folder).replace('/', "%2F"), server.port)
}

/// A MariaDB server that takes client certificates of the same authority.
pub async fn mariadb_with_tls(authority: &Authority) -> TlsServer {
    let certificate = authority.issue_to("mysql", "localhost");
    let options = [
        format!("--ssl-cert={}", certificate.certificate),
        format!("--ssl-key={}", certificate.key),
        format!("--ssl-ca={}", authority.certificate()),
    ];
    let server = start_mariadb(&options).await;
    TlsServer { port: server.port, administrator: mariadb_socket(&server), certificate, _server: server }
}

fn mariadb_socket(server: &Server) -> String {
    format!("mysql://root@localhost/mysql?socket={}", server.folder.join("mariadb.sock").display())
}

/// A Redis server that takes client certificates of the same authority, and asks for none.
pub async fn redis_with_tls(authority: &Authority) -> TlsServer {
    let certificate = authority.issue("localhost");
    let server = on_free_port(async |port| {
        let folder = own_folder(None);
        let socket = folder.join("redis.sock");
        let (port_text, authority) = (port.to_string(), authority.certificate());
        let command = [
            "redis-server",
            "--bind",
            "127.0.0.1",
            "--port",
            "0",
            "--tls-port",
            &port_text,
            "--tls-cert-file",
            &certificate.certificate,
            "--tls-key-file",
            &certificate.key,
            "--tls-ca-cert-file",
            &authority,
            "--tls-auth-clients",
            "optional",
            "--unixsocket",
            path(&socket),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            path(&folder),
        ];
        let server = supervise(&folder, "KILL", None, port, "true", &command);
        let listens = || async { std::os::unix::net::UnixStream::connect(&socket).is_ok() };
        wait_until(&server, listens).await.map(|()| server)
    })
    .await;
    let administrator = format!("redis+unix://{}", server.folder.join("redis.sock").display());
    TlsServer { port: server.port, administrator, certificate, _server: server }
}

/// The driver of Debian's Chromium, whose port it chooses itself. Browsers that a test leaves end with it.
pub async fn chromedriver() -> &'static Server {
    static DRIVER: OnceCell<Server> = OnceCell::const_new();
    DRIVER.get_or_init(start_chromedriver).await
}

async fn start_chromedriver() -> Server {
    let folder = own_folder(None);
    let log = folder.join("log");
    let mut server = supervise(&folder, "TERM", None, 0, "true", &["chromedriver", "--port=0"]);
    let port = || {
        fs::read_to_string(&log)
            .unwrap_or_default()
            .split_once("started successfully on port ")?
            .1
            .split('.')
            .next()?
            .parse()
            .ok()
    };
    wait_until(&server, || async { port().is_some() })
        .await
        .unwrap_or_else(|log| panic!("chromedriver does not start:\n{log}"));
    server.port = port().unwrap();
    server
}

async fn start_postgres(options: &[String]) -> Server {
    start_postgres_set_up_by(SET_UP_POSTGRES, "CREATE ROLE locked LOGIN PASSWORD 'right'", options).await
}

/// A server whose folder `set_up` makes, and which is there when it can do what `first` says.
async fn start_postgres_set_up_by(set_up: &str, first: &str, options: &[String]) -> Server {
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
        let options = options.iter().flat_map(|option| ["-c", option]);
        let command: Vec<&str> = command.into_iter().chain(options).collect();
        // QUIT is an immediate shutdown, which takes the server's own children along.
        let server = supervise(&folder, "QUIT", user, port, set_up, &command);
        let url = postgres_socket(&server);
        wait_until(&server, || async { try_execute(&url, first).await.is_ok() }).await.map(|()| server)
    })
    .await
}

async fn start_mariadb(options: &[String]) -> Server {
    let user = unprivileged("mysql");
    on_free_port(async |port| {
        let folder = own_folder(user);
        let data = format!("--datadir={}", folder.join("data").display());
        let socket_option = format!("--socket={}", folder.join("mariadb.sock").display());
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
        let command: Vec<&str> = command.into_iter().chain(options.iter().map(String::as_str)).collect();
        let server = supervise(&folder, "KILL", user, port, SET_UP_MARIADB, &command);
        let url = mariadb_socket(&server);
        let users = "CREATE USER tester@'%'; GRANT ALL ON *.* TO tester@'%' WITH GRANT OPTION; \
                     CREATE USER locked@'%' IDENTIFIED BY 'right'";
        wait_until(&server, || async { try_execute(&url, users).await.is_ok() }).await.map(|()| server)
    })
    .await
}

#[tokio::test]
async fn a_redis_server_is_its_tests_own_and_ends_with_it() {
    use std::os::unix::net::UnixStream;
    let (mine, other) = (redis().await, redis().await);
    let mut connection = redis_client(&mine.url).await;
    let _: () = ::redis::cmd("SET").arg("a").arg(1).query_async(&mut connection).await.unwrap();
    let mut other_connection = redis_client(&other.url).await;
    let keys: u32 = ::redis::cmd("DBSIZE").query_async(&mut other_connection).await.unwrap();
    assert_eq!(keys, 0);
    let socket = mine.socket.clone();
    assert!(UnixStream::connect(&socket).is_ok());
    drop(mine);
    assert!(UnixStream::connect(&socket).is_err());
    assert!(!socket.parent().unwrap().exists());
}
