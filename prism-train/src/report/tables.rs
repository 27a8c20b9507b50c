//! The report's tables.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::record::Record;
use crate::metrics::evaluation::FeatureFigures;

/// Clients whose images are listed one by one.
const MAX_CLIENTS: usize = 50;
/// Classes that get a column each.
const MAX_CLASSES: usize = 40;

/// Bytes for people: 12,345,678 is 12.3 MB.
pub fn bytes(count: f64) -> String {
    match count {
        x if x >= 1e9 => format!("{:.2} GB", x / 1e9),
        x if x >= 1e6 => format!("{:.1} MB", x / 1e6),
        x if x >= 1e3 => format!("{:.1} KB", x / 1e3),
        x => format!("{x:.0} bytes"),
    }
}

/// A count with commas: 12345678 is 12,345,678.
pub fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && digits.as_bytes()[at - 1] != b'-' {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn share(x: f64) -> String {
    format!("{:.1}%", 100.0 * x)
}

/// A fact of a run, by its name.
type Fact = (&'static str, fn(&Record) -> Option<String>);

const FACTS: [Fact; 17] = [
    ("data set", |r| r.description.as_ref().map(|d| d.dataset.clone()).or_else(|| r.setting("dataset"))),
    ("clients, partition", |r| Some(format!("{}, {}", r.setting("clients")?, r.setting("partition")?))),
    ("rounds x local steps", |r| Some(format!("{} x {}", r.rounds.len(), r.setting("local-steps")?))),
    ("weights (ngf)", |r| {
        let arch = &r.description.as_ref()?.architecture;
        Some(format!("{} ({})", count(arch.weights() as f64), arch.ngf))
    }),
    ("classes", |r| r.description.as_ref().map(|d| d.architecture.classes.to_string())),
    ("loss after the last round", |r| r.last("loss").map(|x| format!("{x:.4}"))),
    ("Frechet distance", |r| main_figures(r).map(|f| format!("{:.3}", f.frechet_distance))),
    ("precision / recall", |r| {
        main_figures(r).map(|f| format!("{:.3} / {:.3}", f.neighbourhood.precision, f.neighbourhood.recall))
    }),
    ("density / coverage", |r| {
        main_figures(r).map(|f| format!("{:.3} / {:.3}", f.neighbourhood.density, f.neighbourhood.coverage))
    }),
    ("agreement with the asked class", |r| r.evaluation.as_ref()?.classifier.as_ref()?.agreement.map(share)),
    ("train on synthetic, test on real", |r| r.evaluation.as_ref()?.tstr.as_ref().map(|t| share(t.accuracy))),
    ("model file", |r| r.model_bytes.map(|b| bytes(b as f64))),
    ("uplink in all", |r| Some(bytes(r.sum("uplink_bytes")))),
    ("downlink in all", |r| Some(bytes(r.sum("downlink_bytes")))),
    ("uplink, last round", |r| r.last("uplink_bits_per_weight").map(|x| format!("{x:.4} bit/weight"))),
    ("its bound", |r| r.last("kl_bits_per_weight").map(|x| format!("{x:.4} bit/weight"))),
    ("time", |r| Some(duration(r.sum("seconds")))),
];

fn main_figures(record: &Record) -> Option<&FeatureFigures> {
    record.evaluation.as_ref()?.features.first()
}

fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..=119 => format!("{seconds:.1} s"),
        120..=7199 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The runs side by side.
pub fn comparison(records: &[Record]) -> Markup {
    let rows: Vec<(&str, Vec<Option<String>>)> =
        FACTS.iter().map(|(name, fact)| (*name, records.iter().map(fact).collect())).collect();
    side_by_side(records, rows.into_iter().filter(|(_, row)| row.iter().any(Option::is_some)), false)
}

/// Every setting; those in which runs differ stand out.
pub fn settings(records: &[Record]) -> Markup {
    let keys: BTreeSet<&str> = records.iter().flat_map(|r| r.settings.keys().map(String::as_str)).collect();
    let rows = keys.into_iter().map(|key| (key, records.iter().map(|r| r.setting(key)).collect()));
    side_by_side(records, rows, true)
}

fn side_by_side<'a>(
    records: &[Record],
    rows: impl Iterator<Item = (&'a str, Vec<Option<String>>)>,
    mark: bool,
) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th {} @for (run, record) in records.iter().enumerate() { th { (name(run, record)) } } } }
            tbody {
                @for (key, row) in rows {
                    tr.differs[mark && row.iter().any(|value| *value != row[0])] {
                        th { (key) }
                        @for value in &row { td { (value.as_deref().unwrap_or("–")) } }
                    }
                }
            }
        } }
    }
}

