//! Greedy k-means++: a centre is drawn among the rows with probability in proportion to the squared distance to the
//! nearest centre so far; of `2 + ⌊ln k⌋` such candidates the one that leaves the least total wins.
//!
//! Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding" (2007), with the trials of their section 6 and
//! scikit-learn's number of them.

use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::gather;
use softurn_kernels::ops::matmul::{self, Options};
use softurn_kernels::ops::reduce::{self, Reduction};
use softurn_kernels::{Gpu, Key, Tensor};

use super::rows::Rows;
use crate::Result;

/// Candidates for each centre.
pub(super) fn candidates(k: usize) -> usize {
    2 + (k as f64).ln() as usize
}

/// The part of `‖x‖²` below which a squared distance made of norms and a product over `cols` terms is rounding.
pub(super) fn rounding(cols: usize) -> f32 {
    (cols as f32).sqrt() * f32::EPSILON * 2.0
}

/// Row numbers of the `k` centres of each start, one start a key. All starts advance together.
pub(super) fn seed(gpu: &Gpu, rows: &Rows, squared_norms: &[f32], k: usize, keys: &[Key]) -> Result<Vec<Vec<u32>>> {
    let trials = candidates(k);
    let noise = rounding(rows.cols());
    // Which start each candidate belongs to.
    let owners: Vec<u32> = (0..(keys.len() * trials) as u32).map(|candidate| candidate / trials as u32).collect();
    let owners = gpu.tensor(&owners, [owners.len()])?;

    let uniform = |start: usize, draw: usize| keys[start].child(draw as u64).unit();
    let first = |start| vec![((uniform(start, 0) * rows.len() as f64) as u32).min(rows.len() as u32 - 1)];
    let mut chosen: Vec<Vec<u32>> = (0..keys.len()).map(first).collect();
    // For each part of the rows, `[starts, rows of the part]`.
    let mut nearest = squared_distances(gpu, rows, squared_norms, &chosen.concat())?;
    for centre in 1..k {
        let weights = nearest.iter().map(|part| Ok(part.read()?)).collect::<Result<Vec<_>>>()?;
        let mut drawn = Vec::with_capacity(keys.len() * trials);
        for start in 0..keys.len() {
            let of_start = |part: &Vec<f32>| part.chunks(part.len() / keys.len()).nth(start).unwrap_or(&[]).to_vec();
            let weights: Vec<f32> = weights.iter().flat_map(of_start).collect();
            let weight = |row: usize| if weights[row] > noise * squared_norms[row] { weights[row] } else { 0.0 };
            let lottery = Lottery::new((0..rows.len()).map(weight), &chosen[start]);
            drawn.extend((0..trials).map(|trial| lottery.draw(uniform(start, 1 + (centre - 1) * trials + trial))));
        }
        let mut left = squared_distances(gpu, rows, squared_norms, &drawn)?;
        let mut totals = vec![0.0; drawn.len()];
        for (left, nearest) in left.iter_mut().zip(&nearest) {
            *left = binary::forward(gpu, Binary::Min, left, &gather::forward(gpu, nearest, &owners)?)?;
            let part = reduce::over_cols(gpu, Reduction::Sum, left)?.read()?;
            totals.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        let best: Vec<u32> = (0..keys.len())
            .map(|start| {
                let range = start * trials..(start + 1) * trials;
                range.min_by(|&a, &b| totals[a].total_cmp(&totals[b])).unwrap_or(start * trials) as u32
            })
            .collect();
        for (chosen, &best) in chosen.iter_mut().zip(&best) {
            chosen.push(drawn[best as usize]);
        }
        let best = gpu.tensor(&best, [best.len()])?;
        nearest = left.iter().map(|part| Ok(gather::forward(gpu, part, &best)?)).collect::<Result<_>>()?;
    }
    Ok(chosen)
}

/// `‖x_i - x_j‖²` from each row `j` of `picked` to the rows of each part, `[picked, rows]`; zero up to rounding, which may
/// be negative.
fn squared_distances(gpu: &Gpu, rows: &Rows, squared_norms: &[f32], picked: &[u32]) -> Result<Vec<Tensor>> {
    let own: Vec<f32> = picked.iter().map(|&row| squared_norms[row as usize]).collect();
    let own = gpu.tensor(&own, [own.len(), 1])?;
    let picked: Vec<f32> = rows.pick(gpu, picked)?.into_iter().map(|value| -2.0 * value).collect();
    let picked = gpu.tensor(&picked, [own.len(), rows.cols()])?;
    let options = Options { transpose_b: true, ..Options::default() };
    let mut start = 0;
    let part = |part: &Tensor| {
        let end = start + part.shape().dims()[0];
        let norms = gpu.tensor(&squared_norms[start..end], [end - start])?;
        start = end;
        let partial = matmul::forward(gpu, options, &picked, part, Some(&norms))?;
        Ok(binary::forward(gpu, Binary::Add, &partial, &own)?)
    };
    rows.parts().iter().map(part).collect()
}

/// Draws rows in proportion to weights; evenly among the rows not chosen yet where all weights are zero, because there are
/// fewer distinct rows than centres.
struct Lottery {
    cumulative: Vec<f64>,
}

impl Lottery {
    fn new(weights: impl Iterator<Item = f32>, chosen: &[u32]) -> Self {
        let mut total = 0.0;
        let mut cumulative: Vec<f64> = weights
            .map(|weight| {
                total += f64::from(weight);
                total
            })
            .collect();
        if total == 0.0 {
            cumulative.fill(1.0);
            chosen.iter().for_each(|&row| cumulative[row as usize] = 0.0);
            for row in 1..cumulative.len() {
                cumulative[row] += cumulative[row - 1];
            }
        }
        Self { cumulative }
    }

    fn draw(&self, uniform: f64) -> u32 {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let place = self.cumulative.partition_point(|&sum| sum <= uniform * total);
        // `uniform * total` may round to the total: then the first row that reaches it.
        let last = self.cumulative.partition_point(|&sum| sum < total);
        place.min(last) as u32
    }
}
