//! Differential privacy: a client's images enter training only through moments that were bounded and noised once.
//!
//! ```text
//! features -> vector of bounded integers (features) -> sum per group + discrete Gaussian noise (release, gaussian)
//!          -> mean, variance and their weights (estimate) -> training, masks, rounds, model: post-processing
//! ```
//!
//! * [`settings`]: the flags; [`accounting`]: from noise to (epsilon, delta) and back; [`claim`]: what a run may say
//! * [`thresholds`]: where classes are parted into styles, by a small release of its own
//! * [`protect`]: who draws what and when; [`ledger`]: that draws on the same data add up
//! * [`message`]: what a client sends where it sends moments at all
//!
//! * [`masks`]: the paper's own mechanism, noise on every round's mask, for comparison
//! * [`audit`]: attacks on all of this, and on planted faults that they must catch
//!
//! PRIVACY.md says in plain words who is protected from whom, and what is assumed.

pub mod accounting;
pub mod audit;
pub mod claim;
pub mod estimate;
pub mod features;
pub mod gaussian;
pub mod ledger;
pub mod masks;
pub mod message;
pub mod protect;
pub mod release;
pub mod settings;
pub mod thresholds;

pub use claim::Claim;
pub use protect::{Holders, Places, Protection, Released};
pub use settings::PrivacySettings;
