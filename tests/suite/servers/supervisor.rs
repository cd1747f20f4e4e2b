//! Processes that end with the tests.
//!
//! A server runs under a small shell that holds the other end of a pipe. When the test process ends, in whatever way,
//! the pipe closes, and the shell kills the server and removes its folder.

use std::{
    env, fs,
    io::{self, Write as _},
    net::TcpListener,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::standstill;

/// How long a server may take to start or to die on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Setting up may have children of its own, which the group's TERM ends; the shell does not heed it by then.
const SUPERVISOR: &str = r#"
folder=$1 signal=$2 setup=$3
shift 3
# It notes its id before it is the server: whoever has an answer of that can send it signals.
server='echo $$ >"$0/process"; exec "$@"'
(
    eval "$setup" || { echo "setup failed"; exit 1; }
    : >"$folder/started"
    exec sh -c "$server" "$folder" "$@"
) </dev/null >"$folder/log" 2>&1 &
# Each line starts a server again that was killed.
while read -r _; do
    wait
    sh -c "$server" "$folder" "$@" </dev/null >>"$folder/log" 2>&1 &
done
trap '' TERM
kill -s "$signal" $!
kill -s TERM 0
wait
[ -e "$folder/started" ] || sleep 1
rm -rf "$folder"
"#;

/// A server that ends with this value, or with the test process.
pub struct Server {
    supervisor: Child,
    pub(super) folder: PathBuf,
    pub(super) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}

impl Server {
    /// Where it listens, for servers with a port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends a signal to the server and all its children.
    pub fn signal(&self, name: &str) {
        self.send(name);
    }

    /// The same; whom it was sent to.
    fn send(&self, name: &str) -> Vec<u32> {
        standstill::step();
        let id = fs::read_to_string(self.folder.join("process")).unwrap();
        let processes = with_children(id.trim().parse().unwrap());
        let mut command = Command::new("kill");
        command.args(["-s", name]).args(processes.iter().map(u32::to_string));
        // A child may end by itself, or because of the one before.
        command.stderr(Stdio::null()).status().unwrap();
        processes
    }

    /// Kills it as a power cut does, and waits until it is dead: until then it may answer. It can be started again.
    pub fn kill(&self) {
        let killed = self.send("KILL");
        let began = Instant::now();
        while !killed.iter().copied().all(is_dead) {
            assert!(began.elapsed() < PATIENCE, "{killed:?}: killed, and not dead");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Starts it again, with the data that it left.
    pub fn start(&mut self) {
        self.supervisor.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

/// A process and the children that it has now.
fn with_children(id: u32) -> Vec<u32> {
    let parent = |stat: &str| stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok();
    let children = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let child = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        (parent(&stat) == Some(id)).then_some(child)
    });
    std::iter::once(id).chain(children).collect()
}

/// Whether none of its threads lives: with the last one its sockets are closed. Until somebody has waited for it, a
/// dead process is still listed.
fn is_dead(id: u32) -> bool {
    let Ok(mut threads) = fs::read_dir(format!("/proc/{id}/task")).map(Iterator::flatten) else { return true };
    let state = |stat: &str| stat.rsplit_once(") ")?.1.chars().next();
    threads.all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).ok();
        stat.is_none_or(|stat| matches!(state(&stat), Some('Z' | 'X')))
    })
}

/// Starts a server on a port that was free a moment ago, again when another process was faster.
pub(super) async fn on_free_port(start: impl AsyncFn(u16) -> Result<Server, String>) -> Server {
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
pub(super) async fn wait_until<F: Future<Output = bool>>(server: &Server, ready: impl Fn() -> F) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
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

pub(super) fn supervise(
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
pub fn unprivileged(name: &str) -> Option<(u32, u32)> {
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
pub(super) fn own_folder(user: Option<(u32, u32)>) -> PathBuf {
    let folder = tempfile::Builder::new().prefix("warmd-").tempdir().unwrap().keep();
    if let Some((user, group)) = user {
        std::os::unix::fs::chown(&folder, Some(user), Some(group)).unwrap();
    }
    folder
}

/// Debian keeps the servers of each version out of the path.
pub(super) fn newest_postgres() -> PathBuf {
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let installed = fs::read_dir("/usr/lib/postgresql").map(|entries| entries.flatten().map(|entry| entry.path()));
    let newest = installed.into_iter().flatten().filter(|path| version(path).is_some()).max_by_key(version);
    if let Some(newest) = newest {
        return newest.join("bin");
    }
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).find(|path| path.join("initdb").exists()).unwrap_or_default()
}

pub(super) fn path(path: &Path) -> &str {
    path.to_str().ok_or_else(|| io::Error::other("not UTF-8")).unwrap()
}
