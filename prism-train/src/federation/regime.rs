//! The two ways to train: rounds of masks between server and clients, or one message of moments and a server that trains alone.

use clap::ValueEnum;
use prism_nn::Result;
use serde::{Deserialize, Serialize};

use super::{History, LocalTraining, OneShot, Round, Simulation};
use crate::flag_values::display_as_value;

/// How clients and server share the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Regime {
    /// Rounds of scores down and masks up; clients train.
    Rounds,
    /// Each client sends its moments once in its life; the server trains alone.
    OneShot,
}

display_as_value!(Regime);

/// A federation that can take its next round.
pub enum Federation {
    /// See [`Regime::Rounds`].
    Rounds(Box<Simulation>),
    /// See [`Regime::OneShot`].
    OneShot(Box<OneShot>),
}

impl Federation {
    /// Runs one round.
    ///
    /// # Errors
    /// If a computation fails or a folder cannot be written. The scores have then not moved.
    pub fn round(&mut self, round: u32, on_step: &(dyn Fn() + Sync)) -> Result<Round> {
        match self {
            Federation::Rounds(simulation) => simulation.round(round, on_step),
            Federation::OneShot(server) => server.round(round, on_step),
        }
    }

    /// The global scores, one vector a layer.
    pub fn scores(&self) -> &[Vec<f32>] {
        match self {
            Federation::Rounds(simulation) => simulation.server.scores(),
            Federation::OneShot(server) => &server.scores,
        }
    }

    /// The frozen networks, the settings of training, and what crosses the wire; of a mixture those of its first component.
    pub fn training(&self) -> &LocalTraining {
        match self {
            Federation::Rounds(simulation) => &simulation.training,
            Federation::OneShot(server) => &server.components[0],
        }
    }

    /// What recent rounds changed; none where no rounds cross a wire.
    pub fn history(&self) -> Option<&History> {
        match self {
            Federation::Rounds(simulation) => Some(simulation.server.history()),
            Federation::OneShot(_) => None,
        }
    }

    /// Whether rounds may be committed some at a time ([`Simulation::can_defer`]). A server that trains alone relies on the
    /// checkpoint of every round.
    pub fn can_defer(&self) -> bool {
        matches!(self, Federation::Rounds(simulation) if simulation.can_defer())
    }

    /// Asks for states to stay in memory until [`Federation::save`], or to be written while clients train.
    pub fn defer(&mut self, defer: bool) {
        if let Federation::Rounds(simulation) = self {
            simulation.defer = defer;
        }
    }

    /// Whether a client measures its images in `round` ([`Simulation::measures`]).
    pub fn measures(&self, round: u32) -> bool {
        matches!(self, Federation::Rounds(simulation) if simulation.measures(round))
    }

    /// Writes what a checkpoint will name ([`Simulation::save`]).
    ///
    /// # Errors
    /// If a folder cannot be written.
    pub fn save(&self) -> Result<()> {
        match self {
            Federation::Rounds(simulation) => simulation.save(),
            Federation::OneShot(_) => Ok(()),
        }
    }

    /// Takes note of a checkpoint, and removes what it no longer names ([`Simulation::commit`]).
    ///
    /// # Errors
    /// If a folder cannot be read or a file not removed.
    pub fn commit(&mut self) -> Result<()> {
        match self {
            Federation::Rounds(simulation) => simulation.commit(),
            Federation::OneShot(_) => Ok(()),
        }
    }

    /// For each client, the round of its optimiser state; 0 for none.
    pub fn client_rounds(&self) -> Vec<u32> {
        match self {
            Federation::Rounds(simulation) => simulation.client_rounds.clone(),
            Federation::OneShot(server) => vec![0; server.clients],
        }
    }
}
