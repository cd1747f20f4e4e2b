//! A Redis of the demo's own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    net::UnixStream,
    process::{Child, Command},
};

/// A server that listens on a socket in the demo's folder and ends with this value.
pub(super) struct Server {
    program: &'static str,
    socket: PathBuf,
    _process: Child,
}

/// A server that does not listen by then will not.
const PATIENCE: Duration = Duration::from_secs(5);

impl Server {
    /// Starts the first server found on the PATH; `None` when there is none, or none that starts.
    pub async fn start(folder: &Path) -> Option<Self> {
        for program in ["redis-server", "valkey-server"] {
            let socket = folder.join("redis.sock");
            let process = Command::new(program)
                .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no", "--unixsocket"])
                .arg(&socket)
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn();
            let Ok(mut process) = process else { continue };
            let began = Instant::now();
            while began.elapsed() < PATIENCE && matches!(process.try_wait(), Ok(None)) {
                if UnixStream::connect(&socket).await.is_ok() {
                    return Some(Self { program, socket, _process: process });
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        None
    }

    pub fn program(&self) -> &'static str {
        self.program
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }
}
