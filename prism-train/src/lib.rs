//! # prism-train

pub mod data;
pub mod partition;
