//! Partitions of a row's elements into ordered groups, which may be empty.

use softurn_autodiff::Var;
use softurn_kernels::ops::blocks;
use softurn_kernels::ops::fisher_hypergeometric::{Law, Noise, Sampling, Urn};
use softurn_kernels::ops::relaxed_sort::{self, Relaxation};
use softurn_kernels::{Key, Tensor};

use super::{MultivariateFisherHypergeometric, PlackettLuce, Temperature};
use crate::{Error, Result};

/// The longest group whose orders are summed exactly.
const LONGEST: usize = 20;

/// A random partition in two stages, after Sutter, Ryser, Liebeskind and Vogt (2023), "Differentiable random partition models":
/// how many elements each group has, by Fisher's noncentral hypergeometric law of groups that could hold all of them, and
/// which, by the order of Plackett and Luce: the first group takes the first elements of a drawn order, and so on.
///
/// `log_weights` `[1, groups]` or `[rows, groups]` move the sizes, `scores` `[rows, n]` the elements: a higher score falls into an
/// earlier group. Draws are assignments `[rows, n, groups]`, each element's row being zeros with a one; memory is O(n groups).
///
/// ```
/// use softurn_autodiff::Tape;
/// use softurn_kernels::ops::relaxed_sort::{Kind, Relaxation};
/// use softurn_kernels::{Gpu, GpuConfig, Key};
/// use softurn_models::distributions::{RandomPartition, Temperature};
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let tape = Tape::new(&gpu);
/// let log_weights = tape.leaf(&gpu.tensor(&[0.0f32, 2f32.ln()], [1, 2])?)?;
/// let scores = tape.leaf(&gpu.tensor(&[0.3f32, -0.2, 0.5, 0.1], [1, 4])?)?;
/// let law = RandomPartition::new(log_weights.clone(), scores.clone())?;
/// let relaxation = Relaxation { kind: Kind::Neural, temperature: 1.0 };
/// let draw = law.rsample(Key::new(0), Temperature::new(1.0)?, relaxation)?;
/// assert!(draw.read()?.chunks(2).all(|element| element.iter().sum::<f32>() == 1.0));
/// // The first and the third element in the first group.
/// let labels = gpu.tensor(&[0u32, 1, 0, 1], [1, 4])?;
/// assert!((law.log_prob(&labels)?[0] + 2.130_959).abs() < 1e-5);
/// let gradients = tape.backward(&draw.square()?.sum()?)?;
/// assert!(gradients.of(&log_weights).is_some() && gradients.of(&scores).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RandomPartition<'t> {
    sizes: MultivariateFisherHypergeometric<'t>,
    order: PlackettLuce<'t>,
}

/// What bounds the logarithm of a partition's probability, each `[rows]`, with gradients.
#[derive(Debug, Clone)]
pub struct PartitionBounds<'t> {
    /// `log p(sizes)` plus the log-probability of the likeliest order with this partition.
    pub lower: Var<'t>,
    /// The same plus the logarithm of the number of orders with this partition.
    pub upper: Var<'t>,
}

impl<'t> RandomPartition<'t> {
    /// Partitions of the elements of each row of scores. Parameters are not read: rows that cannot be drawn give NaN.
    ///
    /// # Errors
    /// When the scores are not `[rows, n]`, or the weights not `[1, groups]` or `[rows, groups]`.
    pub fn new(log_weights: Var<'t>, scores: Var<'t>) -> Result<Self> {
        let gpu = scores.tape().gpu();
        let order = PlackettLuce::new(scores)?;
        let (rows, groups) = log_weights.shape().rows_cols();
        let dims = log_weights.shape().dims().len();
        if dims != 2 || groups == 0 || (rows != 1 && rows != order.batch_shape()[0]) {
            let message = format!("has shape {}, not [1 or {}, groups]", log_weights.shape(), order.batch_shape()[0]);
            return Err(Error::argument("log_weights", message));
        }
        let n = order.event_shape()[0] as u32;
        let urn = Urn::new(gpu, &vec![n; groups], n)?;
        let sizes = MultivariateFisherHypergeometric::with_law(log_weights, &urn, &Law::Exact)?;
        Ok(Self { sizes, order })
    }

    /// The shape of one partition: `[n, groups]`.
    pub fn event_shape(&self) -> [usize; 2] {
        [self.order.event_shape()[0], self.sizes.event_shape()[0]]
    }

    /// The rows of scores.
    pub fn batch_shape(&self) -> [usize; 1] {
        self.order.batch_shape()
    }

