//! # prism-train

pub mod data;
