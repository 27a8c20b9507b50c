//! A report of one or several runs: a single HTML file that needs nothing beside it.
//!
//! ```text
//! run folders -> Record -> curves (SVG), tables, pictures (data URIs) -> report.html
//! ```
//!
//! | file | what |
//! |---|---|
//! | `record` | what a run folder holds; what is missing is left out of the report |
//! | `comparison` | generated images beside real ones, where these may be shown |
//! | `curve` | a figure by round, one line a run, as SVG |
//! | `curves` | which figures are drawn |
//! | `page` | the page: its sections, in order |
//! | `tables` | its tables |

mod comparison;
mod curve;
mod curves;
mod page;
mod record;
mod tables;

use std::path::Path;

use prism_core::file;
use prism_nn::Result;

use comparison::Comparison;
pub use record::Record;

/// Reads the run folders `runs`, and writes their report to `out`, atomically.
///
/// # Errors
/// If a folder holds no run, one of its files is damaged, or `out` cannot be written.
pub fn write(runs: &[&Path], out: &Path) -> Result<()> {
    let mut records = runs.iter().map(|path| Record::read(path)).collect::<Result<Vec<_>>>()?;
    records.iter_mut().zip(runs).for_each(|(record, path)| record.comparison = Comparison::of(path));
    let html = page::html(&records)?;
    Ok(file::write_atomic(out, |file| file.write_all(html.as_bytes()))?)
}
