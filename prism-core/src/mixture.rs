//! Mixtures: several generators of one shape in one model, each drawing its share of the images.
//!
//! ```text
//! component c = 0..K-1     frozen weights from seed + c, a mask and norms of its own
//! image k                  is drawn by one component, which follows from (sampling seed, k) alone
//! ```
//!
//! Generators that were trained towards the same moments from different seeds err in different ways. A mixture of them
//! keeps what they agree on and varies in the rest, at the cost of one more mask for each.

use crate::arch::Architecture;
use crate::error::{Error, Result};
use crate::prelude::*;
use crate::stream::{Purpose, StreamId};

/// Components that a model may have at most.
pub const MAX_COMPONENTS: usize = 64;

/// Refuses more components than a model may have, or more weights in all of them than a generator may have.
///
/// # Errors
/// [`Error::Usage`] naming the number, the limit and what to choose.
pub fn check(arch: &Architecture, components: usize) -> Result<()> {
    if !(1..=MAX_COMPONENTS).contains(&components) {
        return Err(Error::usage(format!("the number of components is {components}; choose 1 to {MAX_COMPONENTS}")));
    }
    let (each, most) = (arch.weights(), Architecture::MAX_WEIGHTS);
    if each > most / components {
        return Err(Error::usage(format!(
            "{components} components of {each} weights have more than {most} in all; choose fewer, or a smaller ngf"
        )));
    }
    Ok(())
}

/// The seed of the frozen weights of component `component` of a model with seed `seed`.
pub fn component_seed(seed: u64, component: usize) -> u64 {
    seed.wrapping_add(component as u64)
}

/// The prefix of a component's layers and tensors in files and reports: its number, where there are several.
pub fn prefix(component: usize, components: usize) -> String {
    if components == 1 { String::new() } else { format!("{component}.") }
}

/// Which of `components` components, at most [`MAX_COMPONENTS`], draws image `index` under the sampling seed `seed`;
/// all are equally likely.
pub fn component_of_image(components: usize, seed: u64, index: u64) -> usize {
    let number = StreamId::new(seed, Purpose::Component).index(index).open().next_u64() >> 11;
    // 53 bits by at most 7 fit into 64, so this is exact.
    ((number * components as u64) >> 53) as usize
}

/// Draws the rows of `inputs`, each of `width` numbers, row r by component `components[r]`; the images are in the order
/// of rows.
///
/// `draw` is called once for each component that has rows, with all of them, and gives as many numbers for each.
///
/// # Errors
/// The first of `draw`.
///
/// # Panics
/// If there are not as many rows as components named.
pub fn route<E>(
    inputs: &[f32],
    width: usize,
    components: &[usize],
    mut draw: impl FnMut(usize, &[f32]) -> core::result::Result<Vec<f32>, E>,
) -> core::result::Result<Vec<f32>, E> {
    assert_eq!(inputs.len(), width * components.len(), "as many rows of {width} numbers as components");
    let Some(&first) = components.first() else { return Ok(Vec::new()) };
    if components.iter().all(|&component| component == first) {
        return draw(first, inputs);
    }
    let mut out = Vec::new();
    for component in 0..=components.iter().copied().max().unwrap_or(0) {
        let places: Vec<usize> = (0..components.len()).filter(|&row| components[row] == component).collect();
        if places.is_empty() {
            continue;
        }
        let rows: Vec<f32> = places.iter().flat_map(|&row| &inputs[row * width..][..width]).copied().collect();
        let drawn = draw(component, &rows)?;
        let size = drawn.len() / places.len();
        out.resize(components.len() * size, 0.0);
        for (&row, image) in places.iter().zip(drawn.chunks_exact(size.max(1))) {
            out[row * size..][..size].copy_from_slice(image);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_draws_its_share_whatever_the_label() {
        let mut counts = [[0usize; 3]; 3];
        for index in 0..9000u64 {
            counts[(index % 3) as usize][component_of_image(3, 5, index)] += 1;
        }
        assert!(counts.iter().flatten().all(|&n| (900..1100).contains(&n)), "{counts:?}");
        assert!((0..100).all(|index| component_of_image(1, 5, index) == 0));
        let by: Vec<_> = (0..10).map(|index| component_of_image(3, 0, index)).collect();
        assert_eq!(by, [2, 2, 2, 0, 2, 0, 0, 0, 1, 0], "as FORMAT.md has it");
        assert_ne!(component_seed(0, 1), component_seed(0, 0));
        assert_eq!(component_seed(u64::MAX, 1), 0);
    }

    #[test]
    fn rows_come_back_in_their_order() {
        let inputs: Vec<f32> = (0..10).map(|i| i as f32).collect();
        let mut calls = Vec::new();
        let mut draw = |component: usize, rows: &[f32]| {
            calls.push((component, rows.to_vec()));
            // Three numbers a row: the component, and the row.
            Ok::<_, ()>(rows.chunks(2).flat_map(|row| [component as f32, row[0], row[1]]).collect())
        };
        let drawn = route(&inputs, 2, &[2, 0, 2, 2, 0], &mut draw).unwrap();
        assert_eq!(drawn, [2., 0., 1., 0., 2., 3., 2., 4., 5., 2., 6., 7., 0., 8., 9.]);
        assert!(route(&[], 2, &[], &mut draw).unwrap().is_empty());
        assert_eq!(route(&inputs, 2, &[1; 5], &mut draw).unwrap().len(), 15);
        let asked: Vec<usize> = calls.iter().map(|(component, _)| *component).collect();
        assert_eq!(asked, [0, 2, 1], "once each, and none that has no rows");
        assert_eq!(
            route(&inputs, 2, &[0, 1, 0, 0, 0], |c, _| if c == 1 { Err("broken") } else { Ok(vec![0.0; 4]) }),
            Err("broken")
        );
    }
}
