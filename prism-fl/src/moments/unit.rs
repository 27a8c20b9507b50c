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

use super::statistics::{GroupStatistics, Statistics};

/// A group's variance below this share of the whole's is that of copies, and not of a class of different pictures.
const FLAT: f64 = 0.01;
/// The whole is at least this share of the mean square: what is left where all images are copies of one.
const LEAST_WHOLE: f64 = 0.01;
/// Fewer images than this have no variance.
const MIN_IMAGES: f64 = 2.0;

/// For each layer, the unit of all images together.
pub fn wholes(groups: &GroupStatistics) -> Vec<f64> {
    let layers = groups.values().next().map_or(0, Vec::len);
    (0..layers).map(|layer| whole(groups.values().map(|group| &group[layer]))).collect()
}

/// The unit of all images of one layer's groups together.
pub fn whole<'a>(groups: impl Iterator<Item = &'a Statistics>) -> f64 {
    let mut all = Statistics::default();
    groups.for_each(|group| all.merge(group));
    if all.count < MIN_IMAGES { 0.0 } else { all.mean_variance().max(LEAST_WHOLE * all.mean_square()) }
}

/// Whether a group is flat beside the `whole`.
pub fn is_flat(group: &Statistics, whole: f64) -> bool {
    group.mean_variance() < FLAT * whole
}

/// The groups of two or more images that are the same, or nearly so, to every layer that sees anything at all. Pictures that
/// are only alike, such as scans of one part of the body, differ in some.
pub fn flat_groups(groups: &GroupStatistics) -> Vec<u32> {
    let wholes = wholes(groups);
    let flat = |layers: &[Statistics]| {
        let mut seeing = layers.iter().zip(&wholes).filter(|(_, whole)| **whole > 0.0).peekable();
        seeing.peek().is_some() && seeing.all(|(group, &whole)| group.count >= MIN_IMAGES && is_flat(group, whole))
    };
    groups.iter().filter(|(_, layers)| flat(layers)).map(|(&group, _)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::super::statistics::tests::of;
    use super::*;

    #[test]
    fn a_group_of_copies_is_flat_and_no_other() {
        let groups: GroupStatistics = [
            (0, vec![of(&[[1.0, 2.0], [3.0, -2.0]])]),
            (1, vec![of(&[[5.0, 0.5], [5.0, 0.5], [5.0, 0.5]])]),
            (2, vec![of(&[[5.0, 0.5], [5.01, 0.5]])]),
            (3, vec![of(&[[4.0, 4.0]])]),
        ]
        .into();
        assert_eq!(flat_groups(&groups), [1, 2], "a single image has no variance to speak of");
    }

    #[test]
    fn images_that_are_alike_to_one_layer_alone_are_no_copies() {
        let (alike, silent) = (of(&[[5.0, 0.5], [5.01, 0.5]]), of(&[[0.0, 0.0], [0.0, 0.0]]));
        let varied = of(&[[1.0, 2.0], [3.0, -2.0]]);
        let groups: GroupStatistics = [
            (0, vec![varied.clone(), varied.clone(), silent.clone()]),
            (1, vec![alike.clone(), varied, silent.clone()]),
            (2, vec![alike.clone(), alike, silent]),
        ]
        .into();
        assert_eq!(flat_groups(&groups), [2]);
    }

    #[test]
    fn where_all_images_are_copies_their_mean_square_gives_the_unit() {
        let groups: GroupStatistics = [(0, vec![of(&[[3.0, 4.0]; 5])])].into();
        assert_eq!(wholes(&groups), [12.5 * LEAST_WHOLE]);
        assert_eq!(flat_groups(&groups), [0]);
        let dead: GroupStatistics = [(0, vec![of(&[[0.0, 0.0]; 5])])].into();
        assert_eq!(flat_groups(&dead), Vec::<u32>::new(), "a layer that is silent on all images has no unit to give");
    }
}
