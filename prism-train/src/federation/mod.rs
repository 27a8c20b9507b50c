//! The federation: two short hooks that are the algorithm, and a simulator that carries bytes between them.

pub mod client;
pub mod divergence;
mod optimiser;
pub mod server;
mod simulation;
mod workers;

pub use client::{Answer, LocalTraining, Turn};
pub use optimiser::OptimiserState;
pub use server::Server;
pub use simulation::{Round, Simulation};
pub use workers::Workers;
