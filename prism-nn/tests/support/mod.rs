//! What the tests of the operations share.
#![allow(dead_code, reason = "every test program uses a part of it")]

use candle_core::{Device, Result, Tensor, Var};
use prism_core::stream::{Purpose, StreamId};

/// Standard normals of a fixed stream.
pub fn random(shape: &[usize], index: u64) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    StreamId::new(1, Purpose::Test).index(index).open().fill_normal(&mut values);
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A variable that holds [`random`].
pub fn variable(shape: &[usize], index: u64) -> Var {
    Var::from_tensor(&random(shape, index)).unwrap()
}

/// All elements in order.
pub fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference, in units of the reference's largest value.
pub fn distance(found: &Tensor, reference: &Tensor) -> f32 {
    assert_eq!(found.dims(), reference.dims());
    let (found, reference) = (values(found), values(reference));
    let scale = reference.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
    found.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
}

/// An operation of several tensors.
pub trait Op: Fn(&[Tensor]) -> Result<Tensor> {}
impl<F: Fn(&[Tensor]) -> Result<Tensor>> Op for F {}

/// The output of `op`, then the gradient of `sum(output * random probe)` with respect to each variable.
pub fn run(op: impl Op, inputs: &[&Var]) -> Vec<Tensor> {
    let tensors: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
    let y = op(&tensors).unwrap();
    let gradients = (&y * random(y.dims(), 99)).unwrap().sum_all().unwrap().backward().unwrap();
    let of = |v: &&Var| gradients.get(v).cloned().unwrap_or_else(|| v.zeros_like().unwrap());
    std::iter::once(y).chain(inputs.iter().map(of)).collect()
}

/// The largest [`distance`] between two operations' outputs and gradients.
pub fn disagreement(found: impl Op, reference: impl Op, inputs: &[&Var]) -> f32 {
    let (found, reference) = (run(found, inputs), run(reference, inputs));
    found.iter().zip(&reference).map(|(a, b)| distance(a, b)).fold(0.0, f32::max)
}

/// Whether no number is so near to 0 that rounding may put it on either side, where a ReLU's gradient is all or nothing.
pub fn clear_of_zero(before_relu: &Tensor) -> bool {
    let numbers = values(before_relu);
    let largest = numbers.iter().fold(0f32, |m, x| m.max(x.abs()));
    numbers.iter().all(|x| x.abs() > 1e-6 * largest)
}

/// Compares gradients with central differences along a few coordinates of every variable.
///
/// `step` must be small against the curvature and large against rounding; differences are taken in `f64`.
pub fn check_gradient(op: impl Op, inputs: &[&Var], step: f32, tolerance: f64) {
    let gradients = run(&op, inputs);
    let objective = |tensors: &[Tensor]| -> f64 {
        let y = op(tensors).unwrap();
        values(&y).iter().zip(values(&random(y.dims(), 99))).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()
    };
    for (which, gradient) in gradients[1..].iter().enumerate() {
        let (gradient, start) = (values(gradient), values(inputs[which]));
        let largest = gradient.iter().fold(0f32, |m, g| m.max(g.abs()));
        assert!(largest > 0.0, "input {which} receives no gradient");
        for at in (0..start.len()).step_by((start.len() / 12).max(1)) {
            let moved = |by: f32| {
                let mut point = start.clone();
                point[at] += by;
                let mut tensors: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
                tensors[which] = Tensor::from_vec(point, inputs[which].shape(), &Device::Cpu).unwrap();
                objective(&tensors)
            };
            let slope = (moved(step) - moved(-step)) / f64::from(2.0 * step);
            let error = (slope - f64::from(gradient[at])).abs() / f64::from(largest);
            assert!(error < tolerance, "input {which}, element {at}: {slope} by differences, {} given", gradient[at]);
        }
    }
}

/// Checks that `work` gives the same bits in pools of one, two and three threads.
pub fn check_threads(work: impl Fn() -> Vec<Tensor> + Sync) {
    let at = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let bits = |t: &Tensor| values(t).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        pool.install(|| work().iter().map(bits).collect::<Vec<_>>())
    };
    let one = at(1);
    assert_eq!(one, at(2));
    assert_eq!(one, at(3));
}
