//! The images of a run: loaded and divided, what a person should know of them before training, and what tells them from
//! others after it.

use std::path::Path;

use prism_core::file;
use prism_data::partition::{Partition, Table};
use prism_data::{Dataset, Duplicates, FolderLayout, Intensity, LoadOptions, Source, Split, Survey, Watch};
use prism_export::RunFolder;
use prism_fl::settings::TrainingMode;
use prism_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// A class needs so many images at one place to have a variance there.
const LEAST_IMAGES: usize = 2;
/// Names that a warning lists.
const MOST_LISTED: usize = 20;
/// Most bytes of the file that remembers images.
const MAX_FILE: u64 = 1 << 20;

/// Images in memory, and who holds which.
pub struct RunImages {
    /// The images.
    pub set: Dataset,
    /// What was seen in their files.
    pub survey: Survey,
    /// The images of each client, by number.
    pub members: Vec<Vec<usize>>,
    /// How many of each class each client holds.
    pub table: Table,
    /// Which are there more than once; sought among files only.
    pub copies: Duplicates,
}

impl RunImages {
    /// Loads and divides the training images that `settings` name; `watch` is told of each file.
    ///
    /// # Errors
    /// If they cannot be loaded, or not be divided so.
    pub fn load(settings: &Settings, skip_broken: bool, watch: &Watch<'_>) -> Result<Self> {
        let (set, survey) = load_images(settings, Split::Train, skip_broken, watch)?;
        let members = members(settings, &set)?;
        let table = Table::new(set.labels(), set.class_names(), &members);
        let copies = if survey.files.is_empty() { Duplicates::default() } else { Duplicates::of(&set) };
        Ok(RunImages { set, survey, members, table, copies })
    }

    /// What they are, in a few words; without their number where that is `hidden`.
    pub fn headline(&self, hidden: bool) -> String {
        let set = &self.set;
        let classes = match set.labels() {
            Some(_) => format!("{} classes", set.classes()),
            None => "unconditional".into(),
        };
        let colour = if set.channels() == 1 { "grey" } else { "in colour" };
        let count = if hidden { "an undisclosed number of".into() } else { set.len().to_string() };
        format!("{}: {count} images of {1}x{1}, {colour}, {classes}", set.name(), set.image_size())
    }

    /// What a person may want to know of their files, in a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.survey.lines();
        if self.copies.count() > 0 {
            lines.push(format!("{} images are copies of others at this size", self.copies.count()));
        }
        lines
    }

    /// What a person must know before training on them as `settings` say, in a sentence each.
    pub fn warnings(&self, settings: &Settings) -> Vec<String> {
        let mut warnings = self.survey.warnings(settings.data.intensity == Intensity::FULL);
        let across = self.copies.across_classes(self.set.labels());
        if across > 0 {
            warnings.push(format!("{across} pictures lie in several classes at once, so some labels are wrong"));
        }
        let summed = settings.privacy.epsilon.is_some() && settings.privacy.trust.is_secagg();
        let thin = self.thin_classes(summed || settings.federation.mode == TrainingMode::OneShot);
        if !thin.is_empty() {
            warnings.push(format!(
                "fewer than {LEAST_IMAGES} images of {} are in one place, so these classes are not learned, though the model \
                 offers them; add images, choose fewer `clients`, or remove the classes",
                list(&thin)
            ));
        }
        warnings.into_iter().map(|warning| format!("WARNING: {warning}")).collect()
    }

    /// The classes of which no client, or not even all `together`, have enough images to learn from.
    fn thin_classes(&self, together: bool) -> Vec<&str> {
        let held = |class: usize| {
            let counts = self.table.clients.iter().map(|counts| counts[class]);
            if together { counts.sum() } else { counts.max().unwrap_or(0) }
        };
        let thin = |&class: &usize| self.set.labels().is_some() && held(class) < LEAST_IMAGES;
        (0..self.set.classes()).filter(thin).map(|class| self.set.class_names()[class].as_str()).collect()
    }
}

/// Which images each client holds.
fn members(settings: &Settings, images: &Dataset) -> Result<Vec<Vec<usize>>> {
    let (clients, seed) = (settings.federation.clients as usize, settings.federation.seed);
    match (settings.data.partition, images.sites()) {
        (Partition::Sites, Some(sites)) if sites.len() != clients => Err(Error::usage(format!(
            "{} sites have a folder and `clients` is {clients}; choose --clients {}",
            sites.len(),
            sites.len()
        ))),
        (Partition::Sites, Some(sites)) => Ok(sites),
        (rule, _) => Ok(rule.split(images.labels(), images.len(), images.classes(), clients, seed)?),
    }
}

