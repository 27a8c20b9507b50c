//! Which images' moments are matched together: those of one class, and within it of one style.
//!
//! ```text
//! group = class * styles + style
//! bit j of an image's style: whether it is in the upper half of its class, and of the half that bit j - 1 put it in, by
//!     a_j = sum over y, x of grey(y, x) cos(pi v_j (y + 1/2) / S) cos(pi u_j (x + 1/2) / S)
//! (v, u) = (0, 0) brightness, (0, 2) breadth, (1, 1) slant, (2, 0) height
//! ```
//!
//! The images of a class differ most in their lowest frequencies, whatever they show, so no image is needed to choose these. The
//! halves are those of the whole federation: clients would agree on where they part by adding up histograms of `a_j`; the
//! simulation takes the exact medians. With differential privacy a class is parted at the medians of noisy histograms instead
//! ([`crate::privacy::thresholds`]), each coefficient by itself.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use prism_nn::generator::Styles;
use rayon::prelude::*;

use crate::data::Dataset;
use crate::hash;

/// Rows and columns of the frequency that each bit of a style looks at.
const FREQUENCIES: [(usize, usize); 4] = [(0, 0), (0, 2), (1, 1), (2, 0)];

/// The group of every image.
#[derive(Clone, Debug)]
pub struct Groups {
    of_image: Vec<u32>,
    classes: usize,
    styles: Styles,
}

impl Groups {
    /// Groups the images of `data` by class, if `conditional` and there are labels, and by style.
    pub fn new(data: &Dataset, conditional: bool, styles: Styles) -> Self {
        let labels = data.labels().filter(|_| conditional);
        let mut classes = BTreeMap::<u32, Vec<usize>>::new();
        for image in 0..data.len() {
            classes.entry(labels.map_or(0, |labels| labels[image].into())).or_default().push(image);
        }
        let mut of_image = vec![0; data.len()];
        for (class, images) in classes {
            for (style, members) in halve(data, images, styles.bits()).into_iter().enumerate() {
                members.into_iter().for_each(|image| of_image[image] = class * styles.count() as u32 + style as u32);
            }
        }
        Groups { of_image, classes: labels.map_or(1, |_| data.classes()), styles }
    }

    /// Groups the images of `data` by class, as [`Groups::new`] does, and by thresholds between styles, `[classes][bits]`: bit j
    /// says whether an image's j-th coefficient is above its class's.
    pub fn beyond(data: &Dataset, conditional: bool, styles: Styles, thresholds: &[Vec<f64>]) -> Self {
        let labels = data.labels().filter(|_| conditional);
        let coefficients = Coefficients::new(data, styles);
        let group = |image: usize| {
            let class = labels.map_or(0, |labels| usize::from(labels[image]));
            let above = coefficients.of(data.image(image)).into_iter().zip(&thresholds[class]);
            let style: usize = above.enumerate().map(|(bit, (a, threshold))| usize::from(a > *threshold) << bit).sum();
            (class * styles.count() + style) as u32
        };
        let of_image = (0..data.len()).into_par_iter().map(group).collect();
        Groups { of_image, classes: labels.map_or(1, |_| data.classes()), styles }
    }

    /// The group of `image`.
    pub fn of(&self, image: usize) -> usize {
        self.of_image[image] as usize
    }

    /// One more than the greatest number that a group may have.
    pub fn count(&self) -> usize {
        self.classes * self.styles.count()
    }

    /// How many styles a class has.
    pub fn styles(&self) -> Styles {
        self.styles
    }

    /// Hexadecimal digest of the images `indices` and, where there are styles, of their groups.
    pub fn digest(&self, indices: &[usize]) -> String {
        if self.styles.count() == 1 {
            return hash::of_numbers(indices);
        }
        let numbers = indices.iter().flat_map(|&image| [image, self.of_image[image] as usize]);
        hash::of_numbers(&numbers.collect::<Vec<_>>())
    }

    /// The images `indices` by group, in their order.
    pub fn divide(&self, indices: &[usize]) -> BTreeMap<u32, Vec<usize>> {
        let mut groups = BTreeMap::<u32, Vec<usize>>::new();
        indices.iter().for_each(|&image| groups.entry(self.of_image[image]).or_default().push(image));
        groups
    }
}

/// The members of each style, by the number of the style.
fn halve(data: &Dataset, images: Vec<usize>, bits: usize) -> Vec<Vec<usize>> {
    (0..bits).fold(vec![images], |styles, bit| {
        let halves: Vec<_> = styles.into_iter().map(|members| halves(data, members, FREQUENCIES[bit])).collect();
        // Bit j of a style's number says which half: all lower ones come before all upper ones.
        let (lower, upper): (Vec<_>, Vec<_>) = halves.into_iter().unzip();
        lower.into_iter().chain(upper).collect()
    })
}

/// The coefficients of images on public scales, from 0 to 1: brightness, then the others as shares of it, so that they say little
/// of it.
pub struct Coefficients {
    waves: Vec<Waves>,
}

impl Coefficients {
    /// As many as `styles` have bits, of images as large as those of `data`.
    pub fn new(data: &Dataset, styles: Styles) -> Self {
        Coefficients { waves: FREQUENCIES[..styles.bits()].iter().map(|&frequency| waves(data, frequency)).collect() }
    }

    /// Those of one image.
    pub fn of(&self, image: &[u8]) -> Vec<f64> {
        let mut values: Vec<f64> = self.waves.iter().map(|waves| coefficient(image, waves)).collect();
        if let Some((brightness, others)) = values.split_first_mut() {
            let share = |x: f64| if *brightness > 0.0 { (1.0 + x / *brightness) / 2.0 } else { 0.5 };
            others.iter_mut().for_each(|x| *x = share(*x));
            *brightness /= 255.0 * image.len() as f64;
        }
        values
    }
}

