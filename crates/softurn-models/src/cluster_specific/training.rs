//! The alternation: steps of gradient descent on all heads with the assignment fixed, then a Lloyd step.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ndarray::{Array2, ArrayView2};
use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::ops::gather;
use softurn_kernels::ops::grouped_matmul::Groups;
use softurn_kernels::{Gpu, Key, Tensor};

use super::assignment::{lowest, means, refill};
use super::framework::{Framework, HeadRows, Members};
use super::params::{Params, Reassignment};
use super::undecided::{Blocks, Every, less_centres};
use crate::Result;
use crate::clustering::kmeans::seeds;
use crate::data::Dataset;
use crate::train::{Batch, Losses, Objective, Phase};

/// Numbers in the widest layer of a block under all heads.
const BLOCK: usize = 1 << 22;
/// Rows of the smallest block, as views of rows want.
pub(super) const SMALLEST_BLOCK: usize = 64;

/// What a model is made of: the parameters of the framework, and the centres.
#[derive(Debug)]
pub(super) struct Model<F: Framework> {
    pub(super) params: Params<F>,
    pub(super) columns: usize,
    pub(super) layers: F::Layers,
    /// `[k, columns]`; never changed by a gradient, as no loss has one in it.
    pub(super) centres: Param,
}

impl<F: Framework> Model<F> {
    pub(super) fn new(params: Params<F>, columns: usize, parameters: &mut Parameters, key: Key) -> Result<Self> {
        let layers = params.framework.layers(parameters, [params.k, columns], key)?;
        let centres = parameters.zeros("centres", [params.k, columns])?;
        Ok(Self { params, columns, layers, centres })
    }

    /// Rows less the centres of their heads, where the framework wants that.
    pub(super) fn centred(&self, centres: &Tensor, x: Tensor, heads: &Tensor) -> Result<Tensor> {
        if self.params.framework.centred() { less_centres(centres, &x, heads) } else { Ok(x) }
    }

    /// Rows of a block under all heads.
    pub(super) fn block(&self) -> usize {
        let widest = self.params.framework.widths().iter().map(|width| width.outputs).fold(self.columns, usize::max);
        (BLOCK / (self.params.k * widest) / SMALLEST_BLOCK).max(1) * SMALLEST_BLOCK
    }

    /// What rows choose their heads by, `[k, rows]`.
    pub(super) fn assignment_losses(&self, parameters: &Parameters, blocks: &Blocks, key: Key) -> Result<Array2<f32>> {
        let (framework, k) = (&self.params.framework, self.params.k);
        let (mut losses, mut start) = (Array2::zeros((k, blocks.count())), 0);
        let centres = parameters.tensor(&self.centres)?;
        for (rows, key) in blocks.undecided(&centres, framework.centred()).zip(key.split_forever()) {
            let rows = rows?;
            let tape = Tape::new(rows.x.gpu());
            let of_block = framework.losses_of_all_heads(&self.layers, &tape, parameters, &rows, key)?.read()?;
            let count = of_block.len() / k;
            let of_block = Array2::from_shape_fn((k, count), |(j, i)| of_block[j * count + i]);
            losses.slice_mut(ndarray::s![.., start..start + count]).assign(&of_block);
            start += count;
        }
        Ok(losses)
    }
}

/// A model and the rows it learns from.
#[derive(Debug)]
pub(super) struct Training<'a, F: Framework> {
    pub(super) model: Model<F>,
    gpu: Gpu,
    data: &'a Dataset,
    pub(super) blocks: Blocks,
    /// A batch under all heads, for the warm-up.
    batch: Option<Every>,
    /// The heads that rows begin with; without them, those of the nearest seeds.
    start: Option<&'a [u32]>,
    /// The head of each row, `[rows]`.
    assignment: Param,
    /// With [`Reassignment::BeforeStep`], what rows have chosen and do not have yet.
    chosen: Option<Param>,
    /// The assignment as steps want it; read anew from its parameter where there is none.
    now: Mutex<Option<Arc<Assignment>>>,
}

