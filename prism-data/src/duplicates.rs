//! Images that are there more than once.

use std::collections::HashMap;

use crate::Dataset;

/// Images of a data set that are there more than once, at the size at which it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// The numbers of equal images, two or more in each list.
    pub groups: Vec<Vec<usize>>,
}

impl Duplicates {
    /// Those of `images`.
    pub fn of(images: &Dataset) -> Self {
        let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
        (0..images.len()).for_each(|index| places.entry(images.image(index)).or_default().push(index));
        let mut groups: Vec<Vec<usize>> = places.into_values().filter(|group| group.len() > 1).collect();
        groups.sort();
        Duplicates { groups }
    }

    /// How many images could be left out.
    pub fn count(&self) -> usize {
        self.groups.iter().map(|group| group.len() - 1).sum()
    }

    /// How many groups have images of several classes, at least one of which is wrong.
    pub fn across_classes(&self, labels: Option<&[u16]>) -> usize {
        let Some(labels) = labels else { return 0 };
        self.groups.iter().filter(|group| group.iter().any(|&index| labels[index] != labels[group[0]])).count()
    }

    /// How many of `held_out` are also among `images`.
    pub fn shared(images: &Dataset, held_out: &Dataset) -> usize {
        let known: std::collections::HashSet<&[u8]> = (0..images.len()).map(|index| images.image(index)).collect();
        (0..held_out.len()).filter(|&index| known.contains(held_out.image(index))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_images_are_found_within_and_across_classes_and_splits() {
        let set = |pixels: &[u8]| Dataset::new("set", 1, 1, pixels.to_vec()).unwrap();
        let images = set(&[5, 7, 5, 8, 7, 5]);
        let found = Duplicates::of(&images);
        assert_eq!((found.groups.clone(), found.count()), (vec![vec![0, 2, 5], vec![1, 4]], 3));
        assert_eq!(found.across_classes(Some(&[0, 1, 0, 0, 0, 0])), 1);
        assert_eq!(found.across_classes(None), 0);
        assert_eq!(Duplicates::shared(&images, &set(&[1, 5, 5, 8])), 3);
        assert_eq!(Duplicates::of(&set(&[1, 2])).count(), 0);
    }
}
