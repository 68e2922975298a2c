//! Which of many labels a row has: how many, under a bound, and then which ones.
//!
//! A network makes of a row's features logits `λ` of the number of labels and `α` of the labels themselves, and the labels are those
//! of the `L` highest `α`. Of the method, Xu, Onoro Rubio, Serra and Niepert, "Learning sparsity of representations with discrete latent
//! variables" (IJCNN 2021), only the abstract was at hand: that each row has a number of its own under a preset bound, and that number and
//! choice are two Gumbel-softmax draws. Losses, settings and predictions are this project's design.
//!
//! Three losses ([`Loss`]) and a baseline: `-log softmax(λ)_{|S|}` plus
//!
//! * [`Loss::Factored`]: `-1/|S| Σ_{k in S} log softmax(α)_k`;
//! * [`Loss::Relaxed`]: `-Σ_k y_k log m_k + (1 - y_k) log(1 - m_k)` of the relaxed mask `m` of both draws;
//! * [`Loss::Exact`]: `ln e_{|S|}(e^α) - Σ_{k in S} α_k`, with the elementary symmetric polynomial, the law of sets of a size;
//! * [`Loss::Sigmoids`] has no `λ`: `-Σ_k y_k log σ(α_k) + (1 - y_k) log(1 - σ(α_k))`.

mod fitted;
mod network;
mod params;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use softurn_autodiff::Parameters;
use softurn_kernels::{Gpu, Key};

pub use fitted::{Evaluation, FittedLabels};
pub use params::{Count, Loss, Params};

use self::network::{Network, Training};
use crate::data::{LabelSets, MultiLabelData, moments};
use crate::train::{self, Session, batches};
use crate::{Error, Result};

/// What the data decide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shape {
    n_features: usize,
    n_labels: usize,
    /// The least number of labels: 0, or 1 without a zero class.
    least: usize,
    /// The highest number of labels.
    bound: usize,
    /// The mean number of labels.
    mean_count: f64,
    /// Mean and one over the deviation of each feature; none of features that are 0 or 1.
    scales: Vec<[f64; 2]>,
}

/// Checked settings.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelModel {
    params: Params,
}

impl LabelModel {
    /// Settings of a model with a loss, to be changed one by one and then checked.
    ///
    /// ```no_run
    /// use softurn_kernels::{Gpu, GpuConfig, Key};
    /// use softurn_models::data::load_multilabel;
    /// use softurn_models::sparse::labels::{Count, LabelModel, Loss};
    ///
    /// let gpu = Gpu::new(GpuConfig::default())?;
    /// let data = load_multilabel("bibtex.npz")?;
    /// let fitted = LabelModel::params(Loss::Exact).epochs(20).check()?.fit(&gpu, &data.train, Key::new(0))?;
    /// println!("{:?}", fitted.predict(&data.test, Count::Argmax)?.row(0));
    /// println!("{:?}", fitted.evaluate(&data.test, Count::Threshold)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn params(loss: Loss) -> Params {
        Params::new(loss)
    }

    /// Whether a model can be fitted to these data, without doing so.
    ///
    /// # Errors
    /// Those of [`LabelModel::fit`] that have nothing to do with the course of training.
    pub fn check_data(&self, data: &MultiLabelData) -> Result<()> {
        self.params.check_data(data)?;
        self.held_out(data.n_rows()).map(drop)
    }

    /// Learns from rows with labels, but for those that are held out. Columns of numbers are standardised by the rows of the fit.
    ///
    /// # Errors
    /// [`Error::Argument`] of `labels`, with the row, for one without labels where there is no zero class, of `bound` when there are fewer
    /// labels, of `validation` when no row is left; when training diverges.
    pub fn fit(&self, gpu: &Gpu, data: &MultiLabelData, key: Key) -> Result<FittedLabels> {
        self.fit_with(gpu, data, key, &mut Session::default())
    }

    /// As [`LabelModel::fit`], watched and kept by a session.
    ///
    /// # Errors
    /// As [`LabelModel::fit`], and what happens to the checkpoint.
    pub fn fit_with(
        &self,
        gpu: &Gpu,
        data: &MultiLabelData,
        key: Key,
        session: &mut Session<'_>,
    ) -> Result<FittedLabels> {
        let params = &self.params;
        let [least, bound] = params.check_data(data)?;
        let [split_key, key] = key.split();
        let [init_key, key] = key.split();
        let [held_out, rows] = self.split(data.n_rows(), split_key)?;
        let of_fit = data.select(&rows.iter().map(|&row| row as usize).collect::<Vec<_>>())?;
        let sets: &LabelSets = of_fit.labels();
        let shape = Shape {
            n_features: data.n_features(),
            n_labels: sets.n_labels(),
            least,
            bound,
            mean_count: sets.rows().map(<[u32]>::len).sum::<usize>() as f64 / sets.n_rows() as f64,
            scales: of_fit.columns().map(moments).collect(),
        };
        let mut parameters = Parameters::new(gpu);
        let network = Network::new(params, shape, &mut parameters, init_key)?;
        network.set_biases(&mut parameters, sets)?;
        let training = Training { network: &network, data: &of_fit };
        train::run(gpu, &training, &mut parameters, [of_fit.n_rows(), params.batch], key, session)?;
        let mut fitted = FittedLabels { network, parameters, threshold: None };
        if !held_out.is_empty() {
            fitted.choose_threshold(data, &held_out)?;
        }
        Ok(fitted)
    }

    /// The rows that are held out and the others, by the key.
    fn split(&self, rows: usize, key: Key) -> Result<[Vec<u32>; 2]> {
        let held_out = self.held_out(rows)?;
        let mut order = batches::shuffled(rows, rows, key).concat();
        let rows = order.split_off(held_out);
        Ok([order, rows])
    }

    /// How many rows are held out.
    fn held_out(&self, rows: usize) -> Result<usize> {
        let held_out = (self.params.validation * rows as f64).round() as usize;
        if held_out < rows {
            return Ok(held_out);
        }
        Err(Error::argument("validation", format!("holds out {held_out} of {rows} rows")))
    }
}
