//! Moments in few bytes: what is alike is told once, and digits beyond what they are worth are left out.
//!
//! ```text
//! means and variances [group][channel][row][column]
//!   -> differences of groups      [`tree`]
//!   -> frequencies of each map    [`cosine`]
//!   -> integers: coefficient sqrt(weight) / (unit Q), rounded     [`layer`]
//!   -> a code for each layer      [`coefficients`]
//! ```

mod coefficients;
mod cosine;
pub mod layer;
pub mod tree;
