//! # prism-train
