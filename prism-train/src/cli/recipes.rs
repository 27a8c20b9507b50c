//! `prism-train recipes`: what the built-in recipes make.

use std::process::ExitCode;

use clap::Args;
use prism_nn::{Error, Result};
use serde::Serialize;

use crate::settings::recipes::{Card, RECIPES, Recipe};

/// Flags of `prism-train recipes`.
#[derive(Args)]
pub struct RecipesArgs {
    /// Print the list as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    privacy: String,
    #[serde(flatten)]
    card: Card,
}

impl Row {
    fn new(recipe: &Recipe) -> Result<Self> {
        Ok(Row { name: recipe.name, privacy: recipe.privacy()?, card: recipe.card()? })
    }

    /// What the table shows of it.
    fn cells(&self) -> [String; 5] {
        let unknown = || "-".to_string();
        let size = self.card.model_bytes.map_or_else(unknown, |bytes| format!("{:.0} KB", bytes as f64 / 1e3));
        let time = self.card.time.clone().unwrap_or_else(unknown);
        [self.name.into(), time, size, self.privacy.clone(), self.card.purpose.clone()]
    }
}

/// Prints the list.
pub fn run(args: &RecipesArgs) -> Result<ExitCode> {
    let rows = RECIPES.iter().map(Row::new).collect::<Result<Vec<_>>>()?;
    if args.json {
        let line = serde_json::to_string(&rows).map_err(|e| Error::usage(format!("no JSON can be written: {e}")))?;
        prism_core::outln!("{line}");
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["recipe", "time, 2 cores", "model", "privacy", "purpose"].map(String::from);
    for line in aligned(std::iter::once(head).chain(rows.iter().map(Row::cells)).collect()) {
        prism_core::outln!("{line}");
    }
    prism_core::errln!(
        "\nprism-train --recipe NAME --data-dir DIR trains one; a flag changes what it says, such as --rounds 4"
    );
    Ok(ExitCode::SUCCESS)
}

/// Lines whose columns begin beneath each other.
fn aligned<const N: usize>(rows: Vec<[String; N]>) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}
