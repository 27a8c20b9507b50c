//! The generator's input: a normal latent from the seed, then the label as a scaled one-hot vector.
//!
//! ```text
//! input of image k = [ z_0 ... z_(latent-1) | 0 ... label_scale ... 0 ]        z from stream `latent`, index k
//! ```
//!
//! Image k depends on the seed and on k alone. Its label, unless one is asked for, is `k mod classes`.

use crate::arch::Architecture;
use crate::error::{Error, Result};
use crate::prelude::*;
use crate::stream::{Purpose, StreamId};

/// The latent of image `index` under `seed`: `arch.latent` standard normals, each rounded to `f32`.
pub fn latent(arch: &Architecture, seed: u64, index: u64) -> Vec<f32> {
    let mut latent = vec![0.0; arch.latent];
    StreamId::new(seed, Purpose::Latent).index(index).open().fill_normal(&mut latent);
    latent
}

/// The label of image `index` where none is asked for: `index mod classes`, or none without classes.
pub fn default_label(arch: &Architecture, index: u64) -> Option<usize> {
    index.checked_rem(arch.classes as u64).map(|label| label as usize)
}

/// The generator's input: `latent`, then the one-hot `label` times the label scale; `arch.inputs()` numbers.
///
/// Without a label, the label's places of a conditional generator stay 0.
///
/// # Errors
/// [`Error::Usage`] if `latent` has the wrong length or `label` does not exist.
pub fn input(arch: &Architecture, latent: &[f32], label: Option<usize>) -> Result<Vec<f32>> {
    if latent.len() != arch.latent {
        return Err(Error::usage(format!("a latent has {} numbers; this model's have {}", latent.len(), arch.latent)));
    }
    if let Some(label) = label {
        check_label(arch, label)?;
    }
    let mut input = latent.to_vec();
    input.extend((0..arch.classes).map(|class| if Some(class) == label { arch.label_scale } else { 0.0 }));
    Ok(input)
}

/// Refuses a label that `arch` does not have.
///
/// # Errors
/// [`Error::Usage`] naming the labels that exist.
pub fn check_label(arch: &Architecture, label: usize) -> Result<()> {
    match arch.classes {
        0 => Err(Error::usage("this model has no classes; leave the label out")),
        classes if label >= classes => {
            Err(Error::usage(format!("label {label} does not exist; this model has the labels 0 to {}", classes - 1)))
        }
        _ => Ok(()),
    }
}

/// The point a share `t` of the way from input `a` to input `b`: the latents along the arc between them (spherical
/// interpolation, Shoemake 1985, which keeps their length typical of a normal vector), the labels along the line.
///
/// # Panics
/// If `a` and `b` differ in length or are shorter than `latent`.
pub fn interpolate(a: &[f32], b: &[f32], latent: usize, t: f64) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "inputs of different lengths have nothing between them");
    let (from, to) = arc_weights(&a[..latent], &b[..latent], t);
    let mix = |(index, (a, b)): (usize, (&f32, &f32))| {
        let (from, to) = if index < latent { (from, to) } else { (1.0 - t, t) };
        (from * f64::from(*a) + to * f64::from(*b)) as f32
    };
    a.iter().zip(b).enumerate().map(mix).collect()
}

/// How much of each end a point on the arc holds; on the line where the ends point the same or opposite ways.
fn arc_weights(a: &[f32], b: &[f32], t: f64) -> (f64, f64) {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let angle = libm::acos((dot(a, b) / libm::sqrt(dot(a, a) * dot(b, b))).clamp(-1.0, 1.0));
    let sine = libm::sin(angle);
    if sine.is_nan() || sine < 1e-6 {
        return (1.0 - t, t);
    }
    (libm::sin((1.0 - t) * angle) / sine, libm::sin(t * angle) / sine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arch(classes: usize) -> Architecture {
        Architecture { image_size: 8, channels: 1, ngf: 1, latent: 6, classes, label_scale: 3.0 }
    }

    #[test]
    fn an_input_is_the_latent_then_the_scaled_label() {
        let z = latent(&arch(3), 1, 0);
        let x = input(&arch(3), &z, Some(1)).unwrap();
        assert_eq!(x[..6], z);
        assert_eq!(x[6..], [0.0, 3.0, 0.0]);
        assert_eq!(input(&arch(3), &z, None).unwrap()[6..], [0.0; 3]);
    }

    #[test]
    fn latents_depend_on_seed_and_index_and_nothing_else() {
        assert_eq!(latent(&arch(3), 1, 5), latent(&arch(0), 1, 5));
        assert_ne!(latent(&arch(3), 1, 5), latent(&arch(3), 1, 6));
        assert_ne!(latent(&arch(3), 1, 5), latent(&arch(3), 2, 5));
    }

    #[test]
    fn labels_that_do_not_exist_are_refused() {
        let z = latent(&arch(3), 1, 0);
        assert!(input(&arch(3), &z, Some(3)).unwrap_err().to_string().contains("0 to 2"));
        assert!(input(&arch(0), &z, Some(0)).unwrap_err().to_string().contains("no classes"));
        assert!(input(&arch(3), &z[1..], None).is_err());
    }

    #[test]
    fn default_labels_go_round_the_classes() {
        assert_eq!(default_label(&arch(3), 7), Some(1));
        assert_eq!(default_label(&arch(0), 7), None);
    }

    #[test]
    fn interpolation_starts_at_a_ends_at_b_and_keeps_the_length() {
        let (a, b) = ([3.0, 0.0, 1.0, 0.0], [0.0, 3.0, 0.0, 1.0]);
        let close = |x: &[f32], y: &[f32]| x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-6);
        assert!(close(&interpolate(&a, &b, 2, 0.0), &a));
        assert!(close(&interpolate(&a, &b, 2, 1.0), &b));
        let half = 4.5f32.sqrt();
        assert!(close(&interpolate(&a, &b, 2, 0.5), &[half, half, 0.5, 0.5]));
        assert!(close(&interpolate(&a, &a, 2, 0.3), &a), "a straight line where there is no arc");
        assert!(close(&interpolate(&[0.0; 2], &[0.0; 2], 2, 0.3), &[0.0; 2]));
    }
}
