//! How one data set is divided among clients: `iid`, `shards:N`, `dirichlet:ALPHA`, `classes:N` or `sites`.
//!
//! ```text
//! labels of n images, number of clients, seed  ->  one list of image numbers per client, disjoint, ascending
//! ```
//!
//! | partition | each client gets | after |
//! |---|---|---|
//! | `iid` | an equal random part | |
//! | `shards:N` | N of `clients * N` equal runs of the images sorted by label | McMahan et al. 2017 |
//! | `dirichlet:ALPHA` | of each class a share drawn from a symmetric Dirichlet; a small alpha is a skewed split | Hsu et al. 2019 |
//! | `classes:N` | an equal part of exactly N classes | |
//! | `sites` | what its own folder holds ([`Dataset::sites`](crate::Dataset::sites)) | |
//!
//! The first three give every image to some client. `classes:N` leaves out the classes that nobody holds, which happens
//! only where `clients * N` is less than the number of classes.

mod dirichlet;
mod table;

use std::fmt;
use std::str::FromStr;

use prism_core::{Error, Purpose, Result, Stream, StreamId, serde_as_text};
use serde::{Deserialize, Serialize};

pub use table::Table;

/// A rule for dividing a data set among clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Partition {
    /// Equal random parts.
    #[default]
    Iid,
    /// So many label-sorted shards per client.
    Shards(usize),
    /// Per class, shares from a symmetric Dirichlet distribution of this concentration.
    Dirichlet(f64),
    /// Exactly so many classes per client.
    Classes(usize),
    /// A folder a client.
    Sites,
}

impl Partition {
    /// Divides `n` images among `clients`; each list of image numbers is ascending, and no two share one.
    ///
    /// `labels` holds one label below `classes` per image. `iid` does without labels.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are no clients, too few images for them, no labels where they are needed, more classes
    /// asked for than there are, or if no draw from the Dirichlet distribution gives each client enough images.
    pub fn split(
        &self,
        labels: Option<&[u16]>,
        n: usize,
        classes: usize,
        clients: usize,
        seed: u64,
    ) -> Result<Vec<Vec<usize>>> {
        self.validate()?;
        if clients == 0 {
            return Err(Error::usage("the number of clients is 0; choose at least 1"));
        }
        if clients > n {
            return Err(Error::usage(format!(
                "{clients} clients cannot share {n} images; choose at most {n} clients, or more images"
            )));
        }
        let mut stream = StreamId::new(seed, Purpose::Partition).open();
        let mut parts = match *self {
            Partition::Iid => cut(&shuffled(n, &mut stream), clients),
            Partition::Shards(shards) => deal_shards(self.labels(labels, n, classes)?, shards, clients, &mut stream)?,
            Partition::Dirichlet(alpha) => {
                let by_class = by_class(self.labels(labels, n, classes)?, classes, &mut stream);
                dirichlet::split(&by_class, alpha, clients, &mut stream)?
            }
            Partition::Classes(held) => {
                let by_class = by_class(self.labels(labels, n, classes)?, classes, &mut stream);
                deal_classes(&by_class, held, clients, &mut stream)?
            }
            Partition::Sites => {
                return Err(Error::usage(
                    "partition 'sites' needs a folder with one sub-folder a client; choose --dataset folder and name it with \
                     --data-dir",
                ));
            }
        };
        parts.iter_mut().for_each(|part| part.sort_unstable());
        Ok(parts)
    }

    fn validate(&self) -> Result<()> {
        match *self {
            Partition::Shards(0) | Partition::Classes(0) => {
                Err(Error::usage(format!("partition '{self}' gives each client nothing; choose at least 1")))
            }
            Partition::Dirichlet(alpha) if !(alpha > 0.0 && alpha.is_finite()) => Err(Error::usage(format!(
                "partition '{self}' needs a positive finite number; choose one such as dirichlet:0.5"
            ))),
            _ => Ok(()),
        }
    }

