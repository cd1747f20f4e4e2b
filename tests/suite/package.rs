//! What a package ships beside the program: manual pages and completions, made by the program itself.

use std::{
    fs,
    process::{Command, Output},
};

fn warmd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warmd")).args(arguments).output().unwrap()
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `warmd --help` lists, sorted, each with what it says of it.
fn commands() -> Vec<(String, String)> {
    let help = stdout(warmd(&["--help"]));
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let entry = |line: &str| {
        let (name, about) = line.trim().split_once("  ").unwrap();
        (name.to_owned(), about.trim().to_owned())
    };
    let mut commands: Vec<_> = lines.map(entry).collect();
    commands.sort();
    assert!(commands.iter().any(|(name, _)| name == "run"), "{help}");
    commands
}

/// What bash offers for the last of these words.
fn offered(words: &[&str]) -> Vec<String> {
    let complete = r#"
        source <("$WARMD" completions bash)
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
        _warmd warmd "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", complete, "bash"])
        .args(words)
        .env("WARMD", env!("CARGO_BIN_EXE_warmd"))
        .output()
        .unwrap();
    let mut offered: Vec<String> = stdout(output).lines().map(str::to_owned).collect();
    offered.sort();
    offered
}

#[test]
fn every_visible_command_has_a_manual_page_that_says_what_help_says() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("made/man1");
    stdout(warmd(&["man", pages.to_str().unwrap()]));
    let mut expected = vec!["warmd.1".to_owned()];
    for (name, about) in commands().into_iter().filter(|(name, _)| name != "help") {
        let page = fs::read_to_string(pages.join(format!("warmd-{name}.1"))).unwrap();
        let named = format!(".SH NAME\nwarmd\\-{} \\- {}\n", name.replace('-', "\\-"), about.replace('-', "\\-"));
        assert!(page.contains(&named), "{named}{page}");
        expected.push(format!("warmd-{name}.1"));
    }
    let mut written: Vec<_> =
        fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    expected.sort();
    written.sort();
    assert_eq!(written, expected);
    fs::write(folder.path().join("file"), "").unwrap();
    let output = warmd(&["man", folder.path().join("file").to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("file: the pages cannot be written: "), "{said}");
}

#[test]
fn bash_completes_every_visible_command_and_its_options() {
    let all = offered(&["warmd", ""]);
    let words: Vec<&String> = all.iter().filter(|word| !word.starts_with('-')).collect();
    assert_eq!(words, commands().iter().map(|(name, _)| name).collect::<Vec<_>>());
    assert_eq!(offered(&["warmd", "his"]), ["history"]);
    assert_eq!(offered(&["warmd", "warm", "--o"]), ["--only"]);
    assert_eq!(offered(&["warmd", "check", "--con"]), ["--config", "--connect"]);
    assert_eq!(offered(&["warmd", "completions", "z"]), ["zsh"]);
    assert_eq!(offered(&["warmd", "wait", "--m"]), ["--min"]);
    assert_eq!(offered(&["warmd", "status", "--w"]), ["--watch"]);
    assert_eq!(offered(&["warmd", "history", "--color", "a"]), ["always", "auto"]);
}

#[test]
fn the_other_shells_have_completions_of_the_same_commands() {
    for (shell, named) in
        [("zsh", "'NAME:"), ("fish", "-a \"NAME\""), ("elvish", "cand NAME "), ("powershell", "'NAME'")]
    {
        let script = stdout(warmd(&["completions", shell]));
        for (name, _) in commands() {
            assert!(script.contains(&named.replace("NAME", &name)), "{shell}, {name}: {script}");
        }
        assert!(!script.contains(&named.replace("NAME", "man")), "{shell}: {script}");
    }
    assert_eq!(warmd(&["completions", "cmd"]).status.code(), Some(64));
}
