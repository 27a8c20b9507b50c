//! Vector registers: one trait for all instruction sets.
//!
//! A kernel is a struct that implements [`Kernel`]; [`Isa::run`] compiles it once for each instruction set and calls
//! the chosen copy. Everything between the two must be `#[inline(always)]`, so that it lands inside the function whose
//! target features are switched on. For the same reason no closure may touch a register: it would be a function of its
//! own.
//!
//! | instruction set | `f32` lanes | chosen | fused multiply-add |
//! |---|---|---|---|
//! | AVX-512 (F, BW, VNNI) | 16 | at run time | yes |
//! | AVX2 and FMA | 8 | at run time | yes |
//! | NEON | 4 | always on aarch64 | yes |
//! | wasm simd128 | 4 | when compiled with `-C target-feature=+simd128` | no |
//! | portable | 8 | everywhere else | no |
//!
//! Every method does the same arithmetic on every instruction set, lane by lane, but for [`Simd::mul_add`], which
//! rounds once where the multiply-add is fused and twice where it is not.

mod aligned;
#[cfg(target_arch = "aarch64")]
mod arm;
pub mod math;
mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(feature = "std")]
use std::sync::OnceLock;

#[cfg(feature = "std")]
use crate::{Error, Result};
pub use aligned::{Aligned, Plain};
pub use portable::Portable;

/// The environment variable that names a lesser instruction set than the best, to time and test what other machines run.
pub const CHOICE: &str = "PRISM_INSTRUCTIONS";

/// Vector registers of [`Simd::LANES`] 32-bit lanes, read as `f32` (`V`), or as `i32` or pairs of `i16` (`I`).
///
/// # Safety
/// Every method may execute instructions of its instruction set, so it may only be called below [`Isa::run`]; pointers
/// must be valid for the numbers that a method's name says it reads or writes there, and need no alignment.
#[expect(clippy::missing_safety_doc, reason = "one contract for all methods, above")]
pub trait Simd: Copy + Send + Sync + 'static {
    /// A register of `LANES` `f32`.
    type V: Copy;
    /// A register of `LANES` `i32`, or of `2 * LANES` `i16`.
    type I: Copy;
    /// 32-bit lanes of a register.
    const LANES: usize;

    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self::V;
    /// Reads `LANES` floats.
    unsafe fn load(p: *const f32) -> Self::V;
    /// Writes `LANES` floats.
    unsafe fn store(p: *mut f32, v: Self::V);
    /// `a * b + c`, fused where the instruction set can.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// The larger of `a` and `b`, which are numbers.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller of `a` and `b`, which are numbers.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `a` where `open` is positive, 0 elsewhere.
    unsafe fn gate(a: Self::V, open: Self::V) -> Self::V;
    /// Reads `LANES` bytes as signed numbers.
    unsafe fn widen(p: *const i8) -> Self::V;
    /// Asks for the cache line at `p`, where the instruction set can, without waiting for it; any address will do.
    #[inline(always)]
    unsafe fn prefetch(_p: *const i8) {}

    /// All lanes 0.
    unsafe fn zero_int() -> Self::I;
    /// Reads `LANES` `i32`.
    unsafe fn load_int(p: *const i32) -> Self::I;
    /// Writes `LANES` `i32`.
    unsafe fn store_int(p: *mut i32, v: Self::I);
    /// `a + b` of `i32` lanes, wrapping.
    unsafe fn add_int(a: Self::I, b: Self::I) -> Self::I;
    /// `a - b` of `i32` lanes, wrapping.
    unsafe fn sub_int(a: Self::I, b: Self::I) -> Self::I;
    /// `i32` lanes as the nearest `f32`, ties to even.
    unsafe fn to_float(v: Self::I) -> Self::V;

    /// Reads `2 * LANES` `i16`.
    unsafe fn load_short(p: *const i16) -> Self::I;
    /// Writes `2 * LANES` `i16`.
    unsafe fn store_short(p: *mut i16, v: Self::I);
    /// `a + b` of `i16` lanes, wrapping.
    unsafe fn add_short(a: Self::I, b: Self::I) -> Self::I;
    /// `a - b` of `i16` lanes, wrapping.
    unsafe fn sub_short(a: Self::I, b: Self::I) -> Self::I;
    /// Reads two `i16` and repeats the pair in every 32-bit lane.
    unsafe fn splat_pair(p: *const i16) -> Self::I;
    /// Reads `2 * LANES` bytes as `i16`.
    unsafe fn widen_short(p: *const i8) -> Self::I;
    /// `acc + a.0 * b.0 + a.1 * b.1` for the two `i16` of each lane, wrapping; -32768 times itself twice is not
    /// allowed.
    unsafe fn dot(acc: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// Writes the nearest integers (ties to even) of floats within the range of `i16`.
    unsafe fn store_rounded(p: *mut i16, v: Self::V);

    /// Writes `LANES` floats as [`bf16`]. Where the instruction set has products of them ([`Isa::multiplies_bf16`]) it
    /// rounds by an instruction, too.
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: Self::V) {
        let mut floats = [0f32; 16];
        // SAFETY: the caller's promise; the widest register has 16 lanes.
        unsafe {
            Self::store(floats.as_mut_ptr(), v);
            for (i, x) in floats.iter().take(Self::LANES).enumerate() {
                *p.add(i) = bf16(*x);
            }
        }
    }
    /// `acc + a.0 * b.0 + a.1 * b.1` for the two [`bf16`] of each lane; AVX-512 must have the instruction.
    #[inline(always)]
    unsafe fn dot_bf16(acc: Self::V, a: Self::I, b: Self::I) -> Self::V {
        let (mut sums, mut pairs) = ([0f32; 16], [[0i32; 16]; 2]);
        // SAFETY: the caller's promise; the widest register has 16 lanes.
        unsafe {
            Self::store(sums.as_mut_ptr(), acc);
            Self::store_int(pairs[0].as_mut_ptr(), a);
            Self::store_int(pairs[1].as_mut_ptr(), b);
            for (i, sum) in sums.iter_mut().take(Self::LANES).enumerate() {
                let [low, high] = [16, 0].map(|shift| pairs.map(|pair| of_bf16(pair[i] << shift)));
                *sum += low[0] * low[1] + high[0] * high[1];
            }
            Self::load(sums.as_ptr())
        }
    }
}

