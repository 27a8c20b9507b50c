use proptest::prelude::*;

use super::super::sink::Scaled;
use super::super::team::Team;
use super::*;
use crate::sampler::element::ValueRange;
use crate::sampler::maps::stride;
use crate::sampler::maps::{MapShape, Maps, Position};
use crate::sampler::scheme::{Doubled, Doubled4, Pointwise, Winograd2, Winograd4};
use crate::stream::{Purpose, Stream, StreamId};

/// A convolution of random numbers by random filters of -1, 0 and 1.
#[derive(Clone, Copy, Debug)]
struct Case {
    images: usize,
    /// Tiles along each axis.
    tiles: usize,
    inputs: usize,
    outputs: usize,
    threads: usize,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (1usize..4, 1usize..6, 1usize..70, 1usize..70, 1usize..4, any::<u64>());
    sizes.prop_map(|(images, tiles, inputs, outputs, threads, seed)| Case {
        images,
        tiles,
        inputs,
        outputs,
        threads,
        seed,
    })
}

/// What a case convolves.
struct Data {
    /// `[images][rows][columns][channels]`.
    inputs: Vec<i16>,
    /// `[outputs][inputs][taps]`.
    filters: Vec<i8>,
}

fn draw(case: Case, side: usize, taps: usize) -> Data {
    let mut stream: Stream = StreamId::new(case.seed, Purpose::Test).open();
    let inputs = (0..case.images * side * side * case.inputs).map(|_| stream.below(8000) as i16).collect();
    let filters = (0..case.outputs * case.inputs * taps).map(|_| stream.below(3) as i8 - 1).collect();
    Data { inputs, filters }
}

/// The pixel number `at` of maps of `side`.
fn position(at: usize, side: usize) -> Position {
    Position { image: at / (side * side), row: at / side % side, column: at % side }
}

/// Runs a layer with a team, and returns its outputs as `[images][rows][columns][channels]`.
fn run<C: Scheme<E>, E: Element>(isa: Isa, case: Case, side: usize, data: &Data) -> Vec<f32> {
    let lanes = isa.lanes();
    let shape = MapShape { side, border: C::PAD, stride: stride::<E>(case.inputs, lanes) };
    let mut input = Maps::<E>::new(case.images, shape);
    let view = input.view();
    for (at, numbers) in data.inputs.chunks_exact(case.inputs).enumerate() {
        let place = position(at, side);
        for (channel, x) in numbers.iter().enumerate() {
            let scale = crate::sampler::element::Scale { factor: 1.0, limit: f32::INFINITY };
            // SAFETY: a pixel of the maps just made.
            unsafe { *view.pixel(place).add(channel) = E::from_real(f32::from(*x), scale) };
        }
    }
    let taps = C::TAPS * C::TAPS;
    let padded = stride::<E>(case.outputs, lanes);
    let weights = Packed::new::<E, C>(case.inputs, padded, lanes, |column, input| {
        (column < case.outputs).then(|| &data.filters[(column * case.inputs + input) * taps..][..taps])
    });
    let out_side = side / C::STEP * C::OUT;
    let mut output = Maps::<f32>::new(case.images, MapShape { side: out_side, border: 0, stride: padded });
    let to = output.view();
    let layer = Convolution::<C, E>::new(isa, &weights, view, case.images);
    let (read, products) = Convolution::<C, E>::SIZES;
    let layout = GroupLayout::new::<E>(products, layer.tiles.len(), shape.stride, lanes);
    let team = Team::default();
    let sink = Scaled { to, factor: 1.0 / C::DIVISOR };
    std::thread::scope(|scope| {
        for rank in 0..case.threads {
            let member = Member { team: &team, rank, size: case.threads };
            let layer = &layer;
            scope.spawn(move || {
                let mut scratch = Scratch {
                    inputs: Aligned::zeros(layout.inputs_len(read)),
                    widened: Aligned::zeros(layer.weights.block_len::<E>()),
                    sums: Aligned::zeros(layout.sums_len(products, lanes)),
                };
                // SAFETY: the memory has been measured out; the team is complete.
                unsafe { layer.run(member, &mut scratch, sink) };
            });
        }
    });
    let pixels = case.images * out_side * out_side;
    (0..pixels * case.outputs)
        .map(|i| {
            let (at, channel) = (i / case.outputs, i % case.outputs);
            // SAFETY: a pixel of the maps just made, which no thread is at any more.
            unsafe { *to.pixel(position(at, out_side)).add(channel) }
        })
        .collect()
}