/// The head of each row.
#[derive(Debug)]
struct Assignment {
    labels: Vec<u32>,
    /// The same on the device.
    heads: Tensor,
    /// Its centres, `[k, columns]`.
    centres: Array2<f32>,
}

impl<'a, F: Framework> Training<'a, F> {
    pub(super) fn new(
        gpu: &Gpu,
        params: &Params<F>,
        data: &'a Dataset,
        start: Option<&'a [u32]>,
        parameters: &mut Parameters,
        key: Key,
    ) -> Result<Self> {
        let model = Model::new(params.clone(), data.cols(), parameters, key)?;
        let (rows, k) = (data.rows(), params.k);
        let chosen = match params.reassignment {
            Reassignment::Fresh => None,
            Reassignment::BeforeStep => Some(parameters.zeros("chosen", [rows])?),
        };
        Ok(Self {
            gpu: gpu.clone(),
            data,
            blocks: Blocks::new(gpu, data.features(), model.block(), k)?,
            batch: (params.warm_up > 0).then(|| Every::new(gpu, params.rows_of_step(rows), k)).transpose()?,
            start,
            assignment: parameters.zeros("assignment", [rows])?,
            chosen,
            now: Mutex::new(None),
            model,
        })
    }

    fn framework(&self) -> &F {
        &self.model.params.framework
    }

    fn is_warm_up(&self, phase: usize) -> bool {
        self.model.params.warm_up > 0 && phase == 0
    }

    fn now(&self) -> MutexGuard<'_, Option<Arc<Assignment>>> {
        // A thread that panicked left a whole assignment behind, or none.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The assignment in force.
    fn assignment(&self, parameters: &Parameters) -> Result<Arc<Assignment>> {
        if let Some(now) = &*self.now() {
            return Ok(now.clone());
        }
        let labels = parameters.read(&self.assignment)?.into_iter().map(|head| head as u32).collect();
        let centres = parameters.read(&self.model.centres)?;
        let shape = (self.model.params.k, self.model.columns);
        self.keep(labels, Array2::from_shape_fn(shape, |(j, column)| centres[j * shape.1 + column]))
    }

    fn keep(&self, labels: Vec<u32>, centres: Array2<f32>) -> Result<Arc<Assignment>> {
        let heads = self.gpu.tensor(&labels, [labels.len()])?;
        Ok(self.now().insert(Arc::new(Assignment { labels, heads, centres })).clone())
    }

    /// Puts an assignment into force and moves the centres to the means of their rows.
    fn assign(&self, parameters: &mut Parameters, labels: Vec<u32>) -> Result<()> {
        parameters.set(&self.assignment, &floats(&labels))?;
        let mut centres = self.assignment(parameters)?.centres.clone();
        if self.framework().centred() {
            centres = means(self.data.features().view(), &labels, &centres);
            parameters.set(&self.model.centres, &centres.iter().copied().collect::<Vec<f32>>())?;
        }
        self.keep(labels, centres)?;
        Ok(())
    }

    /// The heads that rows choose, none of them empty where there are rows enough.
    fn choose(&self, parameters: &mut Parameters, key: Key) -> Result<Vec<u32>> {
        self.settle(parameters)?;
        let losses = self.model.assignment_losses(parameters, &self.blocks, key)?;
        let mut labels = lowest(losses.view());
        refill(losses.view(), &mut labels);
        Ok(labels)
    }

    /// Tells the framework which rows its heads have.
    pub(super) fn settle(&self, parameters: &mut Parameters) -> Result<()> {
        let now = self.assignment(parameters)?;
        let centres = parameters.tensor(&self.model.centres)?;
        let mut start = 0;
        let mut blocks = self.blocks.undecided(&centres, self.framework().centred()).map(|rows| {
            let rows = rows?;
            let of_block = now.labels[start..start + rows.x.shape().dims()[0]].to_vec();
            start += of_block.len();
            Ok((rows.under_all()?, of_block))
        });
        self.framework().settle(&self.model.layers, parameters, &mut blocks)
    }

