//! Files that are either wholly written or not at all, and reads that stop at a limit.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crate::error::{Error, Result};

/// Replaces `path` by what `write` produces: a temporary file beside it is written, synced and renamed.
///
/// Whatever stood at `path` stays untouched until the new content is safely on disk. A link stays, and the file that it
/// points to is replaced. A pipe or a device, such as `/dev/null` or `/dev/stdout`, is written to as it stands:
/// renaming a file over it would remove it.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be written or the disk is full; the temporary file is removed.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return write_through(path, write).map_err(|source| Error::io("write", path, source));
    }
    // What is not there yet, or cannot be looked at, is left to the write to find out.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let temporary = temporary_name(&target);
    let result = write_synced(&temporary, write).and_then(|()| fs::rename(&temporary, &target));
    if let Err(source) = result {
        // The original error is the one to report; a leftover temporary file does no harm.
        let _ = fs::remove_file(&temporary);
        return Err(Error::io("write", path, source));
    }
    sync_folder(&target);
    Ok(())
}

/// A file that has been written, while another thread waits until the disk has it.
#[must_use = "the file stands at its path only once `finish` has returned"]
pub struct Pending {
    path: PathBuf,
    waiting: JoinHandle<io::Result<()>>,
}

/// As [`write_atomic`], for an ordinary file: `write` has run when this returns, and what stood at `path` stays until
/// [`Pending::finish`] has found the new content safely on disk.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be written or the disk is full; the temporary file is removed.
pub fn begin_write(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Pending> {
    let temporary = temporary_name(path);
    let written = write_buffered(&temporary, write).map_err(|source| {
        // The original error is the one to report; a leftover temporary file does no harm.
        let _ = fs::remove_file(&temporary);
        Error::io("write", path, source)
    })?;
    let target = path.to_path_buf();
    let left = temporary.clone();
    let settle = move || {
        let result = written.sync_all().and_then(|()| fs::rename(&temporary, &target));
        match result {
            Ok(()) => sync_folder(&target),
            Err(_) => drop(fs::remove_file(&temporary)),
        }
        result
    };
    let waiting = std::thread::Builder::new().spawn(settle).map_err(|source| {
        let _ = fs::remove_file(&left);
        Error::io("write", path, source)
    })?;
    Ok(Pending { path: path.to_path_buf(), waiting })
}

impl Pending {
    /// Waits until the file is on disk and at its path.
    ///
    /// # Errors
    /// [`Error::Io`] if it did not get there; what stood at the path is then untouched.
    pub fn finish(self) -> Result<()> {
        let result =
            self.waiting.join().unwrap_or_else(|_| Err(io::Error::other("the thread that synced it panicked")));
        result.map_err(|source| Error::io("write", self.path, source))
    }
}

/// The whole file, if it is at most `limit` bytes long.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Corrupt`] if it is longer than `limit`.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|source| Error::io("read", path, source))?;
    // As long as the file says that it is: a guess, which saves moving what was read.
    let length = file.metadata().map_or(0, |found| found.len().min(limit));
    let mut bytes = Vec::new();
    let reserved = bytes.try_reserve_exact(usize::try_from(length).unwrap_or(0));
    reserved.map_err(|source| Error::io("read", path, source.into()))?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| Error::io("read", path, source))?;
    if bytes.len() as u64 > limit {
        return Err(Error::corrupt(
            path.display().to_string(),
            format!("it is longer than {limit} bytes, the most that a file of this kind may have"),
        ));
    }
    Ok(bytes)
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn write_synced(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    write_buffered(path, write)?.sync_all()
}

fn write_buffered(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<File> {
    let mut out = BufWriter::new(File::create(path)?);
    write(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)
}

/// Writes to something that is no file, and so can be neither replaced nor synced.
fn write_through(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(File::options().write(true).open(path)?);
    write(&mut out)?;
    out.flush()
}

/// Makes the rename itself durable. Some file systems cannot sync a folder; the rename is atomic there all the same.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_rubbish() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept.txt");
        write_atomic(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write_atomic(&path, |out| {
            out.write_all(b"half of the new")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_pending_file_stands_once_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::write(&path, b"old").unwrap();
        begin_write(&path, |out| out.write_all(b"new")).unwrap().finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(begin_write(&path, |_| Err(io::Error::other("disk full"))).is_err());
        // A folder in its place cannot be replaced, which only the end of the write finds out.
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("file"), b"kept").unwrap();
        let error = begin_write(&taken, |out| out.write_all(b"new")).unwrap().finish().unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["state", "taken"], "no temporary file is left");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_its_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomic(&link, |out| out.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
    }

    /// A socket stands for every special file here: none can be opened as a file, and before, all were replaced by one.
    /// A device itself is not put at risk by a test.
    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(write_atomic(&path, |out| out.write_all(b"new")).is_err());
        assert!(!fs::metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        fs::write(&path, [0; 11]).unwrap();
        assert!(read_bounded(&path, 10).is_err());
        assert_eq!(read_bounded(&path, 11).unwrap().len(), 11);
    }
}
