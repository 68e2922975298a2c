//! Urns, laws, and the tables that the kernels work on.

use std::sync::{Arc, OnceLock};

use super::{OP, Params};
use crate::gpu::pipeline::{Call, groups_for};
use crate::ops::floats;
use crate::{DataType, Error, Gpu, Key, Result, Tensor};

/// Windows of totals hold all but e^-32 of the probability.
const TAIL: f32 = 32.0;
/// Tables of one part of a batch, in bytes.
const SCRATCH: usize = 32 << 20;
/// Groups that the recurrence keeps in registers.
const MAX_RECURRENCE: usize = 17;

/// Group sizes and numbers of draws: what the law's support depends on. Made once, used by every call.
#[derive(Debug, Clone)]
pub struct Urn(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sizes: Tensor,
    draws: Tensor,
    groups: usize,
    host_sizes: Vec<u32>,
    host_draws: Vec<u32>,
    factorials: OnceLock<Tensor>,
}

impl Urn {
    /// An urn with `sizes[i]` elements in group `i`, of which `draws` are taken, shared by all rows.
    ///
    /// # Errors
    /// When there is no group, more draws than elements, or 2²⁴ elements and more (counts are exact floats).
    pub fn new(gpu: &Gpu, sizes: &[u32], draws: u32) -> Result<Self> {
        Self::per_row(gpu, sizes.len(), sizes, &[draws])
    }

    /// An urn per row: `sizes` is `[groups]` or `[rows, groups]`, `draws` is one number or `[rows]`. Rows of fewer groups
    /// are filled up with groups of size 0.
    ///
    /// # Errors
    /// As [`Self::new`], naming the row; and when the two have different numbers of rows.
    pub fn per_row(gpu: &Gpu, groups: usize, sizes: &[u32], draws: &[u32]) -> Result<Self> {
        if groups == 0 || sizes.is_empty() {
            return Err(Error::argument(OP, "sizes", "has no groups"));
        }
        if !sizes.len().is_multiple_of(groups) {
            return Err(Error::argument(OP, "sizes", format!("has {} numbers for {groups} groups", sizes.len())));
        }
        if draws.is_empty() {
            return Err(Error::argument(OP, "draws", "is empty"));
        }
        let (size_rows, draw_rows) = (sizes.len() / groups, draws.len());
        if size_rows != draw_rows && size_rows != 1 && draw_rows != 1 {
            return Err(Error::argument(OP, "draws", format!("has {draw_rows} rows for {size_rows} rows of sizes")));
        }
        for row in 0..size_rows.max(draw_rows) {
            let sizes = &sizes[if size_rows == 1 { 0 } else { row * groups }..][..groups];
            let draws = draws[if draw_rows == 1 { 0 } else { row }];
            let total: u64 = sizes.iter().map(|&m| u64::from(m)).sum();
            if u64::from(draws) > total {
                let message = format!("of row {row} is {draws}, more than the {total} elements of all groups");
                return Err(Error::argument(OP, "draws", message));
            }
            if total >= 1 << 24 {
                let message = format!("of row {row} sum to {total}; counts are exact below 2^24 only");
                return Err(Error::argument(OP, "sizes", message));
            }
        }
        let as_floats: Vec<f32> = draws.iter().map(|&n| n as f32).collect();
        Ok(Self(Arc::new(Inner {
            sizes: gpu.tensor(sizes, [size_rows, groups])?,
            draws: gpu.tensor(&as_floats, [draw_rows])?,
            groups,
            host_sizes: sizes.to_vec(),
            host_draws: draws.to_vec(),
            factorials: OnceLock::new(),
        })))
    }

    /// The number of groups.
    pub fn groups(&self) -> usize {
        self.0.groups
    }

    /// Rows: 1 when sizes and draws are shared.
    pub fn rows(&self) -> usize {
        (self.0.host_sizes.len() / self.0.groups).max(self.0.host_draws.len())
    }

    /// Sizes of a row.
    pub fn sizes(&self, row: usize) -> &[u32] {
        let groups = self.0.groups;
        let row = if self.0.host_sizes.len() == groups { 0 } else { row };
        &self.0.host_sizes[row * groups..(row + 1) * groups]
    }

    /// Draws of a row.
    pub fn draws(&self, row: usize) -> u32 {
        self.0.host_draws[if self.0.host_draws.len() == 1 { 0 } else { row }]
    }

