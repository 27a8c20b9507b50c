//! `strokes`: pen-stroke digits that a program writes, so that everything works without a single file.
//!
//! ```text
//! digit -> way of writing it -> jittered knots -> smooth path -> elastic field -> slant, turn, stretch -> ink
//! ```
//!
//! Image i shows digit i mod 10 and depends on (seed, split, i) alone: not on how many images are drawn, nor on threads,
//! nor on the image size, at which the same drawing is only rendered finer. Distortions follow what is known to make
//! digits look alive: affine and smooth random displacement (Simard, Steinkraus and Platt 2003), and a pen whose
//! pressure changes along its path.

mod glyphs;
mod pen;

use prism_core::{Purpose, Result, Stream, StreamId};

use self::glyphs::Knot;
use self::pen::Touch;
use super::{Blueprint, Dataset, LoadOptions, Split};

/// Images in the training split unless a limit says otherwise.
pub const TRAIN_IMAGES: usize = 10_000;

/// Images in the test split unless a limit says otherwise.
pub const TEST_IMAGES: usize = 2_000;

const DIGITS: usize = 10;

/// The procedural set, [`LoadOptions::limit`] images long.
///
/// # Errors
/// [`prism_core::Error::Usage`] if so many images are more than a data set may have.
pub fn load(options: &LoadOptions) -> Result<Dataset> {
    let images = options.limit.unwrap_or(match options.split {
        Split::Train => TRAIN_IMAGES,
        Split::Test => TEST_IMAGES,
    });
    super::pixel_bytes("strokes", images, options.channels.unwrap_or(1), options.image_size)?;
    let blueprint = Blueprint {
        name: "strokes".into(),
        images,
        channels: 1,
        class_names: super::DIGIT_NAMES.map(String::from).to_vec(),
        labels: Some((0..images).map(|index| (index % DIGITS) as u16).collect()),
    };
    blueprint.build(options, |index, image| {
        let (grey, copies) = image.split_at_mut(options.image_size * options.image_size);
        write_digit(options.seed, options.split, index as u64, options.image_size, grey);
        copies.chunks_exact_mut(grey.len()).for_each(|copy| copy.copy_from_slice(grey));
        Ok(())
    })
}

/// Draws image `index` of a split into `image`, `size * size` bytes.
fn write_digit(seed: u64, split: Split, index: u64, size: usize, image: &mut [u8]) {
    let split = match split {
        Split::Train => 0,
        Split::Test => 1,
    };
    let mut hand = Hand(StreamId::new(seed, Purpose::Strokes).client(split).index(index).open());
    let ways = glyphs::ways((index % DIGITS as u64) as usize);
    let way = ways[hand.0.below(ways.len())];
    // A hasty hand strays further from the model.
    let haste = hand.between(0.5, 1.3);
    let mut paths: Vec<Vec<(f32, f32)>> =
        way.iter().map(|path| pen::trace(&hand.jitter(path, 0.021 * haste))).collect();
    hand.distort(&mut paths, haste);
    hand.place(&mut paths);
    let inked: Vec<Vec<Touch>> = hand.press(&paths);
    pen::draw(&inked, size, image);
}

/// The random choices of one drawing.
struct Hand(Stream);

