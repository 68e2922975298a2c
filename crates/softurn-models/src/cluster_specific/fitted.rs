//! A fitted model: which head a row belongs to, and what that head makes of it.

use std::path::Path;

use ndarray::Array2;
use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::ops::grouped_matmul::Groups;
use softurn_kernels::{Gpu, Key};

use super::assignment::lowest;
use super::framework::{Framework, HeadRows, Reconstructs};
use super::params::Params;
use super::training::Model;
use super::undecided::Blocks;
use crate::data::Dataset;
use crate::train::Rows;
use crate::{Error, Result, saved};

/// What a file holds besides parameters and labels: settings, columns and objective.
type Settings<F> = (Params<F>, usize, f64);

/// Heads, centres and the assignment that [`ClusterSpecific::fit`](super::ClusterSpecific::fit) found.
#[derive(Debug)]
pub struct Fitted<F: Framework> {
    pub(super) model: Model<F>,
    pub(super) parameters: Parameters,
    pub(super) labels: Vec<u32>,
    pub(super) objective: f64,
}

/// Rows in their heads.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoding {
    /// The head of each row.
    pub heads: Vec<u32>,
    /// What that head makes of it, `[rows, dimensions]`. Each head has coordinates of its own.
    pub code: Array2<f32>,
}

impl<F: Framework> Fitted<F> {
    /// The settings of the fit.
    pub fn params(&self) -> &Params<F> {
        &self.model.params
    }

    /// The names of the framework's parameters, which [`Fitted::parameters`] has.
    pub fn layers(&self) -> &F::Layers {
        &self.model.layers
    }

    /// All parameters: those of the framework and `centres`.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Numbers that were learned: the parameters of the framework, and the centres where there are any.
    pub fn parameter_count(&self) -> usize {
        let learned = |param: &&Param| match param.name() {
            "assignment" | "chosen" => false,
            "centres" => self.params().framework.centred(),
            name => !F::STATE.contains(&name),
        };
        self.parameters.iter().filter(learned).map(|param| param.shape().len()).sum()
    }

    /// The head of every row that was fitted, each less than `k`: what [`Fitted::predict`] says of them.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The mean over the fitted rows of what they chose their heads by, or of [`Framework::objective_losses`]: the lower of two fits of the
    /// same settings is the better.
    pub fn objective(&self) -> f64 {
        self.objective
    }

    /// The means of the clusters, `[k, columns]`; zeros where the framework is not [centred](Framework::centred).
    ///
    /// # Errors
    /// Those of the device.
    pub fn centers(&self) -> Result<Array2<f32>> {
        let (k, columns) = (self.model.params.k, self.model.columns);
        let values = self.parameters.read(&self.model.centres)?;
        Ok(Array2::from_shape_fn((k, columns), |(j, column)| values[j * columns + column]))
    }

    /// What rows choose their heads by, `[k, rows]`: the lowest wins.
    ///
    /// # Errors
    /// When the data has another number of columns than the model was fitted on, naming `data`.
    pub fn assignment_losses(&self, data: &Dataset) -> Result<Array2<f32>> {
        let (gpu, model) = (self.parameters.gpu(), &self.model);
        if data.cols() != model.columns {
            let message = format!("has {} columns, the model was fitted on {}", data.cols(), model.columns);
            return Err(Error::argument("data", message));
        }
        let blocks = Blocks::new(gpu, data.features(), model.block(), model.params.k)?;
        model.assignment_losses(&self.parameters, &blocks, Key::new(0))
    }

    /// The head of each row.
    ///
    /// # Errors
    /// As [`Fitted::assignment_losses`].
    pub fn predict(&self, data: &Dataset) -> Result<Vec<u32>> {
        Ok(lowest(self.assignment_losses(data)?.view()))
    }

