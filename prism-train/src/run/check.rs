//! What a data set holds and what a run on it would take, before there is one. No encoder sees an image, no noise is drawn,
//! and no ledger is written.

use std::path::Path;
use std::sync::Arc;

use prism_core::arch::Architecture;
use prism_core::file;
use prism_core::grid::Picture;
use prism_data::{Dataset, Duplicates, Split};
use prism_fl::{ClientData, Randomness, Result, RunContext};
use prism_nn::device;

use super::estimate;
use super::images::{RunImages, load_images, tolerates_broken};
use super::open::{agreement, check_sizes};
use super::progress::Bar;
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
    let reading = Bar::new(false, "reading", "files");
    let images = RunImages::load(settings, tolerates_broken(settings), &|all| reading.add(1, all as u64))?;
    drop(reading);
    let context = RunContext::new(agreement(settings, &images.set), device::open("cpu")?, Randomness::Seed)?;
    let mut lines = vec![images.headline(false)];
    lines.extend(images.lines());
    lines.extend(images.survey.people(&images.set).map(|people| people.to_string()));
    lines.push(classes(&images.set));
    lines.extend(held_out(settings, &images.set));
    lines.push(images.table.to_string());
    lines.push(format!("privacy: {}", context.privacy_statement()));
    let timing = Bar::new(false, "timing some local steps", "");
    lines.extend(estimate::lines(settings, &images.set, &context)?);
    drop(timing);
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
    match load_images(&like_these, Split::Test, tolerates_broken(settings), &|_| ()) {
        Err(why) => vec![format!("held out: none ({why})")],
        Ok((test, _)) => {
            let shared = Duplicates::shared(training, &test);
            let known = if shared > 0 { format!("; {shared} of them are training images too") } else { String::new() };
            vec![format!("held out: {} images{known}", test.len())]
        }
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