impl Hand {
    /// Uniform between `low` and `high`.
    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.0.uniform() as f32
    }

    /// Normal with standard deviation `sigma`, cut off at 2.5 sigma so that no drawing falls apart.
    fn normal(&mut self, sigma: f32) -> f32 {
        sigma * (self.0.normal() as f32).clamp(-2.5, 2.5)
    }

    /// The knots, each moved a little; the ends, where a pen is set down or lifted, move more.
    fn jitter(&mut self, path: &[Knot], sigma: f32) -> Vec<Knot> {
        let last = path.len() - 1;
        path.iter()
            .enumerate()
            .map(|(i, knot)| {
                let sigma = if i == 0 || i == last { 1.4 * sigma } else { sigma };
                Knot { x: knot.x + self.normal(sigma), y: knot.y + self.normal(sigma), ..*knot }
            })
            .collect()
    }

    /// A smooth random displacement field, a sum of plane waves, then slant, turn and stretch about the centre.
    fn distort(&mut self, paths: &mut [Vec<(f32, f32)>], haste: f32) {
        // Wave number in cycles per digit, amplitude per axis: two slow swells and a slight tremor.
        let waves = [(0.6, 0.042), (1.1, 0.026), (2.6, 0.006)].map(|(cycles, amplitude)| Wave {
            direction: self.direction(std::f32::consts::TAU * cycles),
            phase: self.between(0.0, std::f32::consts::TAU),
            push: (self.normal(amplitude * haste), self.normal(amplitude * haste)),
        });
        let slant = 0.08 + self.normal(0.17);
        let (sin, cos) = libm::sincosf(self.normal(0.09));
        let stretch = libm::expf(self.normal(0.16));
        for point in paths.iter_mut().flatten() {
            let (mut x, mut y) = *point;
            for wave in &waves {
                let push = libm::sinf(point.0 * wave.direction.0 + point.1 * wave.direction.1 + wave.phase);
                x += push * wave.push.0;
                y += push * wave.push.1;
            }
            (x, y) = ((x - 0.5) * stretch, y - 0.5);
            x -= slant * y;
            *point = (cos * x - sin * y, sin * x + cos * y);
        }
    }

    /// A vector of the given length in a uniformly random direction.
    fn direction(&mut self, length: f32) -> (f32, f32) {
        let angle = self.between(0.0, std::f32::consts::TAU);
        let (sin, cos) = libm::sincosf(angle);
        (length * cos, length * sin)
    }

    /// Scales the drawing so that its longer side takes 57 to 71% of the canvas, and puts it near the centre.
    fn place(&mut self, paths: &mut [Vec<(f32, f32)>]) {
        let (mut low, mut high) = ((f32::MAX, f32::MAX), (f32::MIN, f32::MIN));
        for &(x, y) in paths.iter().flatten() {
            low = (low.0.min(x), low.1.min(y));
            high = (high.0.max(x), high.1.max(y));
        }
        let longer = (high.0 - low.0).max(high.1 - low.1).max(0.1);
        let scale = self.between(0.57, 0.71) / longer;
        let middle = ((low.0 + high.0) / 2.0, (low.1 + high.1) / 2.0);
        let to = (0.5 + self.normal(0.018), 0.5 + self.normal(0.018));
        for (x, y) in paths.iter_mut().flatten() {
            *x = (*x - middle.0) * scale + to.0;
            *y = (*y - middle.1) * scale + to.1;
        }
    }

    /// Gives every point the pen's radius: one pen per drawing, its pressure swelling and fading along each path.
    fn press(&mut self, paths: &[Vec<(f32, f32)>]) -> Vec<Vec<Touch>> {
        let pen = 0.029 * libm::expf(self.between(0.0, 0.75));
        let inks = paths.iter().map(|path| {
            let (phase, swell) = (self.between(0.0, std::f32::consts::TAU), self.between(0.05, 0.25));
            let turns = self.between(0.5, 1.5) * std::f32::consts::TAU / path.len() as f32;
            let radius = |i: usize| pen * (1.0 + swell * libm::sinf(phase + turns * i as f32));
            path.iter().enumerate().map(|(i, &(x, y))| Touch { x, y, radius: radius(i) }).collect()
        });
        inks.collect()
    }
}

/// One plane wave of a displacement field.
struct Wave {
    /// Radians of phase per unit of x and of y.
    direction: (f32, f32),
    phase: f32,
    /// Displacement at the crest.
    push: (f32, f32),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_with(change: impl FnOnce(&mut LoadOptions)) -> Dataset {
        let mut options = LoadOptions { image_size: 16, limit: Some(40), ..LoadOptions::default() };
        change(&mut options);
        load(&options).unwrap()
    }

    #[test]
    fn an_image_depends_on_its_seed_split_and_number_alone() {
        let set = load_with(|_| ());
        let longer = load_with(|o| o.limit = Some(60));
        assert!((0..40).all(|i| set.image(i) == longer.image(i)));
        for other in [load_with(|o| o.seed = 1), load_with(|o| o.split = Split::Test)] {
            assert!((0..40).all(|i| set.image(i) != other.image(i)));
        }
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(|| load_with(|_| ()));
        assert_eq!(set.digest(), one_thread.digest());
    }

