//! A folder of sites: each sub-folder holds what one client of a real fleet has in its own.
//!
//! ```text
//! DIR/site-a/*.png              all flat: no labels
//! DIR/site-a/cat/*.png          or one sub-folder a class; a site may lack some
//! DIR/site-a/train/... test/... either of these, with a part held out
//! ```
//!
//! Sites come in order of their names, and the images of each in the order in which the site itself would load them: a
//! simulation of a fleet trains on the very bytes that the fleet does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use prism_core::{Error, Result};

use super::folder::{Survey, class_folders, list_split, load_listing, read_folder, shown};
use super::{Dataset, FolderLayout, LoadOptions, Watch};

/// Loads the images of all sites under `folder` as a data set called `name`, and says what it saw.
///
/// # Errors
/// As [`super::load`].
pub(super) fn load(
    (name, folder): (&str, &Path),
    options: &LoadOptions,
    watch: &Watch<'_>,
) -> Result<(Dataset, Survey)> {
    let content = read_folder(folder)?;
    if !content.images.is_empty() || content.folders.is_empty() {
        return Err(Error::usage(format!(
            "{} must hold one sub-folder a site and no images beside them, since the partition is by site",
            shown(folder)
        )));
    }
    if let Some(limit) = options.limit {
        return Err(Error::usage(format!(
            "a limit of {limit} images would leave out whole sites; leave it out, or choose another partition than sites"
        )));
    }
    let options = LoadOptions { layout: classes(&content.folders)?, ..options.clone() };
    let mut sites = content.folders.iter().map(|site| list_split(site, &options)).collect::<Result<Vec<_>>>()?;
    let mut all = sites.remove(0);
    for (site, folder) in sites.into_iter().zip(&content.folders[1..]) {
        if site.class_names != all.class_names {
            return Err(Error::usage(format!(
                "{} has other classes than the sites before it; give all sites the same sub-folders, or none",
                shown(folder)
            )));
        }
        all.extend(site);
    }
    let (images, survey) = load_listing((name, folder), all, &options, watch)?;
    // Broken files may have been left out.
    let of = |site: &PathBuf| survey.files.iter().filter(|file| file.starts_with(site)).count();
    let sizes = content.folders.iter().map(of).collect();
    Ok((images.with_sites(sizes), survey))
}

/// The classes of which some site has a folder; as found where the sites hold no two.
fn classes(sites: &[PathBuf]) -> Result<FolderLayout> {
    let of_each = sites.iter().map(|site| class_folders(site)).collect::<Result<Vec<_>>>()?;
    let names: Vec<String> = of_each.into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect();
    Ok(if names.len() > 1 { FolderLayout::Agreed(names) } else { FolderLayout::Classes })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::folder::tests::put;
    use super::super::{Source, load as load_any};
    use super::*;

    fn options(root: &Path) -> LoadOptions {
        LoadOptions {
            data_dir: Some(root.to_path_buf()),
            image_size: 8,
            channels: Some(1),
            layout: FolderLayout::Sites,
            ..LoadOptions::default()
        }
    }

    #[test]
    fn the_images_of_a_site_are_those_that_it_loads_by_itself_with_the_numbers_of_all_classes() {
        let root = tempfile::tempdir().unwrap();
        for (name, value) in [("b/dog/1.png", 11), ("a/cat/1.png", 1), ("a/dog/0.png", 10), ("a/cat/0.png", 0)] {
            put(root.path(), name, value);
        }
        let set = load_any(Source::Folder, &options(root.path())).unwrap();
        assert_eq!(set.class_names(), ["cat", "dog"]);
        assert_eq!(set.labels().unwrap(), [0, 1, 0, 1]);
        let parts = set.sites().unwrap();
        assert_eq!(parts, [vec![0, 1, 2], vec![3]]);
        for (site, part) in ["a", "b"].iter().zip(&parts) {
            let layout = FolderLayout::Agreed(set.class_names().to_vec());
            let own = LoadOptions { layout, ..options(&root.path().join(site)) };
            assert_eq!(load_any(Source::Folder, &own).unwrap().digest(), set.subset(part).digest());
        }
        assert_eq!(set.subset(&[0]).sites(), None);
    }

    #[test]
    fn sites_without_labels_are_flat() {
        let root = tempfile::tempdir().unwrap();
        ["a/0.png", "a/1.png", "b/0.png"].iter().for_each(|name| put(root.path(), name, 1));
        let set = load_any(Source::Folder, &options(root.path())).unwrap();
        assert_eq!((set.labels(), set.sites().unwrap()), (None, vec![vec![0, 1], vec![2]]));
    }

    #[test]
    fn folders_that_are_no_sites_are_refused_in_words() {
        let root = tempfile::tempdir().unwrap();
        let error = |options: &LoadOptions| load_any(Source::Folder, options).unwrap_err().to_string();
        put(root.path(), "0.png", 1);
        assert!(error(&options(root.path())).contains("one sub-folder a site"));
        fs::remove_file(root.path().join("0.png")).unwrap();
        ["a/cat/0.png", "a/dog/0.png", "b/0.png"].iter().for_each(|name| put(root.path(), name, 1));
        assert!(error(&options(root.path())).contains("called as in [cat, dog]"));
        assert!(error(&LoadOptions { limit: Some(2), ..options(root.path()) }).contains("leave out whole sites"));
        let layout = FolderLayout::Agreed(vec!["cat".to_string(), "hen".to_string()]);
        let own = LoadOptions { layout, ..options(&root.path().join("a")) };
        assert!(error(&own).contains("class 'dog' of"), "{}", error(&own));
    }
}
