//! What the fitted models of all methods have in common.

use std::fmt::Debug;
use std::path::Path;

use ndarray::Array2;
use softurn_kernels::Gpu;

use super::dec::FittedDec;
use super::entropy::FittedEntropy;
use super::gmm::FittedGaussianMixture;
use super::kmeans::FittedKMeans;
use super::partition::FittedPartition;
use super::variational::FittedVariational;
use crate::Result;
use crate::data::Dataset;
use crate::saved;

/// A fitted model of any method: what each of the fitted types offers by itself too.
pub trait Fitted: Debug {
    /// The group of every row that was fitted, each less than `k`.
    fn labels(&self) -> &[u32];

    /// Rows in every group, `[k]`, of those that were fitted.
    fn group_sizes(&self) -> Vec<usize>;

    /// The shares of the groups that the model has learned, `[k]`; none where the method learns no such thing.
    ///
    /// # Errors
    /// Those of the device.
    fn group_proportions(&self) -> Result<Option<Vec<f64>>>;

    /// What the fit minimised, over all rows that were fitted: the lower of two models of the same settings is the better.
    /// The inertia, the mean negative log-likelihood, or the loss of the last phase.
    fn objective(&self) -> f64;

    /// The most likely group of each row.
    ///
    /// # Errors
    /// When the data has another number of columns than the model was fitted on.
    fn predict(&self, data: &Dataset) -> Result<Vec<u32>>;

    /// The probabilities of each row's groups, `[rows, k]`; of k-means, one for the nearest centre.
    ///
    /// # Errors
    /// As [`Fitted::predict`].
    fn predict_proba(&self, data: &Dataset) -> Result<Array2<f32>>;

    /// The rows as the method sees them: latent means, distances from centres, or log densities of components.
    ///
    /// # Errors
    /// As [`Fitted::predict`].
    fn transform(&self, data: &Dataset) -> Result<Array2<f32>>;

    /// Writes the model to a file in the safetensors format.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn save(&self, path: &Path) -> Result<()>;
}

macro_rules! fitted {
    ($($method:ident: $objective:expr, $proportions:expr;)*) => {$(
        impl Fitted for $method {
            fn labels(&self) -> &[u32] {
                self.labels()
            }

            fn group_sizes(&self) -> Vec<usize> {
                self.group_sizes()
            }

            fn group_proportions(&self) -> Result<Option<Vec<f64>>> {
                let proportions: fn(&Self) -> Result<Option<Vec<f64>>> = $proportions;
                proportions(self)
            }

            fn objective(&self) -> f64 {
                let objective: fn(&Self) -> f64 = $objective;
                objective(self)
            }

            fn predict(&self, data: &Dataset) -> Result<Vec<u32>> {
                self.predict(data)
            }

            fn predict_proba(&self, data: &Dataset) -> Result<Array2<f32>> {
                self.predict_proba(data)
            }

            fn transform(&self, data: &Dataset) -> Result<Array2<f32>> {
                self.transform(data)
            }

            fn save(&self, path: &Path) -> Result<()> {
                self.save(path)
            }
        }
    )*};
}

fitted!(
    FittedKMeans: |fitted| fitted.inertia(), |_| Ok(None);
    FittedDec: |fitted| fitted.objective(), |_| Ok(None);
    FittedGaussianMixture: |fitted| -fitted.log_likelihood(), |fitted| Ok(Some(fitted.weights().to_vec()));
    FittedEntropy: |fitted| fitted.score().objective(), |fitted| fitted.group_proportions().map(doubles);
    FittedPartition: |fitted| fitted.objective(), |fitted| fitted.group_proportions().map(doubles);
    FittedVariational: |fitted| fitted.objective(), |fitted| fitted.group_proportions().map(doubles);
);

fn doubles(proportions: Vec<f32>) -> Option<Vec<f64>> {
    Some(proportions.into_iter().map(f64::from).collect())
}

/// Reads a model of whatever method that was saved.
///
/// ```no_run
/// use softurn_kernels::{Gpu, GpuConfig};
/// use softurn_models::{clustering, data};
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let model = clustering::load(&gpu, "runs/digits/model.safetensors".as_ref())?;
/// println!("{:?}", model.predict(&data::load("digits", None)?)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the file is missing, broken, or no saved model.
pub fn load(gpu: &Gpu, path: &Path) -> Result<Box<dyn Fitted>> {
    Ok(match saved::method(path)?.as_str() {
        "kmeans" => Box::new(FittedKMeans::load(gpu, path)?),
        "gmm" => Box::new(FittedGaussianMixture::load(gpu, path)?),
        "dec" => Box::new(FittedDec::load(gpu, path)?),
        "entropy" => Box::new(FittedEntropy::load(gpu, path)?),
        "partition" => Box::new(FittedPartition::load(gpu, path)?),
        // Another method's name is an error there.
        _ => Box::new(FittedVariational::load(gpu, path)?),
    })
}
