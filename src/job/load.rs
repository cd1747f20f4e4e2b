//! A folder of job files, read as one: all mistakes of all files in one pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{Job, file, key::Shape};
use crate::{
    database::Engine,
    files,
    problems::{At, Document, Problem, Problems, unknown},
};

/// Which SQL each database speaks, as far as a URL tells.
#[derive(Debug, Clone, Default)]
pub struct Dialects {
    /// Of `[database]`.
    pub default: Option<Engine>,
    /// Of each `[databases.NAME]`.
    pub named: BTreeMap<String, Engine>,
}

impl Dialects {
    /// The engine of a job's database. Without one the statement is still read, as PostgreSQL's.
    pub(super) fn engine(&self, name: Option<&At<String>>, doc: &mut Document<'_>) -> Engine {
        let engine = match name {
            None => self.default,
            Some(name) => {
                let known: Vec<&String> = self.named.keys().collect();
                let engine = self.named.get(name.get_ref()).copied();
                if engine.is_none() {
                    doc.problem(name.span(), unknown("database", name.get_ref(), &known));
                }
                engine
            }
        };
        engine.unwrap_or(Engine::Postgres)
    }
}

/// Reads every `*.toml` of a folder, sorted by name.
///
/// Also those that are not enabled, because a key must not belong to two jobs.
pub fn load(folder: &Path, dialects: &Dialects, problems: &mut Problems) -> Vec<Job> {
    let mut files = BTreeSet::new();
    match std::fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                match entry {
                    Ok(entry) if entry.path().extension().is_some_and(|extension| extension == "toml") => {
                        files.insert(entry.path());
                    }
                    Ok(_) => {}
                    Err(error) => problems.push(folder, format!("cannot be read: {error}")),
                }
            }
        }
        Err(error) => problems.push(folder, format!("the folder of jobs cannot be read: {error}")),
    }
    let jobs: Vec<Job> = files.iter().filter_map(|path| load_file(path, dialects, problems)).collect();
    refuse_shared_keys(&jobs, problems);
    jobs
}

/// Reads one job file.
pub fn load_file(path: &Path, dialects: &Dialects, problems: &mut Problems) -> Option<Job> {
    let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else {
        problems.push(path, "the file's name is not UTF-8");
        return None;
    };
    if let Some(wrong) = name.chars().find(|c| !(c.is_alphanumeric() || "_-.".contains(*c))) {
        let why = format!(
            "a job's name is its file's, and {wrong:?} cannot be part of it: use letters, digits, `_`, `-`, `.`"
        );
        problems.push(path, why);
        return None;
    }
    let text = match files::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => {
            problems.push(path, "the file is not UTF-8");
            return None;
        }
        Err(error) => {
            problems.push(path, format!("cannot be read: {error}"));
            return None;
        }
    };
    let before = problems.0.len();
    let job = file::read(name, path, dialects, &mut Document::new(path, text, problems));
    job.filter(|_| problems.0.len() == before)
}

/// Two jobs that write the same key would overwrite each other for ever.
fn refuse_shared_keys(jobs: &[Job], problems: &mut Problems) {
    let shapes: Vec<Shape> = jobs.iter().map(|job| job.key.shape()).collect();
    for (index, job) in jobs.iter().enumerate() {
        // One is enough: of a thousand jobs with one key, each would tell of all those before it.
        if let Some(other) = (0..index).find(|&other| shapes[other].can_meet(&shapes[index])).map(|other| &jobs[other])
        {
            let why = format!(
                "jobs `{}` ({}) and `{}` ({}) can write the same key; give one of them another key",
                other.name, other.key, job.name, job.key
            );
            problems.0.push(Problem { file: job.path.clone(), position: Some(job.key_position), message: why });
        }
    }
}

/// The jobs that were asked for by name, or all that are enabled.
pub fn select(mut jobs: Vec<Job>, names: &[String]) -> Result<Vec<Job>, String> {
    if names.is_empty() {
        jobs.retain(|job| job.enabled);
        return Ok(jobs);
    }
    let known: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
    if let Some(wrong) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(unknown("job", wrong, &known));
    }
    jobs.retain(|job| names.contains(&job.name));
    Ok(jobs)
}
