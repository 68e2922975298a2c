//! Mini-batch k-means: each step takes a few random rows, lets them join their nearest centres, and moves every centre to
//! the mean of all rows that ever joined it: `N_c += n_c`, `c += (Σ x - n_c c) / N_c`.
//!
//! Sculley, "Web-scale k-means clustering" (WWW 2010), whose step size per row is one over the rows of its centre so far:
//! for the rows of a batch together that is the formula above. As in scikit-learn, centres are seeded on a sample, and
//! a start ends when its inertia per row, smoothed over the batches, has not reached a new low for ten steps. Starts run side
//! by side on the same batches, and rows that no batch holds judge them. Rows stay on the host; a batch or a block of them is
//! on the device at a time.

use softurn_kernels::{Gpu, Key, Tensor};

use super::lloyd::{self, Centres, Members};
use super::rows::{Rows, host_parts, most_rows, rows_at_once};
use super::{FittedKMeans, seeding};
use crate::clustering::features::Scaling;
use crate::data::Dataset;
use crate::train::batches::below;
use crate::{Error, Result};

/// Steps without a new low of the smoothed inertia after which a start ends.
const PATIENCE: usize = 10;
/// A centre moves to another place when it got no row for ten steps, and none out of so many for each centre.
const IDLE_ROWS: usize = 100;

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) k: usize,
    pub(super) starts: usize,
    pub(super) batch: usize,
    pub(super) steps: usize,
}

/// One start.
pub(super) struct Start {
    /// `[k, cols]`, the mean of the data taken out.
    pub(super) centres: Vec<f64>,
    /// Rows that joined each centre, `[k]`.
    pub(super) counts: Vec<f64>,
    /// Steps since each centre got a row, `[k]`.
    idle: Vec<usize>,
    steps: usize,
    /// The inertia per row, smoothed; its lowest value, and steps since.
    smoothed: f64,
    lowest: f64,
    since: usize,
}

impl Start {
    pub(super) fn new(centres: Vec<f32>, k: usize) -> Self {
        Self {
            centres: centres.into_iter().map(f64::from).collect(),
            counts: vec![0.0; k],
            idle: vec![0; k],
            steps: 0,
            smoothed: 0.0,
            lowest: f64::INFINITY,
            since: 0,
        }
    }

    fn rounded(&self) -> impl Iterator<Item = f32> + '_ {
        self.centres.iter().map(|&value| value as f32)
    }

    fn converged(&self) -> bool {
        self.since >= PATIENCE
    }

    /// Moves the centres by the rows of a batch, whose squared lengths sum to `squares`, and returns how far the rows were
    /// from the centres: `Σ ‖x - c‖² = Σ ‖x‖² - 2 Σ c·Σx + Σ n ‖c‖²`.
    pub(super) fn step(&mut self, sums: &[f64], counts: &[f64], squares: f64) -> f64 {
        let cols = sums.len() / counts.len();
        let mut inertia = squares;
        for (j, &count) in counts.iter().enumerate() {
            self.idle[j] = if count > 0.0 { 0 } else { self.idle[j] + 1 };
            self.counts[j] += count;
            for at in j * cols..(j + 1) * cols {
                let centre = f64::from(self.centres[at] as f32);
                inertia += centre * (count * centre - 2.0 * sums[at]);
                if count > 0.0 {
                    self.centres[at] += (sums[at] - count * self.centres[at]) / self.counts[j];
                }
            }
        }
        self.steps += 1;
        inertia.max(0.0)
    }

    fn watch(&mut self, inertia: f64, weight: f64) {
        self.smoothed = if self.steps == 1 { inertia } else { self.smoothed + weight * (inertia - self.smoothed) };
        self.since += 1;
        if self.smoothed < self.lowest {
            (self.lowest, self.since) = (self.smoothed, 0);
        }
    }

    /// Moves centres that get no rows to the rows of the batch that lie farthest from their own; each is then as good as
    /// seeded there.
    pub(super) fn refill(&mut self, batch: &[f32], distances: &[f32], least: usize) {
        let cols = self.centres.len() / self.counts.len();
        let mut far: Vec<usize> = (0..distances.len()).filter(|&row| distances[row] > 0.0).collect();
        far.sort_by(|&a, &b| distances[b].total_cmp(&distances[a]).then(a.cmp(&b)));
        let empty = (0..self.counts.len()).filter(|&j| self.idle[j] >= least).collect::<Vec<_>>();
        for (j, row) in empty.into_iter().zip(far) {
            let values = batch[row * cols..(row + 1) * cols].iter().map(|&value| f64::from(value));
            self.centres[j * cols..(j + 1) * cols].iter_mut().zip(values).for_each(|(centre, value)| *centre = value);
            (self.counts[j], self.idle[j]) = (0.0, 0);
            // The inertia falls from here.
            self.since = 0;
        }
    }
}

