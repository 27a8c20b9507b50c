use proptest::prelude::*;

use super::*;

/// Every operation on one register's worth of numbers (16 lanes, as many registers as that takes), results in a row.
struct All<'a> {
    floats: &'a [[f32; 16]; 3],
    shorts: &'a [[i16; 32]; 2],
    sums: &'a [i32; 16],
    bytes: &'a [i8; 32],
}

/// Results of operations that round once at most, so that they are the same everywhere; then of the fused multiply-add.
#[derive(Debug, PartialEq)]
struct Results {
    floats: Vec<[f32; 16]>,
    ints: Vec<[i32; 16]>,
    shorts: Vec<[i16; 32]>,
    multiply_add: [f32; 16],
}

impl Kernel for All<'_> {
    type Output = Results;

    #[inline(always)]
    unsafe fn run<S: Shape>(self) -> Results {
        let (mut floats, mut ints) = (vec![[0.0; 16]; 10], vec![[0; 16]; 3]);
        let (mut shorts, mut multiply_add) = (vec![[0; 32]; 5], [0.0; 16]);
        for at in (0..16).step_by(S::LANES) {
            // SAFETY: below `Isa::run`; every array holds 16 lanes.
            unsafe {
                let [a, b, c] = [0, 1, 2].map(|i| self.floats[i][at..].as_ptr());
                let (a, b, c) = (S::load(a), S::load(b), S::load(c));
                let results = [
                    S::splat(self.floats[0][0]),
                    S::add(a, b),
                    S::sub(a, b),
                    S::mul(a, b),
                    S::div(a, b),
                    S::max(a, b),
                    S::min(a, b),
                    S::gate(a, b),
                    S::widen(self.bytes[at..].as_ptr()),
                    S::to_float(S::load_int(self.sums[at..].as_ptr())),
                ];
                for (to, result) in floats.iter_mut().zip(results) {
                    S::store(to[at..].as_mut_ptr(), result);
                }
                S::store(multiply_add[at..].as_mut_ptr(), S::mul_add(a, b, c));
                let sums = S::load_int(self.sums[at..].as_ptr());
                let (p, q) = (self.shorts[0][2 * at..].as_ptr(), self.shorts[1][2 * at..].as_ptr());
                let (p, q) = (S::load_short(p), S::load_short(q));
                let results = [S::add_int(sums, p), S::sub_int(sums, p), S::dot(S::add_int(sums, S::zero_int()), p, q)];
                for (to, result) in ints.iter_mut().zip(results) {
                    S::store_int(to[at..].as_mut_ptr(), result);
                }
                let pair = S::splat_pair(self.shorts[0].as_ptr());
                let bytes = S::widen_short(self.bytes[2 * at..].as_ptr());
                for (to, result) in shorts.iter_mut().zip([S::add_short(p, q), S::sub_short(p, q), pair, bytes]) {
                    S::store_short(to[2 * at..].as_mut_ptr(), result);
                }
                S::store_rounded(shorts[4][at..].as_mut_ptr(), a);
            }
        }
        Results { floats, ints, shorts, multiply_add }
    }
}

fn floats() -> impl Strategy<Value = [f32; 16]> {
    // Halves, too: ties must go to even.
    proptest::array::uniform16(prop_oneof![-32767.0f32..32767.0, (-65534i32..65534).prop_map(|i| i as f32 / 2.0)])
}

