//! The page: its sections in order, its style, and pictures as data URIs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use prism_nn::Result;

use super::comparison::{Comparison, Entry};
use super::record::Record;
use super::{curves, tables};

/// Columns of a picture of samples, and of a table of images.
const COLUMNS: usize = 10;

const STYLE: &str = include_str!("style.css");

/// The whole page.
///
/// # Errors
/// If a curve cannot be drawn.
pub fn html(records: &[Record]) -> Result<String> {
    let names: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
    let title = names.join(", ");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "PRISM: " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "PRISM" @if records.len() == 1 { " run " } @else { " runs " } (title) }
                    p { "A generator learned as a mask over a frozen random network, by clients that share no image." }
                }
                main { (sections(records)?) }
                footer { p { "Written by prism-train " (env!("CARGO_PKG_VERSION")) "." } }
            }
        }
    };
    Ok(page.into_string())
}

fn sections(records: &[Record]) -> Result<Markup> {
    let of_each = |part: &dyn Fn(&Record) -> Markup| {
        html! { @for (run, record) in records.iter().enumerate() {
            @if records.len() > 1 { h3 { (tables::name(run, record)) } }
            (part(record))
        } }
    };
    Ok(html! {
        section { h2 { "At a glance" } (tables::comparison(records)) }
        section { h2 { "Samples" } (of_each(&samples)) }
        @if records.iter().any(|record| record.comparison.is_some()) {
            section { h2 { "Beside real images" } (of_each(&beside_real)) }
        }
        @if records.iter().any(|record| record.evaluation.is_some()) {
            section { h2 { "Evaluation" } (of_each(&tables::evaluation)) }
        }
        section { h2 { "By round" } (curves::all(records)?) }
        section {
            h2 { "Traffic" }
            (tables::traffic(records))
            p.note { "Measured on the messages themselves. Dense: 32 bits for each weight, as FedAvg sends them." }
        }
        section { h2 { "Privacy" } (of_each(&privacy)) }
        section { h2 { "The mask, layer by layer" } (of_each(&tables::layers)) }
        section { h2 { "Who held what" } (of_each(&tables::partition)) }
        section { h2 { "Settings" } (tables::settings(records)) }
    })
}

fn samples(record: &Record) -> Markup {
    let rounds = record.pictures.by_round.iter().map(|(round, png)| (format!("after round {round}"), png));
    let finished = record.pictures.finished.iter().map(|png| ("the finished model".to_string(), png));
    let all: Vec<_> = rounds.chain(finished).collect();
    html! {
        @if all.is_empty() { p { "No samples were drawn." } }
        @if let Some(names) = columns(record) { p.note { "Columns: " (names) "." } }
        div.samples { @for (caption, png) in all {
            figure {
                img alt=(format!("{}, {caption}", record.name)) src=(data_uri(png));
                figcaption { (caption) }
            }
        } }
    }
}

/// A row of pictures: what it is called, and its picture of an entry.
type Row = (&'static str, fn(&Entry) -> &[u8]);

/// The classes that the columns of a picture of samples show.
fn columns(record: &Record) -> Option<String> {
    let names = &record.description()?.class_names;
    (!names.is_empty()).then(|| names[..names.len().min(COLUMNS)].join(", "))
}

fn beside_real(record: &Record) -> Markup {
    let entries = match &record.comparison {
        None => return html! { p { "No model is finished yet." } },
        Some(Comparison::Withheld(why)) => return html! { p { (why) "." } },
        Some(Comparison::Shown(entries)) => entries,
    };
    let rows: [Row; 3] = [
        ("generated", |entry| &entry.generated),
        ("nearest training image", |entry| &entry.nearest),
        ("another training image", |entry| &entry.real),
    ];
    html! {
        p.note { "Nearest by pixels, within the class. A generated image that equals the one below it is a copy." }
        @for entries in entries.chunks(COLUMNS) {
            div.scroll { table.beside {
                @if entries.iter().any(|entry| entry.class.is_some()) {
                    thead { tr { th {} @for entry in entries { th { (entry.class.as_deref().unwrap_or("")) } } } }
                }
                tbody { @for (name, png) in &rows {
                    tr { th { (name) } @for entry in entries { td { img alt=(name) src=(data_uri(png(entry))); } } }
                } }
            } }
        }
    }
}

fn privacy(record: &Record) -> Markup {
    let statement = record.description().map(|description| description.privacy.as_str());
    html! { p.statement { (statement.unwrap_or("No round is finished yet.")) } }
}

fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}
