//! Digests that name data: lower-case hexadecimal SHA-256.

use sha2::{Digest, Sha256};

/// The digest of a list of numbers, 8 little-endian bytes each.
pub fn of_numbers(numbers: &[usize]) -> String {
    let mut hash = Sha256::new();
    numbers.iter().for_each(|&n| hash.update((n as u64).to_le_bytes()));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
