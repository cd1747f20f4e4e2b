//! Job files and settings that are none.

use std::{
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use warmd::{
    database::Engine,
    job::{self, Dialects},
    problems::Problems,
    settings::Settings,
};

use crate::servers::unprivileged;

const JOB: &str = "key = \"a:{id}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT id, name FROM users\"\n";

/// What is said of a folder of jobs; a folder that is not read within a minute hangs.
fn said(folder: &Path) -> Vec<String> {
    let folder = folder.to_owned();
    in_time(move || {
        let mut problems = Problems::default();
        let dialects = Dialects { default: Some(Engine::Sqlite), ..Dialects::default() };
        job::load(&folder, &dialects, &mut problems);
        let said = problems.into_result().err().map(|problems| problems.to_string()).unwrap_or_default();
        said.lines().map(|line| line.replace(&format!("{}/", folder.display()), "")).collect()
    })
}

fn settings_said(file: &Path) -> String {
    let file = file.to_owned();
    in_time(move || {
        let mut problems = Problems::default();
        if let Some(settings) = Settings::load(Some(&file), Vec::new(), &Vec::new(), &mut problems) {
            settings.check(&mut problems);
            settings.dialects(&mut problems);
        }
        problems.into_result().err().map(|problems| problems.to_string()).unwrap_or_default()
    })
}

/// On a stack as large as those of the daemon's threads.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    thread::Builder::new().stack_size(2 << 20).spawn(move || done.send(work())).unwrap();
    ended.recv_timeout(Duration::from_secs(60)).expect("an answer within a minute")
}

fn pipe(path: PathBuf) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn what_is_no_file_is_told_and_neither_waited_for_nor_read_to_an_end_that_never_comes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    pipe(at("pipe.toml"));
    pipe(at("pipe.sql"));
    symlink("/dev/zero", at("device.toml")).unwrap();
    symlink("/dev/zero", at("device.sql")).unwrap();
    let _listener = UnixListener::bind(at("socket.toml")).unwrap();
    fs::create_dir(at("folder.toml")).unwrap();
    symlink(at("one.toml"), at("other.toml")).unwrap();
    symlink(at("other.toml"), at("one.toml")).unwrap();
    symlink(folder.path(), at("loop")).unwrap();
    File::create(at("large.toml")).unwrap().set_len(10 << 30).unwrap();
    for name in ["pipe", "device"] {
        fs::write(at(&format!("reads_{name}.toml")), JOB.replace("SELECT id, name FROM users", &format!("{name}.sql")))
            .unwrap();
    }
    let none = "it is a pipe, a socket or a device, not a file";
    assert_eq!(
        said(folder.path()),
        [
            format!("device.toml: cannot be read: {none}"),
            "folder.toml: cannot be read: Is a directory (os error 21)".to_owned(),
            "large.toml: cannot be read: it is larger than 4 MiB".to_owned(),
            "one.toml: cannot be read: Too many levels of symbolic links (os error 40)".to_owned(),
            "other.toml: cannot be read: Too many levels of symbolic links (os error 40)".to_owned(),
            format!("pipe.toml: cannot be read: {none}"),
            format!("reads_device.toml:4:7: cannot read SQL file `device.sql`: {none}"),
            format!("reads_pipe.toml:4:7: cannot read SQL file `pipe.sql`: {none}"),
            format!("socket.toml: cannot be read: {none}"),
        ]
    );
}

#[test]
fn settings_and_secrets_that_are_no_files_are_told_likewise() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let none = "it is a pipe, a socket or a device, not a file";
    pipe(at("pipe"));
    File::create(at("large")).unwrap().set_len(10 << 30).unwrap();
    for name in [at("large"), PathBuf::from("/dev/zero")] {
        let said = settings_said(&name);
        assert_eq!(said, format!("{}: the settings cannot be read: it is larger than 4 MiB", name.display()));
    }
    // Settings alone may come through a pipe, as a shell makes one of `--config <(...)`.
    let writer = std::thread::spawn({
        let pipe = at("pipe");
        move || fs::write(pipe, "[log]\nlevl = \"info\"\n").unwrap()
    });
    assert!(settings_said(&at("pipe")).ends_with("unknown key `levl`, did you mean `level`?"));
    writer.join().unwrap();
    for (setting, why) in [
        ("[redis]\nurl_file = \"pipe\"", none),
        ("[redis]\nurl_file = \"/dev/zero\"", none),
        ("[redis]\nurl_file = \"large\"", "it is larger than 4 MiB"),
        ("[database]\nurl_file = \"/dev/zero\"", none),
        ("[redis]\nca_file = \"/dev/zero\"", none),
    ] {
        fs::write(at("warmd.toml"), setting).unwrap();
        let said = settings_said(&at("warmd.toml"));
        assert!(said.ends_with(why), "{setting}: {said}");
    }
}

#[test]
fn names_and_contents_that_are_not_utf_8_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.toml");
    fs::write(folder.path().join(name), JOB).unwrap();
    fs::write(folder.path().join("a\nb\u{1b}[2J.toml"), JOB).unwrap();
    fs::write(folder.path().join("bytes.toml"), b"description = \"\xff\"\n").unwrap();
    fs::write(folder.path().join("latin.sql"), b"SELECT id, 'caf\xe9' AS name FROM users").unwrap();
    fs::write(folder.path().join("latin.toml"), JOB.replace("SELECT id, name FROM users", "latin.sql")).unwrap();
    let said = said(folder.path());
    assert_eq!(said.len(), 4, "{said:#?}");
    assert!(said.iter().all(|line| !line.contains('\u{1b}')), "{said:#?}");
    for expected in [
        "a\\nb\\u{1b}[2J.toml: a job's name is its file's, and '\\n' cannot be part of it",
        "bytes.toml: the file is not UTF-8",
        "caf\u{fffd}.toml: the file's name is not UTF-8",
        "latin.toml:4:7: cannot read SQL file `latin.sql`: it is not UTF-8",
    ] {
        assert!(said.iter().any(|line| line.starts_with(expected)), "{expected}: {said:#?}");
    }
}