    /// The labels, or why this partition cannot work with them.
    fn labels<'a>(&self, labels: Option<&'a [u16]>, n: usize, classes: usize) -> Result<&'a [u16]> {
        let labels = labels.ok_or_else(|| {
            Error::usage(format!("partition '{self}' divides by label, but this data set has no labels; choose iid"))
        })?;
        if labels.len() != n {
            return Err(Error::usage(format!("{} labels for {n} images; each image needs one", labels.len())));
        }
        match labels.iter().find(|&&label| usize::from(label) >= classes) {
            Some(label) => {
                Err(Error::usage(format!("an image has label {label}, but there are only {classes} classes")))
            }
            None => Ok(labels),
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Partition::Iid => f.write_str("iid"),
            Partition::Shards(shards) => write!(f, "shards:{shards}"),
            Partition::Dirichlet(alpha) => write!(f, "dirichlet:{alpha}"),
            Partition::Classes(classes) => write!(f, "classes:{classes}"),
            Partition::Sites => f.write_str("sites"),
        }
    }
}

serde_as_text!(Partition);

impl FromStr for Partition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            Error::usage(format!(
                "partition '{text}' is unknown; choose iid, shards:N, dirichlet:ALPHA, classes:N or sites, such as shards:2"
            ))
        };
        let partition = match text.split_once(':') {
            None if text == "iid" => Partition::Iid,
            None if text == "sites" => Partition::Sites,
            Some(("shards", number)) => Partition::Shards(number.parse().map_err(|_| unknown())?),
            Some(("dirichlet", number)) => Partition::Dirichlet(number.parse().map_err(|_| unknown())?),
            Some(("classes", number)) => Partition::Classes(number.parse().map_err(|_| unknown())?),
            _ => return Err(unknown()),
        };
        partition.validate()?;
        Ok(partition)
    }
}

/// The numbers below `n` in random order.
fn shuffled(n: usize, stream: &mut Stream) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    stream.shuffle(&mut order);
    order
}

/// `items` in `parts` runs whose lengths differ by at most one.
fn cut(items: &[usize], parts: usize) -> Vec<Vec<usize>> {
    (0..parts).map(|part| items[part * items.len() / parts..(part + 1) * items.len() / parts].to_vec()).collect()
}

/// The image numbers of each class, in random order.
fn by_class(labels: &[u16], classes: usize, stream: &mut Stream) -> Vec<Vec<usize>> {
    let mut by_class = vec![Vec::new(); classes];
    for image in shuffled(labels.len(), stream) {
        by_class[usize::from(labels[image])].push(image);
    }
    by_class
}

/// Sorts by label, cuts into `clients * shards` runs and deals `shards` of them to each client.
fn deal_shards(labels: &[u16], shards: usize, clients: usize, stream: &mut Stream) -> Result<Vec<Vec<usize>>> {
    let n = labels.len();
    let Some(total) = clients.checked_mul(shards).filter(|&total| total <= n) else {
        return Err(Error::usage(format!(
            "{clients} clients with {shards} shards each are more shards than the {n} images; choose at most \
             shards:{} or fewer clients",
            n / clients
        )));
    };
    let mut order = shuffled(n, stream);
    // A stable sort keeps the random order within a class.
    order.sort_by_key(|&image| labels[image]);
    let runs = cut(&order, total);
    let hands = cut(&shuffled(total, stream), clients);
    Ok(hands.iter().map(|hand| hand.iter().flat_map(|&run| runs[run].iter().copied()).collect()).collect())
}

/// Gives each client the `held` classes that the fewest clients hold so far, then divides each class among its holders.
///
/// Taking the least-held first keeps the numbers of holders within one of each other, so no class is without a holder
/// while another has two.
fn deal_classes(by_class: &[Vec<usize>], held: usize, clients: usize, stream: &mut Stream) -> Result<Vec<Vec<usize>>> {
    let mut present: Vec<usize> = (0..by_class.len()).filter(|&class| !by_class[class].is_empty()).collect();
    if held > present.len() {
        return Err(Error::usage(format!(
            "partition 'classes:{held}' asks for more classes than the {} that have images; choose at most classes:{}",
            present.len(),
            present.len()
        )));
    }
    let mut holders = vec![Vec::new(); by_class.len()];
    for client in 0..clients {
        stream.shuffle(&mut present);
        present.sort_by_key(|&class| holders[class].len());
        present[..held].iter().for_each(|&class| holders[class].push(client));
    }
    let mut parts = vec![Vec::new(); clients];
    for (class, (images, holders)) in by_class.iter().zip(&holders).enumerate() {
        if images.len() < holders.len() {
            return Err(Error::usage(format!(
                "{} clients would share the {} images of class {class}; choose fewer clients, fewer classes per client \
                 or more images",
                holders.len(),
                images.len()
            )));
        }
        for (&client, part) in holders.iter().zip(cut(images, holders.len().max(1))) {
            parts[client].extend(part);
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
