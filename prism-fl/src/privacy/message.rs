//! The one message of a client in a one-shot federation: its noisy sums, or its part of a secure sum, in few bits.
//!
//! ```text
//! noisy    groups u32, coordinates u32, shift u8, bits u8, then every coordinate >> shift in `bits` bits, two's complement
//! ring     bits u8, then every coordinate modulo 2^bits
//! counts   a range code of every coordinate, where nothing is protected: small, and mostly 0 beside 0
//! ```
//!
//! Under the header of [`crate::moments::envelope`]. Numbers are little-endian, bits run from the lowest of each byte. A client's
//! own noise hides its low bits, so `noisy` drops those below an eighth of the noise (post-processing; it adds a 768th to the
//! variance at most). The parts of a secure sum are uniform modulo 2^bits once they are blinded ([`crate::secagg`]), so nothing can
//! be left out of `ring`. In this form they stay with the client, and their sum goes back to all.

use prism_core::Error;
use prism_core::rangecoder::{Decoder, Encoder};
use prism_nn::Result;

use super::release::Sums;
use crate::adaptive::NumberModel;
use crate::moments::envelope::{self, Kind};
use crate::secagg::ring::{Packer, mask, unpack};

/// `value` of `bits` bits, its highest taken as a sign.
fn signed(value: u64, bits: u32) -> i64 {
    let unused = 64 - bits;
    ((value << unused) as i64) >> unused
}

/// A client's own release, whose noise has the standard deviation `sigma`.
pub fn encode_noisy(sums: &Sums, sigma: u64) -> Vec<u8> {
    let shift = (sigma / 8).max(1).ilog2();
    let rounded = |x: i64| (x + (1i64 << shift) / 2) >> shift;
    let most = sums.iter().flatten().map(|&x| rounded(x).unsigned_abs()).max().unwrap_or(0);
    let bits = 65 - most.leading_zeros();
    let mut bytes = Vec::new();
    bytes.extend((sums.len() as u32).to_le_bytes());
    bytes.extend((sums.first().map_or(0, Vec::len) as u32).to_le_bytes());
    bytes.extend([shift as u8, bits as u8]);
    let mut writer = Packer::new(bytes);
    sums.iter().flatten().for_each(|&x| writer.push(rounded(x) as u64, bits));
    envelope::seal(Kind::Noisy, &writer.finish())
}

/// The release in `bytes`, of so many groups and coordinates, up to the bits that were dropped.
///
/// # Errors
/// [`Error::Corrupt`] if the message is not one of that shape.
pub fn decode_noisy(bytes: &[u8], (groups, coordinates): (usize, usize)) -> Result<Sums> {
    let refuse = |why: &str| Error::corrupt("a message of moments", why);
    let (header, body) =
        envelope::open(Kind::Noisy, bytes)?.split_at_checked(10).ok_or_else(|| refuse("it is cut short"))?;
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
    if (number(0), number(4)) != (groups, coordinates) {
        return Err(refuse("it is of another architecture or feature set").into());
    }
    let (shift, bits) = (u32::from(header[8]), u32::from(header[9]));
    if shift > 40 || bits + shift > 63 {
        return Err(refuse("its numbers exceed 63 bits").into());
    }
    let values = unpack(bits, groups * coordinates, body).map_err(|why| refuse(&why))?;
    Ok(values.chunks(coordinates).map(|group| group.iter().map(|&x| signed(x, bits) << shift).collect()).collect())
}

/// A client's part of a secure sum modulo `2^bits`.
pub fn encode_ring(sums: &Sums, bits: u32) -> Vec<u8> {
    let mut writer = Packer::new(vec![bits as u8]);
    sums.iter().flatten().for_each(|&x| writer.push(x as u64, bits));
    envelope::seal(Kind::Ring, &writer.finish())
}

/// Models of a count: by how many of the two before it are not 0.
struct CountModels {
    models: [NumberModel; 3],
    before: [bool; 2],
}

impl CountModels {
    fn new() -> Self {
        CountModels { models: std::array::from_fn(|_| NumberModel::new(31)), before: [false; 2] }
    }

    fn next(&mut self) -> &mut NumberModel {
        &mut self.models[self.before.iter().filter(|there| **there).count()]
    }

    fn saw(&mut self, count: u32) {
        self.before = [self.before[1], count != 0];
    }
}

/// A client's counts, each below 2^32 - 1.
pub fn encode_counts(sums: &Sums) -> Vec<u8> {
    let (mut encoder, mut models) = (Encoder::default(), CountModels::new());
    for &count in sums.iter().flatten() {
        let count = count as u32;
        models.next().put(&mut encoder, count);
        models.saw(count);
    }
    envelope::seal(Kind::Counts, &encoder.finish())
}

/// So many counts of a client.
///
/// # Errors
/// [`Error::Corrupt`] if the message is no code of them.
pub fn decode_counts(message: &[u8], count: usize) -> Result<Vec<u64>> {
    let refuse = |why: String| Error::corrupt("a message of counts", why);
    let mut decoder = Decoder::new(envelope::open(Kind::Counts, message)?).map_err(refuse)?;
    let (mut models, mut counts) = (CountModels::new(), Vec::with_capacity(count));
    for _ in 0..count {
        let found = models.next().take(&mut decoder).ok_or_else(|| refuse("its code ends early".into()))?;
        models.saw(found);
        counts.push(u64::from(found));
    }
    decoder.finish().map_err(refuse)?;
    Ok(counts)
}

/// What the messages of a sum are.
#[derive(Clone, Copy)]
enum Form {
    /// Releases that are noisy each by itself.
    Noisy,
    /// Parts of a secure sum modulo `2^bits`.
    Ring(u32),
    /// Counts without noise.
    Counts,
}