/// The run's name behind a swatch of its colour.
pub fn name(run: usize, record: &Record) -> Markup {
    html! { span.swatch style=(format!("background:{}", super::curve::colour(run))) {} (record.name) }
}

/// Kept weights and open probabilities, layer by layer.
pub fn layers(record: &Record) -> Markup {
    if record.layers.is_empty() {
        return html! { p { "Dense weights: there is no mask." } };
    }
    html! {
        table.layers {
            thead { tr { th { "layer" } th { "weights" } th { "kept" } th { "entropy, bit/weight" } } }
            tbody {
                @for layer in &record.layers {
                    tr {
                        th { (layer.name) }
                        td { (count(layer.weights as f64)) }
                        td { (bar(layer.density)) (share(layer.density)) }
                        td { (bar(layer.entropy)) (format!("{:.3}", layer.entropy)) }
                    }
                }
            }
        }
    }
}

fn bar(share: f64) -> Markup {
    html! { span.bar { span style=(format!("width:{:.1}%", 100.0 * share.clamp(0.0, 1.0))) {} } }
}

/// Both directions against their bounds, and against sending every weight as 32 bits.
pub fn traffic(records: &[Record]) -> Markup {
    let mean = |record: &Record, key: &str| {
        let curve = record.curve(key);
        let sum: f64 = curve.iter().map(|(_, value)| value).sum();
        (!curve.is_empty()).then(|| format!("{:.4}", sum / curve.len() as f64))
    };
    let rows: [(&str, &str, &str, &str); 2] = [
        ("up", "uplink_bytes", "uplink_bits_per_weight", "kl_bits_per_weight"),
        ("down", "downlink_bytes", "downlink_bits_per_weight", "downlink_bound_bits_per_weight"),
    ];
    html! {
        div.scroll { table {
            thead { tr {
                th { "run" } th {} th { "bytes" } th { "bit/weight and client, mean" } th { "bound, mean" } th { "dense, 32 bit" }
                th { "times less" }
            } }
            tbody {
                @for (run, record) in records.iter().enumerate() {
                    @for (direction, total, bits, bound) in rows {
                        @let dense = dense_bytes(record, direction == "up");
                        tr {
                            th { (name(run, record)) }
                            th { (direction) }
                            td title=(format!("{} bytes", count(record.sum(total)))) { (bytes(record.sum(total))) }
                            td { (mean(record, bits).unwrap_or("–".into())) }
                            td { (mean(record, bound).unwrap_or("–".into())) }
                            td { (dense.map_or("–".into(), bytes)) }
                            td { (dense.map_or("–".into(), |dense| format!("{:.1}", dense / record.sum(total).max(1.0)))) }
                        }
                    }
                }
            }
        } }
    }
}

/// What FedAvg of 32-bit weights would send in one direction in the same rounds.
fn dense_bytes(record: &Record, up: bool) -> Option<f64> {
    let weights = record.description.as_ref()?.architecture.weights() as f64;
    Some(4.0 * weights * record.sum(if up { "clients_answered" } else { "clients_asked" }))
}

