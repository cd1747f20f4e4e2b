//! What is different on a terminal: colours, plots, pages that stay in their place. The terminal is that of `script`.

use std::{
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::{
    cli::{run, warmd, write_job},
    http::{USERS, start},
    world::World,
};

const BROKEN: &str = "key = \"b:{id}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT 1 AS id FROM nowhere\"\n";

/// What speaks of colours, `CI` among it: the logs of such services show them.
const COLOURS: [&str; 4] = ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"];

/// Variables, options, and whether there are colours then.
type Wish<'w> = (&'w [(&'w str, &'w str)], &'w [&'w str], bool);

/// warmd on a terminal of this size, with these variables instead of what the tests' own terminal says.
fn terminal(world: &World, (rows, columns): (u32, u32), variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    let warmd = warmd(world, &[]);
    let mut command = Command::new("script");
    let line = format!("stty rows {rows} cols {columns}; exec \"$WARMD\" {}", arguments.join(" "));
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.envs(warmd.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("WARMD", warmd.get_program()).env("SHELL", "/bin/sh").env("TERM", "xterm");
    COLOURS.iter().for_each(|name| _ = command.env_remove(name));
    command.env("LC_ALL", "C.UTF-8").envs(variables.iter().copied());
    command
}

fn shown(world: &World, variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let mut command = terminal(world, (24, 100), variables, arguments);
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

async fn world() -> World {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    write_job(&world, "broken.toml", BROKEN);
    let (code, _, err) = run(&world, &["warm"]);
    assert_eq!(code, Some(1), "{err}");
    world
}

#[tokio::test]
async fn outcomes_have_colours_on_a_terminal_and_nothing_has_in_a_pipe() {
    let world = world().await;
    let (good, bad) = ("\u{1b}[32mok\u{1b}[0m", "\u{1b}[31mfailed\u{1b}[0m");
    for arguments in [&["history"][..], &["jobs"], &["warm"]] {
        let told = shown(&world, &[], arguments);
        assert!(told.contains(good) && told.contains(bad), "{arguments:?}: {told:?}");
        let mut piped = warmd(&world, arguments);
        COLOURS.iter().for_each(|name| _ = piped.env_remove(name));
        let output = piped.env("TERM", "xterm").output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(!told.contains('\u{1b}') && told.contains("failed"), "{arguments:?}: {told:?}");
    }
}

#[tokio::test]
async fn who_wants_colours_or_none_is_heard_in_the_order_of_the_conventions() {
    let world = world().await;
    let on_terminal: &[Wish<'_>] = &[
        (&[], &[], true),
        (&[("NO_COLOR", "1")], &[], false),
        (&[("NO_COLOR", "")], &[], true),
        (&[("NO_COLOR", "1")], &["--color", "always"], true),
        (&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], &[], false),
        (&[("CLICOLOR", "0")], &[], false),
        (&[("CLICOLOR", "0"), ("CLICOLOR_FORCE", "1")], &[], true),
        (&[("CLICOLOR_FORCE", "0")], &[], true),
        (&[("TERM", "dumb")], &[], false),
        (&[("TERM", "dumb"), ("CI", "true")], &[], true),
        (&[("NO_COLOR", "1"), ("CI", "true")], &[], false),
        (&[], &["--color=never"], false),
        (&[], &["--color=auto"], true),
    ];
    for (variables, options, is_coloured) in on_terminal {
        let told = shown(&world, variables, &[&["history"], *options].concat());
        assert_eq!(told.contains("\u{1b}[32m"), *is_coloured, "{variables:?} {options:?}: {told:?}");
    }
    let in_a_pipe: &[Wish<'_>] = &[
        (&[("CLICOLOR_FORCE", "1")], &[], true),
        (&[("CLICOLOR_FORCE", "0")], &[], false),
        (&[("CLICOLOR_FORCE", "")], &[], false),
        (&[("CI", "true")], &[], false),
        (&[("CLICOLOR_FORCE", "1")], &["--color", "never"], false),
        (&[], &["--color", "always"], true),
    ];
    for (variables, options, is_coloured) in in_a_pipe {
        for arguments in [&["history"][..], &["--help"], &["history", "--bogus"]] {
            let mut command = warmd(&world, &[arguments, *options].concat());
            COLOURS.iter().for_each(|name| _ = command.env_remove(name));
            let output = command.envs(variables.iter().copied()).output().unwrap();
            let told = [output.stdout, output.stderr].concat();
            assert_eq!(told.contains(&0x1b), *is_coloured, "{variables:?} {options:?} {arguments:?}");
        }
    }
    assert_eq!(run(&world, &["history", "--color", "sometimes"]).0, Some(64));
}

#[tokio::test]
async fn a_plot_keeps_to_the_width_of_the_terminal_and_to_the_letters_of_the_locale() {
    let world = world().await;
    write_job(&world, "broken.toml", &BROKEN.replace("SELECT 1 AS id FROM nowhere", "SELECT 1 AS id, 2 AS two"));
    for _ in 0..40 {
        assert_eq!(run(&world, &["warm", "broken", "--force"]).0, Some(0));
    }
    let blocks = |line: &str| line.chars().filter(|c| ('▁'..='█').contains(c)).count();
    let plot = |columns: u32, locale: &str| {
        let mut command = terminal(&world, (24, columns), &[("LC_ALL", locale)], &["history", "broken", "--plot"]);
        String::from_utf8(command.stdin(Stdio::null()).output().unwrap().stdout).unwrap()
    };
    let (wide, narrow) = (plot(140, "C.UTF-8"), plot(60, "C.UTF-8"));
    let of_time = |plot: &str| plot.lines().find(|line| line.starts_with(" time")).unwrap().trim_end().to_owned();
    assert!(wide.contains("broken: 41 runs from "), "{wide}");
    assert!(wide.lines().next().unwrap().contains(", 1 \u{1b}[31mfailed\u{1b}[0m"), "{wide:?}");
    assert_eq!(blocks(&of_time(&wide)), 41, "a block a run: {wide}");
    assert!((8..41).contains(&blocks(&of_time(&narrow))) && of_time(&narrow).chars().count() <= 60, "{narrow}");
    let ascii = plot(140, "C");
    assert!(ascii.is_ascii() && of_time(&ascii).contains('@'), "{ascii}");
    // Of a pipe nobody knows the width.
    let mut piped = warmd(&world, &["history", "--plot"]);
    let output = piped.env("LC_ALL", "C.UTF-8").env("COLUMNS", "70").output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.contains("\n\nusers: 1 run at ") && told.lines().skip(1).all(|line| line.chars().count() <= 70),
        "{told}"
    );
}

