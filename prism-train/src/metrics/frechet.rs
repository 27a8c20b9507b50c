//! The Frechet distance of two sets of features, each taken as a normal distribution (Heusel et al. 2017, equation 6).
//!
//! ```text
//! d = |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2))
//! tr((C1 C2)^(1/2)) = sum of sqrt(eigenvalues of C1^(1/2) C2 C1^(1/2))
//! ```
//!
//! The second line is exact, real and defined for singular covariances too; both matrices are symmetric, so the
//! eigenvalues are computed without the complex detour of a general matrix root. The covariance is the unbiased one, as in
//! pytorch-fid. The distance is biased upwards by few images, so figures compare only at equal numbers of images.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};
use prism_nn::{Error, Result};

use super::features::Features;

/// Mean and covariance of a set of features.
#[derive(Clone, Debug)]
pub struct Gaussian {
    mean: Vec<f64>,
    covariance: Mat<f64>,
}

impl Gaussian {
    /// Mean and unbiased covariance of `features`, which errors call `what`.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if there are not more images than features, so that the covariance would be singular.
    pub fn fit(what: &str, features: &Features) -> Result<Self> {
        let (images, width) = (features.len(), features.width());
        check_count(what, images, width, "more images")?;
        let mean = features.mean();
        let centred = features.centred(&mean);
        let rows = MatRef::from_row_major_slice(&centred, images, width);
        let mut covariance = Mat::zeros(width, width);
        let scale = 1.0 / (images - 1) as f64;
        matmul(&mut covariance, Accum::Replace, rows.transpose(), rows, scale, Par::Seq);
        Ok(Gaussian { mean, covariance })
    }

    /// The squared Frechet distance to `other`, which is what FID reports.
    ///
    /// # Errors
    /// If the widths differ or the eigenvalues cannot be computed.
    pub fn frechet_distance(&self, other: &Self) -> Result<f64> {
        if self.mean.len() != other.mean.len() {
            return Err(Error::usage(format!(
                "normal distributions of {} and of {} features have no distance; compute both with one feature network",
                self.mean.len(),
                other.mean.len()
            )));
        }
        let means: f64 = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b) * (a - b)).sum();
        let root = square_root(&self.covariance)?;
        let product = &root * &other.covariance * &root;
        let values = product.self_adjoint_eigenvalues(Side::Lower).map_err(|_| no_convergence())?;
        // Rounding leaves eigenvalues that are zero a little below it.
        let cross: f64 = values.iter().map(|&value| libm::sqrt(value.max(0.0))).sum();
        Ok(means + trace(&self.covariance) + trace(&other.covariance) - 2.0 * cross)
    }
}

/// Refuses `images` images, which errors call `what`, for a covariance of `width` features; `remedy` is what gives more.
///
/// # Errors
/// [`prism_core::Error::Usage`] if there are not more images than features, so that the covariance would be singular.
pub fn check_count(what: &str, images: usize, width: usize, remedy: &str) -> Result<()> {
    if images > width {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{what} has {images} images, too few for a covariance of {width} features; use at least {}, {} more ({remedy})",
        width + 1,
        width + 1 - images
    )))
}

/// The symmetric root of a positive semidefinite matrix.
fn square_root(matrix: &Mat<f64>) -> Result<Mat<f64>> {
    let eigen = matrix.self_adjoint_eigen(Side::Lower).map_err(|_| no_convergence())?;
    let (vectors, values) = (eigen.U(), eigen.S().column_vector());
    let width = matrix.nrows();
    let scaled = Mat::from_fn(width, width, |row, column| vectors[(row, column)] * libm::sqrt(values[column].max(0.0)));
    Ok(&scaled * vectors.transpose())
}

fn trace(matrix: &Mat<f64>) -> f64 {
    (0..matrix.nrows()).map(|i| matrix[(i, i)]).sum()
}

fn no_convergence() -> Error {
    Error::usage("the eigenvalues of a covariance do not converge; use more images, or another feature network")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(width: usize, values: &[f64]) -> Gaussian {
        Gaussian::fit("x", &Features::new("x", width, values.to_vec()).unwrap()).unwrap()
    }

    #[test]
    fn one_dimension_is_the_closed_form() {
        // Means 1 and 4; variances 1 and 4: 9 + 1 + 4 - 2 * 2.
        let (a, b) = (fit(1, &[0.0, 1.0, 2.0]), fit(1, &[2.0, 4.0, 6.0]));
        assert!((a.frechet_distance(&b).unwrap() - 10.0).abs() < 1e-12);
        assert!(a.frechet_distance(&a).unwrap().abs() < 1e-12);
    }

    #[test]
    fn a_singular_covariance_is_no_obstacle() {
        let flat = fit(2, &[0.0, 5.0, 1.0, 5.0, 2.0, 5.0]);
        let distance = flat.frechet_distance(&fit(2, &[1.0, 5.0, 2.0, 5.0, 3.0, 5.0])).unwrap();
        assert!((distance - 1.0).abs() < 1e-12, "{distance}");
    }

    #[test]
    fn too_few_images_are_refused_with_the_number_that_would_do() {
        let few = Features::new("x", 3, vec![0.0; 9]).unwrap();
        let error = Gaussian::fit("the generated set", &few).unwrap_err();
        assert!(
            error.to_string().contains("the generated set has 3 images") && error.to_string().contains("at least 4")
        );
        assert_eq!(error.exit_code(), 2);
    }
}
