//! The answers of one round, summed: votes for each weight, and score sums in the layers that cross as scores.

use prism_core::mask::{self, LayerBits};
use prism_core::score::{logit, sigmoid};
use prism_core::wire::{Session, Update};
use rayon::prelude::*;

use super::global::PIECE;

/// Vote shares are clipped to this distance from 0 and 1, where their logits would be infinite.
const CLIP: f32 = 0.01;

/// What the clients that answered agree on.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    answers: u32,
    /// The masks' sum, over the weights of the layers that cross as masks, layer after layer.
    masks: MaskSum,
    /// For each layer that crosses as scores, their sums.
    sums: Vec<Vec<f64>>,
}

/// What the masks of the answers add up to, weight by weight.
#[derive(Clone, Debug, PartialEq)]
pub enum MaskSum {
    /// How many clients keep the weight.
    Votes(Vec<u32>),
    /// How many more clients keep it than were expected to, where masks count as differences from expected ones.
    Differences(Vec<i32>),
}

impl Tally {
    /// A tally of no answers.
    pub fn new(session: &Session) -> Self {
        let zeros = |layer: &prism_core::arch::Layer| vec![0.0; layer.weights()];
        let weights = session.mask_weights();
        let masks = match session.uplink().expects() {
            true => MaskSum::Differences(vec![0; weights]),
            false => MaskSum::Votes(vec![0; weights]),
        };
        Tally { answers: 0, masks, sums: session.score_layers_of(session.layers()).iter().map(zeros).collect() }
    }

    /// A tally of `answers` clients from the sum of their masks and their mean scores.
    pub fn from_sums(answers: u32, masks: MaskSum, scores: &[Vec<f32>]) -> Self {
        let sum = |layer: &Vec<f32>| layer.iter().map(|&s| f64::from(s) * f64::from(answers)).collect();
        Tally { answers, masks, sums: scores.iter().map(sum).collect() }
    }

    /// Adds one client's answer, which is of the session that this tally was made for.
    pub fn add(&mut self, update: &Update) {
        match (&mut self.masks, &update.expected) {
            (MaskSum::Votes(votes), _) => count(votes, [&update.mask], |vote, [bit]| *vote += u32::from(bit)),
            (MaskSum::Differences(sum), None) => count(sum, [&update.mask], |sum, [bit]| *sum += i32::from(bit)),
            (MaskSum::Differences(sum), Some(expected)) => {
                count(sum, [&update.mask, expected], |sum, [bit, due]| *sum += i32::from(bit) - i32::from(due));
            }
        }
        for (sums, scores) in self.sums.iter_mut().zip(&update.scores) {
            sums.iter_mut().zip(scores).for_each(|(sum, &score)| *sum += f64::from(score));
        }
        self.answers += 1;
    }

    /// Counts an answer of which only the sum over all clients will be known: what it was expected to be comes off now.
    ///
    /// [`Tally::add_votes`] completes it.
    pub fn expect(&mut self, expected: &LayerBits) {
        if let MaskSum::Differences(sum) = &mut self.masks {
            count(sum, [expected], |sum, [bit]| *sum -= i32::from(bit));
        }
        self.answers += 1;
    }

    /// Adds the masks of all answers together: how many of them keep each weight. Adds nothing and gives `false` where that is more
    /// than there are answers.
    #[must_use]
    pub fn add_votes(&mut self, votes: &[u32]) -> bool {
        let possible = votes.iter().all(|&kept| kept <= self.answers);
        if let (true, MaskSum::Differences(sum)) = (possible, &mut self.masks) {
            sum.iter_mut().zip(votes).for_each(|(sum, &kept)| *sum += kept as i32);
        }
        possible
    }

    /// Number of answers.
    pub fn answers(&self) -> u32 {
        self.answers
    }

    /// The masks' sum, over the weights of the layers that cross as masks.
    pub fn masks(&self) -> &MaskSum {
        &self.masks
    }

    /// The mean scores of the layers that cross as scores.
    pub fn mean_scores(&self) -> Vec<Vec<f32>> {
        let mean = |sums: &Vec<f64>| sums.iter().map(|sum| (sum / f64::from(self.answers.max(1))) as f32).collect();
        self.sums.iter().map(mean).collect()
    }

