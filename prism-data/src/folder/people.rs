//! Whose images are whose, where the folders inside a class are people's: `ill/patient 1/scan/c.png`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::Dataset;

/// The folders inside the classes of a data set, each taken for one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct People {
    /// How many there are.
    pub count: usize,
    /// The fewest and the most images that one of them has, in all classes together.
    pub images: (usize, usize),
}

impl People {
    /// Those of the images of `set`, which lie in `files`; none where no class has folders inside.
    pub(super) fn of(set: &Dataset, files: &[PathBuf]) -> Option<Self> {
        let labels = set.labels()?;
        let mut images = BTreeMap::<PathBuf, usize>::new();
        for (file, &label) in files.iter().zip(labels) {
            if let Some(person) = person(file, &set.class_names()[usize::from(label)]) {
                *images.entry(person).or_default() += 1;
            }
        }
        let (least, most) = (images.values().min()?, images.values().max()?);
        Some(People { count: images.len(), images: (*least, *most) })
    }
}

/// The folder of a person inside the class folder `class`, without that: somebody may have images in several classes.
fn person(file: &Path, class: &str) -> Option<PathBuf> {
    let folder = file.parent()?;
    let inside: Vec<_> = folder.components().collect();
    let at = inside.iter().rposition(|part| part.as_os_str() == class)?;
    let name = inside.get(at + 1)?;
    Some(inside[..at].iter().chain([name]).collect())
}

impl fmt::Display for People {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let People { count, images: (least, most) } = self;
        write!(
            f,
            "people: the classes have {count} folders inside, of {least} to {most} images; if each is a person's, `adjacency` \
             replace:{most} protects a whole person"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_inside_classes_are_people_whatever_lies_in_them() {
        let files = ["well/a.png", "well/p 1/a.png", "ill/p 1/b.png", "ill/p 1/scan/c.png", "ill/p 2/d.png"];
        let files: Vec<PathBuf> = files.iter().map(|file| Path::new("site").join(file)).collect();
        let set = Dataset::new("scans", 8, 1, vec![0; 5 * 64]).unwrap();
        let set = set.with_labels(vec!["ill".into(), "well".into()], vec![1, 1, 0, 0, 0]).unwrap();
        let people = People::of(&set, &files).unwrap();
        assert_eq!(people, People { count: 2, images: (1, 3) });
        assert!(people.to_string().contains("2 folders inside, of 1 to 3 images"), "{people}");
        assert_eq!(People::of(&set, &files[..1]), None, "no class has folders inside");
    }
}
