//! A secure sum: the server learns what the inputs of its clients add up to, and nothing else of them.
//!
//! The protocol is that of Bonawitz et al., *Practical secure aggregation for privacy-preserving machine learning* (2017),
//! figure 4, with its round for active adversaries. Clients u, v; all sums modulo `2^width`:
//!
//! ```text
//! exchange    paper             client u                                                    server
//! keys        AdvertiseKeys     c_u^PK, s_u^PK, signed with d_u^SK                       -> lists them, U_1
//! shares      ShareKeys         shares of s_u^SK and b_u for each v, under c_uv          -> keeps them, U_2
//! input       MaskedInput       y_u = x_u + PRG(b_u) + sum over v > u of PRG(s_uv)
//!                                                    - sum over v < u of PRG(s_uv)       -> adds up, U_3
//! survivors   ConsistencyCheck  its signature under all keys, U_2 and U_3                -> lists them, U_4
//! unmask      Unmasking         if t have signed the same: a share of b_v for each v in U_3,
//!                               a share of s_v^SK for each v in U_2 but not in U_3       -> x_u summed over U_3
//! ```
//!
//! What differs from the paper: shares are sent to their holders in the last exchange, where they are used, and not in that of
//! input; what is dealt are two scalars from which s_u^SK and b_u are derived; each dealer commits to every share and to b_u by a
//! hash, so that a wrong share is known by whoever sent it, and a wrong dealing by its dealer.
//!
//! **One agreement for one sum.** All keys are fresh in every attempt at every sum, and its name is in everything that is
//! signed, sealed or derived. To serve several sums with one agreement would save two exchanges in four, but s_u^SK may then not
//! be what is shared: it is revealed when u drops out of one sum, and would open its inputs to all the others.
//!
//! **What a client insists on**, whatever the server says ([`client`], on record in [`store`]): every peer's keys are signed by
//! the key in its own list ([`peers`]); it answers each exchange of a sum once, so gives one share of each client; t clients
//! saw the same lists ([`sum::Terms::threshold`]); and each purpose and round is opened once, since two sums over the same
//! inputs but one would differ by that one.
//!
//! **What remains trusted**: that the lists of public keys are right, and that fewer than a third of the clients that are asked
//! hand what they know to the server. A dishonest client can add what it likes to the sum, or make it fail by name; it learns
//! nothing from either.

pub mod client;
#[cfg(test)]
mod cost;
pub mod keys;
#[cfg(test)]
mod list_tests;
pub mod message;
mod opening;
pub mod peers;
pub mod ring;
pub mod server;
mod server_store;
pub mod shamir;
pub mod store;
pub mod sum;
#[cfg(test)]
mod tests;

use std::path::Path;

use prism_core::Result;

pub use client::{Input, Participant};
pub use peers::{Peers, PublicKey};
pub use ring::{Blind, Blinds, RingVector};
pub use server::{Plan, SecureSum, Standing};
pub use sum::{Purpose, Stage, SumId, Terms};

/// Forgets the sum that the server keeps in `folder`: what came of it is committed.
///
/// # Errors
/// If it cannot be removed.
pub fn forget(folder: &Path) -> Result<()> {
    server_store::ServerStore::remove(folder)
}
