//! Where nobody reads what commands print, or nothing can be written.

use std::{
    fs::OpenOptions,
    io::pipe,
    process::{Command, Stdio},
};

use crate::{
    cli::{run, warmd, write_job},
    daemon::eventually,
    http::{USERS, start},
    world::World,
};

/// Command lines that print something, and their exit codes. The address is that of a daemon.
fn commands(url: &str) -> Vec<(Vec<&str>, i32)> {
    let mut commands = vec![(vec!["status", "--url", url], 0), (vec!["status", "--json", "--url", url], 0)];
    for command in ["warm", "plan", "check", "jobs", "history", "wait", "advise"] {
        commands.extend([(vec![command], 0), (vec![command, "--json"], 0)]);
    }
    commands.extend([
        (vec!["history", "--plot"], 0),
        (vec!["schema"], 0),
        (vec!["completions", "bash"], 0),
        (vec!["--help"], 0),
        (vec!["--version"], 0),
        (vec!["init", "--dry-run"], 0),
        (vec!["init", "--dry-run", "--json"], 0),
        (vec!["nonsense"], 64),
        (vec!["warm", "nonsense"], 64),
    ]);
    commands
}

/// A pipe that nobody reads.
fn closed() -> Stdio {
    pipe().unwrap().1.into()
}

#[tokio::test]
async fn who_closes_the_pipe_ends_nothing_and_changes_no_exit_code() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    assert_eq!(run(&world, &["warm"]).0, Some(0));
    let asked = start(&world, "a", &[]);
    eventually("ready", async || asked.place.get("/readyz").status == 200).await;
    for (arguments, code) in commands(&asked.url()) {
        let command = || -> Command { warmd(&world, &arguments) };
        let output = command().stdout(closed()).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
        let status = command().stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?} without stderr");
    }
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_disk_that_is_full_is_an_error_with_a_code_of_its_own() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    let asked = start(&world, "a", &[]);
    for (arguments, code) in commands(&asked.url()) {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = warmd(&world, &arguments).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if code == 64 {
            assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        } else {
            assert_eq!(output.status.code(), Some(74), "{arguments:?}: {said}");
            let expected = "the output cannot be written: No space left on device (os error 28)\n";
            assert!(said.ends_with(expected) && !said.contains("panicked"), "{arguments:?}: {said}");
        }
    }
    assert_eq!(asked.daemon.stop(), Some(0));
}
