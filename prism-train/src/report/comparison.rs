//! Generated images beside real ones: the training image that is nearest to each, and another of its class.
//!
//! Near is meant in pixels at the model's size: the mean squared difference. A copy of a training image would stand above
//! its original.

use std::num::NonZeroUsize;
use std::path::Path;

use prism_core::artifact::Artifact;
use prism_core::grid::Picture;
use prism_data::{Dataset, Split};
use prism_export::RunFolder;
use prism_nn::Result;
use rayon::prelude::*;

use crate::metrics::EvaluatedModel;
use crate::run::progress::Bar;
use crate::run::{RememberedImages, load_images, tolerates_broken};
use crate::settings::Settings;

/// Generated images that are compared: the first two rows of the finished model's picture, where there are ten classes.
const IMAGES: usize = 20;

/// What the report shows of real images.
pub enum Comparison {
    /// Some generated images, each beside real ones.
    Shown(Vec<Entry>),
    /// None, for this reason.
    Withheld(String),
}

/// A generated image beside real ones, as PNG files.
pub struct Entry {
    /// The class that was asked for.
    pub class: Option<String>,
    /// The generated image.
    pub generated: Vec<u8>,
    /// The training image that is nearest to it, of its class.
    pub nearest: Vec<u8>,
    /// Another training image of its class, chosen without a look at it.
    pub real: Vec<u8>,
}

impl Comparison {
    /// The images of the run in the folder at `path`; none where it has no finished model.
    pub fn of(path: &Path) -> Option<Self> {
        let run = RunFolder::new(path);
        if !run.model().exists() {
            return None;
        }
        // A report is about what there is: images may have gone, or be another party's.
        Some(compare(&run).unwrap_or_else(|why| Comparison::Withheld(format!("no real image is shown: {why}"))))
    }
}

fn compare(run: &RunFolder) -> Result<Comparison> {
    let settings = Settings::read(&run.settings())?;
    if settings.privacy.epsilon.is_some() || run.privacy().exists() {
        return Ok(Comparison::Withheld("the images are protected by privacy, so no real one is shown".into()));
    }
    let model = EvaluatedModel::shipped(&run.model(), Artifact::read(&run.model())?);
    let real = training_images(run, settings, model.description.architecture.channels)?;
    let classes = model.classes();
    let labels: Vec<Option<usize>> = (0..IMAGES).map(|k| (classes > 0).then(|| k % classes)).collect();
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let generated = model.draw(0, &labels, threads, &|_| ())?;
    let entry = |(k, label): (usize, &Option<usize>)| {
        let of_class: Vec<usize> = members(&real, *label);
        let Some(nearest) = nearest(&real, &of_class, generated.image(k)) else { return Ok(None) };
        let other = of_class[k / classes.max(1) % of_class.len()];
        let png = |image: &[u8]| Picture::single(&model.description.architecture, image).png();
        Ok(Some(Entry {
            class: label.and_then(|label| generated.class_names().get(label).cloned()),
            generated: png(generated.image(k))?,
            nearest: png(real.image(nearest))?,
            real: png(real.image(other))?,
        }))
    };
    let entries = labels.iter().enumerate().map(entry).collect::<Result<Vec<_>>>()?;
    Ok(Comparison::Shown(entries.into_iter().flatten().collect()))
}

/// The images that the run was trained on.
fn training_images(run: &RunFolder, mut settings: Settings, channels: usize) -> Result<Dataset> {
    settings.data.channels = Some(channels);
    let bar = Bar::new(false, "reading", "files");
    let (images, _) = load_images(&settings, Split::Train, tolerates_broken(&settings), &|all| bar.add(1, all as u64))?;
    if let Some(own) = RememberedImages::read(run.path())? {
        own.check(&images, Split::Train, settings.data.dataset)?;
    }
    Ok(images)
}

/// The images of class `label`, or all of them.
fn members(images: &Dataset, label: Option<usize>) -> Vec<usize> {
    let is_of = |&index: &usize| match (label, images.labels()) {
        (Some(label), Some(labels)) => usize::from(labels[index]) == label,
        _ => true,
    };
    (0..images.len()).filter(is_of).collect()
}

/// The one of `members` that is nearest to `image`; of several the first.
fn nearest(images: &Dataset, members: &[usize], image: &[u8]) -> Option<usize> {
    let distance = |&index: &usize| {
        let squares = images.image(index).iter().zip(image).map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2));
        (squares.sum::<u64>(), index)
    };
    members.par_iter().map(distance).min().map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_image_is_sought_in_the_class_alone() {
        let pixels = [10, 20, 30, 41].into_iter().flat_map(|value| [value; 64]).collect();
        let images = Dataset::new("x", 8, 1, pixels).unwrap();
        let names = ["a", "b"].map(String::from).to_vec();
        let images = images.with_labels(names, vec![0, 1, 0, 1]).unwrap();
        for (label, expected) in [(None, 2), (Some(0), 2), (Some(1), 3)] {
            assert_eq!(nearest(&images, &members(&images, label), &[34; 64]), Some(expected));
        }
        assert_eq!(nearest(&images, &[], &[34; 64]), None);
    }
}
