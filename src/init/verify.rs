//! Whether files do what they are for, before anybody gets them.

use anyhow::{Context as _, Error, ensure};

use super::{File, write_all};
use crate::{
    database::{Database, require},
    job::{self, Dialects},
    problems::Problems,
};

/// Reads the jobs among the files as warmd will, and has the server prepare every statement.
///
/// # Errors
///
/// A mistake in them, which is warmd's own; or the database does not answer any more.
pub async fn verify(database: &Database, files: &[File]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    write_all(folder.path(), files, false).map_err(Error::msg)?;
    let dialects = Dialects { default: Some(database.engine()), ..Dialects::default() };
    let mut problems = Problems::default();
    let jobs = job::load(&folder.path().join("jobs"), &dialects, &mut problems);
    problems.into_result()?;
    let mut connection = database.connect().await?;
    for job in &jobs {
        let required = job.required_columns();
        for sql in job.statements() {
            let told = |why: String| {
                let file = sql.origin.file.file_name().unwrap_or_default().to_string_lossy();
                anyhow::anyhow!("{file}: {why}\n{}", sql.text)
            };
            let columns = connection.prepare(&sql.statement).await.map_err(|error| told(error.to_string()))?;
            for (_, column) in required.iter().filter(|(of, _)| std::ptr::eq(*of, sql)) {
                require(&columns, column).map_err(told)?;
            }
        }
    }
    connection.close().await;
    ensure!(!jobs.is_empty(), "there is no job");
    Ok(())
}
