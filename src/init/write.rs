//! Puts files where they belong: all of them, or none.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::File;

/// Writes all files into a folder, which is made when it is missing.
///
/// # Errors
///
/// What keeps a file from being written, or would be overwritten without `force`. Then everything is as it was.
pub fn write_all(folder: &Path, files: &[File], force: bool) -> Result<(), String> {
    let paths: Vec<PathBuf> = files.iter().map(|file| folder.join(&file.path)).collect();
    if let Some(why) = paths.iter().find_map(|path| obstacle(path)) {
        return Err(format!("nothing was written: {why}"));
    }
    let there: Vec<String> =
        paths.iter().filter(|path| path.symlink_metadata().is_ok()).map(|path| path.display().to_string()).collect();
    if !there.is_empty() && !force {
        let list = there.join(", ");
        return Err(format!("nothing was written, because there is something already: {list}; --force overwrites it"));
    }
    let mut done = Done::default();
    for (path, file) in paths.iter().zip(files) {
        if let Err(error) = done.write(path, &file.text) {
            let what = format!("{} cannot be written: {error}", path.display());
            return Err(match done.undo() {
                left if left.is_empty() => format!("nothing was written: {what}"),
                left => format!("{what}; not as before are: {}", left.join(", ")),
            });
        }
    }
    Ok(())
}

/// What stands where a file or one of its folders is to be, and is of another kind.
fn obstacle(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => return Some(format!("{} is a folder, and is to be a file", path.display())),
        // A pipe would be waited for.
        Ok(about) if !about.is_file() => return Some(format!("{} is no regular file", path.display())),
        _ => {}
    }
    let above = path.ancestors().skip(1).find(|above| above.symlink_metadata().is_ok())?;
    (!above.is_dir()).then(|| format!("{} is a file, and is to be a folder", above.display()))
}

/// What was done, in its order, so that it can be undone.
#[derive(Default)]
struct Done(Vec<Step>);

enum Step {
    Folder(PathBuf),
    /// A file, and what stood in it before, where there was one.
    File(PathBuf, Option<Vec<u8>>),
}

impl Done {
    fn write(&mut self, path: &Path, text: &str) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            self.make(parent)?;
        }
        let mut options = OpenOptions::new();
        // What came into being a moment ago is somebody's.
        let before = match path.symlink_metadata() {
            Ok(_) => {
                options.create(true).truncate(true);
                path.exists().then(|| fs::read(path)).transpose()?
            }
            Err(_) => {
                options.create_new(true);
                None
            }
        };
        let mut file = options.write(true).open(path)?;
        self.0.push(Step::File(path.to_owned(), before));
        file.write_all(text.as_bytes())
    }

    fn make(&mut self, folder: &Path) -> io::Result<()> {
        // The folder in which warmd was started has an empty name.
        if folder.as_os_str().is_empty() || folder.is_dir() {
            return Ok(());
        }
        if let Some(parent) = folder.parent() {
            self.make(parent)?;
        }
        fs::create_dir(folder)?;
        self.0.push(Step::Folder(folder.to_owned()));
        Ok(())
    }

    /// Makes everything as it was; gives what could not be.
    fn undo(self) -> Vec<String> {
        let undone = |step: Step| {
            let (result, path) = match step {
                Step::Folder(path) => (fs::remove_dir(&path), path),
                Step::File(path, None) => (fs::remove_file(&path), path),
                Step::File(path, Some(before)) => (fs::write(&path, before), path),
            };
            result.err().map(|_| path.display().to_string())
        };
        self.0.into_iter().rev().filter_map(undone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.to_owned() }
    }

    #[test]
    fn when_a_later_file_cannot_be_written_the_earlier_ones_are_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("there.toml"), "mine").unwrap();
        // No file system takes a name of this length.
        let files = [file("there.toml", "new"), file("a/b/new.toml", "new"), file(&"n".repeat(300), "new")];
        let why = write_all(folder.path(), &files, true).unwrap_err();
        assert!(why.starts_with("nothing was written: ") && why.contains("nnn cannot be written"), "{why}");
        assert_eq!(fs::read_to_string(folder.path().join("there.toml")).unwrap(), "mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_all(folder.path(), &files[..2], true).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("there.toml")).unwrap(), "new");
        assert_eq!(fs::read_to_string(folder.path().join("a/b/new.toml")).unwrap(), "new");
    }

    #[test]
    fn a_file_where_a_folder_must_be_is_told_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("jobs"), "").unwrap();
        fs::create_dir(folder.path().join("b.toml")).unwrap();
        let told = |files: &[File]| write_all(folder.path(), files, true).unwrap_err();
        let why = told(&[file("a.toml", ""), file("jobs/b.toml", "")]);
        assert!(why.ends_with("/jobs is a file, and is to be a folder"), "{why}");
        let why = told(&[file("b.toml", "")]);
        assert!(why.ends_with("/b.toml is a folder, and is to be a file"), "{why}");
        assert!(!folder.path().join("a.toml").exists());
    }
}
