//! The codecs at the size of the paper's generator (3,544,768 weights), at a divergence as in a run's first rounds.
//!
//! `cargo bench -p prism-core --bench codecs`; the target is less than a second to encode on two cores and 50 ms to decode.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prism_core::codec::{Blinds, Learned, Prior, PrivateSource, ScoreGrid, Uplink, counts, steps};
use prism_core::stream::{Purpose, StreamId};

const WEIGHTS: usize = 3_544_768;

fn scores() -> (Vec<f32>, Vec<f32>) {
    let mut stream = StreamId::new(1, Purpose::Test).open();
    let known: Vec<f32> = (0..WEIGHTS).map(|_| (1.5 * stream.normal()) as f32).collect();
    let own = known.iter().map(|s| s + (0.25 * stream.normal()) as f32).collect();
    (known, own)
}

fn codecs(criterion: &mut Criterion) {
    let (known, own) = scores();
    let prior = Prior::new(&known);
    let shared = StreamId::new(1, Purpose::MrcCandidate).round(1);
    let private = PrivateSource::simulated(StreamId::new(2, Purpose::Test));
    let mut group = criterion.benchmark_group("paper");
    group.sample_size(10).throughput(Throughput::Elements(WEIGHTS as u64));
    group.bench_function("prior", |b| b.iter(|| Prior::new(black_box(&known))));
    for uplink in [Uplink::Raw, Uplink::Entropy, Uplink::Mrc, Uplink::Flips] {
        let learned =
            Learned { scores: &own, prior: &prior, shared, private: &private, blinds: &Blinds::default(), threads: 2 };
        let code = uplink.encode(&learned);
        let rate = 8.0 * code.len() as f64 / WEIGHTS as f64;
        eprintln!("{uplink}: {rate:.4} bit/weight, KL {:.4}", prior.divergence(&own) / WEIGHTS as f64);
        group.bench_function(format!("{uplink} encode, 2 threads"), |b| b.iter(|| uplink.encode(black_box(&learned))));
        group
            .bench_function(format!("{uplink} decode"), |b| b.iter(|| uplink.decode(black_box(&code), &prior, shared)));
    }
    let votes: Vec<u32> = known.iter().map(|s| (10.0 / (1.0 + (-s).exp())).round() as u32).collect();
    let code = counts::encode(&votes, 10, &prior);
    group.bench_function("counts encode", |b| b.iter(|| counts::encode(black_box(&votes), 10, &prior)));
    group.bench_function("counts decode", |b| b.iter(|| counts::decode(black_box(&code), 10, &prior)));
    let grid = ScoreGrid::FINE;
    let index = |scores: &[f32]| scores.iter().map(|&s| grid.index(s)).collect::<Vec<_>>();
    let (before, after) = (index(&known), index(&own));
    group.bench_function("steps encode", |b| b.iter(|| steps::encode(black_box(&before), &after, grid)));
    group.bench_function("snapshot encode", |b| b.iter(|| steps::encode_snapshot(black_box(&after), grid)));
}

criterion_group!(benches, codecs);
criterion_main!(benches);