/// Clusters the rows of a data set.
pub(super) fn fit(gpu: &Gpu, scaling: Scaling, data: &Dataset, settings: Settings, key: Key) -> Result<FittedKMeans> {
    let Settings { k, starts, batch, steps } = settings;
    let (rows, cols) = (data.rows(), data.cols());
    let most = most_rows(gpu, cols);
    if batch.min(rows) > most {
        let message = format!("{batch} rows of {cols} columns are more than the {most} that one step can take");
        return Err(Error::argument("batch", message));
    }
    let batch = batch.min(rows);
    let [sample_key, rest_key] = key.split();
    let [seed_key, steps_key] = rest_key.split();

    // Rows in random order as far as they are needed: first those that judge, then those that seed.
    let size = (3 * batch).max(k).min(most);
    let held = (rows / 4).min(size).min(rows - k);
    let seeding = size.min(rows - held);
    let mut order: Vec<u32> = (0..rows as u32).collect();
    for at in 0..held + seeding {
        order.swap(at, at + below(sample_key.child(at as u64), rows - at));
    }
    let take = |rows: &[u32]| -> Result<Tensor> {
        let values = scaling.rows(data, rows.iter().map(|&row| row as usize))?;
        Ok(gpu.tensor(&values, [rows.len(), cols])?)
    };
    let sample = Rows::centred(gpu, &take(&order[held..held + seeding])?)?;
    let mean = sample.mean.clone();
    let norms = sample.squared_norms(gpu)?;
    let keys: Vec<Key> = seed_key.split_forever().take(starts).collect();
    let mut starts = Vec::with_capacity(keys.len());
    for keys in keys.chunks(sample.together(k.max(seeding::candidates(k)))) {
        for seeds in seeding::seed(gpu, &sample, &norms, k, keys)? {
            starts.push(Start::new(sample.pick(gpu, &seeds)?, k));
        }
    }
    drop(sample);

    let weight = (2.0 * batch as f64 / (rows + 1) as f64).min(1.0);
    let least_idle = PATIENCE.max((IDLE_ROWS * k).div_ceil(batch));
    let mut active: Vec<usize> = (0..starts.len()).collect();
    for step in 0..steps {
        let step_key = steps_key.child(step as u64);
        let draw = |i: usize| order[held + below(step_key.child(i as u64), rows - held)];
        let picked = Rows::of(gpu, &take(&(0..batch).map(draw).collect::<Vec<_>>())?, &mean)?;
        let squares: f64 = picked.squared_norms(gpu)?.into_iter().map(f64::from).sum();
        // So many starts at a time that rows times centres stay within the budget of a temporary.
        for active in active.chunks(picked.together(k)) {
            let centres: Vec<f32> = active.iter().flat_map(|&start| starts[start].rounded()).collect();
            let centres = Centres::new(gpu, &centres, cols)?;
            let mut members = Members::new(active.len() * k, cols);
            let labels = centres.nearest(gpu, &picked.parts()[0], k)?;
            members.add(gpu, &labels, &picked.parts()[0], k)?;
            for (place, &start) in active.iter().enumerate() {
                let start = &mut starts[start];
                let before: Vec<f32> = start.rounded().collect();
                let range = place * k..(place + 1) * k;
                let sums = &members.sums[range.start * cols..range.end * cols];
                let inertia = start.step(sums, &members.counts[range], squares);
                start.watch(inertia / batch as f64, weight);
                if start.idle.iter().any(|&steps| steps >= least_idle) {
                    let own: Vec<u32> = labels.read_u32()?.into_iter().skip(place).step_by(active.len()).collect();
                    let before = gpu.tensor(&before, [k, cols])?;
                    let distances = lloyd::squared_distances(gpu, &picked, &before, &own)?;
                    start.refill(&picked.parts()[0].read()?, &distances, least_idle);
                }
            }
        }
        active.retain(|&start| !starts[start].converged());
        if active.is_empty() {
            break;
        }
    }

    let judges = Rows::of(gpu, &take(&order[..held])?, &mean)?;
    let mut best: Option<(f64, Start)> = None;
    for start in starts {
        let centres = Centres::new(gpu, &start.rounded().collect::<Vec<_>>(), cols)?;
        let (_, inertia) = assign(gpu, &judges, &centres)?;
        if best.as_ref().is_none_or(|(least, _)| inertia < *least) {
            best = Some((inertia, start));
        }
    }
    let (_, start) = best.ok_or_else(|| Error::argument("starts", "must be at least 1"))?;
    let centred = Centres::new(gpu, &start.rounded().collect::<Vec<_>>(), cols)?;
    let (mut labels, mut inertia) = (Vec::with_capacity(rows), 0.0);
    for part in host_parts(gpu, &scaling, data, rows_at_once(gpu, k.max(cols)))? {
        let (own, part) = assign(gpu, &Rows::of(gpu, &part?, &mean)?, &centred)?;
        labels.extend(own);
        inertia += part;
    }
    let (iterations, converged) = (start.steps, start.converged());
    FittedKMeans::new(scaling, mean, centred, labels, inertia, iterations, converged)
}

/// The nearest centre of every row, and the total squared distance to them.
fn assign(gpu: &Gpu, rows: &Rows, centres: &Centres) -> Result<(Vec<u32>, f64)> {
    let labels = lloyd::labels(gpu, rows, centres)?;
    let distances = lloyd::squared_distances(gpu, rows, &centres.values, &labels)?;
    Ok((labels, distances.into_iter().map(f64::from).sum()))
}
