//! The client's side: weigh every candidate of every block and let a private race decide.

use super::allocation::{CHUNK, ChunkSplit, choose};
use super::candidate::{signed, stride, tilted_sum};
use super::{CANDIDATES, Chunk, SPLITS};
use crate::codec::private::PrivateStream;
use crate::codec::{Prior, PrivateSource};
use prism_core::stream::StreamId;

/// Log weights are sums of 16-bit integers, in units of 1 / 1024 nat.
const UNIT: f64 = 1024.0;
/// Keystream bytes drawn at once, so that the cipher works on many blocks side by side.
const BATCH: usize = 4096;

/// Cuts and codes every chunk, on up to `threads` threads.
pub fn chunks(prior: &Prior, scores: &[f32], shared: StreamId, private: &PrivateSource, threads: usize) -> Vec<Chunk> {
    let count = scores.len().div_ceil(CHUNK);
    let share = |first: usize, step: usize| -> Vec<Chunk> {
        let mut worker = Worker { prior, scores, shared, private, buffer: Vec::new() };
        (first..count).step_by(step).map(|number| worker.chunk(number)).collect()
    };
    let threads = threads.clamp(1, count.max(1));
    if threads == 1 {
        return share(0, 1);
    }
    let mut shares: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first, threads))).collect();
        // A worker has nothing to panic about; if it does all the same, so does this.
        workers.into_iter().map(|w| w.join().unwrap_or_else(|e| std::panic::resume_unwind(e)).into_iter()).collect()
    });
    (0..count).filter_map(|number| shares[number % threads].next()).collect()
}

/// One thread's view of a message being coded.
struct Worker<'a> {
    prior: &'a Prior,
    scores: &'a [f32],
    shared: StreamId,
    private: &'a PrivateSource,
    buffer: Vec<u8>,
}

impl Worker<'_> {
    fn chunk(&mut self, number: usize) -> Chunk {
        let split = choose(number, self.prior, self.scores);
        let range = number * CHUNK..(number * CHUNK + CHUNK).min(self.scores.len());
        let thresholds: Vec<i16> = self.prior.thresholds()[range.clone()].iter().map(|&t| signed(t)).collect();
        let tilts: Vec<i16> = range.clone().map(|i| tilt(self.scores[i], self.prior.probability(i))).collect();
        let cut = ChunkSplit::of(number, self.scores.len(), split);
        debug_assert_eq!(cut.count(), SPLITS[split]);
        let blocks = cut.blocks().map(|block| {
            let within = block.start - range.start..block.end - range.start;
            self.block(block.start, &thresholds[within.clone()], &tilts[within])
        });
        Chunk { split, indices: blocks.collect() }
    }

    /// The index of the candidate that wins the race of the block beginning at weight `first`.
    fn block(&mut self, first: usize, thresholds: &[i16], tilts: &[i16]) -> u16 {
        let mut race = Race::new(self.private.open(first as u64), tilts);
        let stride = stride(tilts.len());
        let at_once = (BATCH / stride).clamp(1, CANDIDATES);
        self.buffer.resize(at_once * stride, 0);
        let mut stream = self.shared.index(first as u64).open();
        let mut index = 0;
        loop {
            stream.fill(&mut self.buffer);
            for draws in self.buffer.chunks_exact(stride) {
                race.enter(index, || f64::from(tilted_sum(&draws[..2 * tilts.len()], thresholds, tilts)) / UNIT);
                index += 1;
                if index == CANDIDATES || race.decided {
                    return race.winner;
                }
            }
        }
    }
}

/// What a kept weight adds to a candidate's log weight, in 1 / 1024 nat: `s_client - logit(p)`, at most 32 nats either
/// way.
fn tilt(score: f32, p: f64) -> i16 {
    // The cast saturates.
    libm::round((f64::from(score) - libm::log(p / (1.0 - p))) * UNIT) as i16
}

/// The race `argmax of log w_c - log E_c` against sorted exponential variables.
struct Race {
    private: PrivateStream,
    /// What no candidate's log weight exceeds.
    limit: f64,
    elapsed: f64,
    best: f64,
    winner: u16,
    /// Whether no later candidate can win.
    decided: bool,
}

impl Race {
    fn new(private: PrivateStream, tilts: &[i16]) -> Self {
        let limit = tilts.iter().map(|&t| i64::from(t.max(0))).sum::<i64>() as f64 / UNIT;
        Race { private, limit, elapsed: 0.0, best: f64::NEG_INFINITY, winner: 0, decided: false }
    }

    fn enter(&mut self, index: usize, log_weight: impl FnOnce() -> f64) {
        // The spacings of K sorted exponential variables are exponential with the rates K, K - 1, ..., 1.
        self.elapsed -= libm::log(self.private.open_uniform()) / (CANDIDATES - index) as f64;
        let handicap = libm::log(self.elapsed);
        if self.limit - handicap <= self.best {
            self.decided = true;
            return;
        }
        let value = log_weight() - handicap;
        if value > self.best {
            (self.best, self.winner) = (value, index as u16);
        }
    }
}
