//! Classes as they are typed: by name or number, several of them by commas and ranges.

use crate::artifact::Description;
use crate::error::{Error, Result};
use crate::prelude::*;

/// Class names that an error lists.
const MOST_LISTED: usize = 30;

/// The labels that `texts` name: `cat`, `cat,dog`, `7` or `0-3`. A name goes before a number that is written alike.
///
/// # Errors
/// [`Error::Usage`] with the model's labels, if it does not have one.
pub fn resolve<T: AsRef<str>>(description: &Description, texts: &[T]) -> Result<Vec<usize>> {
    let mut labels = Vec::new();
    for text in texts.iter().map(AsRef::as_ref) {
        // A name may itself hold a comma.
        match named(description, text) {
            Some(label) => labels.push(label),
            None => {
                for part in text.split(',') {
                    labels.extend(labels_of(description, part.trim())?);
                }
            }
        }
    }
    Ok(labels)
}

fn labels_of(description: &Description, part: &str) -> Result<core::ops::RangeInclusive<usize>> {
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let single = named(description, part).or_else(|| number(part)).map(|label| label..=label);
    let range = || part.split_once('-').and_then(|(first, last)| Some(number(first)?..=number(last)?));
    let labels = single.or_else(range).ok_or_else(|| unknown(description, part))?;
    if labels.is_empty() {
        return Err(Error::usage(format!("label range {part} counts down; write the smaller number first")));
    }
    if *labels.end() >= description.architecture.classes {
        return Err(unknown(description, part));
    }
    Ok(labels)
}

/// The class of this name, or of the only one that differs from it in case alone.
fn named(description: &Description, name: &str) -> Option<usize> {
    let names = &description.class_names;
    names.iter().position(|own| own == name).or_else(|| {
        let mut alike = (0..names.len()).filter(|&label| names[label].eq_ignore_ascii_case(name));
        alike.next().filter(|_| alike.next().is_none())
    })
}

fn unknown(description: &Description, part: &str) -> Error {
    let names = &description.class_names;
    let listed = match (names.len(), names.iter().take(MOST_LISTED).map(String::as_str).collect::<Vec<_>>().join(", "))
    {
        (0, _) => String::new(),
        (count, list) if count > MOST_LISTED => format!(": {list} ..."),
        (_, list) => format!(": {list}"),
    };
    Error::usage(match description.architecture.classes {
        0 => "this model has no classes; leave the label out".into(),
        classes => format!("label {part} does not exist; this model has the labels 0 to {}{listed}", classes - 1),
    })
}
