//! What a model of pairs has learned, held against the factors that the images are made from.

use ndarray::{Array2, ArrayView2, Axis};
use serde::Serialize;
use softurn_kernels::{Gpu, Key};

use super::{FittedWeakSupervision, loss};
use crate::Result;
use crate::data::FactorImages;
use crate::metrics::{LinearProbe, dci, mutual_information_gap};
use crate::train::batches::shuffled;

/// Pairs that are drawn for an evaluation.
const PAIRS: usize = 2000;
/// Single images of it, or all if there are fewer.
const IMAGES: usize = 4000;

/// What [`FittedWeakSupervision::evaluate`] finds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The rows of the images of each pair.
    #[serde(skip)]
    pub pairs: Vec<[u32; 2]>,
    /// The share of the latent dimensions that the model takes each pair to share, from 0 to 1.
    #[serde(skip)]
    pub shares: Vec<f64>,
    /// The mean of these.
    pub share: f64,
    /// The share of the factors that each pair shares.
    pub true_share: f64,
    /// The mean of `(share - true_share)²` over the pairs.
    pub squared_error: f64,
    /// How well each factor is read from the two parts of the first image's representation.
    pub factors: Vec<FactorScore>,
    /// The mean of [`FactorScore::shared`] over the factors that have one.
    pub shared_accuracy: Option<f64>,
    /// The mean of [`FactorScore::independent`] over the factors that have one.
    pub independent_accuracy: Option<f64>,
    /// Of [`dci`]: 1 when every latent dimension serves one factor only.
    pub disentanglement: f64,
    /// Of [`dci`]: 1 when one latent dimension alone serves each factor.
    pub completeness: f64,
    /// How well a linear probe predicts the factors from all latent dimensions: the mean over factors of adjusted balanced
    /// accuracies, 0 for guesses and 1 when all is right.
    pub informativeness: f64,
    /// The mean of [`mutual_information_gap`].
    pub mig: f64,
}

/// How well a linear probe predicts a factor: [adjusted balanced accuracies](crate::metrics::adjusted_balanced_accuracy),
/// 0 for guesses and 1 when all is right.
///
/// A score is `None` where there are no such pairs, or so few that one half of them has a single class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FactorScore {
    /// The factor's name.
    pub name: String,
    /// From the shared part, over the pairs that share the factor.
    pub shared: Option<f64>,
    /// From the independent part, over the pairs that do not.
    pub independent: Option<f64>,
}

impl FittedWeakSupervision {
    /// Scores the model on 2,000 pairs that share `shared` factors and are drawn afresh by the key, and on 4,000 different
    /// single images (all, if there are fewer). Images of the training may be among them, as it draws from all.
    ///
    /// Linear probes ([`LinearProbe`]) are fitted to one half of the pairs or images and scored on the other. Of pairs they
    /// predict the class that a factor has in the first image, from its latent means in the dimensions that the model takes
    /// as shared, or from those in the others ([`FittedWeakSupervision::parts`]); of single images from all latent means
    /// ([`FittedWeakSupervision::transform`]). The same key brings the same scores.
    ///
    /// # Errors
    /// When the images have another shape than those of the fit, naming `data`; when no pair shares so many factors or the
    /// grid of factors is not full, naming `shared`; when one half of the single images lacks all classes of a factor but
    /// one; those of the device.
    pub fn evaluate(&self, images: &FactorImages, shared: usize, key: Key) -> Result<Evaluation> {
        let gpu = self.parameters.gpu();
        let [pairs_key, parts_key, images_key] = key.split();
        let sizes: Vec<usize> = images.factors().iter().map(|factor| factor.size).collect();

        let pairs = loss::pairs(images, shared)?.sample(PAIRS, pairs_key);
        let true_share = shared as f64 / sizes.len() as f64;
        let shares = self.shared_share(images, &pairs)?;
        let squared_error = mean(shares.iter().map(|share| (share - true_share).powi(2))).unwrap_or(0.0);
        let parts = self.parts(images, &pairs, parts_key)?;
        let masks: Vec<Vec<bool>> = pairs.iter().map(|&pair| images.shared(pair)).collect();
        let mut factors = Vec::with_capacity(sizes.len());
        for (column, factor) in images.factors().iter().enumerate() {
            let labels: Vec<u32> = pairs.iter().map(|&[first, _]| images.classes()[(first as usize, column)]).collect();
            let score = |part: &Array2<f32>, of_shared: bool| {
                let rows: Vec<usize> = (0..PAIRS).filter(|&pair| masks[pair][column] == of_shared).collect();
                probe(gpu, part.view(), &labels, &rows, factor.size)
            };
            let (shared, independent) = (score(&parts[0], true)?, score(&parts[1], false)?);
            factors.push(FactorScore { name: factor.name.clone(), shared, independent });
        }

        let mut rows = shuffled(images.n_images(), images.n_images(), images_key).concat();
        rows.truncate(IMAGES);
        let latents = self.transform(images, &rows)?;
        let classes = Array2::from_shape_fn((rows.len(), sizes.len()), |(row, factor)| {
            images.classes()[(rows[row] as usize, factor)]
        });
        let half = rows.len() / 2;
        let [fit, score] = [0..half, half..rows.len()].map(ndarray::Slice::from);
        let of = |rows| (latents.slice_axis(Axis(0), rows), classes.slice_axis(Axis(0), rows));
        let ((x, y), (x_score, y_score)) = (of(fit), of(score));
        let linear = LinearProbe::params().check()?.fit(gpu, x, y, &sizes)?;
        let scores = linear.score(x_score, y_score)?;
        let importance = dci(linear.importance().view())?;
        Ok(Evaluation {
            pairs,
            share: mean(shares.iter().copied()).unwrap_or(0.0),
            shares,
            true_share,
            squared_error,
            shared_accuracy: mean(factors.iter().filter_map(|factor| factor.shared)),
            independent_accuracy: mean(factors.iter().filter_map(|factor| factor.independent)),
            factors,
            disentanglement: importance.disentanglement,
            completeness: importance.completeness,
            informativeness: mean(scores.iter().map(|score| score.adjusted_balanced_accuracy)).unwrap_or(0.0),
            mig: mutual_information_gap(latents.view(), classes.view(), &sizes)?.mean,
        })
    }
}

/// How well labels below `classes` are predicted from those rows of a representation: the first half of the rows is to fit,
/// the second to score.
fn probe(
    gpu: &Gpu,
    representation: ArrayView2<'_, f32>,
    labels: &[u32],
    rows: &[usize],
    classes: usize,
) -> Result<Option<f64>> {
    let (fit, score) = rows.split_at(rows.len() / 2);
    if [fit, score].iter().any(|rows| rows.iter().all(|&row| labels[row] == labels[rows[0]])) {
        return Ok(None);
    }
    let of = |rows: &[usize]| {
        (representation.select(Axis(0), rows), Array2::from_shape_fn((rows.len(), 1), |(row, _)| labels[rows[row]]))
    };
    let (x, y) = of(fit);
    let probe = LinearProbe::params().check()?.fit(gpu, x.view(), y.view(), &[classes])?;
    let (x, y) = of(score);
    Ok(Some(probe.score(x.view(), y.view())?[0].adjusted_balanced_accuracy))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
