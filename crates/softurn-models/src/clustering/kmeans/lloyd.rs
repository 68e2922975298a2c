//! Lloyd's iterations: every row joins its nearest centre, `argmax_j (x·c_j - ½‖c_j‖²)`, and every centre moves to the mean
//! of its rows, `Hᵀ X / counts` with the one-hot matrix `H` of the labels.
//!
//! Starts run side by side as columns of one product until each has converged. A centre without rows moves to the row that
//! lies farthest from its own centre, as in scikit-learn. Sums of blocks of rows are added on the host in `f64`.

use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::matmul::{self, Options};
use softurn_kernels::ops::reduce::{self, Reduction};
use softurn_kernels::ops::{gather, one_hot};
use softurn_kernels::{Gpu, Tensor};

use super::rows::{Rows, squared_lengths, upload};
use super::seeding::rounding;
use crate::Result;

/// When a start ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    pub(super) iterations: usize,
    /// Total squared movement of the centres, in units of the data.
    pub(super) movement: f64,
}

/// One start: its centres `[k, cols]` and how it got there.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) centres: Vec<f32>,
    pub(super) iterations: usize,
    pub(super) converged: bool,
}

/// Centres on the device, those of several starts one after the other, with `-½‖c‖²`.
#[derive(Debug, Clone)]
pub(super) struct Centres {
    pub(super) values: Tensor,
    pub(super) bias: Tensor,
}

impl Centres {
    /// `values` is `[centres, cols]`.
    pub(super) fn new(gpu: &Gpu, values: &[f32], cols: usize) -> Result<Self> {
        let half_norm = |centre: &[f32]| -0.5 * centre.iter().map(|&c| f64::from(c) * f64::from(c)).sum::<f64>();
        let bias: Vec<f64> = values.chunks(cols).map(half_norm).collect();
        let values = gpu.tensor(values, [bias.len(), cols])?;
        Ok(Self { values, bias: upload(gpu, &bias, &[bias.len()])? })
    }

    /// The nearest of each `k` centres, `[rows · centres / k]`: row by row, start by start.
    pub(super) fn nearest(&self, gpu: &Gpu, rows: &Tensor, k: usize) -> Result<Tensor> {
        let options = Options { transpose_b: true, ..Options::default() };
        let scores = matmul::forward(gpu, options, rows, &self.values, Some(&self.bias))?;
        let scores = scores.reshape([scores.len() / k, k])?;
        Ok(reduce::argmax(gpu, &scores)?)
    }
}

/// Sums over the rows of each cluster, and their number.
pub(super) struct Members {
    pub(super) sums: Vec<f64>,
    pub(super) counts: Vec<f64>,
}

impl Members {
    pub(super) fn new(clusters: usize, cols: usize) -> Self {
        Self { sums: vec![0.0; clusters * cols], counts: vec![0.0; clusters] }
    }

    /// Adds `values`, `[rows, cols]`, whose labels among `k` are those of each start in turn.
    pub(super) fn add(&mut self, gpu: &Gpu, labels: &Tensor, values: &Tensor, k: usize) -> Result<()> {
        let rows = values.shape().dims()[0];
        let members = one_hot::forward(gpu, labels, k)?.reshape([rows, self.counts.len()])?;
        let options = Options { transpose_a: true, ..Options::default() };
        let sums = matmul::forward(gpu, options, &members, values, None)?;
        let counts = reduce::over_rows(gpu, Reduction::Sum, &members)?;
        let add = |total: &mut [f64], part: Vec<f32>| {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += f64::from(part));
        };
        add(&mut self.sums, sums.read()?);
        add(&mut self.counts, counts.read()?);
        Ok(())
    }
}

/// Moves the centres of all starts, `[k, cols]` each, until they rest.
pub(super) fn run(
    gpu: &Gpu,
    rows: &Rows,
    squared_norms: &[f32],
    k: usize,
    starts: Vec<Vec<f32>>,
    stop: Stop,
) -> Result<Vec<Run>> {
    let cols = rows.cols();
    let blocks = rows.blocks((starts.len() * k).max(cols))?;
    let mut runs: Vec<Run> =
        starts.into_iter().map(|centres| Run { centres, iterations: 0, converged: false }).collect();
    let mut active: Vec<usize> = (0..runs.len()).collect();
    for _ in 0..stop.iterations {
        let flat: Vec<f32> = active.iter().flat_map(|&run| &runs[run].centres).copied().collect();
        let centres = Centres::new(gpu, &flat, cols)?;
        let mut members = Members::new(active.len() * k, cols);
        let mut labels = Vec::with_capacity(blocks.len());
        for block in &blocks {
            labels.push(centres.nearest(gpu, block, k)?);
            members.add(gpu, &labels[labels.len() - 1], block, k)?;
        }
        for (place, &run) in active.iter().enumerate() {
            let sums = &mut members.sums[place * k * cols..(place + 1) * k * cols];
            let counts = &mut members.counts[place * k..(place + 1) * k];
            let run = &mut runs[run];
            if counts.contains(&0.0) {
                let mut own = Vec::with_capacity(rows.len());
                for labels in &labels {
                    own.extend(labels.read_u32()?.into_iter().skip(place).step_by(active.len()));
                }
                refill(gpu, rows, squared_norms, &run.centres, &own, sums, counts)?;
            }
            let mut movement = 0.0;
            for (j, centre) in run.centres.chunks_mut(cols).enumerate().filter(|&(j, _)| counts[j] > 0.0) {
                for (value, sum) in centre.iter_mut().zip(&sums[j * cols..]) {
                    let new = (sum / counts[j]) as f32;
                    movement += (f64::from(new) - f64::from(*value)).powi(2);
                    *value = new;
                }
            }
            run.iterations += 1;
            run.converged = movement <= stop.movement;
        }
        active.retain(|&run| !runs[run].converged);
        if active.is_empty() {
            break;
        }
    }
    Ok(runs)
}