/// The waves of a frequency along the columns and along the rows of an image.
type Waves = [Vec<f64>; 2];

fn waves(data: &Dataset, (v, u): (usize, usize)) -> Waves {
    let size = data.image_size();
    [v, u].map(|f| (0..size).map(|x| (PI * f as f64 * (x as f64 + 0.5) / size as f64).cos()).collect())
}

fn halves(data: &Dataset, members: Vec<usize>, frequency: (usize, usize)) -> (Vec<usize>, Vec<usize>) {
    let waves = waves(data, frequency);
    let mut valued: Vec<(f64, usize)> =
        members.into_par_iter().map(|image| (coefficient(data.image(image), &waves), image)).collect();
    valued.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let upper = valued.split_off(valued.len().div_ceil(2));
    let images = |half: Vec<(f64, usize)>| half.into_iter().map(|(_, image)| image).collect();
    (images(valued), images(upper))
}

/// The sum of all colours of `image` against the waves of its rows and columns.
fn coefficient(image: &[u8], [rows, columns]: &Waves) -> f64 {
    let lines = image.chunks_exact(columns.len()).enumerate();
    let along = |line: &[u8]| line.iter().zip(columns).map(|(&value, wave)| f64::from(value) * wave).sum::<f64>();
    lines.map(|(line, values)| rows[line % rows.len()] * along(values)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight images of 4x4 pixels in two classes: a dark or bright upright line, further in or at the edge.
    fn lines() -> Dataset {
        let mut pixels = Vec::new();
        for image in 0..8u8 {
            let (bright, edge) = (image >> 1 & 1, image >> 2 & 1);
            for _ in 0..4 {
                pixels.extend((0..4u8).map(|x| u8::from(x == 1 - edge) * (100 + 100 * bright)));
            }
        }
        let labels = (0..8).map(|image| image & 1).collect();
        Dataset::new("lines", 4, 1, vec!["even".into(), "odd".into()], pixels, Some(labels)).unwrap()
    }

    #[test]
    fn styles_part_a_class_by_brightness_and_breadth() {
        let groups = Groups::new(&lines(), true, Styles::new(4).unwrap());
        let expected = (0..8u32).map(|image| (image & 1) * 4 + (image >> 1 & 1) + 2 * (image >> 2 & 1));
        assert_eq!(groups.of_image, expected.collect::<Vec<_>>());
        assert_eq!(groups.divide(&[7, 1, 3]), BTreeMap::from([(4, vec![1]), (5, vec![3]), (7, vec![7])]));
    }

    #[test]
    fn thresholds_part_by_each_coefficient_of_the_class() {
        let (data, styles) = (lines(), Styles::new(4).unwrap());
        let coefficients = Coefficients::new(&data, styles);
        let values: Vec<Vec<f64>> = (0..8).map(|image| coefficients.of(data.image(image))).collect();
        assert!(values.iter().flatten().all(|x| (0.0..=1.0).contains(x)), "{values:?}");
        // Brightness is a quarter of the pixels at 100 or 200; the edge has a larger wave than what lies further in.
        assert!((values[0][0] - 25.0 / 255.0).abs() < 1e-12 && (values[2][0] - 50.0 / 255.0).abs() < 1e-12);
        let between = |low: usize, high: usize, bit: usize| (values[low][bit] + values[high][bit]) / 2.0;
        let class = |first: usize| vec![between(first, first + 2, 0), between(first, first + 4, 1)];
        let groups = Groups::beyond(&data, true, styles, &[class(0), class(1)]);
        assert_eq!(groups.of_image, Groups::new(&data, true, styles).of_image);
        assert_eq!((groups.count(), groups.of(7)), (8, groups.of_image[7] as usize));
        let never = Groups::beyond(&data, true, styles, &[vec![2.0; 2], vec![-1.0; 2]]);
        assert_eq!(never.of_image, [0, 7, 0, 7, 0, 7, 0, 7]);
    }

    #[test]
    fn a_digest_tells_other_images_and_other_styles_apart() {
        let [plain, parted] = [1, 4].map(|styles| Groups::new(&lines(), true, Styles::new(styles).unwrap()));
        assert_eq!(plain.digest(&[1, 2]), hash::of_numbers(&[1, 2]));
        assert_ne!(parted.digest(&[1, 2]), plain.digest(&[1, 2]));
        assert_ne!(parted.digest(&[1, 2]), parted.digest(&[1, 3]));
    }

    #[test]
    fn without_styles_a_group_is_a_class_and_without_classes_everything() {
        let one = Styles::default();
        assert_eq!(Groups::new(&lines(), true, one).of_image, [0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(Groups::new(&lines(), false, one).of_image, [0; 8]);
        let two = Groups::new(&lines(), false, Styles::new(2).unwrap());
        assert_eq!(two.of_image, [0, 0, 1, 1, 0, 0, 1, 1]);
    }

    #[test]
    fn halves_are_equal_whatever_the_images() {
        let flat = Dataset::new("flat", 2, 3, Vec::new(), vec![7; 12 * 9], None).unwrap();
        let groups = Groups::new(&flat, true, Styles::new(4).unwrap());
        let sizes: Vec<usize> = groups.divide(&(0..9).collect::<Vec<_>>()).values().map(Vec::len).collect();
        assert_eq!(sizes, [3, 2, 2, 2]);
    }
}
