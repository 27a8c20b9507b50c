//! How good generated images are: distances between the features of real and of generated images.
//!
//! ```text
//! model (run, checkpoint, artifact) -> n images ─┐
//!                                                ├─ feature network -> [n, d] each -> Frechet distance
//! data set, test split -> real images ───────────┘                                    precision, recall, density, coverage
//! ```
//!
//! Both kinds of images are bytes at the model's size before a feature network sees them, so nothing but their content
//! differs. Everything is computed exactly, in `f64`, from images that the seed names: same seed, same figures.
//!
//! | file | what |
//! |---|---|
//! | [`evaluated_model`] | the model under evaluation, and its images |
//! | [`features`] | feature networks, and the features of a set of images |
//! | [`frechet`] | Frechet distance of two normal distributions (Heusel et al. 2017) |
//! | [`kernel`] | kernel distance, for sets too small for a covariance (Binkowski et al. 2018) |
//! | [`neighbours`] | precision, recall (Kynkäänniemi et al. 2019), density, coverage (Naeem et al. 2020) |
//! | [`classifier`] | a small classifier of the data set: histogram of classes, confidence, features |
//! | [`tstr`] | train on synthetic, test on real |
//! | [`membership`] | whether generated images reveal what the model was trained on |
//! | [`evaluation`] | all of it for one model |

pub mod classifier;
pub mod evaluated_model;
pub mod evaluation;
pub mod features;
pub mod frechet;
pub mod kernel;
pub mod membership;
pub mod neighbours;
pub mod tstr;

pub use evaluated_model::EvaluatedModel;
pub use evaluation::{Evaluation, EvaluationNetworks, EvaluationOptions, Evaluator};