    /// The scores that the answers stand for, layer by layer: `logit(votes / answers)`, and the mean where scores crossed.
    ///
    /// Where answers are differences from what was expected, the clients' mean probability is that of `scores`, those before the
    /// round, plus the mean difference: a weight that nobody moved stays as it was, to the bit.
    pub fn targets(&self, session: &Session, scores: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let answers = self.answers.max(1);
        let logit_of = |kept| logit((kept as f32 / answers as f32).clamp(CLIP, 1.0 - CLIP));
        let logits: Vec<f32> = (0..=answers).map(logit_of).collect();
        let mut at = 0;
        let masks = session.mask_layers().iter().zip(scores).map(|(layer, scores)| {
            let here = at..at + layer.weights();
            at = here.end;
            match &self.masks {
                MaskSum::Votes(votes) => votes[here].iter().map(|&kept| logits[kept as usize]).collect(),
                MaskSum::Differences(sums) => {
                    let pairs = sums[here].par_iter().zip(scores).with_min_len(PIECE);
                    pairs.map(|(&sum, &score)| moved(score, sum, answers)).collect()
                }
            }
        });
        let mut targets: Vec<Vec<f32>> = masks.collect();
        targets.extend(self.mean_scores());
        targets
    }
}

/// Adds the bits of `masks` to the count of their weight: eight weights at a time, without branches, since about half of the bits are
/// 1.
fn count<T: Send, const N: usize>(
    counts: &mut [T],
    masks: [&LayerBits; N],
    add: impl Fn(&mut T, [u8; N]) + Sync + Send,
) {
    let bytes = masks.map(mask::to_bytes);
    let piece = |(piece, counts): (usize, &mut [T])| {
        for (at, counts) in (piece * PIECE / 8..).zip(counts.chunks_mut(8)) {
            let bits = bytes.each_ref().map(|bytes| bytes[at]);
            counts.iter_mut().enumerate().for_each(|(bit, count)| add(count, bits.map(|bits| bits >> bit & 1)));
        }
    };
    counts.par_chunks_mut(PIECE).enumerate().for_each(piece);
}

/// `score` after so many more of `answers` clients kept its weight than were expected to.
fn moved(score: f32, more: i32, answers: u32) -> f32 {
    if more == 0 {
        return score;
    }
    let theta = f64::from(sigmoid(score)) + f64::from(more) / f64::from(answers);
    logit((theta as f32).clamp(CLIP, 1.0 - CLIP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_core::Architecture;
    use prism_core::codec::Uplink;
    use prism_core::wire::Downlink;

    #[test]
    fn every_kept_weight_gets_a_vote() {
        let arch = Architecture { image_size: 8, channels: 1, ngf: 1, latent: 3, classes: 0, label_scale: 3.0 };
        let session = Session::new(&arch, 0, 1).unwrap();
        let bits = |step| (0..session.mask_weights()).map(move |i| i % step == 0);
        let mut tally = Tally::new(&session);
        for step in [2, 3] {
            let scores = vec![vec![step as f32; 9]];
            tally.add(&Update { round: 1, client: step as u32, mask: mask::pack(bits(step)), expected: None, scores });
        }
        let expected: Vec<u32> = bits(2).zip(bits(3)).map(|(a, b)| u32::from(a) + u32::from(b)).collect();
        // 125 of the weights cross as masks, so the last byte is not whole.
        assert_eq!((tally.masks(), expected.len()), (&MaskSum::Votes(expected.clone()), 125));
        assert_eq!((tally.answers(), tally.mean_scores()), (2, vec![vec![2.5; 9]]));
    }

    /// Three clients keep what none or one of them was expected to; a fourth weight is as expected.
    #[test]
    fn differences_move_the_probability_and_nothing_else() {
        let arch = Architecture { image_size: 8, channels: 1, ngf: 1, latent: 3, classes: 0, label_scale: 3.0 };
        let session = Session::new(&arch, 0, 0).unwrap().with_codecs(Uplink::Flips, Downlink::Scores);
        let scores: Vec<Vec<f32>> = session.layers().iter().map(|layer| vec![-1.5; layer.weights()]).collect();
        let mut tally = Tally::new(&session);
        for client in 0..3 {
            let mask = mask::pack((0..session.mask_weights()).map(|i| i < 2));
            let expected =
                mask::pack((0..session.mask_weights()).map(|i| i == 1 && client == 0 || i == 2 && client < 2));
            tally.add(&Update { round: 1, client, mask, expected: Some(expected), scores: vec![] });
        }
        let targets = tally.targets(&session, &scores).concat();
        let theta = 1.0 / (1.0 + 1.5f64.exp());
        for (target, probability) in targets.iter().zip([theta + 1.0, theta + 2.0 / 3.0, theta - 2.0 / 3.0]) {
            let probability = probability.clamp(0.01, 0.99);
            assert!((f64::from(*target) - (probability / (1.0 - probability)).ln()).abs() < 1e-4, "{target}");
        }
        assert!(targets[3..].iter().all(|&target| target == -1.5));
    }
}
