//! The codecs at the size of the paper's generator (3,544,768 weights), at a divergence as in a run's first rounds.
//!
//! `cargo bench -p prism-fl --bench codecs`; the target is less than a second to encode on two cores and 50 ms to
//! decode.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prism_core::stream::{Purpose, StreamId};
use prism_fl::codec::{Learned, Prior, PrivateSource, ScoreGrid, Uplink, counts, differences, flips, snapshot};
use prism_fl::secagg::Blinds;

const WEIGHTS: usize = 3_544_768;

fn scores() -> (Vec<f32>, Vec<f32>) {
    let mut stream = StreamId::new(1, Purpose::Test).open();
    let known: Vec<f32> = (0..WEIGHTS).map(|_| (1.5 * stream.normal()) as f32).collect();
    let own = known.iter().map(|s| s + (0.25 * stream.normal()) as f32).collect();
    (known, own)
}

/// How many more of `clients` that learned `own` keep each weight than were expected to.
fn flips_of(own: &[f32], prior: &Prior, clients: u64) -> Vec<i32> {
    let mut sums = vec![0; own.len()];
    for client in 0..clients {
        let shared = StreamId::new(1, Purpose::Dither).client(client);
        let (mask, expected) = (flips::drawn(own, shared), flips::expected(prior, shared));
        let pairs = mask.iter().by_vals().zip(expected.iter().by_vals());
        sums.iter_mut().zip(pairs).for_each(|(sum, (bit, due))| *sum += i32::from(bit) - i32::from(due));
    }
    sums
}

fn codecs(criterion: &mut Criterion) {
    let (known, own) = scores();
    let prior = Prior::new(&known);
    let shared = StreamId::new(1, Purpose::MrcCandidate).round(1);
    let private = PrivateSource::simulated(StreamId::new(2, Purpose::Test));
    let mut group = criterion.benchmark_group("paper");
    group.sample_size(10).throughput(Throughput::Elements(WEIGHTS as u64));
    group.bench_function("prior", |b| b.iter(|| Prior::new(black_box(&known))));
    for uplink in [Uplink::Raw, Uplink::Mrc, Uplink::Flips] {
        let (layers, blinds) = ([own.as_slice()], Blinds::default());
        let learned = Learned { layers: &layers, prior: &prior, private: &private, blinds: &blinds, threads: 2 };
        let code = uplink.encode(&learned, shared);
        let rate = 8.0 * code.len() as f64 / WEIGHTS as f64;
        eprintln!("{uplink}: {rate:.4} bit/weight, KL {:.4}", prior.divergence(&own) / WEIGHTS as f64);
        group.bench_function(format!("{uplink} encode, 2 threads"), |b| {
            b.iter(|| uplink.encode(black_box(&learned), shared))
        });
        group
            .bench_function(format!("{uplink} decode"), |b| b.iter(|| uplink.decode(black_box(&code), &prior, shared)));
    }
    let votes: Vec<u32> = known.iter().map(|s| (10.0 / (1.0 + (-s).exp())).round() as u32).collect();
    let code = counts::encode(&votes, 10, &prior);
    group.bench_function("counts encode", |b| b.iter(|| counts::encode(black_box(&votes), 10, &prior)));
    group.bench_function("counts decode", |b| b.iter(|| counts::decode(black_box(&code), 10, &prior)));
    let sums = flips_of(&own, &prior, 10);
    let code = differences::encode(&sums, 10, &prior);
    eprintln!("differences: {:.4} bit/weight", 8.0 * code.len() as f64 / WEIGHTS as f64);
    group.bench_function("differences encode", |b| b.iter(|| differences::encode(black_box(&sums), 10, &prior)));
    group.bench_function("differences decode", |b| b.iter(|| differences::decode(black_box(&code), 10, &prior)));
    let grid = ScoreGrid::FINE;
    let indices: Vec<i32> = own.iter().map(|&s| grid.index(s)).collect();
    group.bench_function("snapshot encode", |b| b.iter(|| snapshot::encode(black_box(&indices), grid)));
}

criterion_group!(benches, codecs);
criterion_main!(benches);
