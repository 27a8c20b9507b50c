//! Every scheme, on every instruction set of this machine, against sums written out in `f64`.

use super::*;
use crate::cpu::factor::Bf16;
use crate::cpu::packed::{WeightShape, unpack_gradient};
use crate::cpu::scheme::{Doubled, Karatsuba, Pointwise, Winograd};
use crate::cpu::source::{Plain, Store};
use prism_core::stream::{Purpose, StreamId};

fn random(len: usize, index: u64) -> Vec<f32> {
    let mut values = vec![0.0; len];
    StreamId::new(1, Purpose::Test).index(index).open().fill_normal(&mut values);
    values
}

/// Normals in the meaningful channels of a map, zeros in the others.
fn random_map(map: Map, index: u64) -> Vec<f32> {
    let mut values = random(map.len(), index);
    for pixel in values.chunks_exact_mut(map.stride) {
        pixel[map.channels..].fill(0.0);
    }
    values
}

/// Calls `each(y index, w index, x index)` for every product of the convolution, indices into maps and `[O, I, k, k]`.
fn each_product<C: Scheme>(layer: &ConvLayer<C>, mut each: impl FnMut(usize, usize, usize)) {
    let (x, y, pad) = (layer.input, layer.output, C::TAPS / 2);
    let zoom = C::OUT / C::STEP;
    let at = |map: Map, image: usize, row: usize, column: usize, channel: usize| {
        ((image * map.height + row) * map.width + column) * map.stride + channel
    };
    for (image, row, column) in
        (0..y.batch).flat_map(|b| (0..y.height).flat_map(move |r| (0..y.width).map(move |c| (b, r, c))))
    {
        for (dy, dx) in (0..C::TAPS).flat_map(|dy| (0..C::TAPS).map(move |dx| (dy, dx))) {
            let (Some(r), Some(c)) = ((row + dy).checked_sub(pad), (column + dx).checked_sub(pad)) else { continue };
            if r >= y.height || c >= y.width {
                continue;
            }
            for (o, i) in (0..y.channels).flat_map(|o| (0..x.channels).map(move |i| (o, i))) {
                let w = (o * x.channels + i) * C::TAPS * C::TAPS + dy * C::TAPS + dx;
                each(at(y, image, row, column, o), w, at(x, image, r / zoom, c / zoom, i));
            }
        }
    }
}

fn distance(found: &[f32], reference: &[f64]) -> f64 {
    let scale = reference.iter().fold(1e-30, |m: f64, x| m.max(x.abs()));
    found.iter().zip(reference).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max) / scale
}

/// A convolution and its input gradient by products of `bf16`, whose error is that of two factors of 8 bits each.
fn check_bf16<C: Scheme>(isa: Isa, batch: usize, size: (usize, usize), (inputs, outputs): (usize, usize)) {
    let layer = ConvLayer::<C>::new(isa, Map::new(batch, size, inputs, isa.lanes()), outputs);
    let shape = WeightShape { outputs, inputs, taps: C::TAPS * C::TAPS };
    let (x, w, g) = (random_map(layer.input, 0), random(shape.len(), 1), random_map(layer.output, 2));
    let (mut y, mut dx) = (vec![0f64; g.len()], vec![0f64; x.len()]);
    each_product(&layer, |at_y, at_w, at_x| {
        y[at_y] += f64::from(w[at_w]) * f64::from(x[at_x]);
        dx[at_x] += f64::from(w[at_w]) * f64::from(g[at_y]);
    });
    let mut packed = Packed::<Bf16>::default();
    packed.pack::<C>(isa, &w, shape);
    let (mut y_found, mut dx_found) = (vec![9.0; y.len()], vec![9.0; x.len()]);
    let sink = Store { values: Disjoint::new(&mut y_found), map: layer.output };
    layer.forward(Plain { values: &x, map: layer.input }, &packed, sink, |_| ());
    layer.input_gradient(Plain { values: &g, map: layer.output }, &packed, &mut dx_found);
    let errors = [distance(&y_found, &y), distance(&dx_found, &dx)];
    assert!(errors.iter().all(|e| *e < 0.03), "{isa:?} {batch} {size:?} {inputs} {outputs}: {errors:?}");
}

#[test]
fn every_scheme_convolves_by_products_of_bf16() {
    for isa in Isa::available() {
        if isa.lanes() == 16 && !isa.multiplies_bf16() {
            continue;
        }
        for (case, channels) in [(3, 32), (16, 16), (5, 3), (33, 70), (600, 20)].into_iter().enumerate() {
            check_bf16::<Winograd>(isa, 1 + case % 3, (5, 7), channels);
            check_bf16::<Doubled>(isa, 1 + case % 3, (4, 4), channels);
            check_bf16::<Pointwise>(isa, 1 + case % 3, (3, 2), channels);
            check_bf16::<Karatsuba>(isa, 1 + case % 3, (2, 2), channels);
        }
    }
}

