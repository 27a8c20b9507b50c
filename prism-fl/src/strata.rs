//! Which images' moments are matched together: those of one class, and within it of one subclass.
//!
//! ```text
//! group = class * subclasses + subclass
//! bit j of an image's subclass: whether a_j is above the threshold of its class,
//!     a_j = sum over y, x of grey(y, x) cos(pi v_j (y + 1/2) / S) cos(pi u_j (x + 1/2) / S)     brought to 0 .. 1
//! (v, u) = (0, 0) brightness, (0, 2) breadth, (1, 1) slant, (2, 0) height
//! ```
//!
//! The images of a class differ most in their lowest frequencies, whatever they show, so no image is needed to choose these.
//! Thresholds are medians over the whole federation, from a sum of the clients' histograms ([`crate::privacy::histograms`]).

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::sync::Arc;

use prism_data::Dataset;
use prism_nn::generator::Subclasses;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Rows and columns of the frequency that each bit of a subclass looks at.
const FREQUENCIES: [(usize, usize); 4] = [(0, 0), (0, 2), (1, 1), (2, 0)];

/// The threshold of every class and bit, `[classes][bits]`.
pub type Thresholds = Vec<Vec<f64>>;

/// The images of one client: some of a data set that others may share.
#[derive(Clone)]
pub struct ClientData {
    /// The data set.
    pub dataset: Arc<Dataset>,
    /// The numbers of the client's images in it, ascending.
    pub members: Vec<usize>,
}

impl ClientData {
    /// All images of `dataset`.
    pub fn whole(dataset: Dataset) -> Self {
        ClientData { members: (0..dataset.len()).collect(), dataset: Arc::new(dataset) }
    }

    /// Which of `classes` classes `image` is of, a number in the data set; 0 where classes are not told apart.
    pub fn class_of(&self, image: usize, classes: usize) -> usize {
        self.dataset.labels().filter(|_| classes > 1).map_or(0, |labels| labels[image].into())
    }

    /// Hexadecimal digest of the data set's pixels and labels, and of the numbers of the client's images.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new().chain_update(self.dataset.digest());
        self.members.iter().for_each(|&n| hash.update((n as u64).to_le_bytes()));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A client's images by group.
#[derive(Clone, Debug, PartialEq)]
pub struct Strata {
    groups: BTreeMap<u32, Vec<usize>>,
    count: usize,
}

impl Strata {
    /// Divides the images of `data` by class, and by `thresholds` into `subclasses`; these are not looked at where there is one.
    pub fn new(data: &ClientData, classes: usize, subclasses: Subclasses, thresholds: &Thresholds) -> Self {
        let coefficients = Coefficients::new(data.dataset.image_size(), subclasses);
        let group = |&image: &usize| {
            let class = data.class_of(image, classes);
            let values = coefficients.of(data.dataset.image(image));
            let above = values.iter().enumerate().filter(|&(bit, a)| *a > thresholds[class][bit]);
            let subclass: usize = above.map(|(bit, _)| 1 << bit).sum();
            (class * subclasses.count() + subclass) as u32
        };
        let of_image: Vec<u32> = data.members.par_iter().map(group).collect();
        let mut groups = BTreeMap::<u32, Vec<usize>>::new();
        of_image
            .into_iter()
            .zip(&data.members)
            .for_each(|(group, &image)| groups.entry(group).or_default().push(image));
        Strata { groups, count: classes * subclasses.count() }
    }

    /// One more than the greatest number that a group may have.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The groups that have images, ascending, each with its images in their order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[usize])> {
        self.groups.iter().map(|(&group, images)| (group, images.as_slice()))
    }
}

/// The coefficients of images on public scales, from 0 to 1: brightness, then the others as shares of it, so that they say
/// little of it.
pub struct Coefficients {
    waves: Vec<Waves>,
}

/// The waves of a frequency along the rows and along the columns of an image.
type Waves = [Vec<f64>; 2];

impl Coefficients {
    /// As many as `subclasses` have bits, of images of `size` pixels a side.
    pub fn new(size: usize, subclasses: Subclasses) -> Self {
        let wave = |f: usize| (0..size).map(|x| (PI * f as f64 * (x as f64 + 0.5) / size as f64).cos()).collect();
        Coefficients { waves: FREQUENCIES[..subclasses.bits()].iter().map(|&(v, u)| [v, u].map(wave)).collect() }
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
    fn lines() -> ClientData {
        let mut pixels = Vec::new();
        for image in 0..8u8 {
            let (bright, edge) = (image >> 1 & 1, image >> 2 & 1);
            for _ in 0..4 {
                pixels.extend((0..4u8).map(|x| u8::from(x == 1 - edge) * (100 + 100 * bright)));
            }
        }
        let labels = (0..8).map(|image| image & 1).collect();
        let names = vec!["even".into(), "odd".into()];
        let images = Dataset::new("lines", 4, 1, pixels).unwrap();
        ClientData::whole(images.with_labels(names, labels).unwrap())
    }

    fn groups(strata: &Strata) -> Vec<(u32, Vec<usize>)> {
        strata.iter().map(|(group, images)| (group, images.to_vec())).collect()
    }

    #[test]
    fn thresholds_divide_a_class_by_each_coefficient() {
        let (data, subclasses) = (lines(), Subclasses::new(4).unwrap());
        let coefficients = Coefficients::new(4, subclasses);
        let values: Vec<Vec<f64>> = (0..8).map(|image| coefficients.of(data.dataset.image(image))).collect();
        assert!(values.iter().flatten().all(|x| (0.0..=1.0).contains(x)), "{values:?}");
        // Brightness is a quarter of the pixels at 100 or 200; the edge has a larger wave than what lies further in.
        assert!((values[0][0] - 25.0 / 255.0).abs() < 1e-12 && (values[2][0] - 50.0 / 255.0).abs() < 1e-12);
        let between = |low: usize, high: usize, bit: usize| (values[low][bit] + values[high][bit]) / 2.0;
        let class = |first: usize| vec![between(first, first + 2, 0), between(first, first + 4, 1)];
        let strata = Strata::new(&data, 2, subclasses, &vec![class(0), class(1)]);
        let expected =
            (0..8u32).map(|image| ((image & 1) * 4 + (image >> 1 & 1) + 2 * (image >> 2 & 1), image as usize));
        let mut expected: Vec<(u32, Vec<usize>)> = expected.map(|(group, image)| (group, vec![image])).collect();
        expected.sort();
        assert_eq!((groups(&strata), strata.count()), (expected, 8));
        let never = Strata::new(&data, 2, subclasses, &vec![vec![2.0; 2], vec![-1.0; 2]]);
        assert_eq!(groups(&never), [(0, vec![0, 2, 4, 6]), (7, vec![1, 3, 5, 7])]);
    }

    #[test]
    fn without_subclasses_a_group_is_a_class() {
        let data = ClientData { members: vec![1, 2, 7], ..lines() };
        assert_eq!(groups(&Strata::new(&data, 2, Subclasses::default(), &Vec::new())), [(0, vec![2]), (1, vec![1, 7])]);
    }

    #[test]
    fn a_digest_tells_other_images_of_the_same_set_apart() {
        let all = lines();
        let some = ClientData { members: vec![1, 2], ..all.clone() };
        assert_eq!(some.digest(), ClientData { members: vec![1, 2], ..lines() }.digest());
        assert_ne!(some.digest(), all.digest());
        assert_ne!(some.digest(), ClientData { members: vec![1, 3], ..all }.digest());
    }
}
