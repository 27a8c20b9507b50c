//! # prism-nn
//!
//! Holds everything that is differentiated: the masked generator, the frozen encoders, the operations they are made of,
//! and the optimiser of the scores. CPU by default, CUDA through the feature of that name.
//!
//! Must never import a data set, a federation or a file format other than encoder weights.

pub mod adam;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod encoder;
pub mod error;
pub mod estimator;
pub mod generator;
pub mod inception;
pub mod ops;
pub mod second_moment;
pub mod step;
pub mod step_mask;

pub use error::{Error, Result};
pub use estimator::Estimator;
pub use second_moment::SecondMoment;
pub use step_mask::StepMask;
