//! The unit in which a group's distances count, and what takes its place where a group has none of its own.
//!
//! ```text
//! unit of a group = mean over features of the variance of its images
//! whole           = the same of all images together, or a hundredth of their mean square where that is more
//! a group whose unit is less than a hundredth of the whole is flat: its unit is the whole
//! ```
//!
//! Distances are divided by the unit, and those of variances by its square. A class of copies of one picture has a unit of
//! nothing, so that it alone would decide every step and ruin the model for all classes.

use super::sums::{GroupSums, Sums};

/// A group's variance below this share of the whole's is that of copies, and not of a class of different pictures.
const FLAT: f64 = 0.01;
/// The whole is at least this share of the mean square: what is left where all images are copies of one.
const LEAST_WHOLE: f64 = 0.01;
/// Fewer images than this have no variance.
const MIN_IMAGES: f64 = 2.0;

/// For each layer, the unit of all images together.
pub fn wholes(sums: &GroupSums) -> Vec<f64> {
    let layers = sums.values().next().map_or(0, Vec::len);
    (0..layers).map(|layer| whole(sums.values().map(|group| &group[layer]))).collect()
}

fn whole<'a>(groups: impl Iterator<Item = &'a Sums>) -> f64 {
    let mut all = Sums::default();
    groups.for_each(|group| all.merge(group));
    let squares: f64 = all.features.iter().map(|(_, squares)| squares).sum();
    let mean_square = squares / (all.count * all.features.len() as f64);
    if all.count < MIN_IMAGES { 0.0 } else { own(&all).max(LEAST_WHOLE * mean_square) }
}

/// The unit of a group by itself.
fn own(sums: &Sums) -> f64 {
    sums.variance(1.0).map(f64::from).sum::<f64>() / sums.features.len() as f64
}

/// Whether a group is flat beside the `whole`.
pub fn is_flat(group: &Sums, whole: f64) -> bool {
    own(group) < FLAT * whole
}

/// The groups that are flat in a layer: two or more images that are the same, or nearly so.
pub fn flat_groups(sums: &GroupSums) -> Vec<u32> {
    let wholes = wholes(sums);
    let flat = |layers: &[Sums]| {
        layers.iter().zip(&wholes).any(|(group, &whole)| group.count >= MIN_IMAGES && is_flat(group, whole))
    };
    sums.iter().filter(|(_, layers)| flat(layers)).map(|(&group, _)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(rows: &[[f64; 2]]) -> Sums {
        let feature = |at: usize| rows.iter().fold((0.0, 0.0), |s, row| (s.0 + row[at], s.1 + row[at] * row[at]));
        Sums { count: rows.len() as f64, features: vec![feature(0), feature(1)] }
    }

    #[test]
    fn a_group_of_copies_is_flat_and_no_other() {
        let groups: GroupSums = [
            (0, vec![sums(&[[1.0, 2.0], [3.0, -2.0]])]),
            (1, vec![sums(&[[5.0, 0.5], [5.0, 0.5], [5.0, 0.5]])]),
            (2, vec![sums(&[[5.0, 0.5], [5.01, 0.5]])]),
            (3, vec![sums(&[[4.0, 4.0]])]),
        ]
        .into();
        assert_eq!(flat_groups(&groups), [1, 2], "a single image has no variance to speak of");
    }

    #[test]
    fn where_all_images_are_copies_their_mean_square_gives_the_unit() {
        let groups: GroupSums = [(0, vec![sums(&[[3.0, 4.0]; 5])])].into();
        assert_eq!(wholes(&groups), [12.5 * LEAST_WHOLE]);
        assert_eq!(flat_groups(&groups), [0]);
        let dead: GroupSums = [(0, vec![sums(&[[0.0, 0.0]; 5])])].into();
        assert_eq!(flat_groups(&dead), Vec::<u32>::new(), "a layer that is silent on all images has no unit to give");
    }
}
