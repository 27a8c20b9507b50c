//! Vote counts: how many of K clients keep each weight, coded as if they had followed the prior.
//!
//! ```text
//! class    the prior's 10 highest bits;  p = (64 class + 32) / 65536
//! weights  P(c) = C(K, c) p^c (1 - p)^(K - c),  computed in f64 through lgamma, log and exp of libm
//! code     down a binary tree over the numbers 0..2^h, 2^h > K: at each node the upper half has the probability
//!          round(65536 * sum P over it / sum P over both), within 1..=65535; 32768 where the sum is 0.
//!          Nodes whose upper half lies above K are passed without a bit.
//! ```
//!
//! This carries what `theta = votes / K` holds and nothing else, at about log2(sqrt(2 pi e K p (1 - p))) bits a weight.

use super::Prior;
use prism_core::rangecoder::{Decoder, Encoder};

/// The most clients whose votes can be coded: the work of a tree grows with them, and a forged number must not cost
/// much.
pub const MOST_ANSWERS: u32 = 4095;

/// Prior bits that choose a class.
const CLASS_SHIFT: u32 = 6;

/// The trees of all classes met so far.
struct Trees {
    height: u32,
    /// `ln C(answers, count)` for every count.
    choose: Vec<f64>,
    classes: Vec<Option<Box<[u16]>>>,
}

impl Trees {
    fn new(answers: u32) -> Self {
        let height = u32::BITS - answers.leading_zeros();
        Trees { height, choose: log_choose(answers), classes: vec![None; 65_536 >> CLASS_SHIFT] }
    }

    /// The probabilities of the upper halves, node by node from 1.
    fn of(&mut self, threshold: u16) -> &[u16] {
        let class = threshold >> CLASS_SHIFT;
        let (choose, height) = (&self.choose, self.height);
        self.classes[usize::from(class)].get_or_insert_with(|| tree(class, choose, height))
    }
}

fn tree(class: u16, choose: &[f64], height: u32) -> Box<[u16]> {
    let leaves = 1usize << height;
    let p = f64::from((u32::from(class) << CLASS_SHIFT) + (1 << CLASS_SHIFT >> 1)) / 65_536.0;
    let (n, log_p, log_q) = ((choose.len() - 1) as f64, libm::log(p), libm::log(1.0 - p));
    let mut sums = vec![0.0; 2 * leaves];
    for (count, choose) in choose.iter().enumerate() {
        let c = count as f64;
        sums[leaves + count] = libm::exp(choose + c * log_p + (n - c) * log_q);
    }
    let mut nodes = vec![32_768; leaves];
    for node in (1..leaves).rev() {
        sums[node] = sums[2 * node] + sums[2 * node + 1];
        if sums[node] > 0.0 {
            nodes[node] = (65_536.0 * sums[2 * node + 1] / sums[node] + 0.5).clamp(1.0, 65_535.0) as u16;
        }
    }
    nodes.into()
}

/// The smallest number in the upper half of `node`, which lies at `depth` of a tree of height `height`.
fn upper_half(node: usize, depth: u32, height: u32) -> usize {
    ((2 * node + 1) << (height - depth - 1)) - (1 << height)
}

/// Codes the votes of `answers` clients under `prior`.
///
/// # Panics
/// If the lengths differ, a vote is above `answers`, or `answers` is above [`MOST_ANSWERS`].
pub fn encode(votes: &[u32], answers: u32, prior: &Prior) -> Vec<u8> {
    assert!(votes.len() == prior.len() && answers <= MOST_ANSWERS, "one count per weight, of few enough clients");
    assert!(votes.iter().all(|&v| v <= answers), "no more votes than clients");
    let (mut encoder, mut trees) = (Encoder::default(), Trees::new(answers));
    let height = trees.height;
    for (&vote, &threshold) in votes.iter().zip(prior.thresholds()) {
        let nodes = trees.of(threshold);
        let mut node = 1;
        for depth in 0..height {
            let bit = vote >> (height - depth - 1) & 1 == 1;
            if upper_half(node, depth, height) <= answers as usize {
                encoder.put(bit, nodes[node]);
            }
            node = node << 1 | usize::from(bit);
        }
    }
    encoder.finish()
}

