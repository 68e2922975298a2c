//! Fisher's noncentral hypergeometric law of several groups: `P(x) = Π C(m_i, x_i) ω_i^{x_i} / P₀` on `Σ x_i = n`.
//!
//! The law is exact (no merging of groups): a table of log ratios `R_p(s) = log c_p(s+1) - log c_p(s)` of the
//! coefficients of `Π_{j≥p} (1 + ω_j t)^{m_j}` gives every conditional `P(x_p | x_{<p})` from its mode outwards. From
//! `f' = Σ_j m_j ω_j / (1 + ω_j t) · f` follows an average of positive terms that builds the table without cancellation:
//! `(s+1) r_p(s) = Σ_k P_p(k | s) [ω_p (m_p - k) + (s-k+1) r_{p+1}(s-k)]`.
//!
//! Derivatives: `∂ log P(x) / ∂ log ω = x - E[x]`; for draws, the straight-through rule of Sutter et al., "Learning group
//! importance using the differentiable hypergeometric distribution" (ICLR 2023), with the exact conditionals.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{floats, valid_temperature};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Key, Result, Tensor};

const OP: &str = "fisher_hypergeometric";

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    weight_rows: u32,
    groups: u32,
    draws: u32,
    level: u32,
    key_low: u32,
    key_high: u32,
    temperature: f32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("weight_rows", std::mem::offset_of!(Params, weight_rows)),
    ("groups", std::mem::offset_of!(Params, groups)),
    ("draws", std::mem::offset_of!(Params, draws)),
    ("level", std::mem::offset_of!(Params, level)),
    ("key_low", std::mem::offset_of!(Params, key_low)),
    ("key_high", std::mem::offset_of!(Params, key_high)),
    ("temperature", std::mem::offset_of!(Params, temperature)),
];

/// Group sizes and the number of draws: what the law's support depends on. Made once, used by every call.
#[derive(Debug, Clone)]
pub struct Urn {
    sizes: Tensor,
    groups: usize,
    draws: u32,
    /// The longest conditional window, in values: never beyond the support, and about 18 deviations where that is longer.
    window: f64,
}

impl Urn {
    /// An urn with `sizes[i]` elements in group `i`, of which `draws` are taken.
    ///
    /// # Errors
    /// When there is no group, more draws than elements, or 2²⁴ elements and more (counts are exact floats).
    pub fn new(gpu: &Gpu, sizes: &[u32], draws: u32) -> Result<Self> {
        if sizes.is_empty() {
            return Err(Error::argument(OP, "sizes", "has no groups"));
        }
        let total: u64 = sizes.iter().map(|&m| u64::from(m)).sum();
        if u64::from(draws) > total {
            return Err(Error::argument(
                OP,
                "draws",
                format!("is {draws}, more than the {total} elements of all groups"),
            ));
        }
        if total >= 1 << 24 {
            return Err(Error::argument(OP, "sizes", format!("sum to {total}; counts are exact below 2^24 only")));
        }
        let mut table = sizes.to_vec();
        let mut rest = total as u32;
        for &m in sizes {
            rest -= m;
            table.push(rest);
        }
        let longest = f64::from(sizes.iter().copied().max().unwrap_or(0).min(draws));
        // A conditional's variance is at most a quarter of the longest support; sqrt(2 · 40) deviations to either side.
        let window = (longest + 1.0).min(10.0 * longest.sqrt() + 64.0);
        Ok(Self { sizes: gpu.tensor(&table, [2 * sizes.len()])?, groups: sizes.len(), draws, window })
    }

    /// The number of groups.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// The number of draws.
    pub fn draws(&self) -> u32 {
        self.draws
    }

    /// Software adapters end all loops of an invocation after 65,536 turns in total, without an error: refuse what could
    /// need more.
    fn check_turns(&self, gpu: &Gpu, what: &str, turns: f64) -> Result<()> {
        if gpu.is_software() && turns > 65_000.0 {
            return Err(Error::TooLarge {
                what: format!("{what} of {} groups on a software adapter, in loop turns", self.groups),
                needed: turns as u64,
                limit: 65_000,
            });
        }
        Ok(())
    }

