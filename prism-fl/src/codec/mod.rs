//! Codecs of masks and scores that use what both sides already know.
//!
//! Server and clients share the scores of the round's beginning, and so a [`Prior`]: for every weight the probability,
//! in 65536ths, that a mask keeps it. Against that prior
//!
//! ```text
//! up     raw        one bit a weight
//!        mrc        the number of one of 256 shared candidates a block:  about KL(client || prior) and a log of it
//!        flips      where a mask differs from the one that the prior draws with the same shared numbers
//!        sums       a mask under blinds that cancel in the sum of all clients, for secure aggregation
//! down   counts     how many clients keep each weight, under Binomial(clients, prior)
//!        differences  how many more clients keep each weight than were expected to, under flips and sums
//!        snapshot   every score's index on a public grid
//! ```
//!
//! All of them decode to exactly what was encoded, bound what they allocate by what the receiver asked for, and refuse
//! bytes that their encoder would not have written. Whatever decides a bit is an integer or goes through `libm`.

pub mod counts;
pub mod differences;
pub mod flips;
pub mod mrc;
pub mod prior;
pub mod private;
pub mod score_grid;
pub mod snapshot;
pub mod sums;
mod uplink;

pub use prior::Prior;
pub use private::PrivateSource;
pub use score_grid::ScoreGrid;
pub use uplink::{Learned, Uplink};