    /// The fewest and the most of each group that a row can draw, with positive weights.
    pub fn support(&self, row: usize) -> Vec<(u32, u32)> {
        let (sizes, draws) = (self.sizes(row), self.draws(row));
        let total: u32 = sizes.iter().sum();
        sizes.iter().map(|&m| (draws.saturating_sub(total - m), m.min(draws))).collect()
    }

    /// The largest size.
    pub(super) fn widest(&self) -> usize {
        self.0.host_sizes.iter().copied().max().unwrap_or(0) as usize
    }

    /// `log k!` for k up to the largest size, as whole parts and fractions.
    pub(super) fn factorials(&self, gpu: &Gpu) -> Result<Tensor> {
        if let Some(table) = self.0.factorials.get() {
            return Ok(table.clone());
        }
        let mut words = Vec::with_capacity(2 * (self.widest() + self.most_merged() + 1));
        let (mut whole, mut fraction) = (0i32, 0.0f64);
        for k in 0..=self.widest().max(self.most_merged()) {
            if k > 1 {
                fraction += (k as f64).ln();
                whole += fraction.floor() as i32;
                fraction -= fraction.floor();
            }
            words.push(whole.cast_unsigned());
            words.push((fraction as f32).to_bits());
        }
        let table = gpu.tensor(&words, [words.len()])?;
        Ok(self.0.factorials.get_or_init(|| table).clone())
    }

    /// The largest group that merging makes.
    fn most_merged(&self) -> usize {
        self.0.host_sizes.chunks(self.0.groups).map(|sizes| sizes.iter().sum::<u32>() as usize).max().unwrap_or(0)
    }

    /// The longest range of totals that a table holds, with group `first` drawn first; draws that are not whole
    /// are up to one more or less, and their slopes reach one total further.
    fn longest_range(&self, first: usize) -> u32 {
        let mut longest = 0;
        for row in 0..self.rows() {
            let (sizes, draws) = (self.sizes(row), self.draws(row));
            let mut before = sizes[first];
            let mut rest = sizes.iter().sum::<u32>() - before;
            let mut later = (0..sizes.len()).filter(|&g| g != first);
            for _ in 2..sizes.len() {
                let fewest = draws.saturating_sub(2 + before);
                longest = longest.max(rest.min(draws + 2).saturating_sub(fewest));
                let size = later.next().map_or(0, |g| sizes[g]);
                before += size;
                rest -= size;
            }
        }
        longest
    }

    /// Whether the recurrence is sums of positive terms: no group that is drawn after `first` and has elements is smaller
    /// than the draws, which may be one more than the urn's where they are real.
    fn suits_recurrence(&self, first: usize, real: bool) -> bool {
        let more = u32::from(real);
        let suits = |row: usize| {
            let later = self.sizes(row).iter().enumerate().filter(|&(g, _)| g != first);
            later.map(|(_, &m)| m).all(|m| m == 0 || m >= self.draws(row) + more)
        };
        (0..self.rows()).all(suits)
    }
}

/// The order in which the merged law draws groups.
#[derive(Debug, Clone)]
pub enum Order {
    /// 0, 1, 2, ...
    Natural,
    /// Group by position, `[groups]` or `[rows, groups]`.
    Given(Vec<u32>),
    /// Another order for every row, from a key.
    Random(Key),
}

/// Which law.
#[derive(Debug, Clone)]
pub enum Law {
    /// Fisher's law itself.
    Exact,
    /// Groups one by one, each against all that follow as one group of their mean weight: exact only where their weights are
    /// equal. For comparison with published results.
    Merged(Order),
}

/// How the tables of the exact law are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// By a recurrence along the totals, of a cost linear in draws; where no group but the first is smaller than the draws.
    Recurrence,
    /// By convolution, group by group, on windows around the mean; for any sizes.
    Convolution,
}

/// A law on the device: log weights, sizes and draws, tilted and ready for draws and log-probabilities.
#[derive(Debug, Clone)]
pub struct Prepared {
    urn: Urn,
    law: Law,
    log_weights: Tensor,
    /// Where they are real numbers instead of the urn's.
    draws: Option<Tensor>,
    law_rows: usize,
    order: Option<Tensor>,
    frame: Tensor,
    plan: Tables,
    tail: f32,
    /// Ratios and means, where one row is shared.
    shared: Option<Tensor>,
    /// Of the exact law, the group that is drawn first; the others follow in their order.
    first: usize,
}

