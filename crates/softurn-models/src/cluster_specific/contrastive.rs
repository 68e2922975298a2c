//! Tensorised contrastive learning (TCL): an encoder for each cluster.

use serde::{Deserialize, Serialize};
use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::Key;
use softurn_kernels::ops::augment;
use softurn_kernels::ops::matmul::Activation;

use super::Width;
use super::framework::{Blocks, Framework, HeadRows, Members};
use crate::data::Dataset;
use crate::nn::GroupedLinear;
use crate::train::batches::below;
use crate::{Error, Result};

/// What a row is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum Positives {
    /// Itself with noise of a standard deviation, and with columns hidden at random in a share: no labels.
    View {
        /// The noise.
        noise: f32,
        /// The share, below 1.
        dropout: f32,
    },
    /// Another row of its cluster: no labels.
    #[default]
    Cluster,
    /// Another row of its true class: **uses the labels of the data**, as the authors' runs with class knowledge.
    Class,
}

/// Triplets compared by inner products: the loss of a row is `u(x) · (u(x⁻) - u(x⁺))` with the encoder `u` of its head, a positive `x⁺`, and a
/// negative `x⁻` from another cluster. Rows choose heads by the same loss with the means of `u` over the head's own rows and over those of
/// other heads in place of `x⁺` and `x⁻`.
///
/// Representations have length 1: without that the loss has no lower bound, as a larger `u` makes it as negative as one likes.
/// Without labels the clusters need not be classes; in the authors' runs they were not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contrastive {
    dimensions: usize,
    hidden: Vec<usize>,
    positives: Positives,
    normalised: bool,
}

impl Contrastive {
    /// Representations of so many dimensions.
    pub fn new(dimensions: usize) -> Self {
        Self { dimensions, hidden: vec![128], positives: Positives::default(), normalised: true }
    }

    /// Widths of each encoder's hidden layers; by default one of 128.
    pub fn hidden(mut self, widths: impl Into<Vec<usize>>) -> Self {
        self.hidden = widths.into();
        self
    }

    /// What a row is to be like; by default another row of its cluster, which with a single cluster is refused.
    pub fn positives(mut self, positives: Positives) -> Self {
        self.positives = positives;
        self
    }

    /// Whether representations have length 1; by default they do. Without, training diverges: it is there to show that.
    pub fn normalised(mut self, normalised: bool) -> Self {
        self.normalised = normalised;
        self
    }
}

/// Layers of the encoders, and what rows are compared with.
#[derive(Debug)]
pub struct ContrastiveLayers {
    layers: Vec<GroupedLinear>,
    /// The mean representation of other heads' rows less that of a head's own, `[k, dimensions]`.
    contrast: Param,
}

impl Contrastive {
    fn representation<'t>(
        &self,
        layers: &ContrastiveLayers,
        parameters: &Parameters,
        x: Var<'t>,
        rows: &HeadRows,
    ) -> Result<Var<'t>> {
        let tape = x.tape();
        let forward = |x: Var<'t>, layer: &GroupedLinear| layer.forward(tape, parameters, &x, &rows.heads, false);
        let u = layers.layers.iter().try_fold(x, forward)?;
        if !self.normalised {
            return Ok(u);
        }
        let count = u.shape().dims()[0];
        let length = u.square()?.sum_cols()?.affine(1.0, 1e-12)?.sqrt()?.reshape([count, 1])?;
        Ok((u / &length)?)
    }
}

/// Rows in the order of their groups.
struct Grouped {
    order: Vec<u32>,
    /// Where each row stands in `order`.
    place: Vec<usize>,
    /// Where the group of each row starts and ends.
    range: Vec<[usize; 2]>,
}

impl Grouped {
    fn new(groups: &[u32]) -> Self {
        let rows = groups.len();
        let mut order: Vec<u32> = (0..rows as u32).collect();
        order.sort_by_key(|&row| groups[row as usize]);
        let (mut place, mut range) = (vec![0; rows], vec![[0; 2]; rows]);
        let mut start = 0;
        for group in order.chunk_by(|&a, &b| groups[a as usize] == groups[b as usize]) {
            for (at, &row) in group.iter().enumerate() {
                (place[row as usize], range[row as usize]) = (start + at, [start, start + group.len()]);
            }
            start += group.len();
        }
        Self { order, place, range }
    }