    /// The law of the sizes.
    pub fn sizes(&self) -> &MultivariateFisherHypergeometric<'t> {
        &self.sizes
    }

    /// The law of the order.
    pub fn order(&self) -> &PlackettLuce<'t> {
        &self.order
    }

    /// A draw of each row `[rows, n, groups]`, without a gradient.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sample(&self, key: Key) -> Result<Tensor> {
        let (rows, [size_key, order_key]) = (self.batch_shape()[0], key.split());
        let scores = self.order.drawn_scores(order_key)?;
        let gpu = scores.tape().gpu();
        let blocks = blocks::forward(gpu, &self.sizes.sample(rows, size_key)?, self.event_shape()[0])?;
        Ok(relaxed_sort::hard_transposed(gpu, &relaxed_sort::prepare(gpu, scores.value())?, &blocks)?)
    }

    /// A draw of each row, exact, with straight-through gradients: of the sizes by their relaxation at `temperature`, of the
    /// borders between groups by what moving them by one changes, of the scores by the relaxed sort.
    ///
    /// # Errors
    /// Those of the device.
    pub fn rsample(&self, key: Key, temperature: Temperature, relaxation: Relaxation) -> Result<Var<'t>> {
        let [draw, _] = self.rsample_with_sizes(key, temperature, relaxation)?;
        Ok(draw)
    }

    /// As [`Self::rsample`], and the drawn sizes `[rows, groups]` with their own gradient to the weights.
    ///
    /// # Errors
    /// Those of the device.
    pub fn rsample_with_sizes(
        &self,
        key: Key,
        temperature: Temperature,
        relaxation: Relaxation,
    ) -> Result<[Var<'t>; 2]> {
        let [size_key, order_key] = key.split();
        let sizes = self.sizes.rsample_rows(self.batch_shape()[0], size_key, temperature)?;
        let blocks = sizes.blocks(self.event_shape()[0])?;
        Ok([self.order.drawn_scores(order_key)?.sort_transposed_straight_through(&blocks, relaxation)?, sizes])
    }

    /// A relaxed draw of each row: real sizes, and elements spread over groups; each position of the order shares out 1, so
    /// that the entries of a row sum to `n`. Inside \[0, 1\] but for what a relaxed sort gives an element more than once.
    ///
    /// # Errors
    /// Those of the device.
    pub fn rsample_relaxed(&self, key: Key, temperature: Temperature, relaxation: Relaxation) -> Result<Var<'t>> {
        let [size_key, order_key] = key.split();
        let counts = self.sizes.rsample_relaxed(self.batch_shape()[0], size_key, temperature)?;
        let blocks = counts.blocks(self.event_shape()[0])?;
        Ok(self.order.drawn_scores(order_key)?.relaxed_sort_transposed(&blocks, relaxation)?)
    }

    /// Sizes likeliest group by group, and the likeliest order: noise-free, with the gradients of [`Self::rsample`].
    ///
    /// # Errors
    /// Those of the device.
    pub fn noise_free(&self, temperature: Temperature, relaxation: Relaxation) -> Result<Var<'t>> {
        let sampling = Sampling { noise: Noise::None, temperature: temperature.value(), relaxed: false, scored: false };
        let counts = self.sizes.rsample_with(self.batch_shape()[0], &sampling, false)?.counts;
        let blocks = counts.blocks(self.event_shape()[0])?;
        Ok(self.order.scores().sort_transposed_straight_through(&blocks, relaxation)?)
    }

    /// Bounds of the logarithm of the probability of each row's partition, given as the group of each element, `u32`
    /// `[rows, n]`. Reads labels and scores.
    ///
    /// # Errors
    /// When the shape is another or a label is no group; the row is named.
    pub fn log_prob_bounds(&self, labels: &Tensor) -> Result<PartitionBounds<'t>> {
        let ([n, groups], rows) = (self.event_shape(), self.batch_shape()[0]);
        let labels = self.labels(labels)?;
        let scores = self.order.scores().read()?;
        let (mut order, mut counts, mut orders) = (Vec::new(), Vec::new(), Vec::new());
        for (labels, scores) in labels.chunks(n).zip(scores.chunks(n)) {
            // The likeliest of a partition's orders has each group's elements in descending order of scores.
            let mut elements: Vec<usize> = (0..n).collect();
            elements.sort_by(|&a, &b| labels[a].cmp(&labels[b]).then(scores[b].total_cmp(&scores[a])));
            order.extend(elements.iter().map(|&i| i as u32));
            let sizes = sizes(labels, groups);
            orders.push(sizes.iter().map(|&m| (1..=m).map(|i| (i as f64).ln()).sum::<f64>()).sum::<f64>() as f32);
            counts.extend(sizes.iter().map(|&m| m as f32));
        }
        let tape = self.order.scores().tape();
        let gpu = tape.gpu();
        let of_sizes = self.sizes.log_prob(&gpu.tensor(&counts, [rows, groups])?)?;
        let of_order = self.order.log_prob(&gpu.tensor(&order, [rows, n])?)?;
        let lower = (of_sizes + &of_order)?;
        let upper = (&lower + &tape.constant(&gpu.tensor(&orders, [rows])?))?;
        Ok(PartitionBounds { lower, upper })
    }

    /// The logarithm of the probability of each row's partition, given as the group of each element, `u32` `[rows, n]`: the sum
    /// over all orders with this partition, of groups of up to 20 elements. On the host, without a gradient.
    ///
    /// # Errors
    /// As [`Self::log_prob_bounds`], and when a group is longer.
    pub fn log_prob(&self, labels: &Tensor) -> Result<Vec<f64>> {
        let ([n, groups], rows) = (self.event_shape(), self.batch_shape()[0]);
        let labels = self.labels(labels)?;
        let counts: Vec<f32> = labels.chunks(n).flat_map(|labels| sizes(labels, groups)).map(|m| m as f32).collect();
        if let Some(longest) = counts.iter().find(|m| **m > LONGEST as f32) {
            let message = format!("have a group of {longest}; orders of up to {LONGEST} are summed: see the bounds");
            return Err(Error::argument("labels", message));
        }
        let gpu = self.order.scores().tape().gpu();
        let of_sizes = self.sizes.log_prob(&gpu.tensor(&counts, [rows, groups])?)?.read()?;
        let scores: Vec<f64> = self.order.scores().read()?.iter().map(|&s| f64::from(s)).collect();
        let of_order = |row: usize| {
            let rows = row * n..(row + 1) * n;
            log_prob_of_groups(&scores[rows.clone()], &labels[rows], groups)
        };
        Ok((0..rows).map(|row| f64::from(of_sizes[row]) + of_order(row)).collect())
    }

    fn labels(&self, labels: &Tensor) -> Result<Vec<usize>> {
        let [n, groups] = self.event_shape();
        let (rows, cols) = labels.shape().rows_cols();
        self.order.check_rows("labels", rows)?;
        if cols != n || labels.shape().dims().len() != 2 {
            return Err(Error::argument("labels", format!("has shape {}, not [rows, {n}]", labels.shape())));
        }
        let labels: Vec<usize> = labels.read_u32()?.iter().map(|&label| label as usize).collect();
        if let Some(at) = labels.iter().position(|&label| label >= groups) {
            let message = format!("of row {} hold {}, of {groups} groups", at / n, labels[at]);
            return Err(Error::argument("labels", message));
        }
        Ok(labels)
    }
}