/// What a terminal has been sent so far, until these words come.
fn until(heard: &mpsc::Receiver<Vec<u8>>, told: &mut String, words: &str) {
    let began = Instant::now();
    while !told.contains(words) {
        assert!(began.elapsed() < Duration::from_secs(60), "no {words:?} in {told:?}");
        if let Ok(bytes) = heard.recv_timeout(Duration::from_secs(1)) {
            told.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

fn listen(child: &mut Child) -> mpsc::Receiver<Vec<u8>> {
    let (sender, heard) = mpsc::channel();
    let mut stdout = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stdout.read(&mut buffer) {
            let _ = sender.send(buffer[..length].to_vec());
        }
    });
    heard
}

#[tokio::test]
async fn a_watched_page_stays_in_its_place_and_leaves_the_terminal_as_it_was() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    let mut asked = start(&world, "a", &[]);
    let url = asked.url();
    let arguments = ["status", "--watch", "0.2", "--url", &url];
    let mut child =
        terminal(&world, (24, 60), &[], &arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (heard, mut told) = (listen(&mut child), String::new());
    until(&heard, &mut told, "\u{1b}[?1049h\u{1b}[?25l\u{1b}[H");
    until(&heard, &mut told, "never");
    assert_eq!(asked.place.run("users").status, 202);
    // However long ago a busy machine first shows it.
    until(&heard, &mut told, "\u{1b}[32mok\u{1b}[0m ");
    until(&heard, &mut told, "s ago");
    asked.daemon.signal("TERM");
    asked.daemon.ended();
    until(&heard, &mut told, "out of reach");
    until(&heard, &mut told, "as it was:");
    let frames: Vec<&str> = told.split("\u{1b}[H").skip(1).collect();
    for line in frames[0].split("\u{1b}[K") {
        assert!(console::measure_text_width(line.trim()) <= 60, "{line:?}");
    }
    assert!(!told.contains("\u{1b}[?1049l"));
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    until(&heard, &mut told, "\u{1b}[?25h\u{1b}[?1049l");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_gate_shows_how_far_it_is_in_one_line_that_goes() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    let arguments = ["wait", "--interval", "100ms", "--timeout", "60s"];
    let mut child =
        terminal(&world, (24, 100), &[], &arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (heard, mut told) = (listen(&mut child), String::new());
    until(&heard, &mut told, "0 of 1 job ready; users: 0 of 5 keys present, 0 %");
    assert_eq!(run(&world, &["warm"]).0, Some(0));
    until(&heard, &mut told, ": 1 job, 5 of 5 keys present");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(told.trim_end().lines().last().unwrap().contains("ready after "), "{told:?}");
}