/// Gives each cluster without rows the row farthest from its own centre, taken from a cluster that keeps others. Where
/// every row lies on its centre there are fewer distinct rows than clusters, and the cluster stays empty.
fn refill(
    gpu: &Gpu,
    rows: &Rows,
    squared_norms: &[f32],
    centres: &[f32],
    labels: &[u32],
    sums: &mut [f64],
    counts: &mut [f64],
) -> Result<()> {
    let cols = rows.cols();
    let centres = gpu.tensor(centres, [counts.len(), cols])?;
    let distances = squared_distances(gpu, rows, &centres, labels)?;
    let noise = rounding(cols);
    let mut far: Vec<usize> = (0..labels.len()).filter(|&row| distances[row] > noise * squared_norms[row]).collect();
    far.sort_by(|&a, &b| distances[b].total_cmp(&distances[a]).then(a.cmp(&b)));
    let mut far = far.into_iter();
    let empty: Vec<usize> = (0..counts.len()).filter(|&cluster| counts[cluster] == 0.0).collect();
    for cluster in empty {
        let Some(row) = far.find(|&row| counts[labels[row] as usize] > 1.0) else { break };
        let owner = labels[row] as usize;
        let values = rows.pick(gpu, &[row as u32])?;
        for (column, value) in values.into_iter().map(f64::from).enumerate() {
            sums[owner * cols + column] -= value;
            sums[cluster * cols + column] = value;
        }
        counts[owner] -= 1.0;
        counts[cluster] = 1.0;
    }
    Ok(())
}

/// `‖x_i - c_{labels_i}‖²`, without the cancellation of norms.
pub(super) fn squared_distances(gpu: &Gpu, rows: &Rows, centres: &Tensor, labels: &[u32]) -> Result<Vec<f32>> {
    let mut distances = Vec::with_capacity(labels.len());
    for block in rows.blocks(rows.cols())? {
        let own = &labels[distances.len()..distances.len() + block.shape().dims()[0]];
        let own = gpu.tensor(own, [own.len()])?;
        distances.extend(squared_lengths(gpu, &residuals(gpu, &block, centres, &own)?)?.read()?);
    }
    Ok(distances)
}

fn residuals(gpu: &Gpu, block: &Tensor, centres: &Tensor, labels: &Tensor) -> Result<Tensor> {
    Ok(binary::forward(gpu, Binary::Sub, block, &gather::forward(gpu, centres, labels)?)?)
}

/// The nearest centre of every row.
pub(super) fn labels(gpu: &Gpu, rows: &Rows, centres: &Centres) -> Result<Vec<u32>> {
    let k = centres.bias.len();
    let mut labels = Vec::with_capacity(rows.len());
    for block in rows.blocks(k.max(rows.cols()))? {
        labels.extend(centres.nearest(gpu, &block, k)?.read_u32()?);
    }
    Ok(labels)
}

/// Centres that are exact to rounding, the labels of the rows and the inertia: the mean distance of the rows to their
/// centre, which single precision leaves over in long sums, is added to it.
pub(super) fn finish(gpu: &Gpu, rows: &Rows, k: usize, centres: &mut [f32]) -> Result<(Vec<u32>, f64)> {
    let cols = rows.cols();
    let rough = Centres::new(gpu, centres, cols)?;
    let mut members = Members::new(k, cols);
    for block in rows.blocks(k.max(cols))? {
        let labels = rough.nearest(gpu, &block, k)?;
        members.add(gpu, &labels, &residuals(gpu, &block, &rough.values, &labels)?, k)?;
    }
    for (j, centre) in centres.chunks_mut(cols).enumerate().filter(|&(j, _)| members.counts[j] > 0.0) {
        for (value, sum) in centre.iter_mut().zip(&members.sums[j * cols..]) {
            *value = (f64::from(*value) + sum / members.counts[j]) as f32;
        }
    }
    let exact = Centres::new(gpu, centres, cols)?;
    let labels = labels(gpu, rows, &exact)?;
    let inertia = squared_distances(gpu, rows, &exact.values, &labels)?.into_iter().map(f64::from).sum();
    Ok((labels, inertia))
}