    /// Every machine must draw the same pixels, or runs would not be reproducible.
    #[test]
    fn the_drawings_are_these() {
        let set = load_with(|o| (o.image_size, o.seed, o.limit) = (32, 7, Some(100)));
        assert_eq!(set.digest(), "1a29155aa5d7b9699a290e1bd977bb2b2bef8037512f5a62528eb9cc1ca0e6d2");
    }

    #[test]
    fn labels_take_turns_and_no_two_drawings_of_a_digit_agree() {
        let set = load_with(|_| ());
        let labels = set.labels().unwrap();
        assert!(labels.iter().enumerate().all(|(i, &label)| usize::from(label) == i % 10));
        assert_eq!(set.classes(), 10);
        assert!((10..40).all(|i| set.image(i) != set.image(i - 10)));
    }

    #[test]
    fn every_drawing_has_ink_and_keeps_to_the_canvas() {
        let set = load_with(|o| {
            o.image_size = 32;
            o.limit = Some(1000);
        });
        for i in 0..set.len() {
            let image = set.image(i);
            let ink: usize = image.iter().map(|&p| usize::from(p)).sum::<usize>() / 255;
            assert!((15..400).contains(&ink), "image {i} has {ink} pixels of ink");
            let border = (0..32).flat_map(|k| [image[k], image[31 * 32 + k], image[k * 32], image[k * 32 + 31]]);
            assert_eq!(border.max(), Some(0), "image {i} touches the border");
        }
    }

    #[test]
    fn the_same_drawing_is_rendered_at_any_size_and_in_colour() {
        let small = load_with(|o| o.image_size = 32);
        let large = load_with(|o| o.image_size = 128);
        let colour = load_with(|o| (o.image_size, o.channels) = (32, Some(3)));
        for i in 0..40 {
            let grey = small.image(i);
            assert!(colour.image(i).chunks(32 * 32).all(|plane| plane == grey));
            // Averaged over 4x4 blocks, the large drawing is the small one up to anti-aliasing.
            let mean_error: f32 = (0..32 * 32)
                .map(|k| {
                    let (y, x) = (k / 32 * 4, k % 32 * 4);
                    let block = (0..16).map(|b| f32::from(large.image(i)[(y + b / 4) * 128 + x + b % 4])).sum::<f32>();
                    (block / 16.0 - f32::from(grey[k])).abs()
                })
                .sum::<f32>()
                / 1024.0;
            assert!(mean_error < 4.0, "image {i} differs by {mean_error} of 255 between sizes");
        }
    }

    /// A drawing must look more like its own digit's average than like the others', or the classes mean nothing.
    #[test]
    fn the_nearest_class_mean_tells_most_digits_apart() {
        let train = load_with(|o| o.limit = Some(2000));
        let test = load_with(|o| (o.limit, o.split) = (Some(500), Split::Test));
        let pixels = train.pixels_per_image();
        let mut means = vec![vec![0f32; pixels]; DIGITS];
        for i in 0..train.len() {
            means[i % DIGITS].iter_mut().zip(train.batch(&[i])).for_each(|(m, x)| *m += x / 200.0);
        }
        let distance = |mean: &[f32], x: &[f32]| mean.iter().zip(x).map(|(m, x)| (m - x).powi(2)).sum::<f32>();
        let right = (0..test.len()).filter(|&i| {
            let x = test.batch(&[i]);
            let nearest = (0..DIGITS).min_by(|&a, &b| distance(&means[a], &x).total_cmp(&distance(&means[b], &x)));
            nearest == Some(i % DIGITS)
        });
        let accuracy = right.count() as f64 / test.len() as f64;
        assert!(accuracy > 0.8, "nearest class mean reads {accuracy} of the digits");
        assert!(accuracy < 0.995, "the drawings vary too little: nearest class mean reads {accuracy} of the digits");
    }

    #[test]
    fn more_images_than_memory_is_an_error() {
        let options = LoadOptions { limit: Some(usize::MAX / 2), ..LoadOptions::default() };
        assert!(load(&options).unwrap_err().to_string().contains("choose fewer images"));
    }
}
