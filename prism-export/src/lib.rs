//! # prism-export
