//! Which figures of a run are drawn.

use super::curve::{self, Line};
use super::record::Record;
use maud::{Markup, PreEscaped, html};
use prism_nn::Result;

/// A curve of the page.
struct Curve {
    title: &'static str,
    /// What to know when reading it.
    note: &'static str,
    /// Key of `metrics.jsonl`.
    key: &'static str,
    /// Key of a bound on it, drawn dashed.
    bound: Option<&'static str>,
    logarithmic: bool,
}

const CURVES: [Curve; 7] = [
    Curve {
        title: "Loss",
        note: "Distance of the feature moments of real and generated images, mean over the clients' local steps.",
        key: "loss",
        bound: None,
        logarithmic: false,
    },
    Curve {
        title: "Lambda",
        note: "The share of the way to the clients' mean that the server goes (MADA).",
        key: "lambda",
        bound: None,
        logarithmic: false,
    },
    Curve {
        title: "Uplink, bits per weight and client",
        note: "Dashed: divergence of the clients' probabilities from what was broadcast, which no code of masks can beat on average, and 32 bits for each score that crosses.",
        key: "uplink_bits_per_weight",
        bound: Some("kl_bits_per_weight"),
        logarithmic: true,
    },
    Curve {
        title: "Downlink, bits per weight and client",
        note: "Dashed: the least that the content asks for.",
        key: "downlink_bits_per_weight",
        bound: Some("downlink_bound_bits_per_weight"),
        logarithmic: true,
    },
    Curve {
        title: "Entropy of the probabilities, bits per weight",
        note: "1 where every weight is still open, 0 where all are decided.",
        key: "entropy_bits_per_weight",
        bound: None,
        logarithmic: false,
    },
    Curve {
        title: "Density",
        note: "Share of the weights that are kept.",
        key: "density",
        bound: None,
        logarithmic: false,
    },
    Curve { title: "Seconds a round", note: "Wall clock.", key: "seconds", bound: None, logarithmic: false },
];

/// Every curve that some run has figures for.
///
/// # Errors
/// If one cannot be drawn.
pub fn all(records: &[Record]) -> Result<Markup> {
    let mut figures = Vec::new();
    for curve in &CURVES {
        if let Some(svg) = curve::svg(&lines(records, curve), curve.logarithmic)? {
            figures.push((curve, svg));
        }
    }
    Ok(html! {
        div.curves {
            @for (curve, svg) in &figures {
                figure {
                    h3 { (curve.title) }
                    (PreEscaped(svg))
                    figcaption { (curve.note) @if curve.logarithmic { " Logarithmic." } }
                }
            }
        }
    })
}

fn lines(records: &[Record], curve: &Curve) -> Vec<Line> {
    let line = |run: usize, key: &str, bound| Line { run, bound, points: records[run].curve(key) };
    let solid = (0..records.len()).map(|run| line(run, curve.key, false));
    let dashed = curve.bound.map(|key| (0..records.len()).map(move |run| line(run, key, true)));
    solid.chain(dashed.into_iter().flatten()).collect()
}