fn check<C: Scheme>(isa: Isa, batch: usize, size: (usize, usize), (inputs, outputs): (usize, usize)) {
    let layer = ConvLayer::<C>::new(isa, Map::new(batch, size, inputs, isa.lanes()), outputs);
    let shape = WeightShape { outputs, inputs, taps: C::TAPS * C::TAPS };
    let (x, w, g) = (random_map(layer.input, 0), random(shape.len(), 1), random_map(layer.output, 2));
    let (mut y, mut dx, mut dw) = (vec![0f64; g.len()], vec![0f64; x.len()], vec![0f64; w.len()]);
    each_product(&layer, |at_y, at_w, at_x| {
        y[at_y] += f64::from(w[at_w]) * f64::from(x[at_x]);
        dx[at_x] += f64::from(w[at_w]) * f64::from(g[at_y]);
        dw[at_w] += f64::from(g[at_y]) * f64::from(x[at_x]);
    });
    let mut packed = Packed::default();
    packed.pack::<C>(isa, &w, shape);
    let (mut y_found, mut dx_found, mut dw_found) = (vec![9.0; y.len()], vec![9.0; x.len()], vec![9.0; w.len()]);
    let mut pieces = vec![9.0; layer.pieces_len()];
    let source = Plain { values: &x, map: layer.input };
    let sink = Store { values: Disjoint::new(&mut y_found), map: layer.output };
    layer.forward(source, &packed, sink, |_| ());
    let gradient = Plain { values: &g, map: layer.output };
    layer.backward((source, gradient), &packed, &mut dx_found, Some(&mut pieces), |_, _| ());
    unpack_gradient::<C>(isa, &pieces, shape, &mut dw_found);
    let errors = [distance(&y_found, &y), distance(&dx_found, &dx), distance(&dw_found, &dw)];
    assert!(errors.iter().all(|e| *e < 1e-5), "{isa:?} {batch} {size:?} {inputs} {outputs}: {errors:?}");

    let mut without = vec![9.0; x.len()];
    layer.backward((source, gradient), &packed, &mut without, None, |_, _| ());
    assert_eq!(without, dx_found, "the input gradient does not depend on whether weights want theirs");
}

#[test]
fn every_scheme_convolves_and_differentiates() {
    let sizes = [(1, 1), (4, 4), (8, 8), (5, 7), (3, 16), (2, 2), (1, 2)];
    let channels = [(3, 32), (16, 16), (5, 3), (40, 17), (33, 70)];
    for isa in Isa::available() {
        for (case, (size, channels)) in sizes.into_iter().flat_map(|s| channels.map(|c| (s, c))).enumerate() {
            check::<Winograd>(isa, 1 + case % 3, size, channels);
            check::<Doubled>(isa, 1 + case % 3, size, channels);
            check::<Pointwise>(isa, 1 + case % 3, size, channels);
            if size.0.max(size.1) <= 2 {
                check::<Karatsuba>(isa, 1 + case % 3, size, channels);
            }
        }
    }
}

#[test]
fn a_batch_of_many_tasks_is_complete() {
    check::<Winograd>(Isa::detect(), 37, (4, 4), (6, 9));
    check::<Doubled>(Isa::detect(), 37, (4, 4), (6, 9));
    check::<Pointwise>(Isa::detect(), 37, (4, 4), (6, 9));
    check::<Karatsuba>(Isa::detect(), 37, (2, 2), (6, 9));
}

#[test]
fn every_image_is_reported_once() {
    let layer = ConvLayer::<Pointwise>::new(Isa::detect(), Map::new(23, (4, 4), 2, Isa::detect().lanes()), 2);
    let mut packed = Packed::default();
    packed.pack::<Pointwise>(layer.isa, &[1.0; 4], WeightShape { outputs: 2, inputs: 2, taps: 1 });
    let (x, mut y) = (vec![1.0; layer.input.len()], vec![0.0; layer.output.len()]);
    let seen = std::sync::Mutex::new(vec![0; 23]);
    let note = |image: usize| seen.lock().unwrap()[image] += 1;
    let source = Plain { values: &x, map: layer.input };
    layer.forward(source, &packed, Store { values: Disjoint::new(&mut y), map: layer.output }, note);
    let (mut dx, mut pieces) = (vec![0.0; x.len()], vec![0.0; layer.pieces_len()]);
    let gradient = Plain { values: &y, map: layer.output };
    layer.backward((source, gradient), &packed, &mut dx, Some(&mut pieces), |image, gradient| {
        assert_eq!(gradient.len(), layer.input.image_len());
        note(image);
    });
    assert_eq!(*seen.lock().unwrap(), [2; 23]);
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let isa = Isa::detect();
    let layer = ConvLayer::<Winograd>::new(isa, Map::new(19, (8, 8), 18, isa.lanes()), 20);
    let shape = WeightShape { outputs: 20, inputs: 18, taps: 9 };
    let (x, w, g) = (random_map(layer.input, 0), random(shape.len(), 1), random_map(layer.output, 2));
    let at = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut packed = Packed::default();
            packed.pack::<Winograd>(isa, &w, shape);
            let (mut y, mut dx, mut dw) = (vec![0.0; g.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
            let mut pieces = vec![0.0; layer.pieces_len()];
            let source = Plain { values: &x, map: layer.input };
            layer.forward(source, &packed, Store { values: Disjoint::new(&mut y), map: layer.output }, |_| ());
            let gradient = Plain { values: &g, map: layer.output };
            layer.backward((source, gradient), &packed, &mut dx, Some(&mut pieces), |_, _| ());
            unpack_gradient::<Winograd>(isa, &pieces, shape, &mut dw);
            [y, dx, dw].map(|v| v.into_iter().map(f32::to_bits).collect::<Vec<_>>())
        })
    };
    let one = at(1);
    assert_eq!(one, at(2));
    assert_eq!(one, at(3));
}
