//! # prism-infer
