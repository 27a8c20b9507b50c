//! An audit that can fail: attacks on the very code that releases moments, and on the same code with a planted mistake.
//!
//! * **Replay** ([`replay()`]): all releases of neighbouring sets under the same randomness. What one image moves and the noise
//!   that covers it are measured, not asked for.
//! * **Canaries** ([`canary`]): which images joined, guessed from what was released.
//! * **Images** ([`images`]): how far one image really moves the sums, through encoder and batches.
//! * **Faults** ([`Subject`]): the same attacks on planted mistakes, every one of which must be caught. An audit that catches none
//!   proves nothing.
//!
//! Lower bounds are figures about an attack, never a proof of privacy; proofs are in `docs/proofs/`.

pub mod canary;
mod federation;
pub mod images;
mod replay;
pub mod statistics;

use serde::Serialize;

pub use federation::Audit;
pub use replay::{ReplayFinding, replay};

/// What is audited: the code as it is, or with one planted mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// What every run calls.
    Release,
    /// The noise of moments is drawn and added, and the exact value written over it.
    Overwritten,
    /// All chunks of numbers get the same noise.
    OneKeystream,
    /// One of the clients adds no noise.
    MissingShare,
    /// Classes divide at their exact medians.
    ExactMedians,
    /// The moments take all of rho, of which the histograms had a part.
    WholeBudgetTwice,
    /// One image is summed twice.
    CountedTwice,
    /// Vectors may be 14% too long.
    LooseClip,
    /// The standard deviation is 12% too small.
    SmallNoise,
}

impl Subject {
    /// The sound one and every fault that can be planted: a missing share takes several.
    pub fn of(audit: &Audit) -> impl Iterator<Item = Self> {
        let several = audit.shares > 1;
        let all = [
            Subject::Release,
            Subject::Overwritten,
            Subject::OneKeystream,
            Subject::MissingShare,
            Subject::ExactMedians,
            Subject::WholeBudgetTwice,
            Subject::CountedTwice,
            Subject::LooseClip,
            Subject::SmallNoise,
        ];
        all.into_iter().filter(move |&subject| several || subject != Subject::MissingShare)
    }

    /// What it is in a report.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Release => "release",
            Subject::Overwritten => "fault: noise overwritten by the exact value",
            Subject::OneKeystream => "fault: the same noise in every chunk",
            Subject::MissingShare => "fault: a client leaves its share out",
            Subject::ExactMedians => "fault: exact medians for subclasses",
            Subject::WholeBudgetTwice => "fault: the histograms' rho is not deducted",
            Subject::CountedTwice => "fault: an image is counted twice",
            Subject::LooseClip => "fault: a clip 14% too loose",
            Subject::SmallNoise => "fault: noise 12% too small",
        }
    }
}
