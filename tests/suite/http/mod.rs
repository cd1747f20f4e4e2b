//! The daemon over HTTP: a real `warmd run`, asked through real sockets.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tokio::net::TcpSocket;

use crate::{
    cli::{warmd, write_job},
    daemon::Daemon,
    standstill,
    world::World,
};

mod alerts;
mod api;
pub mod health;
mod limits;
mod lives;
mod metrics;
mod reads;
mod schema;

pub const TOKEN: &str = "0123456789abcdef-token";

/// Five keys, when somebody asks or at the end of the year.
pub const USERS: &str = "schedule = \"0 0 1 1 *\"\ncatch_up = \"none\"\nrefresh = \"missing\"\nkey = \"user:{user_id}\"\nttl = \"10m\"\n\
                     [targets]\nuser_id = { sql = \"SELECT id FROM users\" }\n\
                     [query]\nsql = \"SELECT id AS user_id, name FROM users WHERE id IN (:user_id)\"\n";

/// A daemon and where it listens.
pub struct Asked {
    pub daemon: Daemon,
    pub place: Place,
}

impl Asked {
    /// As the command line names it.
    pub fn url(&self) -> String {
        match &self.place {
            Place::Tcp(address) => format!("http://{address}"),
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

#[derive(Clone)]
pub enum Place {
    Tcp(String),
    Unix(PathBuf),
}

pub struct Answer {
    pub status: u16,
    head: String,
    body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = |line: &&str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.head.lines().find(header).map(|line| line.split_once(':').unwrap().1.trim())
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}{}", self.head, self.body);
        serde_json::from_str(&self.body).unwrap()
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

/// A daemon on a port that the system chose, with a token.
pub fn start(world: &World, name: &str, variables: &[(&str, &str)]) -> Asked {
    start_on(world, name, "127.0.0.1:0", variables)
}

fn command(world: &World, listen: &str, variables: &[(&str, &str)]) -> Command {
    let token = world.folder().join("token");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let mut command = warmd(world, &["run"]);
    command.env("WARMD__HTTP__LISTEN", listen).env("WARMD__HTTP__TOKEN_FILE", token);
    command.env("WARMD__LOG__LEVEL", "info").envs(variables.iter().copied());
    command
}

pub fn start_on(world: &World, name: &str, listen: &str, variables: &[(&str, &str)]) -> Asked {
    start_by(world, name, command(world, listen, variables))
}

fn start_by(world: &World, name: &str, command: Command) -> Asked {
    let daemon = Daemon::spawn(world, name, command).ready();
    let place = place(world, name);
    Asked { daemon, place }
}

/// Where the log says that it listens.
fn place(world: &World, name: &str) -> Place {
    let log = log(world, name);
    let line = log.lines().rev().find_map(|line| line.split_once("HTTP on ")).unwrap_or_else(|| panic!("{log}"));
    match line.1.strip_prefix("http://") {
        Some(address) => Place::Tcp(address.to_owned()),
        None => Place::Unix(line.1.strip_prefix("unix:").unwrap().into()),
    }
}

fn log(world: &World, name: &str) -> String {
    fs::read_to_string(world.folder().join(format!("{name}.log"))).unwrap()
}

/// An address at which nobody listens, which stays so for as long as the socket is kept.
pub fn closed() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Place {
    fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        let patience = Some(Duration::from_secs(60));
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(patience)?;
                Box::new(stream)
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(patience)?;
                Box::new(stream)
            }
        })
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    /// A request with the right Host, unless the headers have another.
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            let host = if let Self::Tcp(address) = self { address } else { "localhost" };
            request.push_str(&format!("Host: {host}\r\n"));
        }
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        self.send(&format!("{request}\r\n"))
    }

    fn send(&self, request: &str) -> Answer {
        standstill::step();
        let mut stream = self.connect().unwrap();
        // Who refuses a request may close before it has all of it.
        let _ = stream.write_all(request.as_bytes());
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Asks for a run.
    pub fn run(&self, job: &str) -> Answer {
        self.ask("POST", &format!("/api/jobs/{job}/run"), &[("Authorization", &format!("Bearer {TOKEN}"))])
    }

    /// The value of one series.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let scrape = self.get("/metrics").body;
        let value = scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }
}

/// A world with a job, and its daemon.
pub async fn world(jobs: &[(&str, &str)]) -> World {
    let world = World::new().await;
    jobs.iter().for_each(|(name, text)| write_job(&world, &format!("{name}.toml"), text));
    world
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
