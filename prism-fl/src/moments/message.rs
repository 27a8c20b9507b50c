//! The one message of a client in a one-shot federation without protection: its groups' moments.
//!
//! ```text
//! for each group:  its number u32, its images u32, then of each encoder layer the mean of every feature f32 and its variance f32
//! ```
//!
//! Under the header of [`super::envelope`]. Numbers are little-endian; a variance is the mean squared deviation. The server adds up what the moments were made of, so
//! that a group's moments are those of all clients' images.

use prism_core::Error;
use prism_nn::Result;

use super::envelope::{self, Kind};
use super::sums::{GroupSums, Sums};

/// The message that carries `sums`.
pub fn encode(sums: &GroupSums) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (group, layers) in sums {
        let images = layers.first().map_or(0.0, |layer| layer.count);
        bytes.extend(group.to_le_bytes());
        bytes.extend((images as u32).to_le_bytes());
        for layer in layers {
            layer.mean().chain(layer.variance(0.0)).for_each(|x| bytes.extend(x.to_le_bytes()));
        }
    }
    envelope::seal(Kind::Plain, &bytes)
}

/// What was in the message `bytes` of at most `groups` groups, whose layers have as many features as `widths` says.
///
/// # Errors
/// [`Error::Corrupt`] if the message is not one of these.
pub fn decode(bytes: &[u8], groups: usize, widths: &[usize]) -> Result<GroupSums> {
    let bytes = envelope::open(Kind::Plain, bytes)?;
    let refuse = |why: String| Error::corrupt("a message of moments", why);
    let features: usize = widths.iter().sum();
    let record = 8 + 8 * features;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        return Err(refuse(format!("it has {} bytes, and a group takes {record}", bytes.len())).into());
    }
    let mut sums = GroupSums::new();
    for record in bytes.chunks_exact(record) {
        let mut numbers = record.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
        let mut integer = || numbers.next().map_or(0, u32::from_le_bytes);
        let (group, images) = (integer(), integer());
        if group as usize >= groups || images == 0 || sums.contains_key(&group) {
            return Err(
                refuse(format!("it has group {group} of {images} images, where there are {groups} groups")).into()
            );
        }
        let values: Vec<f64> = numbers.map(|b| f64::from(f32::from_le_bytes(b))).collect();
        if !values.iter().all(|x| x.is_finite()) {
            return Err(refuse(format!("a moment of group {group} is no number")).into());
        }
        sums.insert(group, layers(f64::from(images), &values, widths));
    }
    Ok(sums)
}

/// The sums behind one group's `values`: means, then variances, layer after layer.
fn layers(count: f64, values: &[f64], widths: &[usize]) -> Vec<Sums> {
    let mut rest = values;
    let mut layer = |&width: &usize| {
        let (own, others) = rest.split_at(2 * width);
        rest = others;
        let (means, variances) = own.split_at(width);
        let sums = means.iter().zip(variances).map(|(mean, variance)| (mean * count, (variance + mean * mean) * count));
        Sums { count, features: sums.collect() }
    };
    widths.iter().map(&mut layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of the rows of one layer of two features and one of three.
    fn client(groups: &[(u32, &[[f64; 5]])]) -> GroupSums {
        let sum = |rows: &[[f64; 5]], at: usize| {
            rows.iter().fold((0.0, 0.0), |s, row| (s.0 + row[at], s.1 + row[at] * row[at]))
        };
        let layer = |rows: &[[f64; 5]], range: std::ops::Range<usize>| Sums {
            count: rows.len() as f64,
            features: range.map(|at| sum(rows, at)).collect(),
        };
        groups.iter().map(|&(group, rows)| (group, vec![layer(rows, 0..2), layer(rows, 2..5)])).collect()
    }

    const ROWS: [[f64; 5]; 3] = [[1.0, -2.0, 0.5, 4.0, 0.0], [3.0, 5.0, 0.25, 4.0, 7.0], [-1.0, 0.0, 0.5, 8.0, 1.0]];

    #[test]
    fn two_clients_messages_add_up_to_the_moments_of_all_their_images() {
        let (one, two) = (client(&[(0, &ROWS[..1]), (4, &ROWS)]), client(&[(0, &ROWS[1..])]));
        let mut total = GroupSums::new();
        for sums in [one, two] {
            super::super::sums::add(&mut total, decode(&encode(&sums), 5, &[2, 3]).unwrap());
        }
        let expected = client(&[(0, &ROWS), (4, &ROWS)]);
        assert_eq!(total.keys().collect::<Vec<_>>(), [&0, &4]);
        for (got, expected) in total.values().flatten().zip(expected.values().flatten()) {
            assert_eq!(got.count, expected.count);
            let close = |a: f32, b: f32| (a - b).abs() < 1e-5;
            assert!(got.mean().zip(expected.mean()).all(|(a, b)| close(a, b)));
            assert!(got.variance(1.0).zip(expected.variance(1.0)).all(|(a, b)| close(a, b)));
        }
    }

    #[test]
    fn foreign_messages_are_refused() {
        let good = encode(&client(&[(0, &ROWS), (1, &ROWS)]));
        assert_eq!(good.len(), 24 + 2 * (8 + 2 * 4 * 5));
        let payload = envelope::open(Kind::Plain, &good).unwrap();
        let sealed = |payload: &[u8]| envelope::seal(Kind::Plain, payload);
        assert!(decode(&good, 2, &[2, 3]).is_ok());
        for (bytes, groups, widths) in
            [(payload, 1, [2, 3]), (payload, 2, [2, 4]), (&payload[..95], 2, [2, 3]), (&[], 2, [2, 3])]
        {
            assert!(decode(&sealed(bytes), groups, &widths).is_err());
        }
        let twice = [&payload[..48], &payload[..48]].concat();
        assert!(decode(&sealed(&twice), 2, &[2, 3]).unwrap_err().to_string().contains("group 0"));
        let mut infinite = payload.to_vec();
        infinite[8..12].copy_from_slice(&f32::INFINITY.to_le_bytes());
        assert!(decode(&sealed(&infinite), 2, &[2, 3]).unwrap_err().to_string().contains("no number"));
    }
}
