//! What was seen while a folder was read: kinds of files and pictures, what was passed over, what is broken.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::listing::{PassedOver, shown};
use super::people::People;
use crate::Dataset;
use crate::decode::{Range, Seen};

/// Broken files that are listed by name.
const MOST_LISTED: usize = 20;

/// A file that uses less than one in so many of the values that its bits can hold is all but black or without contrast.
const LEAST_SHARE: i64 = 4;

/// A file that cannot be read as an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// What was seen while a folder was read; empty for images that come from no folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The file of each image, in the data set's order.
    pub files: Vec<PathBuf>,
    /// Files that are no images.
    pub passed_over: PassedOver,
    /// Images that were left out, since they cannot be read.
    pub broken: Vec<Broken>,
    /// The pictures in the files.
    pub pictures: Pictures,
}

/// What the pictures in files were before they became images of one size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pictures {
    /// How many of each format.
    pub formats: BTreeMap<&'static str, usize>,
    /// Width and height of the smallest and of the largest one.
    pub sizes: Option<[(usize, usize); 2]>,
    /// How many have no colour.
    pub grey: usize,
    /// How many are 16-bit grey or DICOM, and what they hold.
    pub deep: Option<Deep>,
    /// How many have pages or frames after the first.
    pub paged: usize,
}

/// Pictures of more than 256 shades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deep {
    /// How many they are.
    pub count: usize,
    /// The least and the greatest value in them.
    pub found: (i32, i32),
    /// The least and the greatest value that could be in them.
    pub full: (i32, i32),
}

impl Pictures {
    pub(super) fn add(&mut self, seen: &Seen) {
        *self.formats.entry(seen.format).or_default() += 1;
        let (size, area) = ((seen.width, seen.height), |(width, height): (usize, usize)| width * height);
        let [least, most] = self.sizes.unwrap_or([size; 2]);
        self.sizes = Some([
            if area(size) < area(least) { size } else { least },
            if area(size) > area(most) { size } else { most },
        ]);
        self.grey += usize::from(seen.grey);
        self.paged += usize::from(seen.pages);
        if let Some(Range { found, full }) = seen.range {
            let known = self.deep.unwrap_or(Deep { count: 0, found, full });
            let join = |a: (i32, i32), b: (i32, i32)| (a.0.min(b.0), a.1.max(b.1));
            let (found, full) = (join(known.found, found), join(known.full, full));
            self.deep = Some(Deep { count: known.count + 1, found, full });
        }
    }

    fn count(&self) -> usize {
        self.formats.values().sum()
    }
}

impl Survey {
    /// The people whose folders lie inside the classes of `set`, whose images are of these files; none where there are no such
    /// folders.
    pub fn people(&self, set: &Dataset) -> Option<People> {
        People::of(set, &self.files)
    }

    /// What a person may want to know of the files, in a line each; none of images that come from no folder.
    pub fn lines(&self) -> Vec<String> {
        let pictures = &self.pictures;
        let Some([least, most]) = pictures.sizes else { return Vec::new() };
        let formats: Vec<String> = pictures.formats.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let size = |(width, height): (usize, usize)| format!("{width}x{height}");
        let sizes = if least == most { size(least) } else { format!("{} to {}", size(least), size(most)) };
        let colour = match pictures.count() - pictures.grey {
            0 => "all grey".to_string(),
            all if pictures.grey == 0 => format!("all {all} in colour"),
            some => format!("{} grey, {some} in colour", pictures.grey),
        };
        let depth = pictures.deep.map_or(String::new(), |deep| format!(", {} of more than 256 shades", deep.count));
        let mut lines = vec![format!("files: {}; {sizes} pixels; {colour}{depth}", formats.join(", "))];
        if self.passed_over.count() > 0 {
            lines.push(self.passed_over.to_string());
        }
        lines
    }

    /// What a person must know of the files, in a sentence each.
    pub fn warnings(&self, intensity_is_full: bool) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.broken.is_empty() {
            warnings.push(format!("passed over {}", list(&self.broken)));
        }
        let width = |(low, high): (i32, i32)| i64::from(high) - i64::from(low);
        let flat = |deep: &Deep| width(deep.found) < width(deep.full) / LEAST_SHARE;
        if let Some(Deep { count, found: (low, high), full }) =
            self.pictures.deep.filter(|_| intensity_is_full).filter(flat)
        {
            warnings.push(format!(
                "{count} images hold values from {low} to {high} only where their bits hold {} to {}, so they become nearly \
                 flat; if that is no wish, add `intensity` with the values that are black and white, such as `intensity` {}",
                full.0,
                full.1,
                suggestion(low, high)
            ));
        }
        if self.pictures.paged > 0 {
            warnings.push(format!("{} files have several pages, of which only the first is read", self.pictures.paged));
        }
        warnings
    }
}

/// A range that holds these values: that of a usual bit depth where there is one.
fn suggestion(low: i32, high: i32) -> String {
    let depths = (8..=15).map(|bits| (1 << bits) - 1);
    let bits = depths.filter(|_| low >= 0).find(|&most| high <= most && low < most / 2);
    bits.map_or(format!("{}-{high}", low.min(high.saturating_sub(1))), |most| format!("0-{most}"))
}

/// The broken files by name, with what is wrong with each.
pub(super) fn list(broken: &[Broken]) -> String {
    let one = |Broken { path, why }: &Broken| format!("{} ({why})", shown(path));
    let named: Vec<String> = broken.iter().take(MOST_LISTED).map(one).collect();
    let more = broken.len().saturating_sub(MOST_LISTED);
    let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{} broken image files: {}{rest}", broken.len(), named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_suggested_that_scanners_have() {
        assert_eq!(suggestion(0, 4095), "0-4095");
        assert_eq!(suggestion(7, 1000), "0-1023");
        assert_eq!(suggestion(0, 200), "0-255");
        assert_eq!(suggestion(40_000, 41_000), "40000-41000");
        assert_eq!(suggestion(65_535, 65_535), "65534-65535");
        assert_eq!(suggestion(-160, 240), "-160-240");
    }
}