    /// Rows of a `[rows, groups]` tensor.
    fn rows(&self, argument: &'static str, tensor: &Tensor) -> Result<usize> {
        floats(OP, &[(argument, tensor)])?;
        let (rows, cols) = tensor.shape().rows_cols();
        if cols != self.groups || tensor.shape().dims().len() != 2 {
            let expected = format!("[rows, {}], one column per group", self.groups);
            return Err(Error::shape(OP, argument, tensor.shape(), expected));
        }
        Ok(rows)
    }
}

/// The normalisers of a law: log ratios and conditional means for every number of remaining draws.
#[derive(Debug, Clone)]
pub struct Tables {
    urn: Urn,
    log_weights: Tensor,
    weight_rows: usize,
    /// `[weight_rows, groups, draws + 1]`
    ratios: Tensor,
    /// `[weight_rows, groups (level), groups, draws + 1]`
    means: Tensor,
}

/// Builds the tables of `urn` for log weights `[1, groups]`, shared by all rows, or `[rows, groups]`. Finite weights;
/// NaN makes every result of its row NaN.
///
/// # Errors
/// When the shape is another, or the tables (`4 · rows · groups² · (draws + 1)` bytes) exceed the adapter's limit.
pub fn tabulate(gpu: &Gpu, urn: &Urn, log_weights: &Tensor) -> Result<Tables> {
    let weight_rows = urn.rows("log_weights", log_weights)?;
    // A level is a dispatch of its own: three walks, and one more for every later group.
    urn.check_turns(gpu, "the tables", (urn.groups as f64 + 3.0) * urn.window)?;
    let (groups, width) = (urn.groups, urn.draws as usize + 1);
    let ratios = gpu.uninitialised(OP, [weight_rows, groups, width].into(), DataType::F32)?;
    let means = gpu.uninitialised(OP, [weight_rows, groups, groups, width].into(), DataType::F32)?;
    let tables = Tables { urn: urn.clone(), log_weights: log_weights.clone(), weight_rows, ratios, means };
    if weight_rows > 0 {
        for level in (0..groups).rev() {
            let params = Params { level: level as u32, ..tables.params(0) };
            gpu.dispatch(Call {
                op: OP,
                entry: "tabulate",
                constants: &[],
                inputs: &[log_weights, &urn.sizes],
                outputs: &[&tables.ratios, &tables.means],
                params: bytemuck::bytes_of(&params),
                groups: groups_for(weight_rows * width, 64),
            })?;
        }
    }
    Ok(tables)
}

impl Tables {
    fn params(&self, rows: usize) -> Params {
        Params {
            rows: rows as u32,
            weight_rows: self.weight_rows as u32,
            groups: self.urn.groups as u32,
            draws: self.urn.draws,
            level: 0,
            key_low: 0,
            key_high: 0,
            temperature: 1.0,
        }
    }

    /// The urn.
    pub fn urn(&self) -> &Urn {
        &self.urn
    }

    /// Rows of weights: 1 when they are shared.
    pub fn weight_rows(&self) -> usize {
        self.weight_rows
    }

    fn check_rows(&self, argument: &'static str, rows: usize) -> Result<()> {
        if self.weight_rows == 1 || self.weight_rows == rows {
            return Ok(());
        }
        Err(Error::argument(OP, argument, format!("has {rows} rows for {} rows of weights", self.weight_rows)))
    }
}

/// Exact draws: counts `[rows, groups]` as floats; every row sums to the draws. Groups are drawn in order by the
/// largest of `log P + Gumbel` over the conditional's window, so the draw does not depend on a temperature.
///
/// # Errors
/// When `rows` does not fit per-row weights.
pub fn forward(gpu: &Gpu, tables: &Tables, rows: usize, key: Key) -> Result<Tensor> {
    tables.check_rows("rows", rows)?;
    let urn = &tables.urn;
    urn.check_turns(gpu, "draws", urn.groups as f64 * (2.0 * urn.window + 64.0))?;
    let counts = gpu.uninitialised(OP, [rows, tables.urn.groups].into(), DataType::F32)?;
    if rows > 0 {
        let [key_low, key_high] = key.words();
        gpu.dispatch(Call {
            op: OP,
            entry: "forward",
            constants: &[],
            inputs: &[&tables.log_weights, &tables.urn.sizes, &tables.ratios],
            outputs: &[&counts],
            params: bytemuck::bytes_of(&Params { key_low, key_high, ..tables.params(rows) }),
            groups: groups_for(rows, 64),
        })?;
    }
    Ok(counts)
}

