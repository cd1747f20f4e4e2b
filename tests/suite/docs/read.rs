//! What the documentation shows is read by the program that it is about.
//!
//! Every block of TOML is a job file, when it has the table of a kind or `[targets]`, else settings. Of a job file that is
//! shown in part the missing key, TTL and query are added, and the SQL files that it names are made. Every line `warmd ...`
//! of a block without a language, with or without a prompt, and every such word in backticks is a command line: its
//! options are those of the program.

use std::{collections::BTreeSet, fs, process::Command};

use tempfile::TempDir;
use warmd::{problems::Problems, settings::Settings};

use super::{Block, blocks, documents, quoted};

fn all_blocks() -> Vec<Block> {
    documents().iter().flat_map(|(name, _)| blocks(name)).collect()
}

fn has_table(text: &str, names: &[&str]) -> bool {
    text.lines().any(|line| names.iter().any(|name| line.trim_end() == format!("[{name}]")))
}

/// The names of files that end in `.sql`.
fn sql_files(text: &str) -> BTreeSet<String> {
    text.split('"').filter(|word| word.ends_with(".sql")).map(str::to_owned).collect()
}

/// A folder with the job file, made whole.
fn job_folder(text: &str) -> TempDir {
    let mut text = text.to_owned();
    let has = |text: &str, entry: &str| text.lines().any(|line| line.split(['=', ' ']).next() == Some(entry));
    let targets: Vec<String> = text
        .lines()
        .skip_while(|line| line.trim_end() != "[targets]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| Some(line.split_once('=')?.0.trim().to_owned()))
        .collect();
    let of_targets: String = targets.iter().map(|target| format!(" AND {target} IN (:{target})")).collect();
    if !has(&text, "key") {
        let variables: Vec<String> = targets.iter().map(|target| format!("{{{target}}}")).collect();
        text = format!("key = \"part:{}\"\n{text}", variables.join(":"));
    }
    if !has(&text, "ttl") {
        text = format!("ttl = \"1h\"\n{text}");
    }
    if !has_table(&text, &["recommend", "trending", "similar", "query"]) {
        text.push_str(&format!("[query]\nsql = \"SELECT * FROM shop WHERE true{of_targets}\"\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    let query = text.split("[query]").nth(1).map(sql_files).unwrap_or_default();
    for file in sql_files(&text) {
        let condition = if query.contains(&file) { of_targets.as_str() } else { "" };
        fs::write(folder.path().join(&file), format!("SELECT * FROM shop WHERE true{condition}")).unwrap();
    }
    fs::write(folder.path().join("shown.toml"), text).unwrap();
    folder
}

#[test]
fn job_files_and_settings_that_are_shown_are_valid() {
    let (mut jobs, mut settings) = (0, 0);
    for block in all_blocks().iter().filter(|block| block.language == "toml") {
        let Block { place, text, .. } = block;
        if has_table(text, &["recommend", "trending", "similar", "query", "targets"]) {
            let folder = job_folder(text);
            let mut check = Command::new(env!("CARGO_BIN_EXE_warmd"));
            let output =
                check.args(["check", "--jobs-dir"]).arg(folder.path()).env("HOME", folder.path()).output().unwrap();
            assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
            jobs += 1;
        } else {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("warmd.toml");
            fs::write(&file, text).unwrap();
            let mut problems = Problems::default();
            let read = Settings::load(Some(&file), Default::default(), &Default::default(), &mut problems);
            assert!(read.is_some() && problems.0.is_empty(), "{place}: {problems}");
            settings += 1;
        }
    }
    assert!(jobs >= 8 && settings >= 3, "{jobs} jobs, {settings} settings");
}

/// The words of a command line up to where the shell comes in; what stands for something is left as it is.
fn words(line: &str) -> Option<Vec<&str>> {
    let line = line.split([';', '|', '>', '<', '#', '&']).next()?.trim();
    let words: Vec<&str> = line.strip_prefix("$ ").unwrap_or(line).split_whitespace().collect();
    (words.first() == Some(&"warmd")).then(|| words[1..].to_vec())
}

/// Of `[JOB]...` and `[--keep DIR]` the words that stand in brackets, and one of the values that a name in capitals is for.
fn plain(word: &str) -> String {
    match &*word.replace(['[', ']'], "").replace("...", "") {
        "SHELL" => "bash",
        "TIME" => "2011-11-01",
        "COUNT" | "SECONDS" => "1",
        "PERCENT" => "95%",
        "DURATION" => "5m",
        plain => plain,
    }
    .to_owned()
}

#[test]
fn command_lines_that_are_shown_have_options_that_exist() {
    let commands = [
        "run",
        "warm",
        "plan",
        "check",
        "jobs",
        "history",
        "status",
        "wait",
        "advise",
        "init",
        "schema",
        "demo",
        "completions",
        "man",
    ];
    let mut lines = BTreeSet::new();
    for block in all_blocks().iter().filter(|block| matches!(&*block.language, "" | "sh" | "console")) {
        for line in block.text.lines() {
            lines.extend(words(line).map(|words| (block.place.clone(), words.join(" "))));
        }
    }
    for (name, text) in documents() {
        lines.extend(quoted(&text).filter_map(words).map(|words| (name.clone(), words.join(" "))));
    }
    let mut seen = BTreeSet::new();
    for (place, line) in &lines {
        // An option's value may be left out where only the option is spoken of.
        let words: Vec<String> = line.split(' ').map(plain).filter(|word| !word.is_empty()).collect();
        let Some(command) = words.first() else { continue };
        assert!(commands.contains(&command.as_str()) || command == "COMMAND", "{place}: `warmd {line}`");
        if command == "COMMAND" {
            continue;
        }
        let output = Command::new(env!("CARGO_BIN_EXE_warmd")).args(&words).arg("--help").output().unwrap();
        assert!(output.status.success(), "{place}: `warmd {line}`: {}", String::from_utf8_lossy(&output.stderr));
        seen.insert(command.clone());
    }
    assert!(lines.len() > 40, "{lines:#?}");
    assert_eq!(seen.len(), commands.len(), "{seen:?}");
}
