//! Sparse representations with a learned number of active features under a hard bound.
//!
//! A row `x` has a code of `K` features of which `L`, from 1 to a bound, are active, and each row has its own `L`. An encoder gives
//! logits of the counts and of the features; the count is drawn first, then so many features without replacement
//! (Plackett-Luce), each by a Gumbel-softmax; a decoder makes the row from them. The negative bound
//!
//! `E[-log p(x | z)] + KL(q(L) ‖ p(L)) + KL(q(z) ‖ p(z))`
//!
//! is minimised, the divergences in closed form on the discrete laws. Features are 0 or 1, or have Gaussian magnitudes. All choices
//! are nested: the features of a row with two are those of the same row with one and another. So the mean over counts can be summed
//! exactly ([`Trainer::Marginal`]).
//!
//! The method is that of Xu, Onoro Rubio, Serra and Niepert, "Learning sparsity of representations with discrete latent variables"
//! (IJCNN 2021, arXiv 2304.00935), at the level of its abstract: a bounded count for each row, two Gumbel-softmax draws, an
//! amortised posterior. Architecture, priors, divergences, trainers, schedules and all defaults are this project's design, and no
//! result of the paper is claimed.
//!
//! What it is compared with, in the same harness: see [`Code`]. Sets of labels are predicted in the same two steps by [`labels`].

mod divergence;
mod evaluation;
pub mod labels;
mod loss;
mod network;
mod params;
#[cfg(test)]
mod tests;

use std::path::Path;

use ndarray::{Array2, ArrayView2, Axis};
use softurn_autodiff::{Parameters, Tape, Var};
use softurn_kernels::ops::{Noise, top_k};
use softurn_kernels::{Gpu, Key, Tensor};

pub use evaluation::Evaluation;
pub use params::{ChoiceDivergence, Code, CountPrior, DecoderKind, Likelihood, SparseParams, Trainer};

use self::loss::Training;
use self::network::{Heads, Network, Settings};
use crate::data::Dataset;
use crate::train::{self, Session};
use crate::{Error, Result, saved};

/// How saved models are told apart.
const METHOD: &str = "sparse";

/// Checked settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Sparse {
    params: SparseParams,
}

impl Sparse {
    /// Settings of codes of `size` features, of which each row has 1 to `bound` active, to be changed one by one and then checked.
    /// Columns are taken as they are: where their units differ, [`Dataset::standardized`] comes first.
    ///
    /// ```no_run
    /// use softurn_kernels::{Gpu, GpuConfig, Key};
    /// use softurn_models::data;
    /// use softurn_models::sparse::Sparse;
    ///
    /// let gpu = Gpu::new(GpuConfig::default())?;
    /// let digits = data::digits();
    /// let fitted = Sparse::params(64, 8).noise(0.2).check()?.fit(&gpu, &digits, Key::new(0))?;
    /// let scores = fitted.evaluate(&digits)?;
    /// println!("{:.2} of 64 features are active, squared error {:.3}", scores.active, scores.error);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn params(size: usize, bound: usize) -> SparseParams {
        SparseParams::new(size, bound)
    }

    /// Whether the model can learn from these data on this adapter, without doing so.
    ///
    /// # Errors
    /// When the values do not suit the likelihood, or something does not fit the adapter; names the setting.
    pub fn check_data(&self, gpu: &Gpu, data: &Dataset) -> Result<()> {
        self.params.check_data(gpu, data)
    }

    /// Learns from the rows of a data set; its labels are not looked at.
    ///
    /// # Errors
    /// As [`Sparse::check_data`], and when training diverges.
    pub fn fit(&self, gpu: &Gpu, data: &Dataset, key: Key) -> Result<FittedSparse> {
        self.fit_with(gpu, data, key, &mut Session::default())
    }

    /// As [`Sparse::fit`], watched and kept by a session.
    ///
    /// # Errors
    /// As [`Sparse::fit`], and what happens to the checkpoint.
    pub fn fit_with(&self, gpu: &Gpu, data: &Dataset, key: Key, session: &mut Session<'_>) -> Result<FittedSparse> {
        self.check_data(gpu, data)?;
        let [init_key, key] = key.split();
        let mut parameters = Parameters::new(gpu);
        let settings = Settings { params: self.params.clone(), columns: data.cols() };
        let network = Network::new(settings, &mut parameters, init_key)?;
        let training = Training::new(gpu, network, data)?;
        train::run(gpu, &training, &mut parameters, [data.rows(), self.params.batch], key, session)?;
        Ok(FittedSparse { network: training.network, parameters })
    }
}

