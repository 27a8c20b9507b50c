//! Time of drawing: one entry for each shape, precision and batch. `cargo bench -p prism-core --bench sampler`.

use std::hint::black_box;
use std::num::NonZeroUsize;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prism_core::frozen::sign_bytes;
use prism_core::mask::LayerBits;
use prism_core::sampler::{FoldedNorm, Isa, Model, Precision, Sampler};
use prism_core::{Architecture, Mask, latent};

/// A generator with random weights, of which half are kept.
struct Parts {
    arch: Architecture,
    mask: Mask,
    norms: Vec<FoldedNorm>,
}

impl Parts {
    fn new(ngf: usize, image_size: usize, channels: usize) -> Self {
        let arch = Architecture { image_size, channels, ngf, latent: 128, classes: 0, label_scale: 3.0 };
        let bits = |(i, n): (usize, usize)| {
            let mut bits = LayerBits::from_vec(sign_bytes(1, i, n));
            bits.truncate(n);
            bits
        };
        let mask = Mask::new(arch.layers().iter().map(|layer| layer.weights()).enumerate().map(bits).collect());
        let norm = |channels| FoldedNorm { scale: vec![2.0; channels], shift: vec![0.1; channels] };
        let norms = arch.norms().iter().map(|n| norm(n.channels)).collect();
        Parts { arch, mask, norms }
    }

    fn model(&self) -> Model<'_> {
        Model::new(&self.arch, 0, &self.mask, &self.norms).expect("parts of one architecture")
    }

    fn name(&self) -> String {
        let Architecture { image_size, channels, ngf, .. } = self.arch;
        format!("ngf{ngf}-{image_size}x{image_size}x{channels}")
    }
}

fn shapes() -> [Parts; 3] {
    [Parts::new(16, 32, 1), Parts::new(64, 32, 3), Parts::new(32, 64, 3)]
}

/// From mask and seed to a sampler that is ready to draw.
fn reconstruct(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reconstruct");
    group.sample_size(10);
    for parts in shapes() {
        group.throughput(Throughput::Elements(parts.arch.weights() as u64));
        for precision in [Precision::F32, Precision::I16] {
            let name = format!("{}-{precision:?}", parts.name());
            group.bench_function(name, |bench| bench.iter(|| Sampler::with(&parts.model(), precision, Isa::detect())));
        }
    }
}

/// Images from inputs, on all cores.
fn sample(criterion: &mut Criterion) {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut group = criterion.benchmark_group(format!("sample-{threads}-threads"));
    group.sample_size(10);
    for parts in shapes() {
        for isa in Isa::available() {
            for precision in [Precision::F32, Precision::I16] {
                let sampler = Sampler::with(&parts.model(), precision, isa);
                for batch in [1u64, 64] {
                    let inputs: Vec<f32> = (0..batch).flat_map(|k| latent::latent(&parts.arch, 0, k)).collect();
                    group.throughput(Throughput::Elements(batch));
                    let id =
                        BenchmarkId::new(format!("{}-{isa:?}-{precision:?}", parts.name()), format!("batch{batch}"));
                    group.bench_function(id, |bench| bench.iter(|| sampler.images(black_box(&inputs), threads)));
                }
            }
        }
    }
}

criterion_group!(benches, reconstruct, sample);
criterion_main!(benches);
