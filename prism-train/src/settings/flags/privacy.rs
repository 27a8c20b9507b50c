//! Flags of differential privacy.

use prism_fl::settings::privacy::{Adjacency, FeatureSet, Mechanism, Trust};

use super::flag::Allowed::{Names, Number, Text};
use super::flag::{ANY, Flag, flag, section};

pub static PRIVACY: [Flag; 6] = section(
    "Privacy",
    "privacy",
    2,
    [
        flag(
            "dp-epsilon",
            ("E", Number),
            "Protect every single image; smaller protects more",
            "(epsilon, delta)-differential privacy: what is trained, and all that is sent, hardly depends on any one \
             image. Noise is added once, to the moments, however long training goes on; a smaller epsilon costs \
             quality. Without it there is no protection. Another run on the same images adds up with this one unless \
             it takes --moments-from.",
        ),
        flag(
            "dp-trust",
            ("WHOM", Text(|text| text.parse::<Trust>().map(drop))),
            "Whose word it rests on: local or secagg",
            "local: each client adds the whole noise and need trust nobody. secagg: each adds its share, and all \
             together see a secure sum; far less noise, but every client must add its share, and know its peers' \
             keys. secagg:0.7 holds even if three in ten clients leave their share out or tell it, with noise of 1.2 times \
             the deviation.",
        ),
        flag(
            "dp-delta",
            ("P", Number),
            "Probability that the bound of epsilon does not hold",
            "At most a tenth of one in the number of images that are protected together (of clients, with --dp-mechanism \
             mask): 1e-6 for 100,000.",
        ),
        flag(
            "dp-mechanism",
            ("NAME", Names(Mechanism::NAMES)),
            "What gets the noise",
            "moments: those of clients' images, once. mask: what each client learned, in every round, as the paper \
             has it; it protects a client as a whole, is here to compare with, and leaves little of the images.",
        ),
        flag(
            "dp-features",
            ("SET", Text(|text| text.parse::<FeatureSet>().map(drop))),
            "Features whose moments are released",
            "grid:N averages them over the cells of a grid of N a side, a power of two. all keeps every pixel's; \
             larger messages, and the recipe for digits at epsilon 1. pooled averages whole maps.",
        ),
        flag(
            "dp-adjacency",
            ("RULE", Text(|text| text.parse::<Adjacency>().map(drop))),
            "What two neighbouring data sets differ in",
            "replace-one: one image is another; how many a client has is public. add-remove: one image is there or \
             not; the number is private. replace:5 and add-remove:5 protect any five images together, such as those of \
             one person, with five times the noise.",
        ),
    ],
);

/// What `--dp-total-epsilon` says.
///
/// # Errors
/// [`prism_core::Error::Usage`] if it is no positive number.
pub fn total_epsilon(text: &str) -> prism_core::Result<f64> {
    let number = text.parse().ok().filter(|epsilon: &f64| *epsilon > 0.0 && epsilon.is_finite());
    number.ok_or_else(|| prism_core::Error::usage(format!("--dp-total-epsilon is '{text}'; give a number above 0")))
}

pub static LEDGER: [Flag; 2] = section(
    "Privacy",
    "",
    0,
    [
        flag(
            "dp-ledger",
            ("FILE", ANY),
            "File that remembers every draw of noise",
            "By default privacy-ledger.jsonl beside the run folder. Use one for all runs on the same images, since \
             what they give away adds up. A run that goes on keeps it.",
        ),
        flag(
            "dp-total-epsilon",
            ("E", Text(|text| total_epsilon(text).map(drop))),
            "Most that all draws on these images may give away together",
            "A run whose noise would bring the ledger's total above it is refused before anything is drawn. Without it a \
             second draw only warns. A run that goes on keeps it.",
        ),
    ],
);
