//! The files for Prometheus and Grafana fit what warmd tells.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use serde_json::Value;
use warmd::monitor::Rule;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("monitoring")
}

fn text(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

/// All names of metrics in a text, without those that rules record.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(|c| !is_part(c))
        .filter(|word| (word.starts_with("warmd_") || word.starts_with("process_")) && !word.contains(':'))
        .map(str::to_owned)
        .collect()
}

/// Those that the manual lists.
fn documented() -> BTreeSet<String> {
    let manual = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md")).unwrap();
    manual
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| metrics(line.split('|').nth(1).unwrap()))
        .collect()
}

#[test]
fn rules_and_dashboard_ask_for_what_there_is() {
    let documented = documented();
    assert!(documented.len() > 30, "{documented:?}");
    let rules = text("rules.yml");
    let dashboard: Value = serde_json::from_str(&text("grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 15);
    let asked = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let asked: String = asked.map(|target| format!("{} ", target["expr"].as_str().unwrap())).collect();
    // `warmd_job` is a variable of the dashboard, and the groups of rules have names of their own.
    let asked = asked.replace("$warmd_job", "");
    let rules: String =
        rules.lines().filter(|line| !line.contains("- name:")).map(|line| format!("{line}\n")).collect();
    for name in metrics(&asked).union(&metrics(&rules)) {
        assert!(documented.contains(name), "{name}");
    }
    let recorded: BTreeSet<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    let used =
        asked.split(|c: char| c.is_whitespace() || "(){}[]".contains(c)).filter(|word| word.starts_with("warmd:"));
    for name in used {
        assert!(recorded.contains(name), "{name}");
    }
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
}

#[test]
fn every_alert_of_the_daemon_is_among_the_rules_under_the_same_name_and_as_urgent() {
    let rules = text("rules.yml");
    for rule in Rule::ALL {
        let name = rule.alert_name();
        let (_, body) = rules.split_once(&format!("- alert: {name}\n")).unwrap_or_else(|| panic!("{name}"));
        let severity = body.split_once("severity: ").unwrap().1;
        assert!(severity.starts_with(&rule.severity().to_string()), "{name}");
    }
}

#[test]
fn prometheus_takes_the_files_and_its_tests_of_the_rules_pass() {
    for arguments in [
        &["check", "rules", "--lint=all", "rules.yml"][..],
        &["check", "config", "prometheus.yml"],
        &["test", "rules", "rules_test.yml"],
    ] {
        let output = Command::new("promtool").args(arguments).current_dir(folder()).output();
        let output = output.expect("promtool (Debian: prometheus)");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
}
