//! Who may write a run folder: one process at a time, and never over anything.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use prism_core::{Error, Result};
use prism_export::RunFolder;

/// The file that is locked while a process has the folder.
const LOCK: &str = "run.lock";

/// A run folder that this process alone may write, until it is dropped.
#[derive(Debug)]
pub struct LockedFolder {
    folder: RunFolder,
    /// Held open for its lock, which the system releases even if the process is killed.
    _lock: File,
}

impl LockedFolder {
    /// Makes and locks the folder of a new run: `out`, or else the next free `runs/NAME-001`.
    ///
    /// # Errors
    /// [`Error::Usage`] if `out` holds a run or anything else, or is in use, [`Error::Io`] if it cannot be written.
    pub fn create(out: Option<&Path>, name: &str) -> Result<Self> {
        let path = match out {
            Some(out) => {
                check_empty(out)?;
                fs::create_dir_all(out).map_err(|e| Error::io("create the folder", out, e))?;
                close_to_others(out)?;
                out.to_path_buf()
            }
            None => make_next(Path::new("runs"), name)?,
        };
        let folder = Self::lock(path)?;
        // Another process may have begun a run, and ended, since the first look.
        check_empty(folder.path())?;
        Ok(folder)
    }

    /// Locks the folder of the run to resume.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no run or another process has it, [`Error::Io`] if it cannot be written.
    pub fn resume(path: &Path) -> Result<Self> {
        RunFolder::open(path)?;
        Self::lock(path.to_path_buf())
    }

    fn lock(path: PathBuf) -> Result<Self> {
        let name = path.join(LOCK);
        let open = File::options().write(true).create(true).truncate(false).open(&name);
        let file = open.map_err(|e| Error::io("write", &name, e))?;
        match file.try_lock() {
            Ok(()) => Ok(LockedFolder { folder: RunFolder::new(path), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(Error::usage(format!(
                "{} is in use by another prism-train; wait for it, or choose another --out",
                path.display()
            ))),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &name, e)),
        }
    }
}

impl Deref for LockedFolder {
    type Target = RunFolder;

    fn deref(&self) -> &RunFolder {
        &self.folder
    }
}

/// Refuses a folder with anything in it, since a run would write over it. A lock alone is no obstacle: a run that ended before
/// it began leaves it.
fn check_empty(path: &Path) -> Result<()> {
    if path.join("settings.toml").exists() {
        return Err(Error::usage(format!(
            "{0} already holds a run; go on with it by --resume {0}, or choose another --out",
            path.display()
        )));
    }
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|e| Error::io("use the folder", path, e))?,
    };
    for entry in entries {
        let name = entry.map_err(|e| Error::io("read", path, e))?.file_name();
        if name != LOCK && !is_unfinished(&name) {
            return Err(Error::usage(format!(
                "{} holds {}, and a run takes an empty folder, so that it writes over nothing; choose another --out",
                path.display(),
                name.display()
            )));
        }
    }
    Ok(())
}

/// Whether `name` is what is left of settings by a process that was killed while it wrote them.
fn is_unfinished(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(".settings.toml.") && name.ends_with(".tmp"))
}

/// Lets other users of the machine look at nothing in `folder`: what clients keep to themselves is in it.
fn close_to_others(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let owner_alone = fs::Permissions::from_mode(0o700);
        fs::set_permissions(folder, owner_alone).map_err(|e| Error::io("close to others", folder, e))?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Makes the first of `parent/NAME-001`, `-002` and so on that is not there; no two processes get the same.
fn make_next(parent: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(parent).map_err(|e| Error::io("create the folder", parent, e))?;
    let mut number = 1;
    loop {
        let path = parent.join(format!("{name}-{number:03}"));
        match fs::create_dir(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => number += 1,
            made => {
                made.map_err(|e| Error::io("create the folder", &path, e))?;
                close_to_others(&path)?;
                return Ok(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_refused_while_in_use_and_when_it_holds_a_run() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let first = LockedFolder::create(Some(&path), "x").unwrap();
        let error = LockedFolder::create(Some(&path), "x").unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
        fs::write(first.settings(), "").unwrap();
        drop(first);
        let error = LockedFolder::create(Some(&path), "x").unwrap_err().to_string();
        assert!(error.contains("--resume"), "{error}");
        assert!(LockedFolder::resume(&path).is_ok());
        assert!(LockedFolder::resume(parent.path()).unwrap_err().to_string().contains("holds no run"));
    }

    #[test]
    fn new_runs_take_the_next_free_number() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("mnist-001")).unwrap();
        for expected in ["mnist-002", "mnist-003"] {
            let made = make_next(parent.path(), "mnist").unwrap();
            assert!(made.is_dir() && made == parent.path().join(expected));
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("photos");
        fs::create_dir(&path).unwrap();
        assert!(LockedFolder::create(Some(&path), "x").is_ok(), "an empty folder will do");
        assert!(LockedFolder::create(Some(&path), "x").is_ok(), "and so will one with a lock that nobody holds");
        fs::remove_file(path.join(LOCK)).unwrap();
        fs::write(path.join(".settings.toml.17.tmp"), "da").unwrap();
        assert!(LockedFolder::create(Some(&path), "x").is_ok(), "nor do half-written settings make a run");
        ["run.lock", ".settings.toml.17.tmp"].iter().for_each(|name| fs::remove_file(path.join(name)).unwrap());
        fs::write(path.join("adam-and-eve.png"), "a picture").unwrap();
        let error = LockedFolder::create(Some(&path), "x").unwrap_err();
        assert!(error.to_string().contains("adam-and-eve.png") && error.exit_code() == 2, "{error}");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "not even a lock is left");
    }
}
