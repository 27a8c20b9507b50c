//! What was seen while a folder was read: kinds of files and pictures, what was passed over, what is broken.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::listing::{PassedOver, shown};
use crate::decode::Seen;

/// Broken files that are listed by name.
const MOST_LISTED: usize = 20;

/// A 16-bit file that uses less than this share of its range is all but black or without contrast.
const LEAST_RANGE: u16 = u16::MAX / 4;

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
    /// How many are 16-bit grey, and the least and the greatest value in them.
    pub sixteen_bit: Option<(usize, [u16; 2])>,
    /// How many have pages or frames after the first.
    pub paged: usize,
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
        if let Some((low, high)) = seen.range {
            let (count, [least, most]) = self.sixteen_bit.unwrap_or((0, [low, high]));
            self.sixteen_bit = Some((count + 1, [least.min(low), most.max(high)]));
        }
    }

    fn count(&self) -> usize {
        self.formats.values().sum()
    }
}

impl Survey {
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
        let depth = pictures.sixteen_bit.map_or(String::new(), |(count, _)| format!(", {count} of 16 bits"));
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
        let range = self.pictures.sixteen_bit.filter(|_| intensity_is_full);
        if let Some((count, [low, high])) = range.filter(|(_, [low, high])| high - low < LEAST_RANGE) {
            warnings.push(format!(
                "{count} images of 16 bits hold values from {low} to {high} of 65535 only, so they become nearly flat; if \
                 that is no wish, add `intensity` with the values that are black and white, such as `intensity` {}",
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
fn suggestion(low: u16, high: u16) -> String {
    let bits = (8..=15).map(|bits| (1u16 << bits) - 1).find(|&most| high <= most && low < most / 2);
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
        assert_eq!(suggestion(u16::MAX, u16::MAX), "65534-65535");
    }
}
