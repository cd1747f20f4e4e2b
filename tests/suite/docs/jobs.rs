//! Each job file of the manual is run on a shop, and its values have the form that is shown.

use serde_json::Value;

use super::{Machine, alike::shape, blocks, files, quoted};
use crate::servers;

/// The job's name: what its keys begin with.
fn name(job: &str) -> &str {
    let key = job.lines().find(|line| line.split(['=', ' ']).next() == Some("key")).unwrap();
    key.split('"').nth(1).unwrap().split([':', '{']).next().unwrap()
}

/// With an entry changed.
fn changed(job: &str, entry: &str) -> String {
    let key = entry.split(' ').next().unwrap();
    let line = |line: &str| if line.split(['=', ' ']).next() == Some(key) { entry.to_owned() } else { line.to_owned() };
    job.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
}

#[tokio::test]
async fn each_job_file_warms_and_its_values_have_the_form_that_is_shown() {
    let machine = Machine::of_the_readme().await;
    for (file, text) in files("docs/jobs.md") {
        machine.write(&format!("jobs/{file}"), &text);
    }
    let (mut job, mut jobs, mut values) = (String::new(), 0, 0);
    for block in blocks("docs/jobs.md") {
        let kinds = ["[query]", "[trending]", "[recommend]", "[similar]"];
        match &*block.language {
            "toml" if block.text.lines().any(|line| kinds.contains(&line)) => {
                job = block.text;
                machine.write(&format!("jobs/{}.toml", name(&job)), &job);
                jobs += 1;
            }
            // Of the job above, where no other name is said.
            "sql" if block.before.trim().is_empty() && job.contains("[query]") => {
                let file = job.rsplit("[query]").next().unwrap().split('"').nth(1).unwrap().to_owned();
                machine.write(&format!("jobs/{file}"), &block.text);
            }
            "json" => {
                let words: Vec<&str> = quoted(&block.before).collect();
                let changes = words.iter().filter(|word| word.contains(" = "));
                let other = changes.fold(job.clone(), |job, entry| changed(&job, entry));
                let (name, is_key) = (name(&other), |word: &&&str| word.starts_with(&format!("{}:", name(&other))));
                machine.write(&format!("jobs/{name}.toml"), &other);
                let (code, told) = machine.run(&format!("warmd warm {name} --config warmd.toml --json --force"));
                let told: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{}: {told}", block.place));
                let run = &told["runs"][0];
                assert!(code == Some(0) && run["outcome"] == "ok" && run["written"].as_u64() > Some(0), "{run}");
                let key = words.iter().find(is_key).unwrap_or_else(|| panic!("{}: no key in {words:?}", block.place));
                let value = machine.world.get(&format!("shop:{key}")).await.unwrap_or_else(|| panic!("no {key}"));
                let (shown, value) = (shape(block.text.trim()), shape(&value));
                let is_cut = block.before.contains(", cut;") && value.starts_with(shown.trim_end_matches(']'));
                assert!(is_cut || value == shown, "{}: {key} is\n{value}, and not\n{shown}", block.place);
                values += 1;
            }
            _ => {}
        }
    }
    assert_eq!((jobs, values), (5, 6));
    machine.must("warmd check --connect --config warmd.toml");
}

#[tokio::test]
async fn the_warnings_about_cold_keys_are_those_that_are_shown() {
    let machine = Machine::new(servers::sqlite().await).await;
    let shown = blocks("docs/jobs.md").into_iter().find(|block| block.text.starts_with("warning: ")).unwrap().text;
    for (line, entries) in shown.lines().zip([
        "ttl = \"10m\"",
        "ttl = \"16m\"\nttl_jitter = \"20%\"",
        "ttl = \"20m\"\nrefresh = \"missing\"",
    ]) {
        let job = "schedule = \"*/15 * * * *\"\nkey = \"a:{id}\"\n[query]\nsql = \"SELECT 1 AS id, 2 AS two\"\n";
        machine.write("jobs/a.toml", &format!("{entries}\n{job}"));
        let (code, told) = machine.run("warmd check --jobs-dir jobs");
        assert_eq!((code, told.lines().next()), (Some(0), Some(line)));
    }
    assert_eq!(shown.lines().count(), 3);
}
