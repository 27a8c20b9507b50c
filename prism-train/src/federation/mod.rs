//! The federation: two short hooks that are the algorithm, and a simulator that carries bytes between them.

pub mod ballot;
pub mod client;
mod commits;
pub mod divergence;
pub mod global;
pub mod history;
pub mod moving_average;
mod one_shot;
mod optimiser;
pub mod penalty;
pub mod received;
mod regime;
pub mod resident;
mod schedule;
pub mod server;
mod simulation;
mod tally;
mod workers;

pub use client::{Answer, Choice, LocalTraining, Opening, TrainingMask, Turn};
pub use global::Global;
pub use history::History;
pub use one_shot::OneShot;
pub use optimiser::OptimiserState;
pub use regime::{Federation, Regime};
pub use resident::Resident;
pub use schedule::Schedule;
pub use server::Server;
pub use simulation::{MomentPrivacy, Rejected, Round, Simulation, Transit};
pub use tally::Tally;
pub use workers::Workers;