impl Prepared {
    /// The law of `urn` with log weights `[1, groups]`, shared by all rows, or `[rows, groups]`. A group of weight `-inf` is
    /// never drawn. Rows that cannot be drawn give NaN: see [`Self::check`].
    ///
    /// # Errors
    /// When shapes or numbers of rows differ, or an order is not one.
    pub fn new(gpu: &Gpu, urn: &Urn, law: &Law, log_weights: &Tensor) -> Result<Self> {
        Self::with_rows(gpu, urn, law, log_weights, 1)
    }

    /// As [`Self::new`], for at least this many rows: a random order needs them to differ where all else is shared.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_rows(gpu: &Gpu, urn: &Urn, law: &Law, log_weights: &Tensor, rows: usize) -> Result<Self> {
        Self::build(gpu, urn, law, log_weights, None, rows, TAIL, None, 0)
    }

    /// As [`Self::new`] with real numbers of draws `[1]` or `[rows]`, each less than one from the urn's (other rows give
    /// NaN): for relaxed draws.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_draws(gpu: &Gpu, urn: &Urn, law: &Law, log_weights: &Tensor, draws: &Tensor) -> Result<Self> {
        floats(OP, &[("draws", draws)])?;
        if draws.shape().dims().len() != 1 || draws.is_empty() {
            return Err(Error::shape(OP, "draws", draws.shape(), "[1] or [rows]"));
        }
        Self::build(gpu, urn, law, log_weights, Some(draws), 1, TAIL, None, 0)
    }

    /// Makes the tables in this way, whatever the sizes; a recurrence that does not suit them loses digits.
    ///
    /// # Errors
    /// When there are more than 17 groups for the recurrence.
    pub fn with_tables(&self, gpu: &Gpu, plan: Tables) -> Result<Self> {
        let Self { urn, law, log_weights, draws, law_rows, tail, .. } = self;
        Self::build(gpu, urn, law, log_weights, draws.as_ref(), *law_rows, *tail, Some(plan), self.first)
    }

    /// The same law for at least this many rows.
    #[cfg(test)]
    pub(super) fn repeated(&self, gpu: &Gpu, rows: usize) -> Result<Self> {
        let Self { urn, law, log_weights, draws, tail, plan, .. } = self;
        Self::build(gpu, urn, law, log_weights, draws.as_ref(), rows, *tail, Some(*plan), self.first)
    }

    /// The same law for relaxations at this temperature, whose windows are longer above 1.
    pub(super) fn reaching(&self, gpu: &Gpu, temperature: f32) -> Result<Self> {
        let tail = TAIL * temperature;
        if tail <= self.tail {
            return Ok(self.clone());
        }
        let Self { urn, law, log_weights, draws, law_rows, plan, .. } = self;
        Self::build(gpu, urn, law, log_weights, draws.as_ref(), *law_rows, tail, Some(*plan), self.first)
    }

    /// The same law with `group` drawn first.
    pub(super) fn with_first(&self, gpu: &Gpu, group: usize) -> Result<Self> {
        if group == 0 {
            return Ok(self.clone());
        }
        let Self { urn, law, log_weights, draws, law_rows, tail, .. } = self;
        Self::build(gpu, urn, law, log_weights, draws.as_ref(), *law_rows, *tail, None, group)
    }

    #[expect(clippy::too_many_arguments, reason = "the one place that knows all of a law")]
    fn build(
        gpu: &Gpu,
        urn: &Urn,
        law: &Law,
        log_weights: &Tensor,
        real_draws: Option<&Tensor>,
        rows: usize,
        tail: f32,
        plan: Option<Tables>,
        first: usize,
    ) -> Result<Self> {
        let (groups, draws) = (urn.groups(), real_draws.unwrap_or(&urn.0.draws));
        floats(OP, &[("log_weights", log_weights)])?;
        let (weight_rows, cols) = log_weights.shape().rows_cols();
        if cols != groups || log_weights.shape().dims().len() != 2 || weight_rows == 0 {
            let expected = format!("[rows, {groups}], one column per group");
            return Err(Error::shape(OP, "log_weights", log_weights.shape(), expected));
        }
        if plan == Some(Tables::Recurrence) && groups > MAX_RECURRENCE {
            let message = format!("is the recurrence, which takes up to {MAX_RECURRENCE} groups, not {groups}");
            return Err(Error::argument(OP, "plan", message));
        }
        let law_rows = weight_rows.max(urn.rows()).max(draws.len()).max(rows);
        for (argument, rows) in [("log_weights", weight_rows), ("sizes", urn.rows()), ("draws", draws.len())] {
            if rows != 1 && rows != law_rows {
                return Err(Error::argument(OP, argument, format!("has {rows} rows where others have {law_rows}")));
            }
        }
        let mut this = Self {
            urn: urn.clone(),
            law: law.clone(),
            log_weights: log_weights.clone(),
            draws: real_draws.cloned(),
            law_rows,
            order: None,
            frame: gpu.uninitialised(OP, [(10 * groups + 2) * law_rows].into(), DataType::U32)?,
            plan: plan.unwrap_or(Tables::Convolution),
            tail,
            shared: None,
            first,
        };
        if let Law::Merged(order) = law {
            this.order = this.order_tensor(gpu, order)?;
        } else if first > 0 {
            let mut order: Vec<u32> = (0..groups as u32).collect();
            order[..=first].rotate_right(1);
            this.order = Some(gpu.tensor(&order, [1, groups])?);
        }
        if plan.is_none() && urn.suits_recurrence(first, real_draws.is_some()) && groups <= MAX_RECURRENCE {
            let turns = urn.0.host_draws.iter().copied().max().unwrap_or(0) as usize * 3;
            if turns < 60_000 {
                this.plan = Tables::Recurrence;
            }
        }
        gpu.dispatch(Call {
            op: OP,
            entry: "prepare",
            constants: &[("GROUPS", groups as f64)],
            inputs: &[log_weights, &urn.0.sizes, draws, this.order.as_ref().unwrap_or(&urn.0.sizes), &urn.0.draws],
            outputs: &[&this.frame],
            params: bytemuck::bytes_of(&this.params()),
            groups: groups_for(law_rows, 64),
        })?;
        if law_rows == 1 && this.has_tables() && 4 * this.table_len(true) <= SCRATCH {
            this.shared = Some(this.tables(gpu, 0, 1, true)?);
        }
        Ok(this)
    }

    fn order_tensor(&self, gpu: &Gpu, order: &Order) -> Result<Option<Tensor>> {
        let groups = self.groups();
        match order {
            Order::Natural => Ok(None),
            Order::Given(order) => {
                let rows = order.len() / groups;
                if order.len() != rows * groups || (rows != 1 && rows != self.law_rows) {
                    let message = format!("has {} numbers for {} rows of {groups} groups", order.len(), self.law_rows);
                    return Err(Error::argument(OP, "order", message));
                }
                for (row, order) in order.chunks(groups).enumerate() {
                    let mut seen = vec![false; groups];
                    let all = order
                        .iter()
                        .all(|&g| seen.get_mut(g as usize).is_some_and(|seen| !std::mem::replace(seen, true)));
                    if !all {
                        let message = format!("of row {row} is {order:?}, not every group once");
                        return Err(Error::argument(OP, "order", message));
                    }
                }
                Ok(Some(gpu.tensor(order, [rows, groups])?))
            }
            Order::Random(key) => {
                let order = gpu.uninitialised(OP, [self.law_rows, groups].into(), DataType::U32)?;
                let [key_low, key_high] = key.words();
                gpu.dispatch(Call {
                    op: OP,
                    entry: "shuffle",
                    constants: &[("GROUPS", groups as f64)],
                    inputs: &[],
                    outputs: &[&order],
                    params: bytemuck::bytes_of(&Params { key_low, key_high, ..self.params() }),
                    groups: groups_for(self.law_rows, 64),
                })?;
                Ok(Some(order))
            }
        }
    }

    /// Reads log weights and draws and says which row cannot be drawn, if one cannot.
    ///
    /// # Errors
    /// When a weight is NaN or +inf, groups of positive weight hold fewer elements than are drawn, or real draws are not
    /// within one of the urn's; naming the row.
    pub fn check(&self) -> Result<()> {
        let (weights, draws) = (self.log_weights.read()?, self.draws().read()?);
        let groups = self.groups();
        for row in 0..self.law_rows {
            let weights = &weights[if weights.len() == groups { 0 } else { row * groups }..][..groups];
            if let Some(group) = weights.iter().position(|w| w.is_nan() || *w == f32::INFINITY) {
                let message = format!("of row {row} is {} at group {group}", weights[group]);
                return Err(Error::argument(OP, "log_weights", message));
            }
            let open = self.urn.sizes(row).iter().zip(weights).filter(|(_, w)| **w > f32::NEG_INFINITY);
            let elements: u32 = open.map(|(m, _)| m).sum();
            let draws = draws[if draws.len() == 1 { 0 } else { row }];
            let whole = self.urn.draws(row);
            if (draws - whole as f32).is_nan() || (draws - whole as f32).abs() >= 1.0 || draws < 0.0 {
                let message = format!("of row {row} is {draws}, not within one of the urn's {whole}");
                return Err(Error::argument(OP, "draws", message));
            }
            let all: u32 = self.urn.sizes(row).iter().sum();
            if draws > all as f32 {
                let message = format!("of row {row} is {draws}, more than the {all} elements of all groups");
                return Err(Error::argument(OP, "draws", message));
            }
            if draws > elements as f32 {
                let message =
                    format!("of row {row} are -inf for all but {elements} elements, of which {draws} are to be drawn");
                return Err(Error::argument(OP, "log_weights", message));
            }
        }
        Ok(())
    }

    /// The number of groups.
    pub fn groups(&self) -> usize {
        self.urn.groups()
    }

    /// Sizes and draws.
    pub fn urn(&self) -> &Urn {
        &self.urn
    }

    /// Rows: 1 when everything is shared.
    pub fn law_rows(&self) -> usize {
        self.law_rows
    }

    /// How tables are made.
    pub fn plan(&self) -> Tables {
        self.plan
    }

    /// Rows of weights: 1 when they are shared.
    pub fn weight_rows(&self) -> usize {
        self.log_weights.shape().rows_cols().0
    }

    fn draws(&self) -> &Tensor {
        self.draws.as_ref().unwrap_or(&self.urn.0.draws)
    }

    /// Rows of draws: 1 when they are shared.
    pub fn draw_rows(&self) -> usize {
        self.draws().len()
    }

    #[cfg(test)]
    pub(super) fn order(&self) -> Option<&Tensor> {
        self.order.as_ref()
    }

    pub(super) fn log_weights(&self) -> &Tensor {
        &self.log_weights
    }

    pub(super) fn frame(&self) -> &Tensor {
        &self.frame
    }

    pub(super) fn merged(&self) -> bool {
        matches!(self.law, Law::Merged(_))
    }

    pub(super) fn params(&self) -> Params {
        Params {
            count: self.law_rows as u32,
            law_rows: self.law_rows as u32,
            weight_rows: self.weight_rows() as u32,
            size_rows: self.urn.0.sizes.shape().rows_cols().0 as u32,
            draw_rows: self.draws().len() as u32,
            urn_draw_rows: self.urn.0.draws.len() as u32,
            order_rows: self.order.as_ref().map_or(0, |order| order.shape().rows_cols().0) as u32,
            width: self.width() as u32,
            tail: self.tail,
            temperature: 1.0,
            ..Params::default()
        }
    }

    pub(super) fn check_rows(&self, argument: &'static str, rows: usize) -> Result<()> {
        if self.law_rows == 1 || self.law_rows == rows {
            return Ok(());
        }
        Err(Error::argument(OP, argument, format!("has {rows} rows for {} rows of the law", self.law_rows)))
    }

    /// Rows of a `[rows, groups]` tensor that fits the law.
    pub(super) fn rows_of(&self, argument: &'static str, tensor: &Tensor) -> Result<usize> {
        floats(OP, &[(argument, tensor)])?;
        let (rows, cols) = tensor.shape().rows_cols();
        if cols != self.groups() || tensor.shape().dims().len() != 2 {
            let expected = format!("[rows, {}], one column per group", self.groups());
            return Err(Error::shape(OP, argument, tensor.shape(), expected));
        }
        self.check_rows(argument, rows)?;
        Ok(rows)
    }

    /// Whether kernels can run the recurrence themselves instead of reading what it made.
    pub(super) fn recurs_per_row(&self) -> bool {
        self.has_tables() && self.shared.is_none() && self.plan == Tables::Recurrence
    }

    fn has_tables(&self) -> bool {
        !self.merged() && self.groups() > 2
    }

    /// Totals in a window: Hoeffding's bound as in the shader.
    fn width(&self) -> usize {
        if !self.has_tables() {
            return 0;
        }
        window(self.urn.longest_range(self.first), self.tail)
    }

    /// Software adapters end all loops of an invocation after 65,536 turns in total, without an error: refuse what could
    /// need more. `turns` are those per value of a conditional's window, `first` those more for the first group's;
    /// `fused` tells that totals from 0 on are walked as well.
    pub(super) fn check_turns(
        &self,
        gpu: &Gpu,
        what: &str,
        tail: f32,
        turns: f64,
        first: f64,
        fused: bool,
    ) -> Result<()> {
        if !gpu.is_software() {
            return Ok(());
        }
        let mut needed = 0.0f64;
        for row in 0..self.urn.rows() {
            let (draws, sizes) = (self.urn.draws(row), self.urn.sizes(row));
            let values = |m: u32| window(m.min(draws) + 1, tail) as f64;
            let walks: f64 = sizes[..sizes.len() - 1].iter().map(|&m| values(m) * turns + 60.0).sum();
            let totals = if fused { f64::from(draws) * sizes.len() as f64 } else { 0.0 };
            needed = needed.max(walks + values(sizes[self.first]) * first + totals);
        }
        if needed > 65_000.0 {
            return Err(Error::TooLarge {
                what: format!("{what} of {} groups on a software adapter", self.groups()),
                unit: "loop turns",
                needed: needed as u64,
                limit: 65_000,
            });
        }
        Ok(())
    }

    /// Numbers in the tables of one row.
    fn table_len(&self, means: bool) -> usize {
        let groups = self.groups();
        (groups - 2 + if means { (groups - 1) * (groups - 2) / 2 } else { 0 }) * self.width()
    }

    /// Calls `f` with tables, and parameters that say which rows of the law they are of, until all rows are done.
    pub(super) fn for_each_part(
        &self,
        gpu: &Gpu,
        rows: usize,
        need: Need,
        mut f: impl FnMut(&Tensor, Params) -> Result<()>,
    ) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        let means = need == Need::Means;
        let params = Params { rows: rows as u32, means: u32::from(means), ..self.params() };
        if let Some(tables) = &self.shared {
            return f(tables, params);
        }
        if !self.has_tables() || need == Need::Nothing {
            return f(&self.frame, params);
        }
        let part = (SCRATCH / (4 * self.table_len(means))).clamp(1, self.law_rows);
        for first in (0..self.law_rows).step_by(part) {
            let count = part.min(self.law_rows - first);
            let tables = self.tables(gpu, first, count, means)?;
            f(&tables, Params { first: first as u32, count: count as u32, ..params })?;
        }
        Ok(())
    }

    fn tables(&self, gpu: &Gpu, first: usize, count: usize, means: bool) -> Result<Tensor> {
        let (groups, width) = (self.groups(), self.width());
        let tables = gpu.uninitialised(OP, [self.table_len(means), count].into(), DataType::F32)?;
        let params = Params { first: first as u32, count: count as u32, means: u32::from(means), ..self.params() };
        let turns = width * (groups + 2);
        if self.plan == Tables::Convolution && gpu.is_software() && turns > 65_000 {
            return Err(Error::TooLarge {
                what: format!("tables of {groups} groups on a software adapter"),
                unit: "loop turns",
                needed: turns as u64,
                limit: 65_000,
            });
        }
        let constants = [("GROUPS", groups as f64)];
        let dispatch = |entry, level: usize, threads| {
            gpu.dispatch(Call {
                op: OP,
                entry,
                constants: &constants,
                inputs: &[&self.frame],
                outputs: &[&tables],
                params: bytemuck::bytes_of(&Params { level: level as u32, ..params }),
                groups: groups_for(threads, 64),
            })
        };
        match self.plan {
            Tables::Recurrence => dispatch("recur", 0, (groups - 2) * count)?,
            Tables::Convolution => {
                for level in (1..groups - 1).rev() {
                    dispatch("convolve", level, width * count)?;
                }
            }
        }
        Ok(tables)
    }
}

/// What a kernel reads of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    Ratios,
    Means,
}

impl Need {
    pub(super) fn ratios(fused: bool) -> Self {
        if fused { Self::Nothing } else { Self::Ratios }
    }

    pub(super) fn means(fused: bool) -> Self {
        if fused { Self::Nothing } else { Self::Means }
    }
}

/// Values that a window of a sum of `range` Bernoulli variables holds, whose complement weighs less than e^-tail.
fn window(range: u32, tail: f32) -> usize {
    let reach = (0.5 * tail * range as f32).sqrt() + 4.0;
    (range as usize + 1).min(2 * reach.ceil() as usize + 3)
}