    /// The rows of a batch in their own heads, with partners.
    fn in_own_heads(&self, parameters: &Parameters, batch: &Batch, key: Key) -> Result<HeadRows> {
        let now = self.assignment(parameters)?;
        let heads = gather::labels(&self.gpu, &now.heads, &batch.index)?;
        let centres = parameters.tensor(&self.model.centres)?;
        let classes = self.data.labels().map(|labels| labels.ids());
        let members = Members { assignment: &now.labels, classes };
        let partners = self.framework().partners(&batch.rows, members, key);
        let partners = partners.into_iter().map(|rows| {
            let index = self.gpu.tensor(&rows, [rows.len()])?;
            let x = self.blocks.rows.batch(&Batch { rows, index, done: batch.done })?;
            self.model.centred(&centres, x, &heads)
        });
        Ok(HeadRows {
            partners: partners.collect::<Result<_>>()?,
            x: self.model.centred(&centres, self.blocks.rows.batch(batch)?, &heads)?,
            heads: Groups::new(&self.gpu, &heads, self.model.params.k)?,
            index: heads,
        })
    }

    /// The loss of a batch in which each row goes through its own head.
    fn loss<'t>(&self, tape: &'t Tape, parameters: &Parameters, batch: &Batch, key: Key) -> Result<Var<'t>> {
        let [loss_key, partners_key] = key.split();
        let rows = self.in_own_heads(parameters, batch, partners_key)?;
        Ok(self.framework().losses(&self.model.layers, tape, parameters, &rows, Some(loss_key))?.mean()?)
    }

    /// The mean of what fits are compared by, where that is not what rows choose their heads by.
    pub(super) fn objective(&self, parameters: &Parameters) -> Result<Option<f64>> {
        let all: Vec<u32> = (0..self.data.rows() as u32).collect();
        let mut sum = 0.0;
        for (rows, key) in all.chunks(self.model.block()).zip(Key::new(0).split_forever()) {
            let [loss_key, partners_key] = key.split();
            let batch = Batch { rows: rows.to_vec(), index: self.gpu.tensor(rows, [rows.len()])?, done: 1.0 };
            let rows = self.in_own_heads(parameters, &batch, partners_key)?;
            let tape = Tape::new(&self.gpu);
            let losses = self.framework().objective_losses(&self.model.layers, &tape, parameters, &rows, loss_key)?;
            let Some(losses) = losses else { return Ok(None) };
            sum += losses.read()?.into_iter().map(f64::from).sum::<f64>();
        }
        Ok(Some(sum / self.data.rows() as f64))
    }

    /// The loss of a batch in which each row goes through all heads, in proportion to `exp(-loss / temperature)`, of which no gradient is
    /// taken.
    fn soft_loss<'t>(
        &self,
        every: &Every,
        tape: &'t Tape,
        parameters: &Parameters,
        batch: &Batch,
        key: Key,
    ) -> Result<Var<'t>> {
        let [loss_key, choice_key] = key.split();
        let x = self.blocks.rows.batch(batch)?;
        let centres = parameters.tensor(&self.model.centres)?;
        let rows = every.under_all(&x, self.framework().centred().then_some(&centres))?;
        let (framework, layers, k) = (self.framework(), &self.model.layers, self.model.params.k);
        let frozen = Tape::new(&self.gpu);
        let choice = framework.assignment_losses(layers, &frozen, parameters, &rows, choice_key)?.read()?;
        let temperature = self.model.params.temperature(batch.done);
        let choice = ArrayView2::from_shape((k, batch.rows.len()), &choice)
            .map_err(|error| crate::Error::argument("framework", error.to_string()))?;
        let weights = self.gpu.tensor(&shares(choice, temperature), [k * batch.rows.len()])?;
        let losses = framework.losses(layers, tape, parameters, &rows, Some(loss_key))?;
        Ok((losses * &weights)?.sum()?.affine(1.0 / batch.rows.len() as f32, 0.0)?)
    }
}