proptest! {
    #[test]
    fn every_instruction_set_computes_as_plain_rust_does(
        floats in proptest::array::uniform3(floats()),
        shorts in proptest::array::uniform2(proptest::array::uniform32(-32767i16..)),
        sums in proptest::array::uniform16(any::<i32>()),
        bytes in proptest::array::uniform32(any::<i8>()),
    ) {
        let all = || All { floats: &floats, shorts: &shorts, sums: &sums, bytes: &bytes };
        // SAFETY: plain Rust.
        let expected = unsafe { Isa::Portable.run(all()) };
        for i in 0..16 {
            prop_assert_eq!(expected.floats[3][i], floats[0][i] * floats[1][i]);
            prop_assert_eq!(expected.shorts[4][i], floats[0][i].round_ties_even() as i16);
            let dot = |j: usize| i32::from(shorts[0][j]) * i32::from(shorts[1][j]);
            prop_assert_eq!(expected.ints[2][i], sums[i].wrapping_add(dot(2 * i)).wrapping_add(dot(2 * i + 1)));
        }
        for isa in Isa::available() {
            // SAFETY: an instruction set of this machine.
            let mut found = unsafe { isa.run(all()) };
            for (i, (x, y)) in found.multiply_add.iter().zip(&expected.multiply_add).enumerate() {
                let fused = floats[0][i].mul_add(floats[1][i], floats[2][i]);
                prop_assert!(x == y || *x == fused, "{:?}: {} is neither {} nor {}", isa, x, y, fused);
            }
            found.multiply_add = expected.multiply_add;
            prop_assert_eq!(&found, &expected, "{:?}", isa);
        }
    }
}

#[test]
fn an_instruction_set_is_chosen_by_its_name_and_no_other() {
    for isa in Isa::available() {
        assert_eq!(Isa::named(&format!("{isa:?}").to_lowercase()).unwrap(), isa);
    }
    for name in ["", "avx", "AVX2 ", "mmx"] {
        let error = Isa::named(name).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("portable"), "{error}");
    }
}

/// Pairs of `bf16` multiplied and added to sums, and floats rounded to `bf16`.
struct Bf16<'a> {
    sums: &'a [f32; 16],
    factors: &'a [[f32; 32]; 2],
}

impl Kernel for Bf16<'_> {
    type Output = ([f32; 16], [u16; 32]);

    #[inline(always)]
    unsafe fn run<S: Shape>(self) -> Self::Output {
        let (mut sums, mut rounded) = ([0.0; 16], [[0u16; 32]; 2]);
        // SAFETY: below `Isa::run`; every array holds whole registers.
        unsafe {
            for (to, from) in rounded.iter_mut().zip(self.factors) {
                for at in (0..32).step_by(S::LANES) {
                    S::store_bf16(to[at..].as_mut_ptr(), S::load(from[at..].as_ptr()));
                }
            }
            for at in (0..16).step_by(S::LANES) {
                let [a, b] = [0, 1].map(|i| rounded[i][2 * at..].as_ptr().cast());
                let sum = S::dot_bf16(S::load(self.sums[at..].as_ptr()), S::load_short(a), S::load_short(b));
                S::store(sums[at..].as_mut_ptr(), sum);
            }
        }
        (sums, rounded[0])
    }
}

proptest! {
    #[test]
    fn bf16_rounds_to_the_nearest_and_its_products_are_sums_of_pairs(
        sums in proptest::array::uniform16(-1e3f32..1e3),
        factors in proptest::array::uniform2(proptest::array::uniform32(-1e3f32..1e3)),
    ) {
        let real = |x: f32| f64::from(of_bf16(i32::from(bf16(x)) << 16));
        for isa in Isa::available() {
            if isa != Isa::Portable && isa.lanes() == 16 && !isa.multiplies_bf16() {
                continue;
            }
            // SAFETY: an instruction set of this machine, with the instruction where it needs one.
            let (found, rounded) = unsafe { isa.run(Bf16 { sums: &sums, factors: &factors }) };
            for (i, x) in factors[0].iter().enumerate() {
                prop_assert_eq!(rounded[i], bf16(*x));
                // 8 bits of the fraction, one of them hidden.
                prop_assert!((real(*x) - f64::from(*x)).abs() <= f64::from(x.abs()) / 256.0);
            }
            for (i, sum) in found.iter().enumerate() {
                let terms = [2 * i, 2 * i + 1].map(|k| real(factors[0][k]) * real(factors[1][k]));
                let exact = f64::from(sums[i]) + terms[0] + terms[1];
                let size = f64::from(sums[i].abs()) + terms[0].abs() + terms[1].abs();
                prop_assert!((f64::from(*sum) - exact).abs() <= 3e-7 * size, "{:?}: {} for {}", isa, sum, exact);
            }
        }
    }
}
