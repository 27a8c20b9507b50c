//! Where the files of a named set are sought, and what to say when they are not there.

use std::path::{Path, PathBuf};

use prism_core::{Error, Result};

use super::LoadOptions;

/// The environment variable that names a folder of data sets, one sub-folder a set.
pub const DATA_VARIABLE: &str = "PRISM_DATA";

/// The folders in which to look: `--data-dir` where it is given, otherwise `PRISM_DATA`; each followed by its
/// `sub_folders`.
///
/// A folder that was named by flag is never overruled by the environment, or a typing mistake would silently train on
/// another set.
pub(super) fn folders(options: &LoadOptions, sub_folders: &[&str]) -> Vec<PathBuf> {
    let variable = || std::env::var_os(DATA_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let Some(root) = options.data_dir.clone().or_else(variable) else { return Vec::new() };
    let beneath: Vec<PathBuf> = sub_folders.iter().map(|sub_folder| root.join(sub_folder)).collect();
    std::iter::once(root).chain(beneath).collect()
}

/// For each group of alternative names, the file of the first folder that holds one of every group.
pub(super) fn find(folders: &[PathBuf], groups: &[Vec<String>]) -> Option<Vec<PathBuf>> {
    folders.iter().find_map(|folder| groups.iter().map(|names| first_file(folder, names)).collect())
}

/// The first of `names` that is a file in `folder`.
pub(super) fn first_file(folder: &Path, names: &[String]) -> Option<PathBuf> {
    names.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// A named set of which files are missing.
pub(super) struct Missing<'a> {
    /// The name of the source.
    pub name: &'a str,
    /// The files that are needed.
    pub files: &'a str,
    /// Who publishes them, and where.
    pub home: &'a str,
}

impl Missing<'_> {
    /// Which files, where they were sought, and how to get them.
    pub(super) fn error(&self, folders: &[PathBuf]) -> Error {
        let Missing { name, files, home } = self;
        let sought = match folders {
            [] => format!("no folder was named by --data-dir or by {DATA_VARIABLE}"),
            _ => {
                let list: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
                format!("they were sought in {}", list.join(", "))
            }
        };
        Error::usage(format!(
            "data set '{name}' needs the files {files}, which were not found ({sought}); get them from {home} and name their \
             folder with --data-dir, or build with --features hub to fetch them, or choose --dataset strokes, which needs no \
             files"
        ))
    }
}

/// The folder given by `--data-dir`.
pub(super) fn data_dir(options: &LoadOptions) -> Result<&Path> {
    let Some(folder) = options.data_dir.as_deref() else {
        return Err(Error::usage(
            "data set 'folder' needs --data-dir, a folder of image files or of one sub-folder a class",
        ));
    };
    if !folder.is_dir() {
        return Err(Error::usage(format!(
            "{} is no folder; name the folder of your images with --data-dir",
            folder.display()
        )));
    }
    Ok(folder)
}
