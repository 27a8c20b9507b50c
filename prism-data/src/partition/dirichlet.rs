//! `dirichlet:ALPHA`: for each class, `p ~ Dirichlet(alpha, ..., alpha)` over the clients, who get that class's images in
//! these proportions (Hsu, Qi and Brown 2019).
//!
//! With a small alpha some clients would get next to nothing, and nobody can train on nothing: a draw that leaves a client
//! with fewer than [`minimum`] images is thrown away, and after [`TRIES`] draws the split is refused.

use prism_core::{Error, Result, Stream};

/// Draws before a split is refused.
const TRIES: usize = 200;

/// Images that every client gets at least: 10, or half an equal share where that is less, but at least 1.
pub(super) fn minimum(images: usize, clients: usize) -> usize {
    (images / (2 * clients)).clamp(1, 10)
}

/// Divides the images of each class, given in random order, among the clients.
pub(super) fn split(
    by_class: &[Vec<usize>],
    alpha: f64,
    clients: usize,
    stream: &mut Stream,
) -> Result<Vec<Vec<usize>>> {
    let images = by_class.iter().map(Vec::len).sum();
    let minimum = minimum(images, clients);
    for _ in 0..TRIES {
        let cuts: Vec<Vec<usize>> = by_class.iter().map(|class| cuts(class.len(), alpha, clients, stream)).collect();
        let size = |client: usize| cuts.iter().map(|cuts| cuts[client + 1] - cuts[client]).sum::<usize>();
        if (0..clients).all(|client| size(client) >= minimum) {
            return Ok((0..clients)
                .map(|client| {
                    let shares = by_class.iter().zip(&cuts).map(|(class, cuts)| &class[cuts[client]..cuts[client + 1]]);
                    shares.flatten().copied().collect()
                })
                .collect());
        }
    }
    Err(Error::usage(format!(
        "with dirichlet:{alpha}, {TRIES} draws in a row left one of the {clients} clients with fewer than {minimum} of the \
         {images} images; choose a larger alpha, such as dirichlet:{}, or fewer clients",
        if alpha < 0.05 { 0.1 } else { 2.0 * alpha }
    )))
}

/// `clients + 1` ascending positions from 0 to `length` that cut a class into the clients' shares.
fn cuts(length: usize, alpha: f64, clients: usize, stream: &mut Stream) -> Vec<usize> {
    let logs: Vec<f64> = (0..clients).map(|_| log_gamma_variate(alpha, stream)).collect();
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| libm::exp(log - largest)).collect();
    let total: f64 = weights.iter().sum();
    let mut cuts = vec![0];
    let mut sum = 0.0;
    for weight in &weights[..clients - 1] {
        sum += weight;
        cuts.push(((sum / total * length as f64 + 0.5) as usize).min(length));
    }
    cuts.push(length);
    cuts
}

/// The logarithm of a Gamma(`alpha`, 1) variate (Marsaglia and Tsang 2000).
///
/// In logarithms, because for a small alpha most variates are too small for an `f64`, and shares would become 0/0.
fn log_gamma_variate(alpha: f64, stream: &mut Stream) -> f64 {
    if alpha < 1.0 {
        // Gamma(alpha) = Gamma(alpha + 1) * U^(1/alpha), with U in (0, 1].
        let boost = libm::log(1.0 - stream.uniform()) / alpha;
        return log_gamma_variate(alpha + 1.0, stream) + boost;
    }
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / libm::sqrt(9.0 * d);
    loop {
        let x = stream.normal();
        let v = 1.0 + c * x;
        let log_u = libm::log(1.0 - stream.uniform());
        if v > 0.0 {
            let v = v * v * v;
            if log_u < 0.5 * x * x + d * (1.0 - v + libm::log(v)) {
                return libm::log(d) + libm::log(v);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prism_core::{Purpose, StreamId};

    use super::*;

    /// Mean and variance of Gamma(alpha, 1) are both alpha.
    #[test]
    fn gamma_variates_have_the_right_moments() {
        for alpha in [0.3, 1.0, 4.5] {
            let mut stream = StreamId::new(5, Purpose::Test).open();
            let draws: Vec<f64> = (0..40_000).map(|_| libm::exp(log_gamma_variate(alpha, &mut stream))).collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
            assert!((mean / alpha - 1.0).abs() < 0.03, "alpha {alpha}: mean {mean}");
            assert!((variance / alpha - 1.0).abs() < 0.08, "alpha {alpha}: variance {variance}");
        }
    }

    #[test]
    fn extreme_concentrations_still_cut_a_class() {
        for alpha in [1e-300, 1e-9, 1e-3, 1e9, f64::MAX] {
            let mut stream = StreamId::new(6, Purpose::Test).open();
            let cuts = cuts(1000, alpha, 7, &mut stream);
            assert_eq!((cuts[0], cuts[7], cuts.len()), (0, 1000, 8));
            assert!(cuts.is_sorted(), "alpha {alpha}: {cuts:?}");
            let largest = cuts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            assert!(if alpha < 1.0 { largest > 900 } else { largest < 150 }, "alpha {alpha}: {cuts:?}");
        }
    }
}
