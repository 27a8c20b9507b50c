//! Differential privacy: a client's images enter training only through moments that were bounded and noised once.
//!
//! ```text
//! features -> vector of bounded integers (features) -> sum per group + discrete Gaussian noise (release, gaussian)
//!          -> mean, variance and their weights (estimate) -> training, masks, rounds, model: post-processing
//! ```
//!
//! * [`accounting`]: from noise to (epsilon, delta) and back; [`guarantee`]: what a run may say
//! * [`histograms`]: where classes are divided into subclasses, by a small release of its own
//! * [`mechanism`]: who draws what; [`ledger`]: draws on the same images, which add up ([`composition`])
//! * [`message`]: what a client sends where it sends moments at all
//!
//! * [`audit`]: attacks on all of this, and on planted faults that they must catch
//!
//! PRIVACY.md says in plain words who is protected from whom, and what is assumed.

pub mod accounting;
pub mod audit;
pub mod composition;
pub mod estimate;
pub mod features;
pub mod gaussian;
#[cfg(test)]
mod golden;
pub mod guarantee;
pub mod histograms;
pub mod ledger;
pub mod mechanism;
pub mod message;
pub mod release;

pub use guarantee::PrivacyGuarantee;
pub use mechanism::PrivacyMechanism;