/// The straight-through gradient of draws with respect to the log weights, `[rows, groups]` (to be summed over rows when
/// the weights are shared): `counts` and `key` as in [`forward`]; the relaxation `softmax((log P + g) / temperature)`
/// is made again from the key. Each row of the result sums to 0.
///
/// # Errors
/// When shapes differ or the temperature is not positive.
pub fn backward(
    gpu: &Gpu,
    tables: &Tables,
    counts: &Tensor,
    dcounts: &Tensor,
    key: Key,
    temperature: f32,
) -> Result<Tensor> {
    valid_temperature(OP, temperature)?;
    let rows = tables.urn.rows("counts", counts)?;
    tables.check_rows("counts", rows)?;
    super::same_shape(OP, "dcounts", dcounts, counts)?;
    floats(OP, &[("dcounts", dcounts)])?;
    // The window reaches further for high temperatures, up to the whole support; every value visits every later group.
    let groups = tables.urn.groups as f64;
    let window = tables.urn.window * (f64::from(temperature.max(1.0)) + 0.65).sqrt();
    tables.urn.check_turns(
        gpu,
        "the gradient of draws",
        groups * (3.0 * window + 64.0) + window * groups * groups / 2.0,
    )?;
    let dweights = gpu.uninitialised(OP, counts.shape().clone(), DataType::F32)?;
    if rows > 0 {
        let [key_low, key_high] = key.words();
        gpu.dispatch(Call {
            op: OP,
            entry: "backward",
            constants: &[],
            inputs: &[&tables.log_weights, &tables.urn.sizes, &tables.ratios, counts, &tables.means, dcounts],
            outputs: &[&dweights],
            params: bytemuck::bytes_of(&Params { key_low, key_high, temperature, ..tables.params(rows) }),
            groups: groups_for(rows, 64),
        })?;
    }
    Ok(dweights)
}

/// `log P(counts)` per row, in nats; `-inf` outside the support (not whole, negative, too many, or another total).
///
/// # Errors
/// When `counts` is not `[rows, groups]` or does not fit per-row weights.
pub fn log_prob(gpu: &Gpu, tables: &Tables, counts: &Tensor) -> Result<Tensor> {
    let rows = tables.urn.rows("counts", counts)?;
    tables.check_rows("counts", rows)?;
    let score = gpu.uninitialised(OP, [rows].into(), DataType::F32)?;
    if rows > 0 {
        gpu.dispatch(Call {
            op: OP,
            entry: "score",
            constants: &[],
            inputs: &[&tables.log_weights, &tables.urn.sizes, &tables.ratios, counts],
            outputs: &[&score],
            params: bytemuck::bytes_of(&tables.params(rows)),
            groups: groups_for(rows, 64),
        })?;
    }
    Ok(score)
}

/// The gradient of [`log_prob`] with respect to the log weights, `dscore · (counts - E[x])`, `[rows, groups]`.
///
/// # Errors
/// When shapes differ.
pub fn log_prob_backward(gpu: &Gpu, tables: &Tables, counts: &Tensor, dscore: &Tensor) -> Result<Tensor> {
    let rows = tables.urn.rows("counts", counts)?;
    tables.check_rows("counts", rows)?;
    floats(OP, &[("dscore", dscore)])?;
    if dscore.len() != rows {
        return Err(Error::shape(OP, "dscore", dscore.shape(), format!("[{rows}]")));
    }
    let dweights = gpu.uninitialised(OP, counts.shape().clone(), DataType::F32)?;
    if rows > 0 {
        gpu.dispatch(Call {
            op: OP,
            entry: "differentiate_score",
            constants: &[],
            inputs: &[&tables.means, counts, dscore],
            outputs: &[&dweights],
            params: bytemuck::bytes_of(&tables.params(rows)),
            groups: groups_for(rows * tables.urn.groups, 64),
        })?;
    }
    Ok(dweights)
}

/// `E[x]`, `[weight_rows, groups]`.
///
/// # Errors
/// Those of the device.
pub fn mean(gpu: &Gpu, tables: &Tables) -> Result<Tensor> {
    let zeros = gpu.zeros([tables.weight_rows, tables.urn.groups])?;
    let minus_one = gpu.tensor(&vec![-1.0f32; tables.weight_rows], [tables.weight_rows])?;
    log_prob_backward(gpu, tables, &zeros, &minus_one)
}