/// The nearest number (ties to even) of which 16 bits are left: sign, exponent and 7 bits of the fraction.
pub fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The number whose upper half are the upper 16 of `bits`.
fn of_bf16(bits: i32) -> f32 {
    f32::from_bits(bits as u32 & 0xffff_0000)
}

/// Register blocking of an instruction set: how many accumulators its register file holds.
pub trait Shape: Simd {
    /// Rows (broadcast operands) of the tallest tile of two vectors, which has the register file to itself.
    const ROWS: usize;
    /// Rows and vectors of a tile that leaves room for other operands; the rows are a power of two.
    const BLOCK: (usize, usize);
}

/// Something to compute, written once for all instruction sets.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// Computes with the registers of `S`. Implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// The machine must have the instruction set of `S`.
    unsafe fn run<S: Shape>(self) -> Self::Output;
}

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// 16 lanes, 32 registers, products of 16-bit integers.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 8 lanes, 16 registers, fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 4 lanes, 32 registers.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// 4 lanes in a browser.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Wasm,
    /// Plain Rust, for every other machine and as the others' reference.
    Portable,
}

#[cfg(feature = "std")]
impl Isa {
    /// The best instruction set of this machine, or the one that [`CHOICE`] names.
    pub fn detect() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        // Programs refuse a name that says nothing before they come here.
        *BEST.get_or_init(|| Self::chosen().ok().flatten().unwrap_or(Self::available()[0]))
    }

    /// The instruction set that [`CHOICE`] names, if it is set.
    ///
    /// # Errors
    /// [`Error::Usage`] if this machine has none of that name.
    pub fn chosen() -> Result<Option<Self>> {
        std::env::var(CHOICE).map_or(Ok(None), |name| Self::named(&name).map(Some))
    }

    fn named(name: &str) -> Result<Self> {
        let sets = Self::available();
        let names: Vec<String> = sets.iter().map(|isa| format!("{isa:?}").to_lowercase()).collect();
        let found = names.iter().position(|known| known == name).map(|at| sets[at]);
        found.ok_or_else(|| {
            Error::usage(format!("{CHOICE} is {name:.40?}; choose {} on this machine, or unset it", names.join(" or ")))
        })
    }

    /// Every instruction set of this machine, best first.
    pub fn available() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
            {
                sets.push(Isa::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(Isa::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        sets.push(Isa::Neon);
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        sets.push(Isa::Wasm);
        sets.push(Isa::Portable);
        sets
    }

    /// Whether this machine multiplies [`bf16`] by an instruction. Other instruction sets take them apart, slowly.
    pub fn multiplies_bf16(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self == Isa::Avx512 {
            return is_x86_feature_detected!("avx512bf16");
        }
        false
    }
}

impl Isa {
    /// 32-bit lanes of a register.
    pub fn lanes(self) -> usize {
        self.shape().0
    }

    /// Rows and vectors of a tile that leaves room for other operands ([`Shape::BLOCK`]).
    pub fn block(self) -> (usize, usize) {
        self.shape().1
    }

    fn shape(self) -> (usize, (usize, usize)) {
        fn of<S: Shape>() -> (usize, (usize, usize)) {
            (S::LANES, S::BLOCK)
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => of::<x86::Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => of::<x86::Avx2>(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => of::<arm::Neon>(),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Isa::Wasm => of::<wasm::Wasm>(),
            Isa::Portable => of::<Portable>(),
        }
    }

    /// Runs `kernel` with this instruction set.
    ///
    /// # Safety
    /// `self` must come from [`Isa::available`] on this machine, and the kernel's own conditions must hold.
    #[inline]
    pub unsafe fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            // SAFETY: the caller promises that the machine has this instruction set.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { x86::run_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { x86::run_avx2(kernel) },
            // SAFETY: NEON is part of the aarch64 baseline.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => unsafe { kernel.run::<arm::Neon>() },
            // SAFETY: the whole program was compiled for it.
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Isa::Wasm => unsafe { kernel.run::<wasm::Wasm>() },
            // SAFETY: plain Rust needs no instruction set.
            Isa::Portable => unsafe { kernel.run::<Portable>() },
        }
    }
}

#[cfg(test)]
mod tests;
