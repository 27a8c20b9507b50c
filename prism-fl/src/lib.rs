//! # prism-fl
//!
//! The federation as a library: bytes in, bytes out. The algorithm is [`client`] and [`server`]; everything else is called by
//! its name from there.
//!
//! ```text
//! settings + data description = agreement -> RunContext
//! Server::exchange, request -> Client::reply -> Server::accept_reply        before the first round, where there is something to agree on
//! Server::ask, broadcast -> Client::round -> Server::accept, end_round      a round; under secure sums with exchanges of its own
//! ```
//!
//! Must never import a command line, a progress bar or files other than a party's own folder.

pub mod adaptive;
pub mod aggregation;
pub mod agreement;
pub mod baselines;
pub mod cancel;
pub mod client;
mod client_setup;
pub mod client_state;
pub mod codec;
pub mod context;
pub mod divergence;
pub mod downlink;
pub mod error;
pub mod exchange;
mod first_checkpoint;
pub mod global_state;
pub mod local_step;
pub mod mask_sum;
pub mod moments;
pub mod observer;
mod one_shot;
pub mod optimiser;
pub mod privacy;
mod protected;
pub mod replay;
pub mod round_metrics;
pub mod round_report;
pub mod schedule;
pub mod secagg;
pub mod server;
mod server_setup;
pub mod settings;
pub mod setup;
pub mod strata;
mod values;
pub mod wire;

pub use agreement::{Agreement, DataDescription};
pub use client::{Client, ClientResult};
pub use client_setup::write_into_ledger;
pub use context::{Randomness, RunContext};
pub use error::{Error, Refused, Result};
pub use exchange::Exchange;
pub use observer::Observer;
pub use privacy::ledger::Ledger;
pub use round_metrics::RoundMetrics;
pub use round_report::{ClientReport, RoundReport};
pub use secagg::{Peers, PublicKey};
pub use server::Server;
pub use settings::Settings;
pub use strata::ClientData;