    /// Another row of the same group; the row itself where it is alone.
    fn same(&self, row: u32, key: Key) -> u32 {
        let (place, [start, end]) = (self.place[row as usize], self.range[row as usize]);
        self.without([place, place + 1], [start, end], key).unwrap_or(row)
    }

    /// A row of another group; any other row where there is one group.
    fn other(&self, row: u32, key: Key) -> u32 {
        let all = [0, self.order.len()];
        let place = self.place[row as usize];
        let drawn = self.without(self.range[row as usize], all, key);
        drawn.or_else(|| self.without([place, place + 1], all, key)).unwrap_or(row)
    }

    /// A row from a range of the order without a range in it.
    fn without(&self, [first, last]: [usize; 2], [start, end]: [usize; 2], key: Key) -> Option<u32> {
        let count = (end - start) - (last - first);
        if count == 0 {
            return None;
        }
        let at = start + below(key, count);
        Some(self.order[if at < first { at } else { at + last - first }])
    }
}

impl Framework for Contrastive {
    type Layers = ContrastiveLayers;
    const NAME: &'static str = "cluster_specific.contrastive";
    const STATE: &'static [&'static str] = &["contrast"];
    const WARMS_UP: bool = false;

    fn check(&self, heads: usize) -> Result<()> {
        if self.dimensions == 0 {
            return Err(Error::argument("dimensions", "must be at least 1"));
        }
        if let Some(at) = self.hidden.iter().position(|&width| width == 0) {
            return Err(Error::argument("hidden", format!("layer {at} has width 0")));
        }
        if heads == 1 && self.positives == Positives::Cluster {
            let message =
                "other rows of the only cluster are all others, like the negatives: a view or the class says more";
            return Err(Error::argument("positives", message));
        }
        if let Positives::View { noise, dropout } = self.positives
            && !(noise.is_finite() && noise >= 0.0 && (0.0..1.0).contains(&dropout))
        {
            let message = format!("noise {noise} and dropout {dropout} are not from 0 on and from 0 to below 1");
            return Err(Error::argument("positives", message));
        }
        Ok(())
    }

    fn check_data(&self, data: &Dataset) -> Result<()> {
        if data.rows() < 2 {
            return Err(Error::argument("data", "a single row has nothing to be unlike"));
        }
        if self.positives == Positives::Class && data.labels().is_none() {
            return Err(Error::argument("positives", format!("{} has no labels to tell the classes", data.name())));
        }
        Ok(())
    }

    fn widths(&self) -> Vec<Width> {
        let hidden = self.hidden.iter().map(|&outputs| Width { setting: "hidden", outputs, own: true });
        hidden.chain([Width { setting: "dimensions", outputs: self.dimensions, own: true }]).collect()
    }

    fn layers(&self, parameters: &mut Parameters, [heads, columns]: [usize; 2], key: Key) -> Result<ContrastiveLayers> {
        let widths: Vec<usize> =
            [columns].into_iter().chain(self.hidden.iter().copied()).chain([self.dimensions]).collect();
        let mut layers = Vec::with_capacity(widths.len() - 1);
        for (i, pair) in widths.windows(2).enumerate() {
            let hidden = i < self.hidden.len();
            let (fan, activation) =
                if hidden { (pair[0], Activation::Relu) } else { (pair[0] + pair[1], Activation::None) };
            let (name, shape) = (format!("encoder.{i}"), [heads, pair[0], pair[1]]);
            let bound = (6.0 / fan as f32).sqrt();
            layers.push(GroupedLinear::new(parameters, &name, shape, bound, 0.0, activation, key.child(i as u64))?);
        }
        Ok(ContrastiveLayers { layers, contrast: parameters.zeros("contrast", [heads, self.dimensions])? })
    }

    fn centred(&self) -> bool {
        false
    }

    fn losses<'t>(
        &self,
        layers: &ContrastiveLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
        key: Option<Key>,
    ) -> Result<Var<'t>> {
        let view = match (self.positives, key) {
            (Positives::View { noise, dropout }, Some(key)) => {
                Some(augment::corrupt(tape.gpu(), &rows.x, noise, dropout, key)?)
            }
            _ => None,
        };
        let mut others = view.iter().chain(&rows.partners);
        let (Some(positive), Some(negative)) = (others.next(), others.next()) else {
            // Under all heads at once there are no partners.
            return self.assignment_losses(layers, tape, parameters, rows, Key::new(0));
        };
        let [own, positive, negative] =
            [&rows.x, positive, negative].map(|x| self.representation(layers, parameters, tape.constant(x), rows));
        Ok((own? * &(negative? - &positive?)?)?.sum_cols()?)
    }

    fn assignment_losses<'t>(
        &self,
        layers: &ContrastiveLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
        _key: Key,
    ) -> Result<Var<'t>> {
        let contrast = tape.constant(&parameters.tensor(&layers.contrast)?).gather(&rows.index)?;
        Ok((self.encode(layers, tape, parameters, rows)? * &contrast)?.sum_cols()?)
    }

    /// The loss with drawn partners: with one head, there are no other rows whose means would say anything.
    fn objective_losses<'t>(
        &self,
        layers: &ContrastiveLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
        key: Key,
    ) -> Result<Option<Var<'t>>> {
        self.losses(layers, tape, parameters, rows, Some(key)).map(Some)
    }

    fn encode<'t>(
        &self,
        layers: &ContrastiveLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
    ) -> Result<Var<'t>> {
        self.representation(layers, parameters, tape.constant(&rows.x), rows)
    }

    /// A positive, where it is another row, and a negative. With one cluster a negative is any other row.
    fn partners(&self, rows: &[u32], members: Members<'_>, key: Key) -> Vec<Vec<u32>> {
        let [positive_key, negative_key] = key.split();
        let by_head = Grouped::new(members.assignment);
        let like = |grouped: &Grouped| {
            rows.iter().zip(positive_key.split_forever()).map(|(&row, key)| grouped.same(row, key)).collect()
        };
        let positives: Option<Vec<u32>> = match (self.positives, members.classes) {
            (Positives::View { .. }, _) => None,
            (Positives::Class, Some(classes)) => Some(like(&Grouped::new(classes))),
            _ => Some(like(&by_head)),
        };
        let negatives =
            rows.iter().zip(negative_key.split_forever()).map(|(&row, key)| by_head.other(row, key)).collect();
        positives.into_iter().chain([negatives]).collect()
    }

    fn settle(&self, layers: &ContrastiveLayers, parameters: &mut Parameters, blocks: Blocks<'_>) -> Result<()> {
        let (heads, dimensions) = (layers.contrast.shape().dims()[0], self.dimensions);
        let (mut own, mut all) = (vec![0.0f64; heads * dimensions], vec![0.0f64; heads * dimensions]);
        let mut sizes = vec![0.0f64; heads];
        for block in blocks {
            let (rows, assignment) = block?;
            let tape = Tape::new(rows.x.gpu());
            let made = self.encode(layers, &tape, parameters, &rows)?.read()?;
            assignment.iter().for_each(|&head| sizes[head as usize] += 1.0);
            for (at, u) in made.chunks(dimensions).enumerate() {
                let (head, row) = (at / assignment.len(), at % assignment.len());
                for (column, &value) in u.iter().enumerate() {
                    let place = head * dimensions + column;
                    all[place] += f64::from(value);
                    if assignment[row] as usize == head {
                        own[place] += f64::from(value);
                    }
                }
            }
        }
        let total: f64 = sizes.iter().sum();
        let mean = |sum: f64, count: f64| if count > 0.0 { sum / count } else { 0.0 };
        let contrast = |at: usize| {
            let size = sizes[at / dimensions];
            (mean(all[at] - own[at], total - size) - mean(own[at], size)) as f32
        };
        let values: Vec<f32> = (0..heads * dimensions).map(contrast).collect();
        Ok(parameters.set(&layers.contrast, &values)?)
    }
}