/// How many elements each group has.
fn sizes(labels: &[usize], groups: usize) -> Vec<usize> {
    let mut sizes = vec![0; groups];
    labels.iter().for_each(|&label| sizes[label] += 1);
    sizes
}

/// The logarithm of the probability that an order of Plackett and Luce takes the elements of group 0 first, in any order among
/// themselves, then those of group 1 and so on: group by group a sum over which of its elements are taken already.
pub fn log_prob_of_groups(scores: &[f64], labels: &[usize], groups: usize) -> f64 {
    let last = labels.iter().copied().max().unwrap_or(0);
    // What is left in the end is taken for certain.
    (0..groups.min(last)).map(|group| log_prob_of_next(scores, labels, group)).sum()
}

/// The same of one group, where those before are taken and others come after.
fn log_prob_of_next(scores: &[f64], labels: &[usize], group: usize) -> f64 {
    let own: Vec<f64> = (0..scores.len()).filter(|&i| labels[i] == group).map(|i| scores[i]).collect();
    let later = (0..scores.len()).filter(|&i| labels[i] > group).map(|i| scores[i]);
    let later = later.fold(f64::NEG_INFINITY, log_add);
    let sets = 1usize << own.len();
    // Of each set of the group's elements, in logarithms: its weight, and the probability that it is taken first.
    let (mut weights, mut taken) = (vec![f64::NEG_INFINITY; sets], vec![f64::NEG_INFINITY; sets]);
    taken[0] = 0.0;
    for set in 1..sets {
        weights[set] = log_add(weights[set & (set - 1)], own[set.trailing_zeros() as usize]);
    }
    for set in 1..sets {
        for j in (0..own.len()).filter(|j| set >> j & 1 == 1 && own[*j] > f64::NEG_INFINITY) {
            let before = set & !(1 << j);
            let left = log_add(later, weights[(sets - 1) & !before]);
            taken[set] = log_add(taken[set], taken[before] + own[j] - left);
        }
    }
    taken[sets - 1]
}

fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}
