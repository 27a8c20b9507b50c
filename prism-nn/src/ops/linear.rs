//! The generator's first layer, over the matrix product of [`crate::cpu::planar::matmul`].

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use prism_core::simd::Isa;

use super::composed;
use super::storage::{floats, on_cpu};
use crate::cpu::planar::matmul::{Matrix, product};

/// Transposed 4x4 convolution of a 1x1 map, which is a matrix product: `z [B, I]`, `weight [I, O, 4, 4]` -> `[B, O, 4, 4]`.
///
/// # Errors
/// If the shapes do not fit each other.
pub fn first_layer(z: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if !(on_cpu(z) && on_cpu(weight)) {
        return composed::first_layer(z, weight);
    }
    let (inputs, outputs, height, width) = weight.dims4()?;
    let weight = weight.reshape((inputs, ()))?.contiguous()?;
    z.contiguous()?.apply_op2(&weight, Product)?.reshape(((), outputs, height, width))
}

/// `a [M, K]`, `b [K, N]` -> `a b [M, N]`.
struct Product;

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(&self, a: &CpuStorage, a_at: &Layout, b: &CpuStorage, b_at: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((rows, shared), (b_rows, columns)) = (a_at.shape().dims2()?, b_at.shape().dims2()?);
        if shared != b_rows {
            candle_core::bail!("{shared} inputs do not fit weights for {b_rows}");
        }
        let (a, b) = (Matrix::row_major(floats(a, a_at)?, shared), Matrix::row_major(floats(b, b_at)?, columns));
        Ok(multiply((rows, shared, columns), a, b))
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = g.contiguous()?;
        let da = if a.track_op() { Some(g.apply_op2_no_bwd(b, &ByTransposed)?) } else { None };
        let db = if b.track_op() { Some(a.apply_op2_no_bwd(&g, &TransposedBy)?) } else { None };
        Ok((da, db))
    }
}

/// `a [M, K]`, `b [N, K]` -> `a b^T`.
struct ByTransposed;

impl CustomOp2 for ByTransposed {
    fn name(&self) -> &'static str {
        "product-by-transposed"
    }

    fn cpu_fwd(&self, a: &CpuStorage, a_at: &Layout, b: &CpuStorage, b_at: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((rows, shared), (columns, _)) = (a_at.shape().dims2()?, b_at.shape().dims2()?);
        let (a, b) = (Matrix::row_major(floats(a, a_at)?, shared), Matrix::row_major(floats(b, b_at)?, shared));
        Ok(multiply((rows, shared, columns), a, b.transposed()))
    }
}

/// `a [K, M]`, `b [K, N]` -> `a^T b`.
struct TransposedBy;

impl CustomOp2 for TransposedBy {
    fn name(&self) -> &'static str {
        "transposed-product"
    }

    fn cpu_fwd(&self, a: &CpuStorage, a_at: &Layout, b: &CpuStorage, b_at: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((shared, rows), (_, columns)) = (a_at.shape().dims2()?, b_at.shape().dims2()?);
        let (a, b) = (Matrix::row_major(floats(a, a_at)?, rows), Matrix::row_major(floats(b, b_at)?, columns));
        Ok(multiply((rows, shared, columns), a.transposed(), b))
    }
}

fn multiply(shape: (usize, usize, usize), a: Matrix<'_>, b: Matrix<'_>) -> (CpuStorage, Shape) {
    let mut c = vec![0.0; shape.0 * shape.2];
    product(Isa::detect(), shape, a, b, &mut c);
    (CpuStorage::F32(c), Shape::from((shape.0, shape.2)))
}