fn list(names: &[&str]) -> String {
    let more = names.len().saturating_sub(MOST_LISTED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", names[..names.len() - more].join(", "))
}

/// The images of `split`, as the settings name them, and what was seen in their files; `watch` is told of each.
///
/// # Errors
/// If they cannot be loaded.
pub fn load_images(
    settings: &Settings,
    split: Split,
    skip_broken: bool,
    watch: &Watch<'_>,
) -> Result<(Dataset, Survey)> {
    let options = LoadOptions {
        data_dir: settings.data.data_dir.clone(),
        image_size: settings.model.image_size,
        channels: settings.data.channels,
        intensity: settings.data.intensity,
        skip_broken,
        limit: if split == Split::Train { settings.data.limit } else { None },
        split,
        seed: settings.federation.seed,
        layout: layout_of(settings, true),
    };
    Ok(prism_data::load_surveyed(settings.data.dataset, &options, watch)?)
}

/// Whether broken files are passed over by what only looks at the images that `settings` name: where there may be any.
pub fn tolerates_broken(settings: &Settings) -> bool {
    settings.data.dataset == Source::Folder
}

/// What the sub-folders of the images are that `settings` name, or others in their place where these are not `their_own`.
pub fn layout_of(settings: &Settings, their_own: bool) -> FolderLayout {
    match settings.data.partition {
        Partition::Sites if their_own => FolderLayout::Sites,
        _ => FolderLayout::Classes,
    }
}

/// What a run remembers of its training images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedImages {
    name: String,
    images: usize,
    channels: usize,
    class_names: Vec<String>,
    /// Of pixels and labels.
    digest: String,
}

impl RememberedImages {
    /// What to remember of `images`.
    pub fn of(images: &Dataset) -> Self {
        RememberedImages {
            name: images.name().into(),
            images: images.len(),
            channels: images.channels(),
            class_names: images.class_names().to_vec(),
            digest: images.digest().into(),
        }
    }

    /// Writes it into the folder of a run.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, run: &RunFolder) -> Result<()> {
        Ok(file::write_atomic(&run.images(), |out| Ok(serde_json::to_writer_pretty(out, self)?))?)
    }

    /// What the run in the folder `run` remembers; none of one that began before runs did.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = RunFolder::new(run).images();
        if !path.exists() {
            return Ok(None);
        }
        let found = serde_json::from_slice(&file::read_bounded(&path, MAX_FILE)?);
        found.map(Some).map_err(|e| prism_core::Error::corrupt(path.display().to_string(), e.to_string()).into())
    }

    /// Refuses images of `split` that are not those that the run has seen, in so far as that can be told: training images by
    /// all of their pixels, and those held out by their classes.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] saying in what they differ.
    pub fn check(&self, images: &Dataset, split: Split, source: Source) -> Result<()> {
        let refuse = |how: String| {
            Err(Error::usage(format!(
                "these are not the images that the run was trained on: {how}; give the folder of the run's own by --data-dir, or \
                 name both --dataset and --data-dir to judge it by others"
            )))
        };
        if self.class_names != images.class_names() {
            let names = |names: &[String]| list(&names.iter().map(String::as_str).collect::<Vec<_>>());
            return refuse(format!(
                "their classes are {}, the run's {}",
                names(images.class_names()),
                names(&self.class_names)
            ));
        }
        // Strokes are drawn, as many as are asked for.
        if split == Split::Test || source == Source::Strokes {
            return Ok(());
        }
        let first: Vec<usize> = (0..self.images.min(images.len())).collect();
        match images.len() < self.images || images.subset(&first).digest() != self.digest {
            true => refuse(format!("of {} in '{}', files or pixels have changed", self.images, self.name)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(pixels: &[u8], names: &[&str], labels: &[u16]) -> Dataset {
        let set = Dataset::new("photos", 8, 1, pixels.iter().flat_map(|&value| [value; 64]).collect()).unwrap();
        set.with_labels(names.iter().map(|name| name.to_string()).collect(), labels.to_vec()).unwrap()
    }

    #[test]
    fn other_images_than_the_runs_are_told_apart() {
        let own = images(&[1, 2, 3], &["cat", "dog"], &[0, 1, 0]);
        let remembered = RememberedImages::of(&own);
        let check = |set: &Dataset, split| remembered.check(set, split, Source::Folder).map_err(|e| e.to_string());
        assert!(check(&own, Split::Train).is_ok());
        let more = images(&[1, 2, 3, 4], &["cat", "dog"], &[0, 1, 0, 1]);
        assert!(check(&more, Split::Train).is_ok(), "the run may have had a limit");
        let changed = images(&[1, 2, 9], &["cat", "dog"], &[0, 1, 0]);
        assert!(check(&changed, Split::Train).unwrap_err().contains("have changed"));
        assert!(check(&changed, Split::Test).is_ok(), "those held out were never seen");
        let ships = images(&[1, 2, 3], &["ship", "dog"], &[0, 1, 0]);
        for split in [Split::Train, Split::Test] {
            assert!(check(&ships, split).unwrap_err().contains("ship, dog, the run's cat, dog"));
        }
    }

    #[test]
    fn classes_that_no_client_can_learn_are_named() {
        let set = images(&[1, 2, 3, 4, 5], &["cat", "dog", "newt"], &[0, 0, 1, 1, 2]);
        let members = vec![vec![0, 1, 2], vec![3, 4]];
        let table = Table::new(set.labels(), set.class_names(), &members);
        let copies = Duplicates { groups: vec![vec![0, 2]] };
        let images = RunImages { set, survey: Survey::default(), members, table, copies };
        let mut settings = Settings::default();
        let warnings = |settings: &Settings| images.warnings(settings).join("\n");
        assert!(warnings(&settings).contains("images of dog, newt are in one place"), "{}", warnings(&settings));
        assert!(warnings(&settings).contains("1 pictures lie in several classes"), "{}", warnings(&settings));
        settings.federation.mode = TrainingMode::OneShot;
        assert!(warnings(&settings).contains("images of newt are in one place"), "{}", warnings(&settings));
    }
}