/// The codes of rows, without noise: the likeliest count, and as many features with the largest logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoding {
    /// Which features are active, `[rows, size]`.
    pub active: Array2<bool>,
    /// Their values, 1 without magnitudes, and 0 for all others, `[rows, size]`.
    pub code: Array2<f32>,
    /// How many are active, `[rows]`.
    pub counts: Vec<u32>,
    /// The active features of each row, `counts[row]` of them, in the order in which they are taken: a row with fewer would have the
    /// first of them. Where no logits decide, those whose values are furthest from 0 come first.
    pub order: Vec<Vec<u32>>,
}

impl Encoding {
    /// The codes `[rows, size]` with the first `most` active features of each row alone.
    pub fn first(&self, most: usize) -> Array2<f32> {
        let mut codes = self.code.clone();
        for (mut code, order) in codes.outer_iter_mut().zip(&self.order) {
            order.iter().skip(most).for_each(|&feature| code[feature as usize] = 0.0);
        }
        codes
    }
}

/// A fitted model.
#[derive(Debug)]
pub struct FittedSparse {
    network: Network,
    parameters: Parameters,
}

impl FittedSparse {
    /// Writes the model, as a safetensors file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut file = saved::Writer::default();
        file.parameters(&self.parameters)?;
        file.write(path.as_ref(), METHOD, &self.network.settings)
    }

    /// Reads a model that [`FittedSparse::save`] wrote: on the same adapter, it computes the same bits.
    ///
    /// # Errors
    /// When the file is missing, broken, or of another method; the message names it.
    pub fn load(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Self> {
        let (file, settings): (_, Settings) = saved::Reader::open(path.as_ref(), METHOD)?;
        settings.params.clone().check().map_err(|error| file.fail(error))?;
        let mut parameters = Parameters::new(gpu);
        let network = Network::new(settings, &mut parameters, Key::new(0))?;
        file.parameters(&mut parameters)?;
        Ok(Self { network, parameters })
    }

    /// The settings of the fit.
    pub fn params(&self) -> &SparseParams {
        &self.network.settings.params
    }

    /// The codes of rows.
    ///
    /// # Errors
    /// When the data has another number of columns than the model was fitted on, naming `data`.
    pub fn encode(&self, data: &Dataset) -> Result<Encoding> {
        let (rows, wanted) = (data.rows(), self.network.settings.columns);
        if data.cols() != wanted {
            let message = format!("has {} columns, the model was fitted on {wanted}", data.cols());
            return Err(Error::argument("data", message));
        }
        let size = self.params().size;
        let (mut code, mut counts) = (Vec::with_capacity(rows * size), Vec::with_capacity(rows));
        let (mut active, mut order) = (Vec::with_capacity(rows * size), Vec::with_capacity(rows));
        let (gpu, block) = (self.parameters.gpu(), self.network.block());
        for values in data.values().chunks(block * wanted) {
            let x = gpu.tensor(values, [values.len() / wanted, wanted])?;
            for (taken, values) in self.encode_block(&x)? {
                let mut mask = vec![false; size];
                taken.iter().for_each(|&feature| mask[feature as usize] = true);
                counts.push(taken.len() as u32);
                active.extend(mask);
                code.extend(values);
                order.push(taken);
            }
        }
        let (active, code) = (table("data", rows, size, active)?, table("data", rows, size, code)?);
        Ok(Encoding { active, code, counts, order })
    }

    /// The active features of each row in their order, and the row's code.
    fn encode_block(&self, x: &Tensor) -> Result<Vec<(Vec<u32>, Vec<f32>)>> {
        let &SparseParams { size, bound, .. } = self.params();
        let tape = Tape::new(x.gpu());
        let largest = |scores: &Var<'_>| -> Result<Vec<u32>> {
            Ok(top_k::forward(x.gpu(), scores.value(), Noise::None, bound)?.indices.read_u32()?)
        };
        // The first features of each row's order are active.
        let chosen = |order: Vec<u32>, counts: Vec<usize>, values: Option<Vec<f32>>| {
            let row = |(row, count): (usize, usize)| {
                let (taken, mut code) = (order[row * bound..][..count].to_vec(), vec![0.0; size]);
                for &feature in &taken {
                    let feature = feature as usize;
                    code[feature] = values.as_ref().map_or(1.0, |values| values[row * size + feature]);
                }
                (taken, code)
            };
            counts.into_iter().enumerate().map(row).collect()
        };
        // Those that satisfy a condition, the largest first.
        let strongest = |code: &[f32], active: fn(f32) -> bool| {
            let value = |feature: u32| code[feature as usize];
            let mut taken: Vec<u32> = (0..size as u32).filter(|&feature| active(value(feature))).collect();
            taken.sort_by(|&a, &b| value(b).abs().total_cmp(&value(a).abs()));
            (taken, code.to_vec())
        };
        let rows = x.shape().dims()[0];
        Ok(match self.network.encode(&tape, &self.parameters, &tape.constant(x), true)? {
            Heads::Sparse { counts, elements, magnitudes } => {
                let counts = counts.argmax()?.read_u32()?.into_iter().map(|count| count as usize + 1).collect();
                let values = magnitudes.map(|[mean, _]| mean.read()).transpose()?;
                chosen(largest(&elements)?, counts, values)
            }
            Heads::TopL(scores) => {
                let values = if self.params().magnitudes { Some(scores.read()?) } else { None };
                chosen(largest(&scores)?, vec![bound; rows], values)
            }
            Heads::Dense([mean, _]) => mean.read()?.chunks(size).map(|code| strongest(code, |_| true)).collect(),
            Heads::L1(values) => {
                values.relu()?.read()?.chunks(size).map(|code| strongest(code, |value| value > 0.0)).collect()
            }
        })
    }

    /// The rows that codes `[rows, size]` stand for, `[rows, columns]`: the decoder's means, of a Bernoulli likelihood from 0 to 1.
    ///
    /// # Errors
    /// When the codes have another number of columns than the model has features, naming `codes`.
    pub fn decode(&self, codes: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        let ((rows, cols), Settings { params, columns }) = (codes.dim(), &self.network.settings);
        if cols != params.size {
            return Err(Error::argument("codes", format!("{cols} columns; the model has {} features", params.size)));
        }
        let gpu = self.parameters.gpu();
        let mut decoded = Vec::with_capacity(rows * columns);
        for codes in codes.axis_chunks_iter(Axis(0), self.network.block()) {
            let tape = Tape::new(gpu);
            let code = gpu.tensor(&codes.iter().copied().collect::<Vec<f32>>(), [codes.nrows(), cols])?;
            let mean = self.network.decode(&tape, &self.parameters, &tape.constant(&code))?;
            decoded.extend(match params.likelihood {
                Likelihood::Gaussian => mean.read()?,
                Likelihood::Bernoulli => mean.sigmoid()?.read()?,
            });
        }
        table("codes", rows, *columns, decoded)
    }

    /// Rows encoded and decoded again, `[rows, columns]`.
    ///
    /// # Errors
    /// As [`FittedSparse::encode`].
    pub fn reconstruct(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.decode(self.encode(data)?.code.view())
    }

    /// The atoms of a linear decoder, `[size, columns]`; none of [`DecoderKind::Mlp`].
    ///
    /// # Errors
    /// Those of the device.
    pub fn dictionary(&self) -> Result<Option<Array2<f32>>> {
        let Settings { params, columns } = &self.network.settings;
        if params.decoder == DecoderKind::Mlp {
            return Ok(None);
        }
        let atoms = self.parameters.read(self.network.atoms())?;
        Ok(Some(table("size", params.size, *columns, atoms)?))
    }

    /// Codes rows and makes them again, and says how well that went.
    ///
    /// # Errors
    /// As [`FittedSparse::encode`].
    pub fn evaluate(&self, data: &Dataset) -> Result<Evaluation> {
        let encoding = self.encode(data)?;
        let decoded = self.decode(encoding.code.view())?;
        let most = match self.params().code {
            Code::Sparse | Code::TopL => self.params().bound,
            Code::Dense | Code::L1 => self.params().size,
        };
        Ok(Evaluation::new(&encoding.counts, data.features(), &decoded, most))
    }
}

/// Values row after row as a table.
fn table<T>(argument: &'static str, rows: usize, cols: usize, values: Vec<T>) -> Result<Array2<T>> {
    Array2::from_shape_vec((rows, cols), values).map_err(|error| Error::argument(argument, error.to_string()))
}