#[test]
fn nesting_without_end_is_a_mistake_and_not_the_end_of_the_process() {
    let deep = 100_000;
    for (name, text) in [
        ("arrays", format!("a = {}", "[".repeat(deep))),
        ("closed arrays", format!("description = {}{}", "[".repeat(deep), "]".repeat(deep))),
        ("inline tables", format!("targets = {}1{}", "{ a = ".repeat(deep), " }".repeat(deep))),
        ("dotted keys", format!("{}a = 1", "a.".repeat(deep))),
        ("a header", format!("[{}a]\nb = 1", "a.".repeat(deep))),
        ("known dotted keys", format!("limits.{}a = 1", "a.".repeat(deep))),
        ("headers of arrays", format!("[[{}a]]", "a.".repeat(deep))),
        ("many headers", (0..2_000).map(|depth| format!("[a{}]\n", ".a".repeat(depth % 70))).collect()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("job.toml"), &text).unwrap();
        let told = said(folder.path());
        assert!(!told.is_empty() && told.len() <= 51, "{name}: {} lines", told.len());
        let settings = folder.path().join("job.toml");
        assert!(!settings_said(&settings).is_empty(), "{name}");
    }
}

#[test]
fn a_megabyte_of_keys_is_told_in_fifty_mistakes_and_a_moment() {
    let many = |line: &dyn Fn(usize) -> String| (0..40_000).map(line).collect::<String>();
    for (name, text) in [
        ("unknown keys", many(&|n| format!("unknown_key_{n:06} = 1\n"))),
        ("lines that are none", "= = =\n".repeat(170_000)),
        ("target lists", format!("{JOB}[targets]\n{}", many(&|n| format!("t{n} = {{ also = [1] }}\n")))),
        ("a key", format!("key = \"{}\"", "{a}:".repeat(250_000))),
        ("a word", format!("empty = \"{}\"", "skip".repeat(250_000))),
        ("a key's name", format!("{} = 1", "ttl".repeat(330_000))),
        ("a schedule", format!("schedule = \"{}\"", "* ".repeat(500_000))),
        ("a list of minutes", format!("schedule = \"{}0 * * * *\"", "0,".repeat(500_000))),
        ("parameters", format!("{}[query]\nsql = \"SELECT {}1\"", &JOB[..26], ":abc,".repeat(200_000))),
        ("events", format!("[similar]\nof = \"users\"\nevents = [{}]", "{ sql = \"SELECT :x\" },".repeat(40_000))),
        ("values", format!("{JOB}[targets]\nid = {{ also = [{}] }}", "1,".repeat(500_000))),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("job.toml"), &text).unwrap();
        let began = Instant::now();
        let told = said(folder.path());
        assert!(!told.is_empty() && told.len() <= 51, "{name}: {} lines", told.len());
        assert!(began.elapsed() < Duration::from_secs(20), "{name}: {:?}", began.elapsed());
        eprintln!("{name}: {:?}", began.elapsed());
    }
}

#[test]
fn a_file_that_may_not_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("warmd");
    // By another process: a child that a test beside this one has just forked could have the copy open for writing, and
    // what is open so cannot be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_warmd")).arg(&program).status();
    assert!(copied.unwrap().success());
    let jobs = folder.path().join("jobs");
    fs::create_dir(&jobs).unwrap();
    for (name, text) in [("closed.toml", JOB), ("open.toml", &JOB.replace("a:", "b:")), ("closed.sql", "SELECT 1")] {
        fs::write(jobs.join(name), text).unwrap();
    }
    fs::write(jobs.join("reads.toml"), JOB.replace("SELECT id, name FROM users", "closed.sql")).unwrap();
    for name in ["closed.toml", "closed.sql"] {
        fs::set_permissions(jobs.join(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let mut command = Command::new(&program);
    command.args(["check", "--jobs-dir"]).arg(&jobs).current_dir("/");
    // Root may read everything.
    if let Some((user, group)) = unprivileged("nobody") {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        command.uid(user).gid(group);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    let said: Vec<String> = said.lines().map(|line| line.replace(&format!("{}/", jobs.display()), "")).collect();
    assert_eq!(
        said,
        [
            "closed.toml: cannot be read: Permission denied (os error 13)",
            "reads.toml:4:7: cannot read SQL file `closed.sql`: Permission denied (os error 13)"
        ]
    );
}

#[test]
fn ten_thousand_jobs_are_checked_and_listed_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..10_000 {
        let job = JOB.replace("a:{id}", &format!("shop:{{id}}:part{n}"));
        fs::write(folder.path().join(format!("job{n}.toml")), format!("schedule = \"*/15 * * * *\"\n{job}")).unwrap();
    }
    for command in ["check", "jobs"] {
        let began = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_warmd"))
            .args([command, "--jobs-dir"])
            .arg(folder.path())
            .env("WARMD__HISTORY__URL", format!("sqlite:{}", folder.path().join("history.db").display()))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(began.elapsed() < Duration::from_secs(60), "{command}: {:?}", began.elapsed());
        eprintln!("{command}: {:?}", began.elapsed());
    }
    // All with the same key: one mistake a job, and not one a pair of jobs.
    for n in 0..10_000 {
        fs::write(folder.path().join(format!("job{n}.toml")), JOB).unwrap();
    }
    assert_eq!(said(folder.path()).len(), 9_999);
}
