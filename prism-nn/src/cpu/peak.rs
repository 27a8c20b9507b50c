//! The machine's peak: fused multiply-adds that never leave the registers, on every thread of the current rayon pool.

use std::hint::black_box;
use std::time::{Duration, Instant};

use prism_core::simd::{Isa, Kernel, Shape};

/// Chains of dependent multiply-adds: more than any machine has in flight, and fewer than its registers.
const CHAINS: usize = 12;
/// Multiply-adds of each chain between two looks at the clock.
const ROUNDS: usize = 1 << 16;

/// Billions of floating-point operations a second, a multiply-add counted as two, over about `time`.
pub fn gflops(isa: Isa, time: Duration) -> f64 {
    rayon::broadcast(|_| {
        let begun = Instant::now();
        let mut operations = 0;
        while begun.elapsed() < time {
            // SAFETY: `isa` is one of this machine's.
            black_box(unsafe { isa.run(Chains(black_box(0.999))) });
            operations += 2 * CHAINS * ROUNDS * isa.lanes();
        }
        operations as f64 / begun.elapsed().as_secs_f64() / 1e9
    })
    .into_iter()
    .sum()
}

struct Chains(f32);

impl Kernel for Chains {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Shape>(self) -> f32 {
        let mut line = [0f32; 16];
        // SAFETY: below `Isa::run` of `S`; the line holds the 16 lanes of the widest register.
        unsafe {
            let factor = S::splat(self.0);
            let mut chains = [S::splat(1.0); CHAINS];
            for _ in 0..ROUNDS {
                for chain in &mut chains {
                    *chain = S::mul_add(*chain, factor, factor);
                }
            }
            let mut sum = chains[0];
            for chain in &chains[1..] {
                sum = S::add(sum, *chain);
            }
            S::store(line.as_mut_ptr(), sum);
        }
        line[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_multiplies() {
        for isa in Isa::available() {
            assert!(gflops(isa, Duration::from_millis(1)) > 0.0);
        }
    }
}
