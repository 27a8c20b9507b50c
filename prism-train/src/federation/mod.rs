//! The federation: two short hooks that are the algorithm, and a simulator that carries bytes between them.

pub mod client;
pub mod divergence;
mod one_shot;
mod optimiser;
mod regime;
pub mod server;
mod simulation;
mod workers;

pub use client::{Answer, LocalTraining, Turn};
pub use one_shot::OneShot;
pub use optimiser::OptimiserState;
pub use regime::{Federation, Regime};
pub use server::Server;
pub use simulation::{MomentPrivacy, Round, Simulation};
pub use workers::Workers;