/// The same convolution, output by output; `doubled` first repeats every pixel two by two.
fn direct(case: Case, side: usize, taps: usize, doubled: bool, data: &Data) -> Vec<f64> {
    let scale = if doubled { 2 } else { 1 };
    let (out, kernel) = (side * scale, taps.isqrt());
    let mut y = Vec::new();
    for place in 0..case.images * out * out {
        let (image, row, column) = (place / (out * out), place / out % out, place % out);
        for filter in data.filters.chunks_exact(case.inputs * taps) {
            let mut sum = 0.0;
            for (at, w) in filter.iter().enumerate() {
                let (channel, u, v) = (at / taps, at % taps / kernel, at % kernel);
                let (r, c) = ((row + u).wrapping_sub(kernel / 2), (column + v).wrapping_sub(kernel / 2));
                if r < out && c < out {
                    let pixel = (image * side + r / scale) * side + c / scale;
                    sum += f64::from(*w) * f64::from(data.inputs[pixel * case.inputs + channel]);
                }
            }
            y.push(sum);
        }
    }
    y
}

/// Every instruction set finds the direct sums, exactly so in integers; and the same bits whatever the team.
fn check<C: Scheme<E>, E: Element>(case: Case, doubled: bool) -> Result<(), TestCaseError> {
    let (side, taps) = (case.tiles * C::STEP, C::TAPS * C::TAPS);
    let data = draw(case, side, taps);
    let expected = direct(case, side, taps, doubled, &data);
    let scale = 8000.0 * f64::sqrt((case.inputs * taps) as f64);
    let error = if E::PACK == 2 { 1e-7 } else { 3e-5 };
    for isa in Isa::available() {
        let found = run::<C, E>(isa, case, side, &data);
        for (i, (y, z)) in found.iter().zip(&expected).enumerate() {
            // The sum itself is exact; a float holds 24 bits of it.
            let tolerance = error * if E::PACK == 2 { z.abs() } else { scale };
            prop_assert!((f64::from(*y) - z).abs() <= tolerance, "{:?}, output {}: {} against {}", isa, i, y, z);
        }
        let alone = run::<C, E>(isa, Case { threads: 1, ..case }, side, &data);
        prop_assert!(found.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()), "{:?} alone", isa);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn winograd_with_four_outputs_is_a_convolution(case in case()) {
        check::<Winograd4, f32>(case, false)?;
    }

    #[test]
    fn winograd_with_two_outputs_is_a_convolution(case in case()) {
        check::<Winograd2, f32>(case, false)?;
        check::<Winograd2, i16>(case, false)?;
    }

    #[test]
    fn nine_products_are_a_convolution_of_doubled_maps(case in case()) {
        check::<Doubled, f32>(case, true)?;
        check::<Doubled, i16>(case, true)?;
    }

    #[test]
    fn twenty_five_products_are_a_convolution_of_doubled_maps(case in case()) {
        check::<Doubled4, f32>(case, true)?;
        check::<Doubled4, i16>(case, true)?;
    }

    #[test]
    fn one_tap_is_a_matrix_product(case in case()) {
        check::<Pointwise, f32>(case, false)?;
        check::<Pointwise, i16>(case, false)?;
    }
}

proptest! {
    #[test]
    fn a_team_takes_every_tile_with_every_panel_once(
        tiles in 1usize..300, panels in 1usize..20, size in 1usize..40,
    ) {
        let team = Team::default();
        let mut taken = vec![0; tiles * panels];
        for rank in 0..size {
            let (its_tiles, its_panels) = part_of(Member { team: &team, rank, size }, tiles, panels);
            for tile in its_tiles {
                its_panels.clone().for_each(|panel| taken[tile * panels + panel] += 1);
            }
        }
        prop_assert!(taken.iter().all(|times| *times == 1));
    }
}

/// The largest numbers that a scale allows, and filters of ones only: sums come as close to 2^31 as they can.
fn check_largest<C: Scheme<i16>>(inputs: u32, depth: usize, doubled: bool) {
    let limit = ValueRange { inputs, weights: 9, depth }.limit();
    let bound = u64::from(inputs * 9) * depth as u64 * limit as u64;
    assert!(limit as u32 * inputs <= 32767 && bound < 1 << 31, "{limit} at a depth of {depth}");
    let case = Case { images: 1, tiles: 1, inputs: depth, outputs: 1, threads: 1, seed: 0 };
    for checkered in [false, true] {
        let pixel = |at: usize| if checkered && (at / C::STEP + at) % 2 == 1 { 0 } else { limit as i16 };
        let inputs = (0..C::STEP * C::STEP * depth).map(|i| pixel(i / depth)).collect();
        let data = Data { inputs, filters: vec![1; depth * 9] };
        let expected = direct(case, C::STEP, 9, doubled, &data);
        for isa in Isa::available() {
            for (y, z) in run::<C, i16>(isa, case, C::STEP, &data).iter().zip(&expected) {
                assert!((f64::from(*y) - z).abs() <= 1e-7 * z.abs(), "{isa:?}: {y} against {z} at a depth of {depth}");
            }
        }
    }
}

#[test]
fn the_largest_sums_of_integers_fit() {
    for depth in [1, 64, 512, 3641, 7281, 7700] {
        check_largest::<Winograd2>(4, depth, false);
        check_largest::<Doubled>(2, depth, true);
        check_largest::<Doubled4>(4, depth, true);
    }
}