    /// What its head makes of each row.
    ///
    /// # Errors
    /// As [`Fitted::assignment_losses`].
    pub fn encode(&self, data: &Dataset) -> Result<Encoding> {
        let heads = self.predict(data)?;
        let (model, parameters) = (&self.model, &self.parameters);
        let code = self.by_heads(data, &heads, |tape, rows, _| {
            model.params.framework.encode(&model.layers, tape, parameters, rows)
        })?;
        Ok(Encoding { heads, code })
    }

    /// What `f` makes of the rows of each block in their heads, of which the centres come third.
    fn by_heads<'f>(
        &'f self,
        data: &Dataset,
        heads: &[u32],
        f: impl for<'t> Fn(&'t Tape, &HeadRows, &Var<'t>) -> Result<Var<'t>> + 'f,
    ) -> Result<Array2<f32>> {
        let (gpu, model) = (self.parameters.gpu(), &self.model);
        let centres = self.parameters.tensor(&model.centres)?;
        let mut made = Vec::new();
        for (x, heads) in Rows::new(gpu, data.features())?.blocks(model.block()).zip(heads.chunks(model.block())) {
            let heads = gpu.tensor(heads, [heads.len()])?;
            let tape = Tape::new(gpu);
            let own = tape.constant(&centres).gather(&heads)?;
            let x = model.centred(&centres, x?, &heads)?;
            let groups = Groups::new(gpu, &heads, model.params.k)?;
            let rows = HeadRows { x, partners: Vec::new(), heads: groups, index: heads };
            made.extend(f(&tape, &rows, &own)?.read()?);
        }
        let columns = made.len() / data.rows();
        Ok(Array2::from_shape_fn((data.rows(), columns), |(row, column)| made[row * columns + column]))
    }

    /// Writes the model, as a safetensors file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut file = saved::Writer::default();
        file.parameters(&self.parameters)?;
        file.labels(&self.labels);
        file.write(path.as_ref(), F::NAME, &(&self.model.params, self.model.columns, self.objective))
    }

    /// Reads a model that [`Fitted::save`] wrote: on the same adapter, it computes the same bits.
    ///
    /// # Errors
    /// When the file is missing, broken, or of another framework; the message names it.
    pub fn load(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Self> {
        let (file, (params, columns, objective)): (_, Settings<F>) = saved::Reader::open(path.as_ref(), F::NAME)?;
        let params = params.check().map_err(|error| file.fail(error))?.params;
        let labels = file.labels(params.k)?;
        let mut parameters = Parameters::new(gpu);
        let model = Model::new(params, columns, &mut parameters, Key::new(0))?;
        file.parameters(&mut parameters)?;
        Ok(Self { model, parameters, labels, objective })
    }
}

impl<F: Reconstructs> Fitted<F> {
    /// Rows made again by their heads, which they choose by what they are: of noisy rows the denoised ones, `[rows, columns]`.
    ///
    /// # Errors
    /// As [`Fitted::assignment_losses`].
    pub fn reconstruct(&self, data: &Dataset) -> Result<Array2<f32>> {
        let heads = self.predict(data)?;
        let (model, parameters) = (&self.model, &self.parameters);
        let framework = &model.params.framework;
        self.by_heads(data, &heads, |tape, rows, centres| {
            let made = framework.reconstruct(&model.layers, tape, parameters, rows)?;
            if framework.centred() { Ok((made + centres)?) } else { Ok(made) }
        })
    }

    /// The mean over rows and columns of the squared difference between clean rows and what is made of noisy ones.
    ///
    /// # Errors
    /// As [`Fitted::assignment_losses`], and when `clean` has another shape than `noisy`, naming `clean`.
    pub fn denoising_error(&self, noisy: &Dataset, clean: &Dataset) -> Result<f64> {
        if noisy.features().dim() != clean.features().dim() {
            let message = format!("{:?} values for {:?} noisy ones", clean.features().dim(), noisy.features().dim());
            return Err(Error::argument("clean", message));
        }
        let difference = self.reconstruct(noisy)? - clean.features();
        Ok(difference.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / difference.len() as f64)
    }
}