/// A sum of messages of one shape, which does not depend on their order.
pub struct MessageSum {
    values: Vec<u64>,
    shape: (usize, usize),
    form: Form,
}

impl MessageSum {
    /// The sum of no releases, of `shape` `[groups][coordinates]`.
    pub fn of_noisy(shape: (usize, usize)) -> Self {
        MessageSum { values: vec![0; shape.0 * shape.1], shape, form: Form::Noisy }
    }

    /// The sum of no counts.
    pub fn of_counts(shape: (usize, usize)) -> Self {
        MessageSum { form: Form::Counts, ..Self::of_noisy(shape) }
    }

    /// The sum of no parts of a secure sum modulo `2^bits`.
    pub fn of_ring(shape: (usize, usize), bits: u32) -> Self {
        MessageSum { form: Form::Ring(bits), ..Self::of_noisy(shape) }
    }

    /// Adds a message.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not of this kind and shape; nothing is then added.
    pub fn add(&mut self, message: &[u8]) -> Result<()> {
        let numbers = match self.form {
            Form::Noisy => decode_noisy(message, self.shape)?.into_iter().flatten().map(|x| x as u64).collect(),
            Form::Ring(bits) => decode_ring(message, bits, self.values.len())?,
            Form::Counts => decode_counts(message, self.values.len())?,
        };
        self.add_numbers(&numbers);
        Ok(())
    }

    /// Adds numbers of this shape, group after group.
    pub fn add_numbers(&mut self, numbers: &[u64]) {
        self.values.iter_mut().zip(numbers).for_each(|(sum, &x)| *sum = sum.wrapping_add(x));
    }

    /// Bits of its numbers, and how many there are.
    pub fn ring_shape(&self) -> (u32, usize) {
        let bits = if let Form::Ring(bits) = self.form { bits } else { 64 };
        (bits, self.values.len())
    }

    /// The sum, `[groups][coordinates]`.
    pub fn finish(self) -> Sums {
        let number = |x: u64| match self.form {
            Form::Ring(bits) => signed(x & mask(bits), bits),
            Form::Noisy | Form::Counts => x as i64,
        };
        self.values.chunks(self.shape.1).map(|group| group.iter().map(|&x| number(x)).collect()).collect()
    }
}

/// The numbers of a client's part of a secure sum.
///
/// # Errors
/// [`Error::Corrupt`] if the message is none of so many numbers modulo `2^bits`.
pub fn decode_ring(message: &[u8], bits: u32, count: usize) -> Result<Vec<u64>> {
    match envelope::open(Kind::Ring, message)?.split_first() {
        Some((&found, body)) if u32::from(found) == bits => {
            Ok(unpack(bits, count, body).map_err(|why| Error::corrupt("a part of a secure sum", why))?)
        }
        _ => Err(Error::corrupt("a part of a secure sum", format!("it is not modulo 2^{bits}")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_back_and_a_histogram_takes_few_bytes() {
        let mut counts = vec![vec![0i64; 4096]; 3];
        (0..600).for_each(|at| counts[1][2000 + at * 7 % 300] += 1);
        counts[2][4095] = i64::from(u32::MAX) - 1;
        let message = encode_counts(&counts);
        assert!(message.len() < 250, "{} bytes", message.len());
        let mut sum = MessageSum::of_counts((3, 4096));
        sum.add(&message).unwrap();
        sum.add(&message).unwrap();
        let twice = counts.iter().map(|row| row.iter().map(|count| 2 * count).collect()).collect::<Sums>();
        assert_eq!(sum.finish(), twice);
        for length in 0..message.len() {
            assert!(decode_counts(&message[..length], 3 * 4096).is_err(), "length {length}");
        }
        let longer = envelope::seal(Kind::Counts, &[&message[envelope::BYTES..], &[0; 9]].concat());
        assert!(decode_counts(&longer, 3 * 4096).is_err());
    }

    #[test]
    fn a_noisy_message_keeps_all_but_the_low_bits() {
        let sums = vec![vec![-1_000_000, 0, 5], vec![123_456_789, -7, 99_999]];
        for sigma in [1, 100, 70_000] {
            let decoded = decode_noisy(&encode_noisy(&sums, sigma), (2, 3)).unwrap();
            for (a, b) in sums.iter().flatten().zip(decoded.iter().flatten()) {
                assert!((a - b).unsigned_abs() <= (sigma / 16).max(1), "{a} became {b} at sigma {sigma}");
            }
        }
        let bytes = encode_noisy(&sums, 100);
        for length in 0..bytes.len() {
            assert!(decode_noisy(&bytes[..length], (2, 3)).is_err(), "length {length}");
        }
        assert!(decode_noisy(&bytes, (3, 2)).is_err());
    }

    #[test]
    fn parts_of_a_secure_sum_add_up_through_the_wrap() {
        let parts = [vec![vec![-100, 50, 1 << 33]], vec![vec![30, -80, 1 << 33]]];
        let messages: Vec<Vec<u8>> = parts.iter().map(|part| encode_ring(part, 37)).collect();
        assert_eq!(messages[0].len(), 24 + 1 + 14);
        let mut sum = MessageSum::of_ring((1, 3), 37);
        messages.iter().for_each(|message| sum.add(message).unwrap());
        assert_eq!(sum.finish(), [[-70, -30, 1 << 34]]);
        assert!(MessageSum::of_ring((1, 3), 36).add(&messages[0]).is_err());
        assert!(MessageSum::of_ring((1, 3), 37).add(&messages[0][..33]).is_err());
        assert!(MessageSum::of_noisy((1, 3)).add(&messages[0]).is_err());
    }
}
