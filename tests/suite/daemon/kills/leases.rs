//! Who held which lease, as Redis saw it.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use warmd::cache::Ticks;

use super::{super::PATIENCE, LEASE, Millis};

/// One possession of a job's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub job: String,
    pub holder: String,
    /// The tick that began under it; `None` when none did.
    pub tick: Option<Millis>,
    pub from: Millis,
    /// When it was last taken or renewed: without release, it ends one lease later.
    pub renewed: Millis,
    pub released: Option<Millis>,
    /// Up to which tick its holder left the job as done.
    pub mark: Option<Millis>,
}

impl Hold {
    pub fn ends(&self) -> Millis {
        self.released.unwrap_or(self.renewed + LEASE)
    }
}

/// A tick that a daemon says it began.
#[derive(Debug)]
pub struct Begun {
    pub job: String,
    pub holder: String,
    pub tick: Millis,
    pub at: Millis,
}

/// Listens to the commands about leases that a Redis server runs.
pub struct Monitor {
    socket: PathBuf,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Monitor {
    pub fn start(socket: &Path) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "+OK");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let thread_heard = Arc::clone(&heard);
        // Ends with the server.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok).filter(|line| line.contains(":warmd:{")) {
                thread_heard.lock().unwrap().push(line);
            }
        });
        Self { socket: socket.to_owned(), heard }
    }

    pub fn lines(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until all is heard that the server has done so far.
    pub fn catch_up(&self) {
        let last = ":warmd:{end}";
        UnixStream::connect(&self.socket).unwrap().write_all(format!("ECHO {last}\r\n").as_bytes()).unwrap();
        let start = Instant::now();
        while !self.lines().last().is_some_and(|line| line.contains(last)) {
            assert!(start.elapsed() < PATIENCE, "the server does not tell what it does");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// How many runs have left their mark so far.
pub fn marks(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.contains("lua] \"SET\"") && line.contains(":tick\"")).count()
}

struct Claim {
    at: Millis,
    job: String,
    token: String,
    holder: String,
}

/// All holds in the order in which they began, and the first mark of each job.
pub fn holds(lines: &[String], begun: &[Begun]) -> (Vec<Hold>, HashMap<String, Millis>) {
    let commands: Vec<(Millis, Vec<&str>)> = lines.iter().filter_map(|line| command(line)).collect();
    // Who renews, releases or begins was granted what it asked for; the answers themselves are not to be seen.
    let mut granted: HashSet<&str> = commands.iter().filter_map(|(_, words)| evaluated(words)).collect();
    let claims: Vec<Claim> = commands.iter().filter_map(|(at, words)| claim(*at, words)).collect();
    let claim_of = |begun: &Begun| {
        let is_its = |claim: &&Claim| claim.job == begun.job && claim.holder == begun.holder && claim.at <= begun.at;
        claims.iter().rev().find(is_its).unwrap_or_else(|| panic!("no claim before {begun:?}"))
    };
    let ticks: HashMap<&str, Millis> = begun.iter().map(|begun| (claim_of(begun).token.as_str(), begun.tick)).collect();
    granted.extend(ticks.keys());

    let (mut holds, mut first_marks) = (Vec::<Hold>::new(), HashMap::new());
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut current: HashMap<String, usize> = HashMap::new();
    // Of the holds, in their order.
    let mut tokens: Vec<String> = Vec::new();
    let mut last_evaluated: &[&str] = &[];
    for (at, words) in &commands {
        if let Some(claim) = claim(*at, words) {
            let is_granted = granted.contains(claim.token.as_str());
            let before = current.get(&claim.job).copied();
            let is_free = before.is_none_or(|place| holds[place].ends() <= *at);
            if let Some(place) =
                before.filter(|place| is_granted && !is_free && !granted.contains(tokens[*place].as_str()))
            {
                // That one was taken for granted because the lease before should have expired. By the server's clock,
                // which it reads a moment later at times, it had not.
                holds[place].released = Some(holds[place].from);
            }
            if is_free || is_granted {
                tokens.push(claim.token.clone());
                current.insert(claim.job.clone(), holds.len());
                places.insert(claim.token.clone(), holds.len());
                let tick = ticks.get(claim.token.as_str()).copied();
                let Claim { at, job, holder, .. } = claim;
                holds.push(Hold { job, holder, tick, from: at, renewed: at, released: None, mark: None });
            }
            continue;
        }
        match words.as_slice() {
            ["EVAL", ..] => last_evaluated = words,
            ["SET", key, tick, ..] if key.ends_with(":tick") => {
                first_marks.entry(job_in(key)).or_insert(newest(tick).unwrap());
            }
            // What a script does follows it at once.
            ["PEXPIRE" | "DEL", ..] => {
                let hold = &mut holds[places[token(evaluated(last_evaluated).unwrap())]];
                if words[0] == "PEXPIRE" {
                    hold.renewed = *at;
                } else {
                    hold.released = Some(*at);
                    hold.mark = newest(last_evaluated[7]);
                }
            }
            _ => {}
        }
    }
    (holds, first_marks)
}

/// The moment and the words of a line such as `+1795577786.616841 [0 lua] "GET" "t:warmd:{a}:lease"`.
fn command(line: &str) -> Option<(Millis, Vec<&str>)> {
    let (moment, rest) = line.strip_prefix('+')?.split_once(' ')?;
    let (seconds, micros) = moment.split_once('.')?;
    let at = seconds.parse::<Millis>().ok()? * 1000 + micros.parse::<Millis>().ok()? / 1000;
    let (_, words) = rest.split_once("] \"")?;
    Some((at, words.strip_suffix('"')?.split("\" \"").collect()))
}

/// The value of the lease that a script is about.
fn evaluated<'l>(words: &[&'l str]) -> Option<&'l str> {
    match words {
        ["EVAL", _, "1", _, value, ..] | ["EVAL", _, "3", _, _, _, value, ..] => Some(token(value)),
        _ => None,
    }
}

/// The newest tick of a mark.
fn newest(mark: &str) -> Option<Millis> {
    Some(mark.parse::<Ticks>().ok()?.newest()?.timestamp_millis())
}

fn claim(at: Millis, words: &[&str]) -> Option<Claim> {
    let ["SET", key, value, ..] = words else { return None };
    let holder = value.splitn(3, ' ').nth(2)?.to_owned();
    key.ends_with(":lease").then(|| Claim { at, job: job_in(key), token: token(value).to_owned(), holder })
}

fn token(value: &str) -> &str {
    value.split(' ').next().unwrap_or_default()
}

fn job_in(key: &str) -> String {
    key.split(['{', '}']).nth(1).unwrap_or_default().to_owned()
}
