//! What the documentation shows is true: job files and settings are valid, command lines exist, and each example is run
//! and prints what stands below it. What takes a machine with systemd is run by scripts/systemd-test.

use std::{fs, path::Path};

mod alike;
mod examples;
mod jobs;
mod read;

use examples::Machine;

pub use alike::Numbers;
pub use examples::examples;

/// A block between fences.
pub struct Block {
    /// File and line.
    pub place: String,
    /// The text since the last block or heading.
    pub before: String,
    pub language: String,
    pub text: String,
}

/// By their paths in the repository.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = docs.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    names.push("README.md".to_owned());
    names.sort();
    let read = |name: String| (name.clone(), fs::read_to_string(root.join(name)).unwrap());
    names.into_iter().map(read).collect()
}

fn document(name: &str) -> String {
    documents().into_iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn blocks(name: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut is_open, mut before) = (false, String::new());
    for (nth, line) in document(name).lines().enumerate() {
        if let Some(language) = line.strip_prefix("```") {
            if !is_open {
                let (place, before) = (format!("{name}:{}", nth + 1), std::mem::take(&mut before));
                blocks.push(Block { place, before, language: language.to_owned(), text: String::new() });
            }
            is_open = !is_open;
        } else if is_open {
            blocks.last_mut().unwrap().text.push_str(&format!("{line}\n"));
        } else if line.starts_with('#') {
            before.clear();
        } else {
            before.push_str(&format!("{line}\n"));
        }
    }
    assert!(!is_open, "{name}: a block is not closed");
    blocks
}

/// The words in backticks; fences have three of them, which leaves the order of the others as it is.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|quoted| !quoted.contains('\n'))
}

/// The files that a document shows: their names stand in the text before them, in the order of the blocks.
fn files(name: &str) -> Vec<(String, String)> {
    let (mut names, mut files) = (Vec::new(), Vec::new());
    for block in blocks(name) {
        if !block.before.trim().is_empty() {
            let is_file = |word: &&str| word.ends_with(".sql") || word.ends_with(".toml");
            names = quoted(&block.before).filter(is_file).map(str::to_owned).collect::<Vec<_>>();
        }
        if matches!(&*block.language, "sql" | "toml") && !names.is_empty() {
            files.push((names.remove(0), block.text));
        }
    }
    files
}