/// `softmax(-losses / temperature)` over the heads, `[k, rows]`, one head after the other.
fn shares(losses: ArrayView2<'_, f32>, temperature: f32) -> Vec<f32> {
    let mut shares = losses.mapv(|loss| f64::from(loss) / f64::from(temperature));
    for mut row in shares.columns_mut() {
        let least = row.iter().copied().fold(f64::INFINITY, f64::min);
        row.mapv_inplace(|loss| (least - loss).exp());
        let total = row.sum();
        row.mapv_inplace(|share| share / total);
    }
    shares.iter().map(|&share| share as f32).collect()
}

fn floats(labels: &[u32]) -> Vec<f32> {
    labels.iter().map(|&label| label as f32).collect()
}

impl<F: Framework> Objective for Training<'_, F> {
    fn phases(&self) -> Vec<Phase> {
        let Params { epochs, warm_up, learning_rate, .. } = self.model.params;
        let phase = |name, epochs| Phase { name, epochs, learning_rate, warm_up: 0 };
        let fit = phase("fit", epochs);
        if warm_up > 0 { vec![phase("warm-up", warm_up), fit] } else { vec![fit] }
    }

    /// Rows begin with the head of the nearest seed, or the one that was asked for; after a warm-up with the one they choose.
    fn begin(&self, phase: usize, parameters: &mut Parameters, key: Key) -> Result<()> {
        let [seed_key, choice_key, next_key] = key.split();
        if phase == 0 {
            let labels = match self.start {
                Some(labels) => labels.to_vec(),
                None => nearest(&self.gpu, self.data, self.model.params.k, seed_key)?,
            };
            self.assign(parameters, labels)?;
            self.settle(parameters)?;
        } else {
            let labels = self.choose(parameters, choice_key)?;
            self.assign(parameters, labels)?;
        }
        if let Some(chosen) = &self.chosen {
            let labels = self.choose(parameters, next_key)?;
            parameters.set(chosen, &floats(&labels))?;
        }
        Ok(())
    }

    fn losses<'t>(
        &self,
        phase: usize,
        tape: &'t Tape,
        parameters: &Parameters,
        batch: &Batch,
        key: Key,
    ) -> Result<Losses<'t>> {
        let loss = match &self.batch {
            Some(every) if self.is_warm_up(phase) => self.soft_loss(every, tape, parameters, batch, key)?,
            _ => self.loss(tape, parameters, batch, key)?,
        };
        Ok(vec![("loss", loss)])
    }

    fn after_step(&self, phase: usize, parameters: &mut Parameters, step: usize, key: Key) -> Result<()> {
        let params = &self.model.params;
        let in_epoch = (self.data.rows() / params.rows_of_step(self.data.rows())).max(1);
        if params.k == 1 || self.is_warm_up(phase) || !step.is_multiple_of(params.steps.unwrap_or(in_epoch)) {
            return Ok(());
        }
        let held = step <= params.hold * in_epoch;
        match &self.chosen {
            None if held => Ok(()),
            None => {
                let labels = self.choose(parameters, key)?;
                if labels == self.assignment(parameters)?.labels { Ok(()) } else { self.assign(parameters, labels) }
            }
            Some(chosen) => {
                if !held {
                    let labels = parameters.read(chosen)?.into_iter().map(|head| head as u32).collect();
                    self.assign(parameters, labels)?;
                }
                let labels = self.choose(parameters, key)?;
                Ok(parameters.set(chosen, &floats(&labels))?)
            }
        }
    }
}

/// The nearest of `k` seeds of each row, drawn by k-means++.
fn nearest(gpu: &Gpu, data: &Dataset, k: usize, key: Key) -> Result<Vec<u32>> {
    let points = gpu.tensor(data.values(), [data.rows(), data.cols()])?;
    let seeds = seeds(gpu, &points, k, &[key])?.concat();
    let x = data.features();
    let distances = Array2::from_shape_fn((k, data.rows()), |(seed, row)| {
        let (seed, row) = (x.row(seeds[seed] as usize), x.row(row));
        seed.iter().zip(row).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>()
    });
    let mut labels = lowest(distances.view());
    refill(distances.view(), &mut labels);
    Ok(labels)
}
