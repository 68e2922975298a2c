//! What a model of pairs has learned, held against the factors that the images are made from.

use ndarray::{Array2, ArrayView2, Axis};
use serde::Serialize;
use softurn_autodiff::Tape;
use softurn_kernels::{Gpu, Key};

use super::loss::{self, views};
use super::{BLOCK, FittedWeakSupervision, parts, table};
use crate::Result;
use crate::data::FactorImages;
use crate::metrics::{LinearProbe, dci, mutual_information_gap};

/// Pairs that are drawn for an evaluation: two halves of whole blocks.
const PAIRS: usize = 8 * BLOCK;
/// Steps of the probes of pairs, of which only predictions are wanted: with twice as many, scores of untrained models of LPC
/// sprites and of `sprites_grid` differ by at most 0.004.
const STEPS: u32 = 100;

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
    /// Scores the model on 2,048 pairs that share `shared` factors and are drawn afresh by the key. The images of training
    /// may be among theirs, as it draws from all.
    ///
    /// Linear probes ([`LinearProbe`]) are fitted to one half of the pairs and scored on the other. They predict the class
    /// that a factor has in the first image, from its latent means in the dimensions that the model takes as shared, or from
    /// those in the others ([`FittedWeakSupervision::parts`]). Disentanglement, completeness, informativeness and mutual
    /// information gap are of the posterior means of all 4,096 images, each by itself
    /// ([`FittedWeakSupervision::transform`]). The same key brings the same scores.
    ///
    /// # Errors
    /// When the images have another shape than those of the fit, naming `data`; when no pair shares so many factors or the
    /// grid of factors is not full, naming `shared`; when a factor has the same class in one half of the images; those of
    /// the device.
    pub fn evaluate(&self, images: &FactorImages, shared: usize, key: Key) -> Result<Evaluation> {
        self.evaluate_on(images, shared, PAIRS, key)
    }

    /// Scores the model on so many pairs.
    pub(super) fn evaluate_on(
        &self,
        images: &FactorImages,
        shared: usize,
        n_pairs: usize,
        key: Key,
    ) -> Result<Evaluation> {
        let (gpu, latent) = (self.parameters.gpu(), self.learner.params.latent);
        let [pairs_key, parts_key] = key.split();
        let sizes: Vec<usize> = images.factors().iter().map(|factor| factor.size).collect();
        let pairs = loss::pairs(images, shared)?.sample(n_pairs, pairs_key);

        // What the public methods tell of pairs and of single images, by one pass through the network.
        let (mut shares, mut first) = (Vec::new(), [Vec::new(), Vec::new()]);
        let (mut rows, mut means) = (Vec::new(), Vec::new());
        for pairs in pairs.chunks(BLOCK) {
            let tape = Tape::new(gpu);
            let posteriors = self.encode(&tape, images, &views(pairs))?;
            shares.extend(self.learner.expected_share(&tape, &self.parameters, &posteriors)?);
            let key = parts_key.child(first[0].len() as u64);
            let block = self.learner.first_views(&tape, &self.parameters, &posteriors, key)?;
            first.iter_mut().zip(block).for_each(|(all, block)| all.extend(block));
            rows.extend(views(pairs));
            means.extend(posteriors[0].read()?);
        }
        let [first_means, masks] = first.map(|values| table("pairs", n_pairs, latent, values));
        let [of_shared, of_others] = parts(&first_means?, &masks?);
        let means = table("rows", rows.len(), latent, means)?;

        let true_share = shared as f64 / sizes.len() as f64;
        let squared_error = mean(shares.iter().map(|share| (share - true_share).powi(2))).unwrap_or(0.0);
        let masks: Vec<Vec<bool>> = pairs.iter().map(|&pair| images.shared(pair)).collect();
        let mut factors = Vec::with_capacity(sizes.len());
        for (column, factor) in images.factors().iter().enumerate() {
            let labels: Vec<u32> = pairs.iter().map(|&[first, _]| images.classes()[(first as usize, column)]).collect();
            let score = |part: &Array2<f32>, is_shared: bool| {
                let rows: Vec<usize> = (0..n_pairs).filter(|&pair| masks[pair][column] == is_shared).collect();
                probe(gpu, part.view(), &labels, &rows, factor.size)
            };
            let (shared, independent) = (score(&of_shared, true)?, score(&of_others, false)?);
            factors.push(FactorScore { name: factor.name.clone(), shared, independent });
        }

        let classes = Array2::from_shape_fn((rows.len(), sizes.len()), |(row, factor)| {
            images.classes()[(rows[row] as usize, factor)]
        });
        let (fit_means, score_means) = means.view().split_at(Axis(0), n_pairs);
        let (fit_classes, score_classes) = classes.view().split_at(Axis(0), n_pairs);
        let probe = LinearProbe::params().check()?.fit(gpu, fit_means, fit_classes, &sizes)?;
        let scores = probe.score(score_means, score_classes)?;
        let importance = dci(probe.importance().view())?;
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
            mig: mutual_information_gap(means.view(), classes.view(), &sizes)?.mean,
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
    let probe = LinearProbe::params().steps(STEPS).check()?.fit(gpu, x.view(), y.view(), &[classes])?;
    let (x, y) = of(score);
    Ok(Some(probe.score(x.view(), y.view())?[0].adjusted_balanced_accuracy))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