/// Who holds what: a row a client, darker where there is more.
pub fn partition(record: &Record) -> Markup {
    let Some(table) = &record.partition else { return html! { p { "This run kept no partition table." } } };
    let clients = table.clients.len();
    if clients == 0 {
        return html! { p { "This run's partition table names no client." } };
    }
    let (least, most) = (0..clients).map(|c| table.total(c)).fold((usize::MAX, 0), |(a, b), n| (a.min(n), b.max(n)));
    let top = table.clients.iter().flatten().copied().max().unwrap_or(1).max(1);
    let shade = |held: usize| format!("background:rgba(0,114,178,{:.3})", 0.55 * held as f64 / top as f64);
    html! {
        p {
            (clients) " clients, " (count(least as f64)) @if least < most { " to " (count(most as f64)) } " images each."
        }
        @if clients <= MAX_CLIENTS && table.classes.len() <= MAX_CLASSES {
            div.scroll { table.partition {
                thead { tr { th { "client" } @for class in &table.classes { th { (class) } } th { "all" } } }
                tbody {
                    @for (client, held) in table.clients.iter().enumerate() {
                        tr {
                            th { (client) }
                            @for &held in held { td style=(shade(held)) { @if held > 0 { (held) } } }
                            td { (table.total(client)) }
                        }
                    }
                }
            } }
        }
    }
}

/// Everything that the last evaluation found.
pub fn evaluation(record: &Record) -> Markup {
    let Some(found) = &record.evaluation else { return html! {} };
    html! {
        p {
            (count(found.generated_images as f64)) " generated images (seed " (found.seed) ", after round " (found.rounds)
            ") against " (count(found.real_images as f64)) " real ones of " (found.dataset) ", " (found.split)
            " split; " (found.neighbours) " nearest neighbours."
        }
        div.scroll { table {
            thead { tr {
                th { "features" } th { "Frechet distance" } th { "precision" } th { "recall" } th { "density" } th { "coverage" }
            } }
            tbody { @for figures in &found.features { (feature_row(figures)) } }
        } }
        @if let Some(judged) = &found.classifier {
            p {
                "A classifier of " (judged.classifier.dataset) " (" (share(judged.classifier.test_accuracy))
                " of its real test images right) is " (share(judged.confidence)) " sure on average"
                @if let Some(agreement) = judged.agreement { ", and puts " (share(agreement)) " in the class that was asked for" }
                ". What it sees:"
            }
            table.layers { tbody {
                @for (class, part) in judged.classifier.class_names.iter().zip(&judged.histogram) {
                    tr { th { (class) } td { (bar(*part)) (share(*part)) } }
                }
            } }
        }
        @if let Some(tstr) = &found.tstr {
            p {
                "Trained on " (count(tstr.generated_images as f64)) " generated images, a classifier tells "
                strong { (share(tstr.accuracy)) } " of " (count(tstr.real_images as f64)) " real ones right"
                @if let Some(reference) = &tstr.trained_on_real {
                    ", and trained on " (count(reference.images as f64)) " real images " (share(reference.accuracy))
                }
                "."
            }
        }
    }
}

fn feature_row(figures: &FeatureFigures) -> Markup {
    let near = &figures.neighbourhood;
    html! { tr {
        th { (figures.features) " (" (figures.width) ")" }
        td { (format!("{:.3}", figures.frechet_distance)) }
        @for x in [near.precision, near.recall, near.density, near.coverage] { td { (format!("{x:.3}")) } }
    } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([12.0, 999.0, 1234.0, 2_500_000.0].map(bytes), ["12 bytes", "999 bytes", "1.2 KB", "2.5 MB"]);
        assert_eq!([0.0, 999.0, 1000.0, 12_345_678.0].map(count), ["0", "999", "1,000", "12,345,678"]);
        assert_eq!([1.5, 125.0, 7260.0].map(duration), ["1.5 s", "2 min 5 s", "2 h 1 min"]);
    }
}
