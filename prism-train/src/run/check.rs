//! What a data set holds and what a run on it would take, before there is one. Nothing is measured, no noise is drawn, and
//! no ledger is written.

use std::path::Path;
use std::sync::Arc;

use prism_core::arch::Architecture;
use prism_core::file;
use prism_core::grid::Picture;
use prism_data::{Dataset, Duplicates, Split};
use prism_fl::{ClientData, Randomness, Result, RunContext};
use prism_nn::device;

use super::images::{RunImages, load_images};
use super::open::{agreement, check_sizes};
use crate::settings::Settings;

/// Images of a class in a row of the contact sheet, and rows of it.
const COLUMNS: usize = 10;
/// Most rows of the contact sheet.
const ROWS: usize = 40;
/// The place of an image that a class lacks.
const BLANK: u8 = 128;

/// Looks at the data that `settings` name and draws some of it into `sheet`; returns what it found, in lines.
///
/// # Errors
/// Whatever a run with these settings would be refused for before its first image is measured, but for broken files and
/// clients that are too small for their privacy, which are told; or if the sheet cannot be written.
pub fn check(settings: &Settings, sheet: &Path) -> Result<Vec<String>> {
    let images = RunImages::load(settings, true)?;
    let context = RunContext::new(agreement(settings, &images.set), device::open("cpu")?, Randomness::Seed)?;
    let mut lines = vec![images.headline(false)];
    lines.extend(images.lines());
    lines.push(classes(&images.set));
    lines.extend(held_out(settings, &images.set));
    lines.push(images.table.to_string());
    lines.push(format!("privacy: {}", context.privacy_statement()));
    lines.extend(costs(settings, &images.set, &context));
    let dataset = Arc::new(images.set.clone());
    let data = |members: &Vec<usize>| ClientData { dataset: Arc::clone(&dataset), members: members.clone() };
    if let Err(why) = check_sizes(&context, &images.members.iter().map(data).collect::<Vec<_>>()) {
        lines.push(format!("WARNING: a run would be refused: {why}"));
    }
    draw(&images.set, &context.architecture(), sheet)?;
    lines.push(format!("contact sheet {}: the first images, a class in each row", sheet.display()));
    lines.extend(images.warnings(settings));
    Ok(lines)
}

/// Every class with its number of images.
fn classes(set: &Dataset) -> String {
    let Some(labels) = set.labels() else { return "classes: none, since the images lie in one folder".into() };
    let mut counts = vec![0usize; set.classes()];
    labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
    let one = |(name, count): (&String, &usize)| format!("{name} ({count})");
    let named: Vec<String> = set.class_names().iter().zip(&counts).map(one).collect();
    format!("classes: {}", named.join(", "))
}

/// The images that no client trains on.
fn held_out(settings: &Settings, training: &Dataset) -> Vec<String> {
    let mut like_these = settings.clone();
    like_these.data.channels = Some(training.channels());
    match load_images(&like_these, Split::Test, true) {
        Err(why) => vec![format!("held out: none ({why})")],
        Ok((test, _)) => {
            let shared = Duplicates::shared(training, &test);
            let known = if shared > 0 { format!("; {shared} of them are training images too") } else { String::new() };
            vec![format!("held out: {} images{known}", test.len())]
        }
    }
}

/// What a run would take and make.
fn costs(settings: &Settings, set: &Dataset, context: &RunContext) -> Vec<String> {
    let (weights, components) = (context.architecture().weights(), settings.model.components);
    let mask = (weights * components).div_ceil(8);
    let pixels = set.len() * set.pixels_per_image();
    // Scores and both moments of Adam.
    let state = 3 * 4 * weights;
    let sent = if context.is_one_shot() {
        "one message of moments up a client, and nothing after it".into()
    } else {
        let (clients, rounds) = (settings.federation.cohort_size(), settings.federation.rounds);
        format!(
            "at most {} up a client and round with masks as bits, {} in {rounds} rounds of {clients} clients",
            bytes(mask),
            bytes(mask * rounds as usize * clients as usize)
        )
    };
    vec![
        format!(
            "model: at most {} ({weights} weights, {components} generator{})",
            bytes(mask),
            if components > 1 { "s" } else { "" }
        ),
        format!("sent: {sent}"),
        format!(
            "memory: {} of images, {} of state for each client that trains at once, and the work of a step",
            bytes(pixels),
            bytes(state)
        ),
    ]
}

/// A number of bytes in the unit that suits it.
fn bytes(count: usize) -> String {
    match count {
        0..1_000 => format!("{count} bytes"),
        1_000..1_000_000 => format!("{:.1} KB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

/// Draws the first images of each class in a row, or of all where there are no classes.
fn draw(set: &Dataset, arch: &Architecture, path: &Path) -> Result<()> {
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); set.classes()];
    match set.labels() {
        Some(labels) => labels.iter().enumerate().for_each(|(image, &label)| rows[usize::from(label)].push(image)),
        None => rows = (0..set.len()).collect::<Vec<_>>().chunks(COLUMNS).map(<[usize]>::to_vec).collect(),
    }
    rows.truncate(ROWS);
    let mut pixels = Vec::new();
    for row in &rows {
        (0..COLUMNS).for_each(|column| match row.get(column) {
            Some(&image) => pixels.extend_from_slice(set.image(image)),
            None => pixels.resize(pixels.len() + set.pixels_per_image(), BLANK),
        });
    }
    let picture = Picture::grid(arch, &pixels, COLUMNS)?.png()?;
    Ok(file::write_atomic(path, |out| out.write_all(&picture))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_unit_that_suits_them() {
        assert_eq!(
            [0, 999, 1500, 2_340_000, 5_000_000_000].map(bytes),
            ["0 bytes", "999 bytes", "1.5 KB", "2.3 MB", "5.0 GB"]
        );
    }
}