/// The sum of `-log2 P(votes)` under the prior itself, not under its class: the least that a code of the votes needs,
/// in bits.
///
/// # Panics
/// If the lengths differ or a vote is above `answers`.
pub fn bound_bits(votes: &[u32], answers: u32, prior: &Prior) -> f64 {
    assert_eq!(votes.len(), prior.len(), "one count per weight");
    let choose = log_choose(answers);
    let nats = |(i, &vote): (usize, &u32)| {
        let p = prior.probability(i);
        -choose[vote as usize] - f64::from(vote) * libm::log(p) - f64::from(answers - vote) * libm::log(1.0 - p)
    };
    votes.iter().enumerate().map(nats).sum::<f64>() / std::f64::consts::LN_2
}

/// `ln C(n, k)` for k = 0..=n.
fn log_choose(n: u32) -> Vec<f64> {
    let factorials: Vec<f64> = (0..=n).map(|k| libm::lgamma(f64::from(k) + 1.0)).collect();
    let whole = factorials[n as usize];
    factorials.iter().zip(factorials.iter().rev()).map(|(chosen, left)| whole - chosen - left).collect()
}

/// Reads the votes of `answers` clients.
///
/// # Errors
/// A clause that says what is wrong with `code` or with `answers`.
pub fn decode(code: &[u8], answers: u32, prior: &Prior) -> Result<Vec<u32>, String> {
    if answers > MOST_ANSWERS {
        return Err(format!("it counts {answers} clients and the limit is {MOST_ANSWERS}"));
    }
    let (mut decoder, mut trees) = (Decoder::new(code)?, Trees::new(answers));
    let height = trees.height;
    let mut votes = Vec::with_capacity(prior.len());
    for (i, &threshold) in prior.thresholds().iter().enumerate() {
        let nodes = trees.of(threshold);
        let mut node = 1;
        for depth in 0..height {
            let within = upper_half(node, depth, height) <= answers as usize;
            let bit = within && decoder.take(nodes[node]).ok_or_else(|| format!("its counts end at weight {i}"))?;
            node = node << 1 | usize::from(bit);
        }
        votes.push((node - (1 << height)) as u32);
    }
    decoder.finish()?;
    Ok(votes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use prism_core::stream::{Purpose, StreamId};

    #[test]
    fn the_code_is_close_to_the_entropy_of_the_counts() {
        let mut stream = StreamId::new(1, Purpose::Test).open();
        for answers in [1u32, 2, 10, 15, 16, 100] {
            let thresholds: Vec<u16> = (0..50_000).map(|_| stream.below(65_536) as u16).collect();
            let prior = Prior::from_thresholds(thresholds);
            let mut vote = |i: usize| (0..answers).filter(|_| stream.uniform() < prior.probability(i)).count() as u32;
            let votes: Vec<u32> = (0..prior.len()).map(&mut vote).collect();
            let ideal = bound_bits(&votes, answers, &prior);
            let code = encode(&votes, answers, &prior);
            assert!(
                (code.len() as f64) < 1.01 * ideal / 8.0 + 8.0,
                "{answers}: {} bytes, ideal {}",
                code.len(),
                ideal / 8.0
            );
            assert_eq!(decode(&code, answers, &prior).unwrap(), votes);
        }
    }

    proptest! {
        #[test]
        fn counts_come_back(
            answers in 0u32..40, pairs in proptest::collection::vec((any::<u32>(), any::<u16>()), 0..200),
        ) {
            let prior = Prior::from_thresholds(pairs.iter().map(|p| p.1).collect());
            let votes: Vec<u32> = pairs.iter().map(|p| p.0 % (answers + 1)).collect();
            prop_assert_eq!(decode(&encode(&votes, answers, &prior), answers, &prior).unwrap(), votes);
        }

        #[test]
        fn foreign_codes_never_panic_and_keep_the_limit(
            code in proptest::collection::vec(any::<u8>(), 0..60), answers in 0u32..300, len in 0usize..100,
        ) {
            let prior = Prior::from_thresholds(vec![20_000; len]);
            if let Ok(votes) = decode(&code, answers, &prior) {
                prop_assert!(votes.iter().all(|&v| v <= answers));
                prop_assert_eq!(encode(&votes, answers, &prior), code);
            }
        }
    }
}
