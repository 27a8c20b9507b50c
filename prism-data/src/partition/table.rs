//! Who holds what: the number of images of each class at each client, printed at the start of a run and saved with it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Client x class counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The name of each column; the single column `images` where there are no labels.
    pub classes: Vec<String>,
    /// For each client, the number of images of each class.
    pub clients: Vec<Vec<usize>>,
}

/// Clients that are printed in full; the others are summed up in a line.
const MAX_ROWS: usize = 20;

/// Classes that get a column each; beyond that only the number of classes held is printed.
const MAX_COLUMNS: usize = 20;

/// Characters of a class name that fit over its column.
const MAX_NAME: usize = 10;

impl Table {
    /// Counts `parts`, lists of image numbers as from [`Partition::split`](super::Partition::split), by class.
    ///
    /// # Panics
    /// If an image number has no label, or a label no class name.
    pub fn new(labels: Option<&[u16]>, class_names: &[String], parts: &[Vec<usize>]) -> Self {
        let Some(labels) = labels else {
            let clients = parts.iter().map(|part| vec![part.len()]).collect();
            return Table { classes: vec!["images".into()], clients };
        };
        let count = |part: &Vec<usize>| {
            let mut counts = vec![0; class_names.len()];
            part.iter().for_each(|&image| counts[usize::from(labels[image])] += 1);
            counts
        };
        Table { classes: class_names.to_vec(), clients: parts.iter().map(count).collect() }
    }

    /// Number of images of client `client`.
    ///
    /// # Panics
    /// If there is no such client.
    pub fn total(&self, client: usize) -> usize {
        self.clients[client].iter().fold(0, |sum: usize, &count| sum.saturating_add(count))
    }

    fn classes_held(&self, client: usize) -> usize {
        self.clients[client].iter().filter(|&&count| count > 0).count()
    }

    fn column_sum(&self, class: usize) -> usize {
        self.clients.iter().map(|counts| counts[class]).sum()
    }

    /// Header, one row per shown client, and the totals, all as text.
    fn rows(&self) -> Vec<Vec<String>> {
        let wide = self.classes.len() > MAX_COLUMNS;
        let single = self.classes.len() == 1;
        let shown = self.clients.len().min(MAX_ROWS);
        let row = |name: String, counts: &mut dyn Iterator<Item = usize>, held: usize, total: usize| {
            let mut row = vec![name];
            if wide {
                row.push(held.to_string());
            } else {
                row.extend(counts.map(|count| count.to_string()));
            }
            if !single {
                row.push(total.to_string());
            }
            row
        };
        let mut header = vec!["client".to_string()];
        if wide {
            header.push("classes".into());
        } else {
            header.extend(self.classes.iter().map(|name| name.chars().take(MAX_NAME).collect()));
        }
        if !single {
            header.push("total".into());
        }
        let mut rows = vec![header];
        for client in 0..shown {
            let mut counts = self.clients[client].iter().copied();
            rows.push(row(client.to_string(), &mut counts, self.classes_held(client), self.total(client)));
        }
        let sums: Vec<usize> = (0..self.classes.len()).map(|class| self.column_sum(class)).collect();
        let held = sums.iter().filter(|&&sum| sum > 0).count();
        rows.push(row("total".into(), &mut sums.iter().copied(), held, sums.iter().sum()));
        rows
    }

    /// One line on the clients that got no row.
    fn summary(&self) -> Option<String> {
        let hidden = MAX_ROWS..self.clients.len();
        let range = |of: &dyn Fn(usize) -> usize| {
            let low = hidden.clone().map(of).min()?;
            let high = hidden.clone().map(of).max()?;
            Some(if low == high { low.to_string() } else { format!("{low} to {high}") })
        };
        let images = range(&|client| self.total(client))?;
        let classes = range(&|client| self.classes_held(client))?;
        let held = if self.classes.len() == 1 { String::new() } else { format!(", classes held: {classes}") };
        Some(format!("and {} more clients with {images} images each{held}", hidden.len()))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        for (index, row) in rows.iter().enumerate() {
            let last = index + 1 == rows.len();
            if let Some(summary) = self.summary().filter(|_| last) {
                writeln!(f, "{summary}")?;
            }
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let gap = if column == 0 { "" } else { "  " };
                write!(f, "{gap}{cell:>width$}")?;
            }
            if !last {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.into()).collect()
    }

    #[test]
    fn a_table_lines_up_and_adds_up() {
        let labels = [0, 0, 1, 1, 1, 0];
        let table = Table::new(Some(&labels), &names(&["cat", "a very long dog"]), &[vec![0, 2, 3, 4], vec![1, 5]]);
        assert_eq!(table.clients, [[1, 3], [2, 0]]);
        let expected = "client  cat  a very lon  total\n     0    1           3      4\n     1    2           0      2\n total    3           3      6";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn many_clients_and_many_classes_are_summed_up() {
        let labels: Vec<u16> = (0..600).map(|i| i / 20).collect();
        let classes: Vec<String> = (0..30).map(|class| format!("c{class}")).collect();
        let parts: Vec<Vec<usize>> = (0..30).map(|c| (c * 20..c * 20 + 20 - c % 2).collect()).collect();
        let text = Table::new(Some(&labels), &classes, &parts).to_string();
        assert_eq!(text.lines().count(), 23, "{text}");
        assert!(text.contains("and 10 more clients with 19 to 20 images each, classes held: 1"), "{text}");
        assert_eq!(text.lines().last().unwrap().split_whitespace().collect::<Vec<_>>(), ["total", "30", "585"]);
    }

    #[test]
    fn without_labels_the_images_are_counted() {
        let table = Table::new(None, &[], &[vec![0, 2], vec![1]]);
        assert_eq!(table.to_string(), "client  images\n     0       2\n     1       1\n total       3");
        let json = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<Table>(&json).unwrap(), table);
    }
}
